// What workers, budgets, groups and the brake bear, counted anew: what decided counts for itself.
#include "checkers.h"
#include "fleet_sim.h"

namespace ebb::fleet_sim {
namespace {

// A worker with a hold receives nothing: no placement, no new move towards it. What tests it before its hold goes is there for that.
class HoldsReceiveNothing final : public Checker {
 public:
  void on_commit(FleetSim& sim, const Fleet& before, const Fleet& after) override {
    for (const auto& [id, vm] : after.vms()) {
      const auto* old = before.find(id);
      if (!vm.worker || (old && old->worker)) continue;
      if (vm.test_of == vm.worker && after.workers().at(*vm.worker).is_returning()) continue;
      check(sim, before, after, *vm.worker, fmt::format("{} was placed", id));
    }
    for (const auto& [id, m] : after.migrations()) {
      const auto* old = before.find(id);
      if (!old) check(sim, before, after, m.target, fmt::format("a move of {} was planned", m.vm));
      // Past `=>` a VM goes forward whatever its target's holds; before, a move may still turn back.
      const bool commits_now = old && !is_past_no_return(old->phase) && is_past_no_return(m.phase);
      if (commits_now && !before.holds_on(m.target).empty() && !is_ended(m.phase))
        sim.note("{} passes its point of no return towards {}, which has a hold", m.vm, m.target);
    }
  }

 private:
  static void check(FleetSim& sim, const Fleet& before, const Fleet& after, const WorkerId& worker,
                    std::string what) {
    if (before.holds_on(worker).empty() || after.holds_on(worker).empty()) return;
    sim.violation("{} on {}, which has the hold of {}", what, worker, after.holds_on(worker).front()->owner);
  }
};

// Capacity holds on both ends during moves, by the records and by the machines that really run.
class CapacityHolds final : public Checker {
 public:
  void on_commit(FleetSim& sim, const Fleet&, const Fleet& after) override {
    // Counted here anew: what the fleet itself counts is what decided.
    std::map<WorkerId, Resources> used_on;
    for (const auto& [id, vm] : after.vms()) {
      std::set<WorkerId> ends;
      if (vm.worker) ends.insert(*vm.worker);
      if (const auto* m = after.open_migration_of(id)) {
        ends.insert(m->source);
        if (!waits_for_room(after, *m)) ends.insert(m->target);
      }
      for (const auto& end : ends) used_on[end] += footprint(vm.spec);
    }
    for (const auto& [id, worker] : after.workers())
      if (auto used = used_on[id]; !used.fits_in(worker.capacity))
        sim.violation("{} is overcommitted: {} bytes of {}, {} mCPU of {}", id, used.memory_bytes,
                      worker.capacity.memory_bytes, used.cpu_millis, worker.capacity.cpu_millis);
  }
  void every_second(FleetSim& sim) override {
    for (const auto& [id, worker] : sim.fleet().workers()) {
      std::uint64_t bytes = 0;
      for (const auto& machine : sim.worker(id).machines().list()) {
        if (machine.state == MachineState::exited) continue;
        const auto* vm = sim.fleet().find(machine.vm);
        if (vm) bytes += footprint(vm->spec).memory_bytes;
      }
      if (bytes > worker.capacity.memory_bytes) sim.violation("the machines of {} take {} bytes", id, bytes);
    }
  }

