#include "drain/drain_planner.h"

#include "base/text.h"

namespace ebb::drain {
namespace {

// VMs that the drain moved, that their target gave up on, and that run nowhere yet: they are not off its hands.
std::uint32_t not_running(const Fleet& fleet, const Seen& seen, const Drain& drain) {
  std::uint32_t count = 0;
  for (const auto& [id, m] : fleet.migrations()) {
    if (m.drain != drain.id || m.phase != Phase::done || m.rejected.empty() ||
        fleet.open_migration_of(m.vm) || m.was_failing.value_or(false))
      continue;
    const auto* vm = fleet.find(m.vm);
    if (!vm || vm->desired != VmDesired::running || vm->worker != m.target || vm->epoch != m.target_epoch)
      continue;
    const auto* said = seen.find(m.target, m.vm);
    if (!said || said->state != VmSeen::running) ++count;
  }
  return count;
}

}  // namespace

Mechanism mechanism_for(const Vm& vm) {
  return vm.disk || vm.data_disks ? Mechanism::pointer : Mechanism::restart;
}

Terms terms_of(const Drain& drain) { return {drain.options, drain.forced_at.has_value()}; }

bool is_left_to_finish(const Vm& vm, const Terms& terms) {
  return vm.spec.restart == Restart::never && terms.options.finish.value_or(true) && !terms.is_forced &&
         !terms.options.source_dead;
}

static std::vector<VmId> at_home(const Fleet& fleet, const WorkerId& worker, const Terms& terms,
                                 bool left_to_finish) {
  std::vector<VmId> ids;
  for (const auto& id : fleet.vms_owned_by(worker)) {
    const auto& vm = fleet.at(id);
    if (vm.test_of == worker && !terms.options.source_dead) continue;  // it goes by itself
    if (vm.desired == VmDesired::running && !fleet.open_migration_of(id) &&
        is_left_to_finish(vm, terms) == left_to_finish)
      ids.push_back(id);
  }
  return ids;
}

std::vector<VmId> to_place(const Fleet& fleet, const WorkerId& worker, const Terms& terms) {
  return at_home(fleet, worker, terms, false);
}

std::vector<VmId> finishing_on(const Fleet& fleet, const WorkerId& worker, const Terms& terms) {
  return at_home(fleet, worker, terms, true);
}

std::map<WorkerId, std::string> rejected_targets(const Fleet& fleet, const DrainId& drain, const VmId& vm,
                                                 WallMs now) {
  std::map<WorkerId, std::string> rejected;
  for (const auto& id : fleet.migrations_of(vm)) {
    const auto& m = fleet.at(id);
    if (m.drain != drain || m.rejected.empty()) continue;
    auto again_at = m.history.back().entered_at + rejected_for_ms;
    if (again_at <= now) continue;
    for (const auto& target : m.rejected)
      rejected[target] =
          fmt::format("could not start it ({}); is asked again at {}", m.last_error, format_time(again_at));
  }
  return rejected;
}

DrainPlan make_plan(const Fleet& fleet, std::vector<WorkerId> workers, const std::vector<Placed>& placed,
                    const Eta& eta) {
  DrainPlan plan;
  plan.workers = std::move(workers);
  for (const auto& p : placed) {
    const auto* vm = fleet.find(p.vm);
    if (!vm) continue;
    if (!p.target) {
      plan.blockers.push_back(
          {"vms/" + p.vm.value, "no worker can take it: " + p.why_not, "operator",
           "add a worker, release a hold, stop a VM, or drain with --partial to move the others"});
      continue;
    }
    auto mechanism = mechanism_for(*vm);
    const auto& times = eta.of(mechanism);
    PlanMove move{p.vm, mechanism, *vm->worker, *p.target};
    move.makes_room = p.makes_room, move.after = p.after;
    move.order = static_cast<std::uint32_t>(plan.moves.size() + 1);
    move.predicted_interruption_ms = times.interruption_ms(), move.predicted_total_ms = times.total_ms();
    plan.moves.push_back(std::move(move));
  }
  return plan;
}

DoneCheck check_done(const Fleet& fleet, const Seen& seen, const WorkerId& id) {
  DoneCheck check;
  check.vms_owned = static_cast<std::uint32_t>(fleet.vms_owned_by(id).size());
  check.migrations_open = static_cast<std::uint32_t>(fleet.open_migrations_at(id).size());
  check.is_silent = seen.is_silent(id);
  if (const auto* worker = seen.find(id)) {
    const auto& report = worker->report;
    check.machines = report.machines, check.exports = report.exports, check.leases = report.leases;
    check.unsent_logs = report.unsent_logs;
    check.report_fresh = worker->is_current() && report.disk_daemon_up && worker->liveness == Liveness::ready;
  }
  return check;
}

DoneCheck check_done(const Fleet& fleet, const Seen& seen, const Drain& drain) {
  DoneCheck sum;
  sum.report_fresh = true;
  for (const auto& worker : drain.workers) {
    const auto one = check_done(fleet, seen, worker);
    sum.vms_owned += one.vms_owned, sum.migrations_open += one.migrations_open;
    sum.machines += one.machines, sum.exports += one.exports, sum.leases += one.leases;
    sum.unsent_logs += one.unsent_logs;
    sum.report_fresh &= one.report_fresh, sum.is_silent |= one.is_silent;
  }
  for (const auto& open : fleet.open_migrations()) {
    const auto& m = fleet.at(open);
    // A VM that its first target could not boot is on its way to a second one, and still this drain's
    // business.
    if (m.drain == drain.id && !drain.is_of(m.source) && !drain.is_of(m.target)) ++sum.migrations_open;
  }
  sum.not_running = not_running(fleet, seen, drain);
  return sum;
}

bool is_empty(const Drain& drain, const DoneCheck& check) {
  // One that was declared dead and is back runs what it is told, like any other.
  if (drain.options.source_dead && check.is_silent) return check.vms_owned + check.migrations_open == 0;
  return check.report_fresh && check.all_zero();
}

bool is_done(const Fleet& fleet, const Seen& seen, const Drain& drain, const DoneCheck& check) {
  return check.heads_checked &&
         check.vms_owned + check.migrations_open + check.heads_attached + check.not_running == 0 &&
         std::ranges::all_of(drain.workers, [&](const WorkerId& worker) {
           return is_empty(drain, check_done(fleet, seen, worker));
         });
}

}  // namespace ebb::drain
