#include "model/fleet.h"

#include "model/room_ahead.h"

namespace ebb {
namespace {

template <class... Fs>
struct Overloaded : Fs... {
  using Fs::operator()...;
};

// Under which a budget is found: by this label of its VMs.
Labels::value_type first_label(const Budget& budget) {
  return budget.selector.empty() ? Labels::value_type() : *budget.selector.begin();
}

bool has_work(const Disk& disk) {
  return disk.removal || (disk.rescue && disk.rescue->state == RescueState::writing) ||
         std::ranges::any_of(disk.snapshots, [](const DiskSnapshot& snapshot) {
           return snapshot.state == SnapshotState::wanted || snapshot.cut_of;
         });
}

template <class Map, class Key, class Member>
void mark(Map& map, const Key& key, const Member& member, bool add) {
  if (add) {
    map[key].insert(member);
    return;
  }
  const auto found = map.find(key);
  if (found == map.end()) return;
  found->second.erase(member);
  if (found->second.empty()) map.erase(found);
}

template <class Map>
const typename Map::mapped_type& found_or_none(const Map& map, const typename Map::key_type& key) {
  static const typename Map::mapped_type none;
  const auto found = map.find(key);
  return found == map.end() ? none : found->second;
}

// The worker where a migration's VM takes room besides the one that owns it.
const WorkerId& second_end(const Migration& m) { return is_past_no_return(m.phase) ? m.source : m.target; }

}  // namespace

std::string_view kind_of(const Record& record) {
  return std::visit(
      Overloaded{[](const Cell&) { return "cell"; }, [](const Worker&) { return "worker"; },
                 [](const Vm&) { return "vm"; }, [](const Disk&) { return "disk"; },
                 [](const Image&) { return "image"; }, [](const VmNetwork&) { return "network"; },
                 [](const Hold&) { return "hold"; }, [](const Drain&) { return "drain"; },
                 [](const Migration&) { return "migration"; }, [](const Budget&) { return "budget"; },
                 [](const Group&) { return "group"; }},
      record);
}

std::string id_of(const Record& record) {
  return std::visit(
      Overloaded{[](const Cell&) { return std::string("cell"); }, [](const auto& r) { return r.id.value; }},
      record);
}

const Disk* Fleet::find_disk(const std::string& id_or_name) const {
  if (const auto* disk = find(DiskId(id_or_name))) return disk;
  for (const auto& [id, disk] : disks_)
    if (disk.name == id_or_name) return &disk;
  return nullptr;
}

std::vector<const Disk*> Fleet::disks_of(const Vm& vm) const {
  std::vector<const Disk*> all;
  auto add = [&](const DiskId& id) {
    if (const auto* disk = find(id)) all.push_back(disk);
  };
  if (vm.disk) add(*vm.disk);
  for (const auto& id : vm.data_disks.value_or(std::vector<DiskId>())) add(id);
  return all;
}

void Fleet::index(const Worker& worker, bool add) {
  if (!worker.is_returning()) return;
  if (add)
    returning_.insert(worker.id);
  else
    returning_.erase(worker.id);
}

void Fleet::index(const Vm& vm, bool add) {
  if (vm.test_of) {
    if (add)
      tests_.insert(vm.id);
    else
      tests_.erase(vm.id);
  }
  if (vm.spec.group) mark(grouped_, *vm.spec.group, vm.id, add);
  if (const auto* m = open_migration_of(vm.id)) used_.erase(m->source), used_.erase(m->target);
  if (vm.desired == VmDesired::running) {
    for (const auto* budget : budgets_of(vm)) mark(counted_, budget->id, vm.id, add);
    if (vm.spec.tenant) {
      auto& count = of_tenant_[*vm.spec.tenant];
      count = add ? count + 1 : count - 1;
      if (count == 0) of_tenant_.erase(*vm.spec.tenant);
    }
  }
  auto keep = [&](std::set<VmId>& set, bool belongs) {
    if (!belongs) return;
    if (add)
      set.insert(vm.id);
    else
      set.erase(vm.id);
  };
  const bool shall_run = vm.desired == VmDesired::running;
  keep(unplaced_, shall_run && !vm.worker);
  keep(retiring_,
       shall_run ? vm.started_after_end == vm.epoch : vm.worker || vm.desired == VmDesired::absent);
  if (!vm.worker) return;
  mark(owned_, *vm.worker, vm.id, add);
  used_.erase(*vm.worker);
}

void Fleet::index(const Migration& m, bool add) {
  mark(moves_of_, m.vm, m.id, add);
  if (is_ended(m.phase)) return;
  for (const auto& worker : {m.source, m.target}) mark(moving_at_, worker, m.id, add), used_.erase(worker);
  if (m.phase == Phase::reserving)
    mark(waiting_, std::pair(m.source, m.drain.value_or(DrainId())), m.id, add);
  if (add) {
    moving_[m.vm] = m.id;
    open_.insert(m.id);
    if (m.phase != Phase::reserving) begun_.insert(m.id);
  } else {
    if (moving_[m.vm] == m.id) moving_.erase(m.vm);
    open_.erase(m.id), begun_.erase(m.id);
  }
}

void Fleet::index(const Disk& disk, bool add) {
  if (disk.origin) mark(forks_, disk.origin->disk, disk.id, add);
  if (has_work(disk)) {
    if (add)
      disks_with_work_.insert(disk.id);
    else
      disks_with_work_.erase(disk.id);
  }
  if (disk.rescue && disk.rescue->state == RescueState::writing)
    mark(rescues_, disk.rescue->worker, disk.id, add);
}

void Fleet::index(const Hold& hold, bool add) { mark(held_, hold.worker, hold.id, add); }

void Fleet::index(const Drain& drain, bool add) {
  if (is_ended(drain.state) || drain.state == DrainState::scheduled) return;
  for (const auto& worker : drain.workers) {
    if (add)
      draining_[worker] = drain.id;
    else if (auto found = draining_.find(worker); found != draining_.end() && found->second == drain.id)
      draining_.erase(found);
  }
}

void Fleet::index(const Budget& budget, bool add) {
  counted_.erase(budget.id);
  mark(by_label_, first_label(budget), budget.id, add);
  if (!add) return;
  auto& vms = counted_[budget.id];
  for (const auto& [id, vm] : vms_)
    if (vm.desired == VmDesired::running && has_labels(vm.spec.labels, budget.selector)) vms.insert(id);
}

template <class R>
constexpr bool is_found_by_id = std::is_same_v<R, Worker> || std::is_same_v<R, Vm> ||
                                std::is_same_v<R, Disk> || std::is_same_v<R, Migration>;

template <class R>
ById<R>* Fleet::by_id() {
  if constexpr (std::is_same_v<R, Worker>) return &worker_by_id_;
  if constexpr (std::is_same_v<R, Vm>) return &vm_by_id_;
  if constexpr (std::is_same_v<R, Disk>) return &disk_by_id_;
  if constexpr (std::is_same_v<R, Migration>) return &migration_by_id_;
}

template <class M>
void Fleet::put_in(M& map, typename M::mapped_type record) {
  using R = typename M::mapped_type;
  auto [at, is_new] = map.try_emplace(record.id);
  if (!is_new) index(at->second, false);
  at->second = std::move(record);
  if constexpr (is_found_by_id<R>)
    if (is_new) by_id<R>()->insert(at->second);
  index(at->second, true);
}

template <class M>
void Fleet::erase_from(M& map, const std::string& id) {
  auto old = map.find(typename M::key_type(id));
  if (old == map.end()) return;
  index(old->second, false);
  if constexpr (is_found_by_id<typename M::mapped_type>) by_id<typename M::mapped_type>()->erase(old->second);
  map.erase(old);
}

void Fleet::put(Record record) {
  std::visit(
      Overloaded{[&](Cell& r) { cell_ = std::move(r); }, [&](Worker& r) { put_in(workers_, std::move(r)); },
                 [&](Image& r) { images_[r.id] = std::move(r); },
                 [&](VmNetwork& r) { networks_[r.id] = std::move(r); },
                 [&](Vm& r) { put_in(vms_, std::move(r)); }, [&](Disk& r) { put_in(disks_, std::move(r)); },
                 [&](Hold& r) { put_in(holds_, std::move(r)); },
                 [&](Drain& r) { put_in(drains_, std::move(r)); },
                 [&](Migration& r) { put_in(migrations_, std::move(r)); },
                 [&](Budget& r) { put_in(budgets_, std::move(r)); },
                 [&](Group& r) { groups_[r.id] = std::move(r); }},
      record);
}

void Fleet::erase(const RecordKey& key) {
  if (key.kind == "worker") erase_from(workers_, key.id);
  if (key.kind == "vm") erase_from(vms_, key.id);
  if (key.kind == "disk") erase_from(disks_, key.id);
  if (key.kind == "image") images_.erase(ImageId(key.id));
  if (key.kind == "network") networks_.erase(NetworkId(key.id));
  if (key.kind == "hold") erase_from(holds_, key.id);
  if (key.kind == "drain") erase_from(drains_, key.id);
  if (key.kind == "migration") erase_from(migrations_, key.id);
  if (key.kind == "budget") erase_from(budgets_, key.id);
  if (key.kind == "group") groups_.erase(GroupId(key.id));
}

const Vm* Fleet::test_vm_of(const Worker& worker) const {
  const auto* vm = worker.returning ? find(worker.returning->vm) : nullptr;
  return vm && vm->test_of == worker.id ? vm : nullptr;
}

const std::set<VmId>& Fleet::vms_owned_by(const WorkerId& worker) const {
  return found_or_none(owned_, worker);
}

const std::set<MigrationId>& Fleet::open_migrations_at(const WorkerId& worker) const {
  return found_or_none(moving_at_, worker);
}

const Migrations& Fleet::migrations_of(const VmId& vm) const { return found_or_none(moves_of_, vm); }

const std::set<DiskId>& Fleet::forks_of(const DiskId& disk) const { return found_or_none(forks_, disk); }

const std::set<DiskId>& Fleet::rescues_at(const WorkerId& worker) const {
  return found_or_none(rescues_, worker);
}

const Migration* Fleet::open_migration_of(const VmId& vm) const {
  auto found = moving_.find(vm);
  return found == moving_.end() ? nullptr : find(found->second);
}

std::vector<const Hold*> Fleet::holds_on(const WorkerId& worker) const {
  std::vector<const Hold*> found;
  if (auto held = held_.find(worker); held != held_.end()) {
    for (const auto& id : held->second) found.push_back(&holds_.at(id));
  }
  return found;
}

bool Fleet::is_held(const WorkerId& worker) const {
  auto held = held_.find(worker);
  return held != held_.end() && !held->second.empty();
}

const Drain* Fleet::active_drain_of(const WorkerId& worker) const {
  auto found = draining_.find(worker);
  return found == draining_.end() ? nullptr : find(found->second);
}

const std::set<VmId>& Fleet::vms_in(const GroupId& group) const { return found_or_none(grouped_, group); }

const std::set<VmId>& Fleet::vms_of(const BudgetId& budget) const { return found_or_none(counted_, budget); }

std::vector<const Budget*> Fleet::budgets_of(const Vm& vm) const {
  std::vector<const Budget*> found;
  const auto add = [&](const Labels::value_type& label) {
    const auto at = by_label_.find(label);
    if (at == by_label_.end()) return;
    for (const auto& id : at->second)
      if (const auto& budget = budgets_.at(id); has_labels(vm.spec.labels, budget.selector))
        found.push_back(&budget);
  };
  if (by_label_.empty()) return found;
  add({});
  for (const auto& label : vm.spec.labels) add(label);
  std::ranges::sort(found, {}, &Budget::id);
  return found;
}

std::uint32_t Fleet::vms_of_tenant(const std::string& tenant) const {
  auto found = of_tenant_.find(tenant);
  return found == of_tenant_.end() ? 0 : found->second;
}

Resources Fleet::used_on(const WorkerId& worker) const {
  if (const auto found = used_.find(worker); found != used_.end()) return found->second;
  bool waits = false;
  const auto used = sum_used_on(worker, &waits);
  if (!waits) used_.emplace(worker, used);  // else moves between other workers change it, too
  return used;
}

// `waits`: some move to it begins after others.
Resources Fleet::sum_used_on(const WorkerId& worker, bool* waits) const {
  Resources used;
  std::map<DrainId, std::vector<const Migration*>> waiting;
  for (const auto& id : vms_owned_by(worker)) used += footprint(at(id).spec);
  for (const auto& id : open_migrations_at(worker)) {
    const auto& migration = at(id);
    const auto* vm = find(migration.vm);
    *waits |= migration.after.has_value();
    if (!vm || second_end(migration) != worker) continue;
    if (awaited_by(migration).empty())
      used += footprint(vm->spec);
    else
      waiting[migration.drain.value_or(DrainId())].push_back(&migration);
  }
  for (auto& [drain, moves] : waiting) {
    std::ranges::sort(moves, [](auto* a, auto* b) { return minted_before(a->id.value, b->id.value); });
    RoomAhead room;
    for (const auto* m : moves) {
      for (const auto* maker : awaited_by(*m))
        if (const auto* leaving = find(maker->vm); leaving && maker->source == worker)
          room.make(maker->vm, footprint(leaving->spec));
      room.take(footprint(at(m->vm).spec));
    }
    used += room.most();
  }
  return used;
}

std::vector<const Migration*> Fleet::awaited_by(const Migration& migration) const {
  std::vector<const Migration*> awaited;
  if (!migration.after || migration.phase != Phase::reserving) return awaited;
  for (const auto& id : *migration.after)
    if (const auto* m = find(id); m && !is_ended(m->phase)) awaited.push_back(m);
  return awaited;
}

void Seen::take(AgentReport report, Instant now, WallMs wall) {
  auto& at = workers[report.worker];
  for (const auto& [id, said] : at.vms) notable.erase({id, report.worker});
  at.vms.clear();
  for (auto& vm : report.vms) {
    if (vm.end || vm.state == VmSeen::failed) notable.emplace(vm.vm, report.worker);
    at.vms[vm.vm] = std::move(vm);
  }
  report.vms.clear();
  constexpr WallMs latest = 1ll << 60;  // of what is told, whatever is
  at.clock_ahead_ms =
      report.clock ? std::optional(std::clamp<WallMs>(*report.clock, 0, latest) - wall) : std::nullopt;
  at.report = std::move(report);
  at.heard = true, at.liveness = Liveness::ready;
  at.heard_at = now, at.heard_at_wall = wall;
}

void Seen::forget(const WorkerId& worker) {
  std::erase_if(notable, [&](const auto& item) { return item.second == worker; });
  workers.erase(worker);
}

}  // namespace ebb