 private:
  // It takes room that others are to leave first, or it is about to be given up.
  static bool waits_for_room(const Fleet& fleet, const Migration& m) {
    if (!m.after || std::ranges::any_of(m.history, [](auto& h) { return h.phase == Phase::preparing; }))
      return false;
    return std::ranges::any_of(*m.after, [&](const MigrationId& id) {
      const auto* other = fleet.find(id);
      return other && other->phase != Phase::done;
    });
  }
};

// The limits of moves hold over all drains together. A move that is undone before it began touches nobody.
class LimitsHold final : public Checker {
 public:
  void on_commit(FleetSim& sim, const Fleet&, const Fleet& after) override {
    std::map<WorkerId, Ends> at;
    for (const auto& id : after.open_migrations()) {
      const auto& m = after.migrations().at(id);
      const bool has_begun =
          std::ranges::any_of(m.history, [](auto& h) { return h.phase == Phase::preparing; });
      if (!has_begun || m.phase == Phase::releasing) continue;
      const auto* drain = m.drain ? after.find(*m.drain) : nullptr;
      const auto options = drain ? drain->options : DrainOptions{};
      auto& source = at[m.source];
      auto& target = at[m.target];
      ++source.leaving, ++target.entering;
      source.leaving_max = std::max(source.leaving_max, options.parallel_max);
      target.entering_max = std::max(target.entering_max, options.per_target_max);
      source.moves += fmt::format(" {} {}", m.id, json::name_of(m.phase));
      target.moves += fmt::format(" {} {}", m.id, json::name_of(m.phase));
    }
    for (const auto& [id, ends] : at) {
      if (ends.leaving > ends.leaving_max)
        sim.violation("{} moves leave {} at once, {} may:{}", ends.leaving, id, ends.leaving_max, ends.moves);
      if (ends.entering > ends.entering_max)
        sim.violation("{} moves enter {} at once, {} may:{}", ends.entering, id, ends.entering_max,
                      ends.moves);
    }
  }

 private:
  struct Ends {
    std::uint32_t leaving = 0, entering = 0, leaving_max = 0, entering_max = 0;
    std::string moves;
  };
};

// A VM that is well begins to move only if its budgets let it, over all drains and moves together.
class BudgetsHold final : public Checker {
 public:
  void on_commit(FleetSim& sim, const Fleet& before, const Fleet& after) override {
    for (const auto& id : after.open_migrations()) {
      const auto& m = after.migrations().at(id);
      const auto* old = before.find(id);
      if (m.phase != Phase::preparing || !old || old->phase != Phase::reserving) continue;
      const auto* drain = m.drain ? before.find(*m.drain) : nullptr;
      if (was_well(sim, m) && !(drain && drain->forced_at)) check(sim, after, m);
    }
  }

 private:
  // By what the control plane has heard, which is all that it can go by.
  static bool was_well(FleetSim& sim, const Migration& m) {
    const auto* said = sim.seen().find(m.source, m.vm);
    return sim.seen().is_ready(m.source) && said && said->state == VmSeen::running &&
           (!said->health || said->health->is_healthy);
  }
  static bool is_about(const Budget& budget, const Vm& vm) {
    return vm.desired == VmDesired::running && std::ranges::all_of(budget.selector, [&](const auto& label) {
             auto found = vm.spec.labels.find(label.first);
             return found != vm.spec.labels.end() && found->second == label.second;
           });
  }
  static bool moved_lately(FleetSim& sim, const Fleet& after, const VmId& vm, std::uint32_t healthy_ms) {
    constexpr WallMs clocks = 1'000;  // between a decision and its commit
    for (const auto& [id, m] : after.migrations())
      for (const auto& entered : m.history)
        if (m.vm == vm && entered.phase == Phase::releasing &&
            entered.entered_at + healthy_ms > sim.world().loop().wall_now() + clocks)
          return true;
    return false;
  }
  void check(FleetSim& sim, const Fleet& after, const Migration& moving) {
    for (const auto& [id, budget] : after.budgets()) {
      if (!is_about(budget, after.vms().at(moving.vm))) continue;
      std::uint32_t vms = 0, away = 0;
      std::string who;
      for (const auto& [name, vm] : after.vms()) {
        if (!is_about(budget, vm)) continue;
        ++vms;
        const auto* m = after.open_migration_of(name);
        const bool is_moving = m && m->phase != Phase::reserving && m->phase != Phase::releasing;
        const bool has_moved =
            !is_moving && budget.healthy_ms > 0 && moved_lately(sim, after, name, budget.healthy_ms);
        if (!is_moving && !has_moved) continue;
        ++away, who += fmt::format(" {} {}", name, is_moving ? json::name_of(m->phase) : "has just moved");
      }
      const bool too_many = budget.away_max && away > *budget.away_max;
      const bool too_few = budget.present_min && vms - away < *budget.present_min;
      if (too_many || too_few)
        sim.violation("{} begins to move, and with it {} of the {} VMs of budget {} are away:{}", moving.vm,
                      away, vms, id, who);
    }
  }
};

// Whoever gets a worker gets one where the rules of his group let him: counted here anew, by labels, those who move at both ends.
class GroupsHold final : public Checker {
 public:
  void on_commit(FleetSim& sim, const Fleet& before, const Fleet& after) override {
    for (const auto& [id, vm] : after.vms()) {
      const auto* old = before.find(id);
      if (vm.spec.group && vm.worker && !(old && old->worker)) check(sim, after, vm, *vm.worker);
    }
    for (const auto& id : after.open_migrations()) {
      const auto& m = after.migrations().at(id);
      const auto* vm = after.find(m.vm);
      if (!before.find(id) && vm && vm->spec.group) check(sim, after, *vm, m.target);
    }
  }

