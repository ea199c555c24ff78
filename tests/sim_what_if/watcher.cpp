#include "watcher.h"

namespace ebb::what_if {
namespace {

template <class... Fs>
struct Overloaded : Fs... {
  using Fs::operator()...;
};

bool has_all(const Labels& labels, const Labels& wanted) {
  return std::ranges::all_of(wanted, [&](const auto& label) {
    const auto found = labels.find(label.first);
    return found != labels.end() && found->second == label.second;
  });
}

std::string domain_name(const Worker& worker, std::size_t level) {
  if (level == 0) return worker.id.value;
  constexpr std::array names{"rack", "zone", "region"};  // from the inside
  std::string name;
  for (std::size_t i = level - 1; i < names.size(); ++i) {
    const auto found = worker.labels.find(names[i]);
    name += "/" + (found == worker.labels.end() ? "" : found->second);
  }
  return name;
}

}  // namespace

Watcher::Watcher(const FleetRecords& records, const Numbered<WorkerId>& workers, const Numbered<VmId>& vms,
                 std::function<WallMs()> now)
    : worker_names_(workers),
      vm_names_(vms),
      pace_(records.pace),
      now_(std::move(now)),
      workers_(workers.size()),
      vms_(vms.size()) {
  std::array<std::map<std::string, std::uint32_t>, domain_levels> domains;
  for (const auto& worker : records.workers) {
    auto& at = workers_[workers.find(worker.id)];
    at.allowed = worker.capacity;
    for (std::size_t level = 0; level < domain_levels; ++level) {
      auto& known = domains[level];
      const auto next = static_cast<std::uint32_t>(known.size());
      at.domain[level] = known.try_emplace(domain_name(worker, level), next).first->second;
    }
  }
  add_vms(records);
  add_budgets(records);
  for (const auto& drain : records.drains) drains_[drain.id] = drain;
  for (const auto& hold : records.holds) take(hold);
  for (const auto& migration : records.migrations) take(migration);
  for (std::uint32_t vm = 0; vm < vms_.size(); ++vm) count_ends(vm);
  // What was so before is nobody's fault here.
  for (auto& at : workers_) {
    at.allowed.cpu_millis = std::max(at.allowed.cpu_millis, at.used.cpu_millis);
    at.allowed.memory_bytes = std::max(at.allowed.memory_bytes, at.used.memory_bytes);
  }
  changed_vms_.clear(), changed_workers_.clear(), arrivals_.clear();
  violations_.clear(), violations_seen_ = 0;
}

void Watcher::add_vms(const FleetRecords& records) {
  std::map<GroupId, std::uint32_t> groups;
  std::map<std::string, std::uint32_t> tenants;
  for (const auto& group : records.groups) {
    groups[group.id] = static_cast<std::uint32_t>(groups_.size());
    groups_.push_back({group.apart, {}});
  }
  for (const auto& vm : records.vms) {
    const auto index = vm_names_.find(vm.id);
    auto& at = vms_[index];
    // 75 MiB go to what runs the guest.
    at.needs = {vm.spec.cpus * 1000ull, vm.spec.memory_bytes + (75ull << 20)};
    at.epoch = vm.epoch, at.shall_run = vm.desired == VmDesired::running;
    last_epoch_ = std::max(last_epoch_, vm.epoch);
    if (vm.worker) at.worker = worker_names_.find(*vm.worker), ++workers_[at.worker].owned;
    if (vm.spec.group)
      if (const auto found = groups.find(*vm.spec.group); found != groups.end()) {
        at.group = found->second;
        groups_[at.group].members.push_back(index);
      }
    if (!vm.spec.tenant || !at.shall_run) continue;
    at.tenant =
        tenants.try_emplace(*vm.spec.tenant, static_cast<std::uint32_t>(tenants_.size())).first->second;
    if (at.tenant == tenants_.size()) tenants_.emplace_back();
    ++tenants_[at.tenant].vms;
  }
}

void Watcher::add_budgets(const FleetRecords& records) {
  for (const auto& budget : records.budgets) budgets_.push_back({.id = budget.id});
  for (const auto& vm : records.vms) {
    if (vm.desired != VmDesired::running || vm.spec.labels.empty()) continue;
    for (std::uint32_t i = 0; i < budgets_.size(); ++i) {
      if (!has_all(vm.spec.labels, records.budgets[i].selector)) continue;
      ++budgets_[i].vms;
      budgets_of_[vm_names_.find(vm.id)].push_back(i);
    }
  }
  for (std::uint32_t i = 0; i < budgets_.size(); ++i) {
    auto& at = budgets_[i];
    at.allowed = std::min(at.vms, records.budgets[i].away_max.value_or(at.vms));
    if (const auto present = records.budgets[i].present_min)
      at.allowed = std::min(at.allowed, at.vms - std::min(at.vms, *present));
  }
}

void Watcher::on_commit(const Committed& committed) {
  changed_vms_.clear(), changed_workers_.clear(), arrivals_.clear();
  // Holds last: what was placed before they stood is no fault.
  for (const auto& record : committed.puts)
    std::visit(
        Overloaded{[&](const Vm& vm) { take(vm); }, [&](const Migration& m) { take(m); }, [](const auto&) {}},
        record);
  for (auto& arrival : arrivals_) arrival.was_held = is_held(arrival.worker);
  for (const auto& key : committed.erases) erase(key);
  for (const auto& record : committed.puts)
    std::visit(Overloaded{[&](const Hold& hold) { take(hold); }, [&](const Drain& drain) { take(drain); },
                          [](const auto&) {}},
               record);
  for (const auto vm : changed_vms_) count_ends(vm);
  for (const auto& arrival : arrivals_) check_arrival(arrival);
  for (const auto worker : changed_workers_)
    if (const auto& at = workers_[worker]; !at.used.fits_in(at.allowed))
      violation("{} is overcommitted: {} bytes of {}, {} mCPU of {}", worker_names_[worker],
                at.used.memory_bytes, at.allowed.memory_bytes, at.used.cpu_millis, at.allowed.cpu_millis);
}

void Watcher::take(const Vm& vm) {
  const auto index = vm_names_.find(vm.id);
  if (index == nobody) return violation("{} is made, and nobody has asked for it", vm.id);
  auto& at = vms_[index];
  const auto worker = vm.worker ? worker_names_.find(*vm.worker) : nobody;
  if (vm.epoch < at.epoch) violation("the epoch of {} goes back from {} to {}", vm.id, at.epoch, vm.epoch);
  if (vm.epoch > at.epoch) {
    if (vm.epoch <= last_epoch_) violation("{} gets epoch {}, which was there before", vm.id, vm.epoch);
    const bool is_declared = at.move != nobody && moves_[at.move].source_dead;
    if (at.copies > 0 && !is_declared)
      violation("{} passes to {} while it runs", vm.id, vm.worker.value_or(WorkerId("nobody")));
    last_epoch_ = std::max(last_epoch_, vm.epoch);
  }
  if (at.worker == nobody && worker != nobody) arrivals_.push_back({index, worker});
  if (at.worker != nobody) --workers_[at.worker].owned;
  if (worker != nobody) ++workers_[worker].owned;
  at.worker = worker, at.epoch = vm.epoch;
  changed_vms_.push_back(index);
}

void Watcher::take(const Migration& m) {
  const auto index = move_names_.add(m.id);
  const bool is_new = index == moves_.size();
  if (is_new) {
    moves_.push_back({vm_names_.find(m.vm), worker_names_.find(m.source), worker_names_.find(m.target)});
    moves_[index].drain = m.drain, moves_[index].after = m.after.value_or(std::vector<MigrationId>());
  }
  auto& move = moves_[index];
  // Of a VM or worker that is not there any more: a measured one, that has ended.
  if (move.vm == nobody || move.source == nobody || move.target == nobody) return;
  auto& vm = vms_[move.vm];
  if (is_new && !is_ended(m.phase)) {
    if (vm.move != nobody) violation("{} has two moves at once, {} is the second", m.vm, m.id);
    vm.move = index;
    arrivals_.push_back({move.vm, move.target});
    for (const auto& awaited : move.after) awaiting_[awaited].push_back(move.vm);
  }
  const bool had_begun = move.has_begun;
  move.phase = m.phase, move.source_dead = m.source_dead;
  move.has_begun = std::ranges::any_of(m.history, [](auto& h) { return h.phase == Phase::preparing; });
  if (m.target_epoch != 0 && m.target_epoch <= m.source_epoch)
    violation("{} publishes epoch {}, which is not above {}", m.id, m.target_epoch, m.source_epoch);
  set_in_flight(move, move.has_begun && m.phase != Phase::releasing && !is_ended(m.phase));
  if (move.has_begun && !had_begun) check_begin(move);
  if (is_ended(m.phase)) {
    if (vm.move == index) vm.move = nobody;
    if (const auto waiting = awaiting_.find(m.id); waiting != awaiting_.end())
      changed_vms_.insert(changed_vms_.end(), waiting->second.begin(), waiting->second.end());
  }
  changed_vms_.push_back(move.vm);
}

void Watcher::take(const Hold& hold) {
  const auto worker = worker_names_.find(hold.worker);
  if (worker != nobody && holds_.try_emplace(hold.id, worker).second) ++workers_[worker].holds;
}

void Watcher::take(const Drain& drain) {
  auto& known = drains_[drain.id];
  const bool is_done_now = drain.state == DrainState::done && known.state != DrainState::done;
  known = drain;
  if (is_done_now) check_drained(drain);
}

void Watcher::erase(const RecordKey& key) {
  if (key.kind != "hold") return;
  const auto found = holds_.find(HoldId(key.id));
  if (found == holds_.end()) return;
  --workers_[found->second].holds;
  holds_.erase(found);
}

void Watcher::set_in_flight(Move& move, bool is_in_flight) {
  if (std::exchange(move.is_in_flight, is_in_flight) == is_in_flight) return;
  const auto count = [is_in_flight](std::uint32_t& counter) { counter += is_in_flight ? 1 : -1u; };
  count(workers_[move.source].leaving), count(workers_[move.target].entering);
  if (const auto tenant = vms_[move.vm].tenant; tenant != nobody) count(tenants_[tenant].moving);
  const auto found = budgets_of_.find(move.vm);
  if (found == budgets_of_.end()) return;
  for (const auto i : found->second) {
    auto& budget = budgets_[i];
    const bool was_full = budget.is_full();
    count(budget.moving);
    budget.moving_most = std::max(budget.moving_most, budget.moving);
    if (!was_full && budget.is_full()) budget.full_since = now_();
    if (was_full && !budget.is_full() && budget.full_since > 0) budget.full_ms += now_() - budget.full_since;
  }
}

std::vector<BudgetUse> Watcher::budgets() const {
  auto all = budgets_;
  for (auto& budget : all)
    if (budget.is_full() && budget.full_since > 0) budget.full_ms += now_() - budget.full_since;
  return all;
}

// A VM that is down may move whatever its tenant and its budgets say.
void Watcher::check_begin(const Move& move) {
  const auto drain = move.drain ? drains_.find(*move.drain) : drains_.end();
  const auto options = drain == drains_.end() ? DrainOptions{} : drain->second.options;
  const auto& vm = vms_[move.vm];
  const auto& name = vm_names_[move.vm];
  if (const auto n = workers_[move.source].leaving; n > options.parallel_max)
    violation("{} moves leave {} at once, {} may", n, worker_names_[move.source], options.parallel_max);
  if (const auto n = workers_[move.target].entering; n > options.per_target_max)
    violation("{} moves enter {} at once, {} may", n, worker_names_[move.target], options.per_target_max);
  const bool is_forced = drain != drains_.end() && drain->second.forced_at;
  if (vm.copies == 0 || is_forced) return;
  if (vm.tenant != nobody) {
    const auto& tenant = tenants_[vm.tenant];
    const auto most = std::max(pace_.tenant_moves_min, tenant.vms * pace_.tenant_moves_percent / 100);
    if (tenant.moving > most)
      violation("{} begins to move as number {} of its tenant, {} may", name, tenant.moving, most);
  }
  const auto found = budgets_of_.find(move.vm);
  if (found == budgets_of_.end()) return;
  for (const auto i : found->second)
    if (budgets_[i].moving > budgets_[i].allowed)
      violation("{} begins to move as number {} of budget {}, {} may", name, budgets_[i].moving,
                budgets_[i].id, budgets_[i].allowed);
}

void Watcher::check_drained(const Drain& drain) {
  for (const auto& id : drain.workers) {
    const auto worker = worker_names_.find(id);
    if (worker == nobody) continue;
    if (workers_[worker].owned + workers_[worker].running > 0)
      violation("{} is done, and {} owns {} VMs and runs {}", drain.id, id, workers_[worker].owned,
                workers_[worker].running);
  }
}

void Watcher::check_arrival(const Arrival& arrival) {
  if (arrival.was_held && is_held(arrival.worker))
    violation("{} goes to {}, which is held", vm_names_[arrival.vm], worker_names_[arrival.worker]);
  if (const auto group = vms_[arrival.vm].group; group != nobody)
    for (const auto& apart : groups_[group].apart) check_apart(arrival, apart);
}

void Watcher::check_apart(const Arrival& arrival, const Apart& apart) {
  const auto level = static_cast<std::size_t>(apart.level);
  const auto domain = workers_[arrival.worker].domain[level];
  const auto is_in = [&](std::uint32_t worker) {
    return worker != nobody && workers_[worker].domain[level] == domain;
  };
  std::uint32_t others = 0;
  for (const auto member : groups_[vms_[arrival.vm].group].members) {
    if (member == arrival.vm) continue;
    const auto& vm = vms_[member];
    const auto* move = vm.move == nobody ? nullptr : &moves_[vm.move];
    others += is_in(vm.worker) || (move && (is_in(move->source) || is_in(move->target)));
  }
  if (others >= apart.most)
    violation("{} goes to {}, whose {} has {} others of its group", vm_names_[arrival.vm],
              worker_names_[arrival.worker], json::name_of(apart.level), others);
}

void Watcher::count_ends(std::uint32_t index) {
  auto& vm = vms_[index];
  std::array<std::uint32_t, 2> ends{nobody, nobody};
  const auto add = [&](std::uint32_t worker) {
    if (worker == nobody || ends[0] == worker || ends[1] == worker) return;
    (ends[0] == nobody ? ends[0] : ends[1]) = worker;
  };
  add(vm.worker);
  if (vm.move != nobody) {
    add(moves_[vm.move].source);
    if (!waits_for_room(moves_[vm.move])) add(moves_[vm.move].target);
  }
  for (const auto worker : vm.ends)
    if (worker != nobody) workers_[worker].used = workers_[worker].used.minus(vm.needs);
  for (const auto worker : ends) {
    if (worker == nobody) continue;
    workers_[worker].used += vm.needs;
    changed_workers_.push_back(worker);
  }
  vm.ends = ends;
}

// It takes room that others are to leave first.
bool Watcher::waits_for_room(const Move& move) const {
  return !move.has_begun && std::ranges::any_of(move.after, [&](const MigrationId& id) {
    const auto index = move_names_.find(id);
    return index != nobody && moves_[index].phase != Phase::done;
  });
}

void Watcher::guest_started(std::uint32_t vm, std::uint32_t worker) {
  ++workers_[worker].running;
  if (++vms_[vm].copies > 1)
    violation("{} starts on {} while {} other runs", vm_names_[vm], worker_names_[worker],
              vms_[vm].copies - 1);
}

void Watcher::guest_stopped(std::uint32_t vm, std::uint32_t worker) {
  --workers_[worker].running, --vms_[vm].copies;
}

}  // namespace ebb::what_if
