// What control plane and agent say to each other: the wanted set of a worker, and what its agent sees.
#pragma once
#include "model/fleet_types.h"

namespace ebb {

// What the control plane wants of one VM on one worker. Absence from the set means the same as `absent`.
enum class Wanted {
  running,  // open the disk under `epoch`, boot, keep running
  standby,  // a move is coming: fetch kernel and initrd, warm the disk's map; own nothing
  sealed,   // stop the guest, flush everything to the store, detach cleanly
  stopped,  // as sealed, but the VM stays this worker's
  absent,   // nothing of it may be left here
};
BOOST_DESCRIBE_ENUM(Wanted, running, standby, sealed, stopped, absent)

struct WantedDisk {
  DiskId id;
  PoolId pool;
  std::uint64_t size_bytes = 0;
  DiskClass disk_class = DiskClass::remote;
  bool read_only = false;                   // the image's disk, for a stateless VM
  bool take_over = false;                   // the previous owner has not confirmed that it stopped
  std::vector<WantedSnapshot> snapshots{};  // taken while the disk is open; at no other time
  std::vector<WantedSnapshot> cuts{};       // of a take-over: taken before anything is served, or not at all
  bool operator==(const WantedDisk&) const = default;
};
BOOST_DESCRIBE_STRUCT(WantedDisk, (),
                      (id, pool, size_bytes, disk_class, read_only, take_over, snapshots, cuts))

struct WantedVm {
  VmId vm;
  Epoch epoch = 0;
  Wanted wanted = Wanted::absent;
  std::uint32_t cpus = 1;
  std::uint64_t memory_bytes = 0;
  PoolId image_pool;
  std::optional<Firmware> firmware{};  // boots the first disk; absent: the kernel is loaded
  std::optional<Blob> kernel;
  std::optional<Blob> initrd;
  std::string cmdline;
  std::vector<WantedDisk> disks;
  std::vector<Port> ports;
  std::vector<std::string> channels;
  std::uint32_t stop_grace_ms = 10'000;
  std::optional<std::map<std::string, std::string>> seed{};  // files of a NoCloud seed, by name
  std::optional<Restart> restart{};                          // absent: always
  std::optional<HealthCheck> health{};
  std::optional<std::vector<std::uint64_t>> ephemeral_disks{};  // bytes of each
  std::optional<std::vector<NetworkInterface>>
      interfaces{};                         // beside the one that its ports are forwarded to
  std::optional<StopSignal> stop_signal{};  // absent: automatic
  bool operator==(const WantedVm&) const = default;
};
BOOST_DESCRIBE_STRUCT(WantedVm, (),
                      (vm, epoch, wanted, cpus, memory_bytes, image_pool, firmware, kernel, initrd, cmdline,
                       disks, ports, channels, stop_grace_ms, seed, restart, health, ephemeral_disks,
                       interfaces, stop_signal))

struct WantedSet {
  WorkerId worker;
  std::uint64_t revision =
      0;  // changes whenever the set changes; never goes back (epochs order what matters)
  std::vector<WantedVm> vms;
  std::vector<RescueLog> rescues{};  // until each is reported as written, or withdrawn
  bool operator==(const WantedSet&) const = default;
};
BOOST_DESCRIBE_STRUCT(WantedSet, (), (worker, revision, vms, rescues))

enum class VmSeen {
  absent,     // nothing here
  preparing,  // standby is being made
  standby,    // ready to take over
  starting,   // opening the disk, booting
  running,    // the guest is up; with a health check: healthy, or long enough up to have been
  stopping,
  sealed,   // stopped; the disk is detached cleanly: HEAD says so
  stopped,  // not running; disks closed; restart would be from here
  failed,   // could not be started; see error
  ended,    // its guest has ended by itself and is not started again; see end
  fenced,   // a newer owner exists: what was here has been stopped
};
BOOST_DESCRIBE_ENUM(VmSeen, absent, preparing, standby, starting, running, stopping, sealed, stopped, failed,
                    ended, fenced)

// Durations of the last steps, milliseconds; absent if not done. The ETA is computed from these.
struct VmTimings {
  std::optional<std::uint32_t> prepare_ms, stop_ms, seal_ms, open_ms, boot_ms;
  bool operator==(const VmTimings&) const = default;
};
BOOST_DESCRIBE_STRUCT(VmTimings, (), (prepare_ms, stop_ms, seal_ms, open_ms, boot_ms))

// Of a wanted snapshot: it stands in the pool, or will not (`error`); or it is waited for (`waiting_for`).
struct SeenSnapshot {
  DiskId disk;
  std::string request;
  WallMs made_at = 0;  // 0: not made
  std::string error, waiting_for;
  bool operator==(const SeenSnapshot&) const = default;
};
BOOST_DESCRIBE_STRUCT(SeenSnapshot, (), (disk, request, made_at, error, waiting_for))

// What the last checks of a guest have found; told again when it has changed.
struct SeenHealth {
  bool is_healthy = false;
  WallMs since = 0;
  std::string error;  // of the check that failed last
  bool operator==(const SeenHealth&) const = default;
};
BOOST_DESCRIBE_STRUCT(SeenHealth, (), (is_healthy, since, error))

struct SeenVm {
  VmId vm;
  Epoch epoch = 0;
  VmSeen state = VmSeen::absent;
  bool machine = false;    // a QEMU process exists
  bool disk_open = false;  // HEAD names this worker as the owner, or a machine uses the image's disk
  bool guest_stopped_itself = false;
  std::map<std::string, std::uint16_t> ports;
  std::string accel;
  std::string error;
  std::uint32_t failures = 0;  // failed starts in a row under this epoch
  VmTimings timings;
  std::vector<SeenSnapshot> snapshots{};  // of those that are wanted now
  std::optional<GuestEnd> end{};          // under this epoch, and by its policy for good
  std::optional<SeenHealth> health{};     // absent: not asked for, or not known yet
  // Bytes of each disk as its machine has it, by the disk's id; absent: no machine, or not known yet.
  std::optional<std::map<std::string, std::uint64_t>> disk_sizes{};
  bool operator==(const SeenVm&) const = default;
};
BOOST_DESCRIBE_STRUCT(SeenVm, (),
                      (vm, epoch, state, machine, disk_open, guest_stopped_itself, ports, accel, error,
                       failures, timings, snapshots, end, health, disk_sizes))

// Of a disk of class `local` that is open here: what the loss of this worker would cost it now, and at most.
struct UnsentDisk {
  DiskId disk;
  std::uint64_t bytes = 0, age_ms = 0;
  LossBound bound;
  bool operator==(const UnsentDisk&) const = default;
};
BOOST_DESCRIBE_STRUCT(UnsentDisk, (), (disk, bytes, age_ms, bound))

// Of a wanted rescue: done, refused for good (`error`), or under way.
struct SeenRescue {
  DiskId into;
  Epoch epoch = 0;
  bool written = false;
  std::string error, waiting_for;
  bool operator==(const SeenRescue&) const = default;
};
BOOST_DESCRIBE_STRUCT(SeenRescue, (), (into, epoch, written, error, waiting_for))

// Posted at every change and at least every few seconds: it is also the heartbeat.
struct AgentReport {
  WorkerId worker;
  std::string boot_id;
  std::string agent_run;              // fresh at each start of the agent
  std::uint64_t wanted_revision = 0;  // of the set it has reconciled with
  std::uint64_t sequence = 0;         // of reports in this run: older ones are dropped
  std::vector<SeenVm> vms;
  std::uint32_t machines = 0;     // QEMU processes on this worker, whoever they belong to
  std::uint32_t exports = 0;      // disks that the disk daemon serves
  std::uint32_t leases = 0;       // disks whose HEAD names this worker attached
  std::uint32_t unsent_logs = 0;  // write-ahead logs that hold records the store lacks
  std::vector<UnsentDisk> unsent{};
  std::vector<DiskId> unread_logs{};     // disks whose logs may hold more than is known
  std::vector<OrphanLog> orphan_logs{};  // of those logs, what others went on without
  std::vector<SeenRescue> rescues{};
  bool disk_daemon_up = false;
  std::string version;
  std::string trouble;            // why it cannot take the newest wanted set; empty: it can
  std::optional<WallMs> clock{};  // the worker's, as this was written
  bool operator==(const AgentReport&) const = default;
};
BOOST_DESCRIBE_STRUCT(AgentReport, (),
                      (worker, boot_id, agent_run, wanted_revision, sequence, vms, machines, exports, leases,
                       unsent_logs, unsent, unread_logs, orphan_logs, rescues, disk_daemon_up, version,
                       trouble, clock))

// The answer to a report: the lease of everything here is renewed, if this is the set that the agent knows.
struct ReportAnswer {
  std::uint64_t wanted_revision = 0;
  bool operator==(const ReportAnswer&) const = default;
};
BOOST_DESCRIBE_STRUCT(ReportAnswer, (), (wanted_revision))

struct Registration {
  WorkerId worker;
  std::string boot_id;
  std::string version;
  Labels labels;
  Resources capacity;
  std::vector<PoolId> pools;
  std::optional<std::vector<Firmware>> firmware{};
  std::optional<std::vector<NetworkId>> networks{};
  std::optional<std::vector<std::string>> cpu_features{};
  bool operator==(const Registration&) const = default;
};
BOOST_DESCRIBE_STRUCT(Registration, (),
                      (worker, boot_id, version, labels, capacity, pools, firmware, networks, cpu_features))

// ---- JSON: see model.cpp ----
EBB_JSON_EXTERN(WantedDisk)
EBB_JSON_EXTERN(SeenSnapshot)
EBB_JSON_EXTERN(WantedVm)
EBB_JSON_EXTERN(SeenRescue)
EBB_JSON_EXTERN(WantedSet)
EBB_JSON_EXTERN(VmTimings)
EBB_JSON_EXTERN(SeenHealth)
EBB_JSON_EXTERN(SeenVm)
EBB_JSON_EXTERN(UnsentDisk)
EBB_JSON_EXTERN(AgentReport)
EBB_JSON_EXTERN(ReportAnswer)
EBB_JSON_EXTERN(Registration)

}  // namespace ebb