 private:
  static std::string place_of(const Fleet& fleet, const WorkerId& id, DomainLevel level) {
    const auto* worker = fleet.find(id);
    if (level == DomainLevel::worker || !worker) return id.value;
    std::string place;
    for (const auto* label : {"region", "zone", "rack"}) {
      auto found = worker->labels.find(label);
      place += "/" + (found == worker->labels.end() ? "" : found->second);
      if (label == json::name_of(level)) break;
    }
    return place;
  }
  static void check(FleetSim& sim, const Fleet& after, const Vm& placed, const WorkerId& worker) {
    const auto* group = after.find(*placed.spec.group);
    if (!group) return sim.violation("{} is in group {}, which is not there", placed.id, *placed.spec.group);
    for (const auto& apart : group->apart) {
      std::uint32_t others = 0;
      for (const auto& [id, vm] : after.vms()) {
        if (id == placed.id || vm.spec.group != placed.spec.group) continue;
        std::set<WorkerId> ends;
        if (vm.worker) ends.insert(*vm.worker);
        if (const auto* m = after.open_migration_of(id)) ends.insert({m->source, m->target});
        others += std::ranges::any_of(ends, [&](const WorkerId& end) {
          return place_of(after, end, apart.level) == place_of(after, worker, apart.level);
        });
      }
      if (others >= apart.most)
        sim.violation("{} gets {}, whose {} has {} others of group {} already", placed.id, worker,
                      json::name_of(apart.level), others, group->id);
    }
  }
};

// Nothing is taken from a silent worker while many are silent that have something, unless an operator says that they are dead.
class BrakeHolds final : public Checker {
 public:
  void on_commit(FleetSim& sim, const Fleet& before, const Fleet& after) override {
    for (const auto& id : after.open_migrations()) {
      const auto& m = after.migrations().at(id);
      const auto* old = before.find(id);
      if (!old || is_past_no_return(old->phase) || !is_past_no_return(m.phase) || !m.source_dead) continue;
      const auto* drain = m.drain ? before.find(*m.drain) : nullptr;
      if (drain && !drain->options.many_dead.value_or(false)) check(sim, before, m);
    }
  }

 private:
  static void check(FleetSim& sim, const Fleet& before, const Migration& m) {
    std::size_t silent = 0, all = 0;
    for (const auto& [id, worker] : before.workers()) {
      const bool has_something = !before.vms_owned_by(id).empty() || !before.open_migrations_at(id).empty();
      const bool is_silent = sim.seen().is_silent(id);
      all += has_something || !is_silent, silent += has_something && is_silent;
    }
    if (silent > std::max<std::size_t>(1, all / 5))
      sim.violation("{} is taken from {} as from a dead worker, and {} of {} are silent", m.vm, m.source,
                    silent, all);
  }
};

}  // namespace

std::vector<std::unique_ptr<Checker>> limit_checkers() {
  std::vector<std::unique_ptr<Checker>> all;
  all.push_back(std::make_unique<HoldsReceiveNothing>());
  all.push_back(std::make_unique<CapacityHolds>());
  all.push_back(std::make_unique<LimitsHold>());
  all.push_back(std::make_unique<BudgetsHold>());
  all.push_back(std::make_unique<GroupsHold>());
  all.push_back(std::make_unique<BrakeHolds>());
  return all;
}

}  // namespace ebb::fleet_sim
