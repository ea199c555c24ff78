#include "control/loops/drain_loop.h"

#include "control/loops/vm_loop.h"

namespace ebb::control {
namespace {

void end_drain(Drain drain, DrainState state, std::string text, Batch& batch) {
  drain.state = state, drain.ended_at = batch.now();
  batch.put(drain);
  batch.journal(fmt::format("drain.{}", json::name_of(state)), "drains/" + drain.id.value, std::move(text));
}

// Whether nothing but room may be missing since the move was planned.
bool may_still_go(const Fleet& fleet, const Seen& seen, const PlanMove& move) {
  const auto* vm = fleet.find(move.vm);
  const auto* target = fleet.find(move.target);
  return vm && vm->worker == move.source && vm->desired == VmDesired::running && target &&
         seen.is_ready(move.target) && !fleet.is_held(move.target);
}

// In the order of the plan, as much of it as the batch takes. False: the plan is not to be had any more, or more of it is left.
bool reserve(const Fleet& fleet, const Seen& seen, const Drain& drain, const DrainPlan& plan, Batch& batch) {
  std::map<WorkerId, Resources> reserved;  // by this batch, which the fleet does not know yet
  for (const auto& move : plan.moves) {
    if (fleet.open_migration_of(move.vm)) continue;  // by an earlier batch
    if (batch.is_full() || !may_still_go(fleet, seen, move)) return false;
    const auto& vm = fleet.vms().at(move.vm);
    auto& more = reserved[move.target];
    more += footprint(vm.spec);
    const auto room = fleet.workers().at(move.target).capacity.minus(fleet.used_on(move.target));
    if (!more.fits_in(room)) return false;
    begin_migration(batch, vm, move.target, {drain.id, drain.options.source_dead, is_failing(seen, vm)});
  }
  return true;
}

// Nothing has arrived that the plan does not know of.
bool is_about_all(const Fleet& fleet, const Drain& drain, const DrainPlan& plan) {
  std::set<std::string> known;
  for (const auto& move : plan.moves) known.insert("vms/" + move.vm.value);
  for (const auto& blocker : plan.blockers) known.insert(blocker.subject);
  return std::ranges::all_of(drain.workers, [&](const WorkerId& worker) {
    return std::ranges::all_of(drain::to_place(fleet, worker),
                               [&](const VmId& id) { return known.contains("vms/" + id.value); });
  });
}

// The plan is made once, and carried out over as many commits as it takes; anew when something has come between.
void reserve_all(const Fleet& fleet, const Seen& seen, const drain::PaceLimits& limits, const Drain& drain,
                 DrainProgress& progress, Batch& batch) {
  if (!progress.plan) progress.plan = plan_drain(fleet, seen, scope_of(drain), limits, batch.now());
  progress.blockers = progress.plan->blockers;
  // Nothing is touched before everything has a destination, unless the operator said otherwise.
  if (!progress.blockers.empty() && !drain.options.partial) return progress.plan.reset();
  if (!reserve(fleet, seen, drain, *progress.plan, batch)) {
    if (!batch.is_full()) progress.plan.reset();
    return;
  }
  if (!is_about_all(fleet, drain, *progress.plan)) return progress.plan.reset();
  progress.plan.reset();
  auto next = drain;
  next.state = DrainState::running;
  batch.put(next);
  batch.journal(
      "drain.running", "drains/" + drain.id.value,
      fmt::format("{}: everything that can move has a destination", text_of(drain.workers, drain.selector)));
}

}  // namespace

DoneCheck done_check(const Fleet& fleet, const Seen& seen, const Drain& drain,
                     const DrainProgress& progress) {
  auto check = drain::check_done(fleet, seen, drain);
  check.heads_checked = progress.heads_checked, check.heads_attached = progress.heads_attached;
  return check;
}

void hold_workers(const Fleet& fleet, const Drain& drain, Batch& batch) {
  const auto owner = "drain:" + drain.id.value;
  for (const auto& worker : drain.workers) {
    if (batch.is_full()) return;
    const auto holds = fleet.holds_on(worker);
    if (std::ranges::any_of(holds, [&](const Hold* hold) { return hold->owner == owner; })) continue;
    // The holds of earlier drains of this worker have served: this one's takes their place.
    for (const auto* hold : holds)
      if (hold->owner.starts_with("drain:")) batch.erase(*hold);
    batch.put(Hold{HoldId(batch.mint_id("hold")), worker, owner, drain.reason, batch.now(), std::nullopt});
  }
}

void release_holds(const Fleet& fleet, const Drain& drain, Batch& batch) {
  for (const auto& worker : drain.workers) {
    for (const auto* hold : fleet.holds_on(worker)) {
      if (batch.is_full()) return;
      if (hold->owner == "drain:" + drain.id.value) batch.erase(*hold);
    }
  }
}

void step_drain(const Fleet& fleet, const Seen& seen, const drain::PaceLimits& limits, const Drain& drain,
                DrainProgress& progress, Batch& batch) {
  if (is_ended(drain.state)) return;
  // All of them first: nothing may be placed on one while another one is emptied.
  hold_workers(fleet, drain, batch);
  if (!batch.empty() || drain.state == DrainState::paused) return;
  if (drain.state == DrainState::reserving) return reserve_all(fleet, seen, limits, drain, progress, batch);
  progress.blockers.clear();
  const auto has_leaving = [&](const WorkerId& worker) { return !drain::to_place(fleet, worker).empty(); };
  if (std::ranges::any_of(drain.workers, has_leaving)) {
    const auto plan = plan_drain(fleet, seen, scope_of(drain), limits, batch.now());
    progress.blockers = plan.blockers;
    reserve(fleet, seen, drain, plan, batch);
    if (!batch.empty()) return;
  }
  const auto owns = [&](const WorkerId& worker) { return !fleet.vms_owned_by(worker).empty(); };
  if (std::ranges::any_of(drain.workers, owns)) return;  // the rest need not be asked
  const auto check = done_check(fleet, seen, drain, progress);
  if (drain::is_done(fleet, seen, drain, check)) {
    const auto who = text_of(drain.workers, drain.selector);
    end_drain(drain, DrainState::done,
              check.is_silent
                  ? fmt::format("nothing is owned by {} any more; declared dead, so what runs there "
                                "could not be checked",
                                who)
                  : fmt::format("{}: empty, no VM, no disk, no export, no debt", who),
              batch);
  }
}

std::vector<DiskId> disks_to_confirm(const Fleet& fleet, const Drain& drain) {
  std::set<DiskId> disks;
  for (const auto& [id, m] : fleet.migrations()) {
    if (m.drain != drain.id && !drain.is_of(m.source)) continue;
    const auto* vm = fleet.find(m.vm);
    if (!vm) continue;
    for (const auto* disk : fleet.disks_of(*vm)) disks.insert(disk->id);
  }
  // And what the workers write logs into that they came back with.
  for (const auto& worker : drain.workers) {
    const auto& rescues = fleet.rescues_at(worker);
    disks.insert(rescues.begin(), rescues.end());
  }
  return {disks.begin(), disks.end()};
}

}  // namespace ebb::control
