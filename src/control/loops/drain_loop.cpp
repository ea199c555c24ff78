#include "control/loops/drain_loop.h"

#include "control/loops/candidates.h"
#include "control/loops/vm_loop.h"
#include "drain/loss_explain.h"

namespace ebb::control {
namespace {

std::vector<drain::Placed> choose_targets(const Fleet& fleet, const Seen& seen, const WorkerId& worker,
                                          const std::optional<DrainId>& drain, WallMs now) {
  std::vector<placement::Request> requests;
  for (const auto& id : drain::to_place(fleet, worker)) {
    auto excluded =
        drain ? drain::rejected_targets(fleet, *drain, id, now) : std::map<WorkerId, std::string>{};
    requests.push_back(request_for(fleet, fleet.vms().at(id), std::move(excluded)));
  }
  auto workers = candidates(fleet, seen);
  // The drained worker itself is no candidate, and needs no line among the refusals.
  std::erase_if(workers, [&](const auto& c) { return c.worker == worker; });
  std::vector<drain::Placed> placed;
  for (auto& choice : placement::place(std::move(workers), std::move(requests))) {
    placed.push_back({choice.vm, choice.worker, placement::describe(choice.refusals)});
  }
  return placed;
}

void end_drain(Drain drain, DrainState state, std::string text, Batch& batch) {
  drain.state = state, drain.ended_at = batch.now();
  batch.put(drain);
  batch.journal(fmt::format("drain.{}", json::name_of(state)), "drains/" + drain.id.value, std::move(text));
}

// Whether a reservation was left for a later commit.
bool reserve(const Fleet& fleet, const Seen& seen, const Drain& drain, const DrainPlan& plan, Batch& batch) {
  for (const auto& move : plan.moves) {
    if (batch.is_full()) return true;
    const auto& vm = *fleet.find(move.vm);
    begin_migration(batch, vm, move.target, {drain.id, drain.options.source_dead, is_failing(seen, vm)});
  }
  return false;
}

}  // namespace

DrainPlan plan_drain(const Fleet& fleet, const Seen& seen, const WorkerId& worker,
                     const DrainOptions& options, const std::optional<DrainId>& drain, WallMs now) {
  auto plan = drain::make_plan(fleet, worker, options, choose_targets(fleet, seen, worker, drain, now),
                               drain::measure(fleet));
  if (options.source_dead) plan.losses = drain::losses_at(fleet, seen, worker);
  return plan;
}

DoneCheck done_check(const Fleet& fleet, const Seen& seen, const Drain& drain,
                     const DrainProgress& progress) {
  auto check = drain::check_done(fleet, seen, drain);
  check.heads_checked = progress.heads_checked, check.heads_attached = progress.heads_attached;
  return check;
}

void step_drain(const Fleet& fleet, const Seen& seen, const Drain& drain, DrainProgress& progress,
                Batch& batch) {
  if (is_ended(drain.state)) return;
  auto plan = plan_drain(fleet, seen, drain.worker, drain.options, drain.id, batch.now());
  progress.blockers = plan.blockers;
  if (drain.state == DrainState::reserving) {
    // Nothing is touched before everything has a destination, unless the operator said otherwise.
    if (!plan.blockers.empty() && !drain.options.partial) return;
    if (reserve(fleet, seen, drain, plan, batch)) return;
    auto next = drain;
    next.state = DrainState::running;
    batch.put(next);
    batch.journal("drain.running", "drains/" + drain.id.value,
                  fmt::format("{} has a destination for everything that can move", drain.worker));
    return;
  }
  reserve(fleet, seen, drain, plan, batch);
  if (!batch.empty()) return;
  const auto check = done_check(fleet, seen, drain, progress);
  if (drain::is_done(drain, check)) {
    end_drain(
        drain, DrainState::done,
        check.is_silent
            ? fmt::format(
                  "{} owns nothing any more; it was declared dead, so its own processes could not be checked",
                  drain.worker)
            : fmt::format("{} is empty: no VM, no disk, no export, no debt", drain.worker),
        batch);
  }
}

std::vector<DiskId> disks_to_confirm(const Fleet& fleet, const Drain& drain) {
  std::set<DiskId> disks;
  for (const auto& [id, m] : fleet.migrations()) {
    if (m.drain != drain.id && m.source != drain.worker) continue;
    const auto* vm = fleet.find(m.vm);
    if (!vm) continue;
    for (const auto* disk : fleet.disks_of(*vm)) disks.insert(disk->id);
  }
  // And what the worker writes logs into that it came back with.
  const auto& rescues = fleet.rescues_at(drain.worker);
  disks.insert(rescues.begin(), rescues.end());
  return {disks.begin(), disks.end()};
}

}  // namespace ebb::control
