// The verbs between agent and disk daemon (HTTP/JSON on a unix socket):
//
//   POST /open     OpenDisk      -> DiskStatus    idempotent for the same epoch; `fenced` if HEAD names a newer one
//   POST /standby  DiskRef       -> DiskStatus    reads HEAD and map; owns nothing
//   POST /seal     DiskRef       -> DiskStatus    flush, fence own next sequence, HEAD := detached-clean
//   POST /close    DiskRef       -> DiskStatus    stops serving; keeps the log of an unsealed disk
//   POST /snapshot MakeSnapshot  -> SnapshotMade  of an open disk; the same request finds what it made; `unavailable`: ask again
//   POST /resize   ResizeDisk    -> DiskStatus    grows an open disk; connections made from then on see the new size
//   POST /rescue   RescueLog     -> DiskStatus    writes what an orphaned log holds into a fork of its disk, seals that, and
//                                                 removes the log; `unavailable`: ask again
//   GET  /status                 -> DaemonStatus
//   GET  /metrics                -> Prometheus text
#pragma once
#include "model/fleet_types.h"

namespace ebb {

enum class DiskSeen {
  opening,  // HEAD is ours or about to be; recovery runs
  open,     // served; HEAD names us, attached
  standby,  // map loaded, owns nothing
  sealing,
  sealed,   // HEAD says detached-clean, by us
  fenced,   // HEAD names another owner
  reading,  // served read-only (an image's disk): no lease
  failed,   // see error
};
BOOST_DESCRIBE_ENUM(DiskSeen, opening, open, standby, sealing, sealed, fenced, reading, failed)

// Made, or not (`error`): then it will not be.
struct CutMade {
  std::string request;
  WallMs made_at = 0;
  std::string error;
  bool operator==(const CutMade&) const = default;
};
BOOST_DESCRIBE_STRUCT(CutMade, (), (request, made_at, error))

struct OpenDisk {
  DiskId disk;
  PoolId pool;
  Epoch epoch = 0;  // placement epoch; HEAD's disk epoch becomes (epoch, next incarnation)
  DiskClass disk_class = DiskClass::remote;
  bool read_only = false;
  bool take_over = false;  // replace an owner that has not confirmed its stop; serves 15 s later
  // Snapshots of what a take-over finds, before anything is written. One that cannot be made keeps nobody from serving.
  std::vector<WantedSnapshot> cuts{};
  bool operator==(const OpenDisk&) const = default;
};
BOOST_DESCRIBE_STRUCT(OpenDisk, (), (disk, pool, epoch, disk_class, read_only, take_over, cuts))

struct DiskRef {
  DiskId disk;
  PoolId pool;
  Epoch epoch = 0;
  bool operator==(const DiskRef&) const = default;
};
BOOST_DESCRIBE_STRUCT(DiskRef, (), (disk, pool, epoch))

struct DiskStatus {
  DiskId disk;
  PoolId pool;
  Epoch epoch = 0;
  std::uint64_t incarnation = 0;
  DiskSeen state = DiskSeen::opening;
  std::string nbd_socket;  // unix socket path while served
  std::string nbd_export;
  std::uint64_t size_bytes = 0;
  std::uint64_t unsent_bytes = 0;  // acknowledged to the guest, not in the store yet
  std::uint64_t unsent_age_ms = 0;
  // What a lost host would cost it at most: beyond this no FLUSH is acknowledged. Absent: nothing (class
  // `remote`), or it is not open.
  std::optional<LossBound> loss_bound{};
  std::optional<std::uint64_t>
      owner_age_ms;         // since HEAD was last seen to name us, counted from when it was asked
  std::string waiting_for;  // "the store: 503 since 12 s", "15 s after take-over", ...
  std::string error;
  std::vector<CutMade> cuts{};  // of those that its opener asked for
  bool operator==(const DiskStatus&) const = default;
};
BOOST_DESCRIBE_STRUCT(DiskStatus, (),
                      (disk, pool, epoch, incarnation, state, nbd_socket, nbd_export, size_bytes,
                       unsent_bytes, unsent_age_ms, loss_bound, owner_age_ms, waiting_for, error, cuts))

struct MakeSnapshot {
  DiskId disk;
  PoolId pool;
  Epoch epoch = 0;  // that the disk is open under
  std::string name, request;
  bool operator==(const MakeSnapshot&) const = default;
};
BOOST_DESCRIBE_STRUCT(MakeSnapshot, (), (disk, pool, epoch, name, request))

struct SnapshotMade {
  std::string name, request;
  WallMs created_at = 0;
  std::uint64_t size_bytes = 0;
  std::uint64_t write_seq = 0;  // the last write that is in it
  bool operator==(const SnapshotMade&) const = default;
};
BOOST_DESCRIBE_STRUCT(SnapshotMade, (), (name, request, created_at, size_bytes, write_seq))

struct ResizeDisk {
  DiskId disk;
  PoolId pool;
  Epoch epoch = 0;               // that the disk is open under
  std::uint64_t size_bytes = 0;  // a multiple of 4096; the same again changes nothing
  bool operator==(const ResizeDisk&) const = default;
};
BOOST_DESCRIBE_STRUCT(ResizeDisk, (), (disk, pool, epoch, size_bytes))

struct DaemonStatus {
  std::string run;  // fresh at each start of the daemon
  std::vector<DiskStatus> disks;
  std::vector<DiskId> unsent_logs;    // logs on this worker that hold records the store lacks, served or not
  std::vector<DiskId> unread_logs{};  // of those, the ones that have not been examined
  std::vector<OrphanLog> orphan_logs{};  // of the others: exactly what they hold that the store never will
  bool operator==(const DaemonStatus&) const = default;
};
BOOST_DESCRIBE_STRUCT(DaemonStatus, (), (run, disks, unsent_logs, unread_logs, orphan_logs))

// ---- JSON: see model.cpp ----
EBB_JSON_EXTERN(CutMade)
EBB_JSON_EXTERN(OpenDisk)
EBB_JSON_EXTERN(DiskRef)
EBB_JSON_EXTERN(DiskStatus)
EBB_JSON_EXTERN(MakeSnapshot)
EBB_JSON_EXTERN(ResizeDisk)
EBB_JSON_EXTERN(SnapshotMade)
EBB_JSON_EXTERN(DaemonStatus)

}  // namespace ebb
