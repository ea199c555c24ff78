// All records of a cell in memory, with the indexes that decisions need, and what the agents last reported.
// Changed only by apply(), after the store has the same change.
#pragma once
#include <set>
#include <unordered_map>
#include <unordered_set>
#include <variant>

#include "base/check.h"
#include "model/api_types.h"

namespace ebb {

using Record = std::variant<Cell, Worker, Vm, Disk, Image, VmNetwork, Hold, Drain, Migration, Budget, Group>;

// The name under which a type is stored, and its id there.
std::string_view kind_of(const Record& record);
std::string id_of(const Record& record);

struct RecordKey {
  std::string kind, id;
  auto operator<=>(const RecordKey&) const = default;
};

// In the order in which they were minted.
struct MintedBefore {
  bool operator()(const MigrationId& a, const MigrationId& b) const {
    return minted_before(a.value, b.value);
  }
};
using Migrations = std::set<MigrationId, MintedBefore>;

// Records where they stand in their map, found by a hash of their id: in a map of a million, each step to a record waits for memory.
template <class R>
class ById {
  using Key = decltype(R::id);
  struct Hash {
    using is_transparent = void;
    std::size_t operator()(const Key& id) const { return std::hash<Key>()(id); }
    std::size_t operator()(const R* record) const { return (*this)(record->id); }
  };
  struct Equal {
    using is_transparent = void;
    bool operator()(const R* a, const R* b) const { return a->id == b->id; }
    bool operator()(const R* a, const Key& b) const { return a->id == b; }
    bool operator()(const Key& a, const R* b) const { return a == b->id; }
  };

 public:
  void insert(const R& record) { records_.insert(&record); }
  void erase(const R& record) { records_.erase(&record); }
  const R* find(const Key& id) const {
    const auto found = records_.find(id);
    return found == records_.end() ? nullptr : *found;
  }

 private:
  std::unordered_set<const R*, Hash, Equal> records_;
};

class Fleet {
 public:
  Fleet() = default;
  Fleet(Fleet&&) = default;
  Fleet& operator=(Fleet&&) = default;

  void put(Record record);
  void erase(const RecordKey& key);

  const Cell& cell() const { return cell_; }
  const std::map<WorkerId, Worker>& workers() const { return workers_; }
  const std::map<VmId, Vm>& vms() const { return vms_; }
  const std::map<DiskId, Disk>& disks() const { return disks_; }
  const std::map<ImageId, Image>& images() const { return images_; }
  const std::map<NetworkId, VmNetwork>& networks() const { return networks_; }
  const std::map<HoldId, Hold>& holds() const { return holds_; }
  const std::map<DrainId, Drain>& drains() const { return drains_; }
  const std::map<MigrationId, Migration>& migrations() const { return migrations_; }
  const std::map<BudgetId, Budget>& budgets() const { return budgets_; }
  const std::map<GroupId, Group>& groups() const { return groups_; }

  const Worker* find(const WorkerId& id) const { return worker_by_id_.find(id); }
  const Vm* find(const VmId& id) const { return vm_by_id_.find(id); }
  const Disk* find(const DiskId& id) const { return disk_by_id_.find(id); }
  const Image* find(const ImageId& id) const { return find_in(images_, id); }
  const VmNetwork* find(const NetworkId& id) const { return find_in(networks_, id); }
  const Drain* find(const DrainId& id) const { return find_in(drains_, id); }
  const Migration* find(const MigrationId& id) const { return migration_by_id_.find(id); }
  // Of one that is there.
  template <class Id>
  auto& at(const Id& id) const {
    const auto* record = find(id);
    CHECK(record);
    return *record;
  }
  const Budget* find(const BudgetId& id) const { return find_in(budgets_, id); }
  const Group* find(const GroupId& id) const { return find_in(groups_, id); }

