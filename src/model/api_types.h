// What the API shows and takes beyond the records themselves. docs/api/openapi.json describes the same; a
// test holds the two together.
#pragma once
#include "model/agent_types.h"
#include "model/drain_types.h"

namespace ebb {

// The `code` of an error is the stable name of base/result.h's Code.
struct ErrorBody {
  std::string code, message;
  std::optional<std::string> field;
  bool operator==(const ErrorBody&) const = default;
};
BOOST_DESCRIBE_STRUCT(ErrorBody, (), (code, message, field))

// One thing that is waited for: a sentence, since when, and who can act ("nobody: it goes on by itself",
// "operator: ...").
struct Reason {
  std::string text;
  std::optional<WallMs> since;
  std::string who;
  bool operator==(const Reason&) const = default;
};
BOOST_DESCRIBE_STRUCT(Reason, (), (text, since, who))

enum class Liveness { never_seen, ready, silent, suspect };
BOOST_DESCRIBE_ENUM(Liveness, never_seen, ready, silent, suspect)

struct WorkerView {
  Worker worker;
  Liveness liveness = Liveness::never_seen;
  std::optional<WallMs> last_seen_at;
  bool schedulable = false;
  std::vector<Hold> holds;
  Resources used;  // footprints of VMs owned and of moves towards it
  std::uint32_t vms = 0;
};
BOOST_DESCRIBE_STRUCT(WorkerView, (), (worker, liveness, last_seen_at, schedulable, holds, used, vms))

struct VmView {
  Vm vm;
  VmSeen seen = VmSeen::absent;  // on its worker, as last reported
  std::map<std::string, std::uint16_t> ports;
  std::string accel;
  std::optional<MigrationId> migration;
  std::vector<Reason> waiting_for;
  std::optional<SeenHealth> health{};  // as last reported
  // Bytes of each disk as the guest sees it, by the disk's id, as last reported; absent: no guest runs.
  std::optional<std::map<std::string, std::uint64_t>> disk_sizes{};
};
BOOST_DESCRIBE_STRUCT(VmView, (), (vm, seen, ports, accel, migration, waiting_for, health, disk_sizes))

struct MigrationView {
  Migration migration;
  std::vector<Reason> waiting_for;
  double progress = 0;  // 0 to 1, by measured phase lengths
  std::optional<std::uint32_t> predicted_interruption_ms;
  std::optional<std::uint32_t>
      interruption_ms;  // freezing entered to running reported, as the control plane saw it
};
BOOST_DESCRIBE_STRUCT(MigrationView, (),
                      (migration, waiting_for, progress, predicted_interruption_ms, interruption_ms))

struct PlanMove {
  VmId vm;
  Mechanism mechanism = Mechanism::restart;
  WorkerId source, target;
  std::uint32_t order = 0;      // moves start in this order
  std::uint32_t wave = 0;       // from 1; one more than that of the move which it waits for
  std::uint32_t starts_ms = 0;  // after the first one, as predicted
  std::uint32_t predicted_interruption_ms = 0;
  std::uint32_t predicted_total_ms = 0;
  bool makes_room = false;    // it need not leave, and goes so that another fits
  std::vector<VmId> after{};  // whose moves make the room that it takes: it begins when they have ended
  bool operator==(const PlanMove&) const = default;
};
BOOST_DESCRIBE_STRUCT(PlanMove, (),
                      (vm, mechanism, source, target, order, wave, starts_ms, predicted_interruption_ms,
                       predicted_total_ms, makes_room, after))

// No order and no choice of targets can be faster than this.
struct PlanBound {
  std::string name;  // "source", "tenant", "budget", ...: what binds
  std::uint32_t ms = 0;
  bool operator==(const PlanBound&) const = default;
};
BOOST_DESCRIBE_STRUCT(PlanBound, (), (name, ms))

struct PlanBlocker {
  std::string subject;  // "vms/web-1"
  std::string reason;   // with every worker that was refused, and why
  std::string owner;    // who can act
  std::string remedy;
  bool operator==(const PlanBlocker&) const = default;
};
BOOST_DESCRIBE_STRUCT(PlanBlocker, (), (subject, reason, owner, remedy))

// What a disk loses with a worker that is dead: a bound, until the worker comes back and its log is read.
struct DiskLoss {
  DiskId disk;
  VmId vm;
  WorkerId worker;
  std::string text;                  // all of this in a sentence
  std::optional<LossBound> bound{};  // absent: it is known exactly
  std::optional<std::uint64_t> unsent_bytes{},
      unsent_age_ms{};  // when the worker last spoke, not in the store
  std::optional<WallMs> said_at{};
  std::optional<std::uint64_t> records_lost{}, bytes_lost{};
  std::optional<DiskId> kept_in{};  // a fork of the disk, for what the log held
  bool is_kept = false;             // all of it is written there
  bool operator==(const DiskLoss&) const = default;
};
BOOST_DESCRIBE_STRUCT(DiskLoss, (),
                      (disk, vm, worker, text, bound, unsent_bytes, unsent_age_ms, said_at, records_lost,
                       bytes_lost, kept_in, is_kept))

// A VM that is left to end by itself.
struct PlanFinish {
  VmId vm;
  WorkerId worker;
  std::optional<std::uint64_t>
      until_ms{};  // after the drain has begun: then it is moved; absent: it is waited for
  bool operator==(const PlanFinish&) const = default;
};
BOOST_DESCRIBE_STRUCT(PlanFinish, (), (vm, worker, until_ms))

struct DrainPlan {
  std::vector<WorkerId> workers;
  std::optional<Labels> selector{};
  std::vector<PlanMove> moves;
  std::vector<PlanBlocker> blockers;
  std::uint32_t eta_ms = 0;
  std::string critical_path;        // what makes it take that long
  std::string state_hash;           // of the snapshot it was made from
  std::vector<DiskLoss> losses{};   // of workers that are declared dead
  std::vector<PlanBound> bounds{};  // of the time that it takes, the largest first
  std::vector<PlanFinish> finishing{};
  bool operator==(const DrainPlan&) const = default;
};
BOOST_DESCRIBE_STRUCT(DrainPlan, (),
                      (workers, selector, moves, blockers, eta_ms, critical_path, state_hash, losses, bounds,
                       finishing))

// Done is these zeros, reported by the agent after the last move and confirmed from the store.
struct DoneCheck {
  std::uint32_t vms_owned = 0, migrations_open = 0;  // by the records
  std::uint32_t not_running = 0;                     // moved, but its target could not start it
  std::uint32_t machines = 0, exports = 0, leases = 0, unsent_logs = 0;  // by the agent
  std::uint32_t heads_attached = 0;                                      // by the object store itself
  bool report_fresh = false;  // the agent has reconciled with the newest wanted set
  bool is_silent = false;     // nothing is heard of the agent
  bool heads_checked = false;
  bool operator==(const DoneCheck&) const = default;
  bool all_zero() const {
    return vms_owned + migrations_open + not_running + machines + exports + leases + unsent_logs +
               heads_attached ==
           0;
  }
};
BOOST_DESCRIBE_STRUCT(DoneCheck, (),
                      (vms_owned, migrations_open, not_running, machines, exports, leases, unsent_logs,
                       heads_attached, report_fresh, is_silent, heads_checked))

// One worker of a drain.
struct WorkerProgress {
  WorkerId worker;
  std::uint32_t remaining = 0;  // VMs that it owns
  bool is_empty = false;        // by its own report; the store is asked once all of them are
};
BOOST_DESCRIBE_STRUCT(WorkerProgress, (), (worker, remaining, is_empty))

struct DrainView {
  Drain drain;
  // "scheduled", "planned", "running", "paused", "blocked", "done", "cancelled", "failed", "undoing", "undone"
  std::string status;
  std::vector<WorkerProgress> workers;
  std::vector<MigrationView> migrations;
  std::vector<PlanBlocker> blockers;
  std::vector<Reason> waiting_for;
  std::uint32_t moved = 0, remaining = 0;
  std::optional<std::uint32_t> eta_ms;
  DoneCheck done_check;
  std::vector<DiskLoss> losses{};
};
BOOST_DESCRIBE_STRUCT(DrainView, (),
                      (drain, status, workers, migrations, blockers, losses, waiting_for, moved, remaining,
                       eta_ms, done_check))

struct BudgetView {
  Budget budget;
  std::uint32_t vms = 0;      // that it is about
  std::uint32_t away = 0;     // of these, now
  std::uint32_t allowed = 0;  // so many more may leave now
  std::string impossible;     // why no VM that is well may ever move; empty: one may
};
BOOST_DESCRIBE_STRUCT(BudgetView, (), (budget, vms, away, allowed, impossible))

struct GroupView {
  Group group;
  std::uint32_t vms = 0;
  std::vector<std::string> breaches;  // where its rules do not hold: "2 in rack eu/b/r7"
};
BOOST_DESCRIBE_STRUCT(GroupView, (), (group, vms, breaches))

struct WhyAnswer {
  std::string subject;   // "workers/worker-1"
  std::string headline;  // one sentence
  std::vector<Reason> reasons;
};
BOOST_DESCRIBE_STRUCT(WhyAnswer, (), (subject, headline, reasons))

// ---- requests ----

struct CreateVm {
  VmId id;
  VmSpec spec;
  std::optional<DiskId>
      disk{};  // one of nobody, by its id or name, that becomes the VM's own; absent: a new one
};
BOOST_DESCRIBE_STRUCT(CreateVm, (), (id, spec, disk))

// Announces sizes and checksums; the bytes follow by PUT /v1/images/{id}/{part}?offset=N, then :seal.
struct CreateImage {
  ImageId id;
  std::optional<PoolId> pool;  // the only one, if there is just one
  std::string cmdline;
  std::optional<Firmware> firmware{};  // boots the disk; absent: the kernel is loaded
  std::optional<std::uint64_t> kernel_bytes;
  std::optional<std::string> kernel_sha256;
  std::optional<std::uint64_t> initrd_bytes;
  std::optional<std::string> initrd_sha256;
  std::optional<std::uint64_t> disk_bytes;  // raw
  std::optional<std::string> disk_sha256;
  std::vector<std::string> channels;
};
BOOST_DESCRIBE_STRUCT(CreateImage, (),
                      (id, pool, cmdline, firmware, kernel_bytes, kernel_sha256, initrd_bytes, initrd_sha256,
                       disk_bytes, disk_sha256, channels))

// The same wish again finds the network that it has made.
struct CreateNetwork {
  NetworkId id;
  std::optional<std::string> subnet{}, gateway{}, first{}, last{};
  std::vector<std::string> dns{};
};
BOOST_DESCRIBE_STRUCT(CreateNetwork, (), (id, subnet, gateway, first, last, dns))

// A disk of no VM. The same wish again finds the disk that it has made.
struct CreateDisk {
  std::string name;
  std::optional<PoolId> pool{};               // the only one, if there is just one; of a fork, its origin's
  std::optional<std::uint64_t> size_bytes{};  // of a fork, absent: its origin's
  std::optional<DiskClass> disk_class{};      // the pool's default, if absent
  std::optional<DiskOrigin> from{};           // a snapshot that it begins as; absent: it is empty
};
BOOST_DESCRIBE_STRUCT(CreateDisk, (), (name, pool, size_bytes, disk_class, from))

struct AttachDisk {
  VmId vm;
};
BOOST_DESCRIBE_STRUCT(AttachDisk, (), (vm))

// A removed disk that shall stay after all.
struct KeepDisk {
  std::optional<std::string> name{};  // its id, if absent
};
BOOST_DESCRIBE_STRUCT(KeepDisk, (), (name))

struct GrowDisk {
  std::uint64_t size_bytes = 0;
};
BOOST_DESCRIBE_STRUCT(GrowDisk, (), (size_bytes))

struct CreateSnapshot {
  std::string name;
  std::optional<std::string> request_id;  // a repeated request with the same id gets the same snapshot
};
BOOST_DESCRIBE_STRUCT(CreateSnapshot, (), (name, request_id))

struct RestoreDisk {
  std::string snapshot;
};
BOOST_DESCRIBE_STRUCT(RestoreDisk, (), (snapshot))

// What a restore would undo: the writes since the last one that snapshot and present have in common.
struct RestorePlanView {
  DiskId disk;
  std::string snapshot, keep_as;
  WallMs snapshot_at = 0;
  std::uint64_t writes_undone = 0, segments_undone = 0;
  std::uint64_t writes_back = 0;  // that the present lacks
  std::vector<std::string> blockers;
};
BOOST_DESCRIBE_STRUCT(RestorePlanView, (),
                      (disk, snapshot, keep_as, snapshot_at, writes_undone, segments_undone, writes_back,
                       blockers))

// Read from the objects of the disk alone, oldest first.
struct DiskLogEntry {
  std::string kind;   // "origin", "epoch", "checkpoint", "snapshot", "restore", "fork", "now"
  std::string epoch;  // disk epoch, "7.3"
  std::string owner;  // who wrote, if an object tells
  std::uint64_t segments = 0, write_seq = 0;
  WallMs at = 0;  // 0: no object tells
  std::string text;
};
BOOST_DESCRIBE_STRUCT(DiskLogEntry, (), (kind, epoch, owner, segments, write_seq, at, text))

struct DiskLogView {
  DiskId disk;
  std::vector<DiskLogEntry> entries;
};
BOOST_DESCRIBE_STRUCT(DiskLogView, (), (disk, entries))

// Of the workers that are named, and of those that have all labels of the selector now.
struct CreateDrain {
  std::vector<WorkerId> workers;
  std::optional<Labels> selector{};
  std::string reason;
  DrainOptions options;
  bool validate_only = false;             // answers a DrainPlan, changes nothing
  std::optional<std::string> state_hash;  // of a plan: refused with `conflict` if the fleet has changed since
  std::optional<std::string> request_id;  // a repeated request with the same id gets the same drain
  std::optional<std::uint64_t> begins_in_ms{};  // absent: at once
};
BOOST_DESCRIBE_STRUCT(CreateDrain, (),
                      (workers, selector, reason, options, validate_only, state_hash, request_id,
                       begins_in_ms))

struct UndoDrain {
  bool validate_only = false;  // answers a DrainPlan: who goes back, and who cannot; changes nothing
};
BOOST_DESCRIBE_STRUCT(UndoDrain, (), (validate_only))

// The same wish again finds the budget that it has made; with the same name and another wish it is changed.
struct PutBudget {
  BudgetId id;
  Labels selector;
  std::optional<std::uint32_t> away_max{}, present_min{};
  std::uint32_t healthy_ms = 0;
};
BOOST_DESCRIBE_STRUCT(PutBudget, (), (id, selector, away_max, present_min, healthy_ms))

// The same wish again finds the group that it has made; with the same name and another wish it is changed.
struct PutGroup {
  GroupId id;
  std::vector<Apart> apart;
  std::optional<DomainLevel> together{};
};
BOOST_DESCRIBE_STRUCT(PutGroup, (), (id, apart, together))

struct MigrateVm {
  std::optional<WorkerId> target;  // chosen, if absent
  std::string reason;
  bool source_dead = false;  // an operator declares its worker dead
};
BOOST_DESCRIBE_STRUCT(MigrateVm, (), (target, reason, source_dead))

// What is absent stays as it is. cpus, memory_bytes and ports change only while the VM has no worker.
struct EditVm {
  std::optional<std::uint32_t> cpus{};
  std::optional<std::uint64_t> memory_bytes{};
  std::optional<std::vector<Port>> ports{};
  std::optional<Restart> restart{};
  std::optional<std::uint32_t> stop_grace_ms{};
  std::optional<Labels> labels{};                       // added, or given another value
  std::optional<std::vector<std::string>> no_labels{};  // removed, by their keys
  std::optional<HealthCheck> health{};
  std::optional<bool> no_health{};
  std::optional<StopSignal> stop_signal{};
  std::optional<std::string> tenant{};  // empty: nobody's in particular
  // From its next placement on.
  std::optional<Labels> worker_labels{};                   // instead of those that it has
  std::optional<std::vector<std::string>> cpu_features{};  // instead of those that it has
  std::optional<GroupId> group{};                          // empty: none
  bool operator==(const EditVm&) const = default;
};
BOOST_DESCRIBE_STRUCT(EditVm, (),
                      (cpus, memory_bytes, ports, restart, stop_grace_ms, labels, no_labels, health,
                       no_health, stop_signal, tenant, worker_labels, cpu_features, group))

struct CordonWorker {
  std::string reason;
  std::optional<std::uint64_t> expires_in_ms{};  // absent: never
};
BOOST_DESCRIBE_STRUCT(CordonWorker, (), (reason, expires_in_ms))

struct ReturnWorker {
  std::optional<bool> untested{};  // without a test VM: somebody has seen that it can run VMs
};
BOOST_DESCRIBE_STRUCT(ReturnWorker, (), (untested))

// Those named, and those with all labels of the selector.
struct CordonWorkers {
  std::vector<WorkerId> workers{};
  std::optional<Labels> selector{};
  std::string reason;
  std::optional<std::uint64_t> expires_in_ms{};  // absent: never
};
BOOST_DESCRIBE_STRUCT(CordonWorkers, (), (workers, selector, reason, expires_in_ms))
struct UncordonWorkers {
  std::vector<WorkerId> workers{};
  std::optional<Labels> selector{};
};
BOOST_DESCRIBE_STRUCT(UncordonWorkers, (), (workers, selector))

// ---- lists: pages of at most page_size (default 500) items ----
template <class T>
struct Page {
  std::vector<T> items;
  std::optional<std::string> next_page_token;
};
BOOST_DESCRIBE_STRUCT(Page<WorkerView>, (), (items, next_page_token))
BOOST_DESCRIBE_STRUCT(Page<VmView>, (), (items, next_page_token))
BOOST_DESCRIBE_STRUCT(Page<Disk>, (), (items, next_page_token))
BOOST_DESCRIBE_STRUCT(Page<Image>, (), (items, next_page_token))
BOOST_DESCRIBE_STRUCT(Page<VmNetwork>, (), (items, next_page_token))
BOOST_DESCRIBE_STRUCT(Page<DrainView>, (), (items, next_page_token))
BOOST_DESCRIBE_STRUCT(Page<MigrationView>, (), (items, next_page_token))
BOOST_DESCRIBE_STRUCT(Page<BudgetView>, (), (items, next_page_token))
BOOST_DESCRIBE_STRUCT(Page<GroupView>, (), (items, next_page_token))
BOOST_DESCRIBE_STRUCT(Page<Hold>, (), (items, next_page_token))
BOOST_DESCRIBE_STRUCT(Page<JournalEntry>, (), (items, next_page_token))

// ---- JSON: see model.cpp ----
EBB_JSON_EXTERN(ErrorBody)
EBB_JSON_EXTERN(Reason)
EBB_JSON_EXTERN(WorkerView)
EBB_JSON_EXTERN(VmView)
EBB_JSON_EXTERN(MigrationView)
EBB_JSON_EXTERN(PlanMove)
EBB_JSON_EXTERN(PlanBound)
EBB_JSON_EXTERN(PlanBlocker)
EBB_JSON_EXTERN(PlanFinish)
EBB_JSON_EXTERN(DiskLoss)
EBB_JSON_EXTERN(DrainPlan)
EBB_JSON_EXTERN(DoneCheck)
EBB_JSON_EXTERN(WorkerProgress)
EBB_JSON_EXTERN(DrainView)
EBB_JSON_EXTERN(BudgetView)
EBB_JSON_EXTERN(GroupView)
EBB_JSON_EXTERN(WhyAnswer)
EBB_JSON_EXTERN(CreateVm)
EBB_JSON_EXTERN(CreateImage)
EBB_JSON_EXTERN(CreateSnapshot)
EBB_JSON_EXTERN(RestoreDisk)
EBB_JSON_EXTERN(CreateNetwork)
EBB_JSON_EXTERN(CreateDisk)
EBB_JSON_EXTERN(AttachDisk)
EBB_JSON_EXTERN(GrowDisk)
EBB_JSON_EXTERN(KeepDisk)
EBB_JSON_EXTERN(RestorePlanView)
EBB_JSON_EXTERN(DiskLogEntry)
EBB_JSON_EXTERN(DiskLogView)
EBB_JSON_EXTERN(CreateDrain)
EBB_JSON_EXTERN(PutBudget)
EBB_JSON_EXTERN(PutGroup)
EBB_JSON_EXTERN(UndoDrain)
EBB_JSON_EXTERN(MigrateVm)
EBB_JSON_EXTERN(EditVm)
EBB_JSON_EXTERN(CordonWorker)
EBB_JSON_EXTERN(CordonWorkers)
EBB_JSON_EXTERN(ReturnWorker)
EBB_JSON_EXTERN(UncordonWorkers)
EBB_JSON_EXTERN(Page<WorkerView>)
EBB_JSON_EXTERN(Page<VmView>)
EBB_JSON_EXTERN(Page<Disk>)
EBB_JSON_EXTERN(Page<Image>)
EBB_JSON_EXTERN(Page<VmNetwork>)
EBB_JSON_EXTERN(Page<DrainView>)
EBB_JSON_EXTERN(Page<MigrationView>)
EBB_JSON_EXTERN(Page<BudgetView>)
EBB_JSON_EXTERN(Page<GroupView>)
EBB_JSON_EXTERN(Page<Hold>)
EBB_JSON_EXTERN(Page<JournalEntry>)

}  // namespace ebb
