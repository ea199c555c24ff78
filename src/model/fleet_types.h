// The records of a cell, as they are stored and as the API shows them: plain values with == and JSON.
#pragma once
#include <algorithm>
#include <array>
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

// Whether `labels` has all of `selector`.
bool has_labels(const Labels& labels, const Labels& selector);
// "rack=r7, zone=b"
std::string text_of(const Labels& labels);

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

// A worker's way back to its work: a VM that nobody needs starts there and goes again, then its holds are released.
struct WorkerReturn {
  VmId vm;  // the test VM
  WallMs began_at = 0;
  std::optional<WallMs> started_at{};  // its guest was up
  std::string error{};                 // why the worker stays held; empty: under way
  bool operator==(const WorkerReturn&) const = default;
};
BOOST_DESCRIBE_STRUCT(WorkerReturn, (), (vm, began_at, started_at, error))

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
  // That its guests get, by the names of a guest's /proc/cpuinfo, sorted; absent: its agent does not say.
  std::optional<std::vector<std::string>> cpu_features{};
  std::optional<WorkerReturn> returning{};  // the last one, unless it has succeeded
  bool is_returning() const { return returning && returning->error.empty(); }
  bool operator==(const Worker&) const = default;
};
BOOST_DESCRIBE_STRUCT(Worker, (),
                      (id, boot_id, agent_version, labels, capacity, pools, registered_at, firmware, networks,
                       cpu_features, returning))

// How far apart two workers stand, by their labels of these names, which lie within each other: a rack in a zone, that in
// a region. Workers that lack such a label count as one place.
enum class DomainLevel { worker, rack, zone, region };
BOOST_DESCRIBE_ENUM(DomainLevel, worker, rack, zone, region)
inline constexpr std::size_t domain_levels = 4;
// invalid: says which there are.
Result<DomainLevel> parse_domain_level(std::string_view level);
// Where a worker stands, by level from the worker outwards; names of domains, each with those that it lies in.
using Domains = std::array<std::string, domain_levels>;
Domains domains_of(const Worker& worker);

// At most so many of a group's VMs in one domain of that level.
struct Apart {
  DomainLevel level = DomainLevel::worker;
  std::uint32_t most = 1;
  bool operator==(const Apart&) const = default;
};
BOOST_DESCRIBE_STRUCT(Apart, (), (level, most))

// VMs that are placed with regard to each other. A change moves nobody; it holds from the next placement on.
struct Group {
  GroupId id;
  std::vector<Apart> apart;               // each level once
  std::optional<DomainLevel> together{};  // all of them in one domain of that level
  WallMs created_at = 0;
  bool operator==(const Group&) const = default;
};
BOOST_DESCRIBE_STRUCT(Group, (), (id, apart, together, created_at))
// "at most 1 in one rack, all in one zone"
std::string text_of(const Group& group);

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
  std::optional<Labels> worker_labels{};    // that its worker must have
  std::optional<std::vector<std::string>> cpu_features{};  // that its guest needs, named likewise
  std::optional<GroupId> group{};
  bool operator==(const VmSpec&) const = default;
};
BOOST_DESCRIBE_STRUCT(VmSpec, (),
                      (image, cpus, memory_bytes, storage, disk_class, ports, labels, stop_grace_ms,
                       disk_from, instance_data, restart, health, ephemeral_disks, networks, stop_signal,
                       tenant, worker_labels, cpu_features, group))

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
  // When drains moved it away from a worker where it ran well, the oldest first; those of the last `moves_counted_ms`.
  std::optional<std::vector<WallMs>> drained_at{};
  std::optional<WorkerId>
      test_of{};  // a VM that shows that this worker can run VMs; it is placed nowhere else
  bool operator==(const Vm&) const = default;
};
BOOST_DESCRIBE_STRUCT(Vm, (),
                      (id, spec, desired, disk, worker, epoch, start_failures, last_error, created_at, ended,
                       started_after_end, data_disks, interfaces, stopped_on, drained_at, test_of))
inline constexpr WallMs moves_counted_ms = 30ll * 24 * 3600 * 1000;

// What a VM takes from its worker.
inline Resources footprint(const VmSpec& spec) {
  return {spec.cpus * 1000ull, spec.memory_bytes + machine_overhead_bytes};
}

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

// ---- JSON: see model.cpp ----
EBB_JSON_EXTERN(Resources)
EBB_JSON_EXTERN(WorkerReturn)
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
EBB_JSON_EXTERN(Apart)
EBB_JSON_EXTERN(Group)
EBB_JSON_EXTERN(JournalEntry)
EBB_JSON_EXTERN(Cell)

}  // namespace ebb