  // VMs that `worker` owns by the records.
  const std::set<VmId>& vms_owned_by(const WorkerId& worker) const;
  // VMs that shall run and have no worker.
  const std::set<VmId>& unplaced_vms() const { return unplaced_; }
  // VMs that are to leave their worker where it is, or to go altogether.
  const std::set<VmId>& retiring_vms() const { return retiring_; }
  // Those with a return that is under way.
  const std::set<WorkerId>& returning_workers() const { return returning_; }
  const std::set<VmId>& test_vms() const { return tests_; }
  // Of a worker's last return; null: it is gone, or another VM has its name now.
  const Vm* test_vm_of(const Worker& worker) const;
  // Migrations not ended that leave or enter `worker`.
  const std::set<MigrationId>& open_migrations_at(const WorkerId& worker) const;
  // The migration of `vm` that has not ended, or null.
  const Migration* open_migration_of(const VmId& vm) const;
  const Migrations& open_migrations() const { return open_; }
  // Of these, those that have begun; and those that have not, by the worker that they leave and the drain that they are of (none: an
  // empty id).
  const Migrations& begun_migrations() const { return begun_; }
  const std::map<std::pair<WorkerId, DrainId>, Migrations>& waiting_migrations() const { return waiting_; }
  // All of `vm` that are on record, ended ones too.
  const Migrations& migrations_of(const VmId& vm) const;
  // Disks of which there may be something to do: removed ones, those with snapshots that are wanted or with cuts, and those that a
  // log is written into.
  const std::set<DiskId>& disks_with_work() const { return disks_with_work_; }
  // Disks that began as a snapshot of `disk`.
  const std::set<DiskId>& forks_of(const DiskId& disk) const;
  // Disks that `worker` is to write an orphaned log into.
  const std::set<DiskId>& rescues_at(const WorkerId& worker) const;
  // Of a disk by its id, or by its name if it has one; null: there is none.
  const Disk* find_disk(const std::string& id_or_name) const;
  // Its own first, then those that are attached to it. Their records may be missing while they are removed.
  std::vector<const Disk*> disks_of(const Vm& vm) const;
  std::vector<const Hold*> holds_on(const WorkerId& worker) const;
  bool is_held(const WorkerId& worker) const;
  // The drain of `worker` that has begun and not ended, or null.
  const Drain* active_drain_of(const WorkerId& worker) const;
  // Everything is to leave `worker`.
  bool is_emptied(const WorkerId& worker) const {
    const auto* drain = active_drain_of(worker);
    return drain && drain->state != DrainState::undoing;
  }

  // VMs that a budget is about: those with its labels that shall run.
  const std::set<VmId>& vms_of(const BudgetId& budget) const;
  // Budgets that a VM counts for, by id.
  std::vector<const Budget*> budgets_of(const Vm& vm) const;
  // Who is placed by the rules of that group, whether it shall run or not.
  const std::set<VmId>& vms_in(const GroupId& group) const;
  // How many VMs of that tenant shall run.
  std::uint32_t vms_of_tenant(const std::string& tenant) const;

  // What VMs take on `worker`: those it owns, those moving towards it, and those that have left it by the
  // records but are not yet confirmed gone. Capacity counts on both ends of a move; of moves that wait until others have made room
  // there, what they need beyond that.
  Resources used_on(const WorkerId& worker) const;
  // Of the moves that `migration` begins after, those that have not ended.
  std::vector<const Migration*> awaited_by(const Migration& migration) const;

 private:
  template <class M>
  static const typename M::mapped_type* find_in(const M& map, const typename M::key_type& id) {
    auto found = map.find(id);
    return found == map.end() ? nullptr : &found->second;
  }
  void index(const Worker& worker, bool add);
  void index(const Vm& vm, bool add);
  void index(const Migration& migration, bool add);
  void index(const Disk& disk, bool add);
  void index(const Hold& hold, bool add);
  void index(const Drain& drain, bool add);
  void index(const Budget& budget, bool add);
  Resources sum_used_on(const WorkerId& worker, bool* waits) const;
  template <class R>
  ById<R>* by_id();
  template <class M>
  void put_in(M& map, typename M::mapped_type record);
  template <class M>
  void erase_from(M& map, const std::string& id);

