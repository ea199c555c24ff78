// The records of a cell, as they are stored and as the API shows them: plain values with == and JSON.
#pragma once
#include <algorithm>
#include <boost/describe.hpp>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/firmware.h"
#include "base/id.h"
#include "base/json.h"
#include "base/stop_signal.h"
#include "base/time.h"

namespace ebb {

using Labels = std::map<std::string, std::string>;
using Epoch = std::uint64_t;  // placement epoch: drawn from one counter of the cell, so never reused and
                              // never going back

// What is counted on both ends of a move.
struct Resources {
  std::uint64_t cpu_millis = 0;  // thousandths of a core
  std::uint64_t memory_bytes = 0;
  bool operator==(const Resources&) const = default;
  bool fits_in(const Resources& room) const {
    return cpu_millis <= room.cpu_millis && memory_bytes <= room.memory_bytes;
  }
  Resources& operator+=(const Resources& o) {
    cpu_millis += o.cpu_millis, memory_bytes += o.memory_bytes;
    return *this;
  }
  // Saturates at zero: an overcommitted worker has no room, not a huge one.
  Resources minus(const Resources& o) const {
    return {cpu_millis - std::min(cpu_millis, o.cpu_millis),
            memory_bytes - std::min(memory_bytes, o.memory_bytes)};
  }
};
BOOST_DESCRIBE_STRUCT(Resources, (), (cpu_millis, memory_bytes))

// What QEMU itself takes above the guest's memory (measured: 75 MB).
inline constexpr std::uint64_t machine_overhead_bytes = 75ull * 1024 * 1024;

struct Worker {
  WorkerId id;
  std::string boot_id;  // of the host; changes with every reboot
  std::string agent_version;
  Labels labels;              // failure domain: region, zone, rack; and whatever the operator wants
  Resources capacity;         // for VMs: the host's, less its reserve
  std::vector<PoolId> pools;  // object pools it can reach
  WallMs registered_at = 0;
  std::optional<std::vector<Firmware>> firmware{};   // that it has; absent: its agent does not say
  std::optional<std::vector<NetworkId>> networks{};  // that it has a bridge for; absent: none
  bool operator==(const Worker&) const = default;
};
BOOST_DESCRIBE_STRUCT(Worker, (),
                      (id, boot_id, agent_version, labels, capacity, pools, registered_at, firmware,
                       networks))

// `remote`: FLUSH is acknowledged when everything up to it is in the store. `local`: when this worker's log
// is synced.
enum class DiskClass { remote, local };
BOOST_DESCRIBE_ENUM(DiskClass, remote, local)
// invalid: says which there are; and of `replicated` (a peer's sync), which is kept for later, that it is.
Result<DiskClass> parse_disk_class(std::string_view name);
// Of a class that is read, wherever one may stand.
template <>
Status json::read_into<DiskClass>(DiskClass& out, const json::Value& v, const std::string& path);

// The announced loss of class `local`: no FLUSH is acknowledged while more than this is not in the store.
struct LossBound {
  std::uint64_t bytes = 1ull << 30, age_ms = 60'000;
  bool operator==(const LossBound&) const = default;
};
BOOST_DESCRIBE_STRUCT(LossBound, (), (bytes, age_ms))

// What a write-ahead log on a worker holds and the disk's history lacks: writes that others went on without.
// The log is kept.
struct OrphanLog {
  DiskId disk;
  std::uint64_t records = 0, bytes = 0;  // writes and trims, and their data
  std::string error;                     // it cannot be read to its end
  std::string log_id{};
  Epoch epoch = 0;  // the placement that wrote it last
  bool operator==(const OrphanLog&) const = default;
};
BOOST_DESCRIBE_STRUCT(OrphanLog, (), (disk, records, bytes, error, log_id, epoch))

enum class DiskState { creating, ready, deleting };
BOOST_DESCRIBE_ENUM(DiskState, creating, ready, deleting)

// wanted -> ready -> removing -> (gone); failed: it will not be made, see `error`.
enum class SnapshotState { wanted, ready, removing, failed };
BOOST_DESCRIBE_ENUM(SnapshotState, wanted, ready, removing, failed)

// Whose turn at a disk was ended by somebody else.
struct EndedTurn {
  WorkerId worker;
  Epoch epoch = 0;
  std::optional<VmId> vm{};  // that had the disk then
  bool operator==(const EndedTurn&) const = default;
};
BOOST_DESCRIBE_STRUCT(EndedTurn, (), (worker, epoch, vm))

// A state of a disk under a name. What a restore left behind is one too.
struct DiskSnapshot {
  std::string name;
  std::string request;  // the wish: whoever carries it out twice makes it once
  SnapshotState state = SnapshotState::wanted;
  WallMs created_at = 0;  // of the wish, then of the snapshot
  std::string error;
  std::optional<std::string> left_by_restore_to;
  // A take-over's cut: where the disk goes on without what that turn's log may hold beyond. Goes when that is known.
  std::optional<EndedTurn> cut_of{};
  bool operator==(const DiskSnapshot&) const = default;
};
BOOST_DESCRIBE_STRUCT(DiskSnapshot, (), (name, request, state, created_at, error, left_by_restore_to, cut_of))

// Wanted until it is reported, or withdrawn.
struct WantedSnapshot {
  std::string name, request;
  bool operator==(const WantedSnapshot&) const = default;
};
BOOST_DESCRIBE_STRUCT(WantedSnapshot, (), (name, request))

struct DiskOrigin {
  DiskId disk;
  std::string snapshot;
  bool operator==(const DiskOrigin&) const = default;
};
BOOST_DESCRIBE_STRUCT(DiskOrigin, (), (disk, snapshot))

// Under way: the disk goes back to `snapshot`, and what it is now becomes the snapshot `keep_as`.
struct DiskRestore {
  std::string snapshot, keep_as, request;
  WallMs requested_at = 0;
  bool operator==(const DiskRestore&) const = default;
};
BOOST_DESCRIBE_STRUCT(DiskRestore, (), (snapshot, keep_as, request, requested_at))

// writing -> written; failed: it will not be, see `error`; the log is kept.
enum class RescueState { writing, written, failed };
BOOST_DESCRIBE_ENUM(RescueState, writing, written, failed)

// The disk is a fork of a take-over's cut, and `worker` writes into it what its orphaned log holds beyond that.
struct LogRescue {
  WorkerId worker;
  std::string log_id;
  Epoch log_epoch = 0;                   // the placement that wrote the log
  Epoch epoch = 0;                       // under which the worker has this disk
  std::uint64_t records = 0, bytes = 0;  // as the worker counted them
  RescueState state = RescueState::writing;
  std::string error;
  bool operator==(const LogRescue&) const = default;
};
BOOST_DESCRIBE_STRUCT(LogRescue, (), (worker, log_id, log_epoch, epoch, records, bytes, state, error))

// What the log holds beyond the cut of a take-over goes into `into`, a fork of `disk` at that cut.
struct RescueLog {
  DiskId disk;
  PoolId pool;
  std::string log_id;
  DiskId into;
  Epoch epoch = 0;  // under which `into` is opened
  DiskClass disk_class = DiskClass::remote;
  bool operator==(const RescueLog&) const = default;
};
BOOST_DESCRIBE_STRUCT(RescueLog, (), (disk, pool, log_id, into, epoch, disk_class))

// Under way: the disk grows to that size; its VM does not start before it has ended.
struct DiskGrowth {
  std::uint64_t size_bytes = 0;
  std::string request;
  WallMs requested_at = 0;
  bool operator==(const DiskGrowth&) const = default;
};
BOOST_DESCRIBE_STRUCT(DiskGrowth, (), (size_bytes, request, requested_at))

// Removed by an operator, or with its VM; its data is kept for a while.
struct DiskRemoval {
  WallMs at = 0;
  std::optional<VmId> vm;  // whose it was
  bool operator==(const DiskRemoval&) const = default;
};
BOOST_DESCRIBE_STRUCT(DiskRemoval, (), (at, vm))

struct Disk {
  DiskId id;  // never reused, also not after deletion
  PoolId pool;
  std::uint64_t size_bytes = 0;
  DiskClass disk_class = DiskClass::remote;
  std::optional<VmId> vm;        // who it belongs to
  std::optional<ImageId> image;  // what it was forked from
  DiskState state = DiskState::creating;
  WallMs created_at = 0;
  std::optional<DiskOrigin> origin{};  // the snapshot that it is a fork of; absent: of the image
  std::vector<DiskSnapshot> snapshots{};
  std::optional<DiskRestore> restore{};  // its VM does not start before it has ended
  std::optional<LogRescue> rescue{};
  // Of one that was made or kept by hand: it outlives the VMs that it is attached to.
  std::optional<std::string> name{};
  std::optional<DiskGrowth> growth{};
  std::optional<DiskRemoval> removal{};
  // Its VM may start with it.
  bool is_usable() const { return state == DiskState::ready && !restore && !growth; }
  bool operator==(const Disk&) const = default;
  const DiskSnapshot* find_snapshot(const std::string& wanted) const {
    for (const auto& s : snapshots)
      if (s.name == wanted) return &s;
    return nullptr;
  }
};
BOOST_DESCRIBE_STRUCT(Disk, (),
                      (id, pool, size_bytes, disk_class, vm, image, state, created_at, origin, snapshots,
                       restore, rescue, name, growth, removal))

// Immutable bytes in a pool, in chunks of `chunk_bytes` under b/<id>/<n>.
struct Blob {
  std::string id;
  std::uint64_t size_bytes = 0;
  std::string sha256;  // lower-case hex
  bool operator==(const Blob&) const = default;
};
BOOST_DESCRIBE_STRUCT(Blob, (), (id, size_bytes, sha256))

enum class ImageState { uploading, ready, deleting };
BOOST_DESCRIBE_ENUM(ImageState, uploading, ready, deleting)

// What VMs are made from. With a kernel of its own: that, an initial RAM disk, a command line, and optionally a root
// disk that VMs fork from. Else a disk that boots by itself.
struct Image {
  ImageId id;
  PoolId pool;
  ImageState state = ImageState::uploading;
  std::optional<Blob> kernel;  // unless firmware boots the disk
  std::optional<Blob> initrd;
  std::string cmdline;
  std::optional<DiskId> disk;     // the snapshot's disk in the pool
  std::optional<Blob> disk_blob;  // what was announced for it: raw bytes
  std::vector<std::string> channels;
  WallMs created_at = 0;
  std::optional<Firmware> firmware{};
  bool operator==(const Image&) const = default;
};
BOOST_DESCRIBE_STRUCT(Image, (),
                      (id, pool, state, kernel, initrd, cmdline, disk, disk_blob, channels, created_at,
                       firmware))

struct Port {
  std::string name;
  std::uint16_t guest = 0;
  bool operator==(const Port&) const = default;
};
BOOST_DESCRIBE_STRUCT(Port, (), (name, guest))

// What asks a guest whether it does its work.
enum class HealthKind {
  tcp,          // a connection to a port that is not closed at once
  http,         // GET on a port: a status of 200 to 399
  guest_agent,  // QEMU's guest agent answers
};
BOOST_DESCRIBE_ENUM(HealthKind, tcp, http, guest_agent)
// invalid: says which there are.
Result<HealthKind> parse_health_kind(std::string_view kind);

struct HealthCheck {
  HealthKind kind = HealthKind::tcp;
  std::optional<std::string> port{}, path{};  // the name of one of its ports; of http, absent: /
  std::uint32_t interval_ms = 10'000, timeout_ms = 3'000;
  std::uint32_t failures_max = 3;          // in a row; with this one it is unhealthy
  std::uint32_t start_grace_ms = 120'000;  // it counts as starting until it is healthy, for so long at most
  bool operator==(const HealthCheck&) const = default;
};
BOOST_DESCRIBE_STRUCT(HealthCheck, (),
                      (kind, port, path, interval_ms, timeout_ms, failures_max, start_grace_ms))

// A network outside of the cell that workers reach by a bridge of theirs. A VM that joins it keeps its addresses wherever it runs.
struct VmNetwork {
  NetworkId id;
  std::optional<std::string>
      subnet{};  // of IPv4, "10.20.0.0/24"; absent: guests ask a DHCP server of the network's own
  std::optional<std::string> gateway{};        // also absent: the network leads nowhere else
  std::optional<std::string> first{}, last{};  // of the addresses that VMs get; absent: of the whole subnet
  std::vector<std::string> dns{};
  WallMs created_at = 0;
  bool operator==(const VmNetwork&) const = default;
};
BOOST_DESCRIBE_STRUCT(VmNetwork, (), (id, subnet, gateway, first, last, dns, created_at))

// A VM's wish. What is absent is chosen for it.
struct JoinNetwork {
  NetworkId network;
  std::optional<std::string> address{}, mac{};
  bool operator==(const JoinNetwork&) const = default;
};
BOOST_DESCRIBE_STRUCT(JoinNetwork, (), (network, address, mac))

// What a VM has on a network for as long as it lives.
struct NetworkInterface {
  NetworkId network;
  std::string mac;
  std::optional<std::string> address{};  // absent: the network's DHCP server says
  bool operator==(const NetworkInterface&) const = default;
};
BOOST_DESCRIBE_STRUCT(NetworkInterface, (), (network, mac, address))

enum class Storage {
  none,    // stateless: a throw-away overlay over the image's disk, if it has one
  object,  // a disk of its own in the pool
};
BOOST_DESCRIBE_ENUM(Storage, none, object)

// What cloud-init finds in the guest. Empty parts are left out.
struct InstanceData {
  std::string hostname{};               // empty: the VM's name
  std::vector<std::string> ssh_keys{};  // lines of an authorized_keys file
  std::string user_data{}, network_config{};
  bool operator==(const InstanceData&) const = default;
};
BOOST_DESCRIBE_STRUCT(InstanceData, (), (hostname, ssh_keys, user_data, network_config))

// What happens when a guest ends by itself. A move is no such end.
enum class Restart {
  always,      // it is started again, here and then elsewhere
  on_failure,  // unless it has powered itself off and named no failure
  never,
};
BOOST_DESCRIBE_ENUM(Restart, always, on_failure, never)
// invalid: says which there are.
Result<Restart> parse_restart(std::string_view policy);

// invalid: says which there are.
Result<StopSignal> parse_stop_signal(std::string_view signal);

// How a guest ended by itself.
struct GuestEnd {
  // What it said before it powered itself off, or 0; absent: it crashed, was killed, or its host went down.
  std::optional<std::uint32_t> status;
  std::string text;  // a sentence for people
  bool operator==(const GuestEnd&) const = default;
};
BOOST_DESCRIBE_STRUCT(GuestEnd, (), (status, text))
bool is_restarted(Restart policy, const GuestEnd& end);

struct VmSpec {
  ImageId image;
  std::uint32_t cpus = 1;
  std::uint64_t memory_bytes = 128ull * 1024 * 1024;
  Storage storage = Storage::object;
  std::optional<DiskClass> disk_class;  // the pool's default, if absent
  std::vector<Port> ports;
  Labels labels;
  std::uint32_t stop_grace_ms = 10'000;
  std::optional<DiskOrigin> disk_from{};  // its disk begins as this snapshot; absent: as the image
  std::optional<InstanceData> instance_data{};
  std::optional<Restart> restart{};  // absent: always
  std::optional<HealthCheck> health{};
  // Bytes of each: made empty at each start, on its worker's own disk.
  std::optional<std::vector<std::uint64_t>> ephemeral_disks{};
  std::optional<std::vector<JoinNetwork>> networks{};
  std::optional<StopSignal> stop_signal{};  // absent: automatic
  std::optional<std::string> tenant{};      // a name: whose it is; absent: nobody's in particular
  bool operator==(const VmSpec&) const = default;
};
BOOST_DESCRIBE_STRUCT(VmSpec, (),
                      (image, cpus, memory_bytes, storage, disk_class, ports, labels, stop_grace_ms,
                       disk_from, instance_data, restart, health, ephemeral_disks, networks, stop_signal,
                       tenant))

enum class VmDesired { running, stopped, absent };
BOOST_DESCRIBE_ENUM(VmDesired, running, stopped, absent)

struct EndedVm {
  WorkerId worker;
  WallMs at = 0;
  GuestEnd end;
  bool operator==(const EndedVm&) const = default;
};
BOOST_DESCRIBE_STRUCT(EndedVm, (), (worker, at, end))

struct Vm {
  VmId id;
  VmSpec spec;
  VmDesired desired = VmDesired::running;
  std::optional<DiskId> disk;
  std::optional<WorkerId> worker;    // who owns it now
  Epoch epoch = 0;                   // under which `worker` owns it; 0: never placed
  std::uint32_t start_failures = 0;  // in a row, on this placement
  std::string last_error;            // why the last start failed
  WallMs created_at = 0;
  std::optional<EndedVm> ended{};  // why it is `stopped`, if nobody asked for that
  std::optional<Epoch>
      started_after_end{};  // by hand, while its worker was silent: an end under this epoch is known
  // Attached to it, in the order in which the guest finds them after its own; absent: none.
  std::optional<std::vector<DiskId>> data_disks{};
  std::optional<std::vector<NetworkInterface>> interfaces{};  // one for each of its networks; absent: none
  std::optional<WorkerId> stopped_on{};  // without a worker: where it ran last, under `epoch`
  bool operator==(const Vm&) const = default;
};
BOOST_DESCRIBE_STRUCT(Vm, (),
                      (id, spec, desired, disk, worker, epoch, start_failures, last_error, created_at, ended,
                       started_after_end, data_disks, interfaces, stopped_on))

// What a VM takes from its worker.
inline Resources footprint(const VmSpec& spec) {
  return {spec.cpus * 1000ull, spec.memory_bytes + machine_overhead_bytes};
}

// Keeps a worker from new placements. Many may stand at once; each owner releases only its own.
struct Hold {
  HoldId id;
  WorkerId worker;
  std::string owner;  // "operator", "drain:<id>", "agent"
  std::string reason;
  WallMs since = 0;
  std::optional<WallMs> expires_at;
  bool operator==(const Hold&) const = default;
};
BOOST_DESCRIBE_STRUCT(Hold, (), (id, worker, owner, reason, since, expires_at))

// How a VM leaves its worker.
enum class Mechanism {
  restart,  // stateless: stop here, start there
  pointer,  // object disk: flush, seal, open there
};
BOOST_DESCRIBE_ENUM(Mechanism, restart, pointer)

// reserving -> running <-> paused; `done`, `cancelled` and `failed` end it; blocked is derived, never stored.
enum class DrainState { reserving, running, paused, done, cancelled, failed };
BOOST_DESCRIBE_ENUM(DrainState, reserving, running, paused, done, cancelled, failed)

struct DrainOptions {
  bool partial = false;              // go on although some VMs cannot be placed
  std::uint32_t parallel_max = 2;    // moves at a time from one worker
  std::uint32_t per_target_max = 2;  // moves at a time into one worker
  bool source_dead =
      false;  // an operator declares the workers dead: their disks are taken over, nothing is awaited
  bool operator==(const DrainOptions&) const = default;
};
BOOST_DESCRIBE_STRUCT(DrainOptions, (), (partial, parallel_max, per_target_max, source_dead))

// The wish, not a list of VMs: who still lives there is decided from a snapshot at each turn.
struct Drain {
  DrainId id;
  std::vector<WorkerId> workers;  // at least one; each once, sorted
  std::string requested_by, reason;
  DrainOptions options;
  DrainState state = DrainState::reserving;
  WallMs created_at = 0;
  std::optional<WallMs> ended_at;
  std::string end_reason;  // why it was cancelled or failed
  std::optional<std::string> request_id;
  std::optional<Labels> selector{};  // by which the workers were chosen when it was asked for
  bool operator==(const Drain&) const = default;
  bool is_of(const WorkerId& worker) const { return std::ranges::binary_search(workers, worker); }
};
BOOST_DESCRIBE_STRUCT(Drain, (),
                      (id, workers, requested_by, reason, options, state, created_at, ended_at, end_reason,
                       request_id, selector))

// How many of a set of VMs may be away at once, over all drains and moves together. A VM that is down - its worker
// says so, or was declared dead - may always move.
struct Budget {
  BudgetId id;
  Labels selector;  // VMs with all of these labels; empty: all VMs
  // At least one of the two; both hold.
  std::optional<std::uint32_t> away_max{}, present_min{};
  std::uint32_t healthy_ms = 0;  // a VM that has moved counts as away until it has run for so long
  WallMs created_at = 0;
  bool operator==(const Budget&) const = default;
};
BOOST_DESCRIBE_STRUCT(Budget, (), (id, selector, away_max, present_min, healthy_ms, created_at))

// Whether `labels` has all of `selector`.
bool has_labels(const Labels& labels, const Labels& selector);
// "rack=r7, zone=b"
std::string text_of(const Labels& labels);
// Which workers those are, for people: "worker-1", "worker-1 and worker-2", "20 workers (rack=r7)".
std::string text_of(const std::vector<WorkerId>& workers, const std::optional<Labels>& selector);

//                                     the point of no return
//                                               ||
//   reserving -> preparing -> freezing  =========>>  moving_lease -> starting -> releasing -> done
//       \____________\____________\____ aborting -> aborted
//
// `=>` is the commit that publishes the new placement epoch: from there on the VM only goes forward.
enum class Phase {
  reserving,
  preparing,
  freezing,
  moving_lease,
  starting,
  releasing,
  done,
  aborting,
  aborted
};
BOOST_DESCRIBE_ENUM(Phase, reserving, preparing, freezing, moving_lease, starting, releasing, done, aborting,
                    aborted)

struct PhaseTime {
  Phase phase = Phase::reserving;
  WallMs entered_at = 0;
  bool operator==(const PhaseTime&) const = default;
};
BOOST_DESCRIBE_STRUCT(PhaseTime, (), (phase, entered_at))

struct Migration {
  MigrationId id;
  VmId vm;
  WorkerId source, target;
  Mechanism mechanism = Mechanism::restart;
  Epoch source_epoch = 0;
  Epoch target_epoch = 0;        // 0 until `=>`
  std::optional<DrainId> drain;  // who asked; absent: an operator
  Phase phase = Phase::reserving;
  std::vector<PhaseTime> history;
  bool source_dead = false;    // take over without a confirmed stop
  std::uint32_t attempts = 0;  // that failed on the target: of preparing, from `=>` on of booting
  std::string last_error;
  std::vector<WorkerId> rejected;     // targets that could not boot it
  std::optional<bool> was_failing{};  // on its source, as it began: nobody waits until it runs on the target
  bool operator==(const Migration&) const = default;
};
BOOST_DESCRIBE_STRUCT(Migration, (),
                      (id, vm, source, target, mechanism, source_epoch, target_epoch, drain, phase, history,
                       source_dead, attempts, last_error, rejected, was_failing))

// One line of what happened, kept in the order of commits.
struct JournalEntry {
  std::uint64_t revision = 0;
  WallMs at = 0;
  std::string kind;     // "worker.registered", "drain.created", "migration.phase" ...
  std::string subject;  // "workers/worker-1"
  std::string text;     // a sentence for people
  bool operator==(const JournalEntry&) const = default;
};
BOOST_DESCRIBE_STRUCT(JournalEntry, (), (revision, at, kind, subject, text))

// The cell's own record.
struct Cell {
  std::uint32_t schema = 1;
  Epoch last_epoch = 0;
  std::uint64_t last_id = 0;
  bool operator==(const Cell&) const = default;
};
BOOST_DESCRIBE_STRUCT(Cell, (), (schema, last_epoch, last_id))

inline bool is_ended(DrainState s) {
  return s == DrainState::done || s == DrainState::cancelled || s == DrainState::failed;
}
inline bool is_ended(Phase p) { return p == Phase::done || p == Phase::aborted; }
inline bool is_past_no_return(Phase p) {
  return p == Phase::moving_lease || p == Phase::starting || p == Phase::releasing || p == Phase::done;
}

// ---- JSON: see model.cpp ----
EBB_JSON_EXTERN(Resources)
EBB_JSON_EXTERN(Worker)
EBB_JSON_EXTERN(EndedTurn)
EBB_JSON_EXTERN(WantedSnapshot)
EBB_JSON_EXTERN(RescueLog)
EBB_JSON_EXTERN(LogRescue)
EBB_JSON_EXTERN(DiskSnapshot)
EBB_JSON_EXTERN(DiskOrigin)
EBB_JSON_EXTERN(DiskRestore)
EBB_JSON_EXTERN(DiskGrowth)
EBB_JSON_EXTERN(DiskRemoval)
EBB_JSON_EXTERN(LossBound)
EBB_JSON_EXTERN(OrphanLog)
EBB_JSON_EXTERN(Disk)
EBB_JSON_EXTERN(Blob)
EBB_JSON_EXTERN(Image)
EBB_JSON_EXTERN(Port)
EBB_JSON_EXTERN(HealthCheck)
EBB_JSON_EXTERN(InstanceData)
EBB_JSON_EXTERN(VmNetwork)
EBB_JSON_EXTERN(JoinNetwork)
EBB_JSON_EXTERN(NetworkInterface)
EBB_JSON_EXTERN(GuestEnd)
EBB_JSON_EXTERN(EndedVm)
EBB_JSON_EXTERN(VmSpec)
EBB_JSON_EXTERN(Vm)
EBB_JSON_EXTERN(Hold)
EBB_JSON_EXTERN(DrainOptions)
EBB_JSON_EXTERN(Drain)
EBB_JSON_EXTERN(Budget)
EBB_JSON_EXTERN(PhaseTime)
EBB_JSON_EXTERN(Migration)
EBB_JSON_EXTERN(JournalEntry)
EBB_JSON_EXTERN(Cell)

}  // namespace ebb