  Cell cell_;
  std::map<WorkerId, Worker> workers_;
  std::map<VmId, Vm> vms_;
  std::map<DiskId, Disk> disks_;
  std::map<ImageId, Image> images_;
  std::map<NetworkId, VmNetwork> networks_;
  std::map<HoldId, Hold> holds_;
  std::map<DrainId, Drain> drains_;
  std::map<MigrationId, Migration> migrations_;
  std::map<BudgetId, Budget> budgets_;
  std::map<GroupId, Group> groups_;
  ById<Worker> worker_by_id_;
  ById<Vm> vm_by_id_;
  ById<Disk> disk_by_id_;
  ById<Migration> migration_by_id_;
  std::unordered_map<WorkerId, std::set<VmId>> owned_;
  std::unordered_map<WorkerId, std::set<MigrationId>> moving_at_;
  std::unordered_map<VmId, MigrationId> moving_;
  std::unordered_map<VmId, Migrations> moves_of_;
  Migrations open_, begun_;
  std::map<std::pair<WorkerId, DrainId>, Migrations> waiting_;
  std::unordered_map<WorkerId, std::set<DiskId>> rescues_;
  std::set<DiskId> disks_with_work_;
  std::unordered_map<DiskId, std::set<DiskId>> forks_;
  std::set<VmId> unplaced_, retiring_, tests_;
  std::set<WorkerId> returning_;
  std::unordered_map<WorkerId, std::set<HoldId>> held_;
  std::unordered_map<WorkerId, DrainId> draining_;
  std::map<BudgetId, std::set<VmId>> counted_;
  std::map<Labels::value_type, std::set<BudgetId>> by_label_;  // by the first label that each asks for
  std::map<GroupId, std::set<VmId>> grouped_;
  std::map<std::string, std::uint32_t> of_tenant_;
  mutable std::unordered_map<WorkerId, Resources>
      used_;  // what used_on() has found, until something changes there
};

// What a worker's agent last said, in memory only.
struct WorkerSeen {
  AgentReport report;
  std::map<VmId, SeenVm> vms;
  Instant heard_at{};
  WallMs heard_at_wall = 0;
  std::optional<std::int64_t> clock_ahead_ms{};  // of ours, less what the report's way took; absent: not told
  bool heard = false;                            // a report has come since this control plane started
  Liveness liveness = Liveness::never_seen;
  std::uint64_t wanted_revision = 0;  // of the set that the worker should have reconciled with

  // The agent has reconciled with the newest wanted set.
  bool is_current() const { return heard && report.wanted_revision == wanted_revision; }
  // Why it cannot reconcile with it; empty: nothing is in the way.
  std::string trouble() const { return is_current() ? "" : report.trouble; }
};

struct Seen {
  std::map<WorkerId, WorkerSeen> workers;
  bool has_listened = false;  // for so long that whoever can report has reported
  // VMs that their worker says have ended by themselves, or failed to start.
  std::set<std::pair<VmId, WorkerId>> notable;

  // What a worker says now takes the place of what it said.
  void take(AgentReport report, Instant now, WallMs wall);
  void forget(const WorkerId& worker);
  const WorkerSeen* find(const WorkerId& id) const {
    auto found = workers.find(id);
    return found == workers.end() ? nullptr : &found->second;
  }
  // What `worker` says of `vm`; null if it has said nothing of it.
  const SeenVm* find(const WorkerId& worker, const VmId& vm) const {
    const auto* at = find(worker);
    if (!at) return nullptr;
    auto found = at->vms.find(vm);
    return found == at->vms.end() ? nullptr : &found->second;
  }
  // Nothing comes from it any more: whether it runs anything is not known.
  bool is_silent(const WorkerId& id) const {
    const auto* at = find(id);
    return at && at->heard ? at->liveness == Liveness::silent || at->liveness == Liveness::suspect
                           : has_listened;
  }
  bool is_ready(const WorkerId& id) const {
    const auto* at = find(id);
    return at && at->liveness == Liveness::ready;
  }
};

}  // namespace ebb
