#include "control/loops/drain_undo.h"

#include "control/limits.h"
#include "control/loops/candidates.h"
#include "control/loops/drain_loop.h"
#include "control/loops/vm_loop.h"

namespace ebb::control {
namespace {

// What a drain did to one VM.
struct Moved {
  WorkerId home;                       // where it was
  std::optional<WorkerId> to;          // where its last move that went on took it
  const Migration* refused = nullptr;  // the move back that ended because it does not come up at home
  std::size_t turned_back = 0;         // moves back that came to nothing
};
constexpr std::size_t tries_max = 5;

std::map<VmId, Moved> moved_by(const Fleet& fleet, const Drain& drain) {
  std::vector<const Migration*> moves;
  for (const auto& [id, m] : fleet.migrations())
    if (m.drain == drain.id) moves.push_back(&m);
  std::ranges::sort(moves, [](auto* a, auto* b) { return minted_before(a->id.value, b->id.value); });
  std::map<VmId, Moved> moved;
  for (const auto* m : moves) {
    if (drain.is_of(m->source)) moved.try_emplace(m->vm, Moved{m->source, {}});
    auto found = moved.find(m->vm);
    if (found == moved.end()) continue;
    auto& one = found->second;
    if (is_past_no_return(m->phase)) one.to = m->target;
    if (m->target != one.home) continue;
    if (!m->rejected.empty()) one.refused = m;
    one.turned_back += m->phase == Phase::aborted;
  }
  return moved;
}

// Why it stays where it is, whatever its old worker says; empty: it may go back. nullopt: there is nothing to bring back.
std::optional<std::string> why_stays(const Seen& seen, const Vm& vm, const Moved& moved) {
  if (vm.worker == moved.home || !moved.to || vm.desired == VmDesired::absent) return std::nullopt;
  if (vm.desired != VmDesired::running || !vm.worker)
    return "it shall not run any more: what is stopped is not moved";
  if (vm.worker != moved.to) return fmt::format("it has gone on to {} since", *vm.worker);
  if (moved.refused) return fmt::format("{} could not start it: {}", moved.home, moved.refused->last_error);
  if (moved.turned_back >= tries_max)
    return fmt::format("its move to {} has come to nothing {} times", moved.home, moved.turned_back);
  if (!seen.is_ready(*vm.worker)) return fmt::format("{} does not answer", *vm.worker);
  return "";
}

std::string summary(const Fleet& fleet, const Drain& drain, const DrainPlan& plan) {
  std::size_t back = 0;
  for (const auto& [id, m] : fleet.migrations())
    back += m.drain == drain.id && m.phase == Phase::done && drain.is_of(m.target) && m.rejected.empty();
  auto text = fmt::format("{} VM{} went back", back, back == 1 ? "" : "s");
  for (const auto& blocker : plan.blockers)
    text +=
        fmt::format("; {} stays: {}", blocker.subject.substr(blocker.subject.find('/') + 1), blocker.reason);
  return shortened(std::move(text), reason_bytes_max);
}

}  // namespace

DrainPlan plan_undo(const Fleet& fleet, const Seen& seen, const Drain& drain) {
  DrainPlan plan;
  plan.workers = drain.workers, plan.selector = drain.selector;
  const auto eta = drain::measure(fleet);
  std::map<WorkerId, placement::Candidate> homes;
  for (auto& candidate : candidates(fleet, seen))
    if (drain.is_of(candidate.worker->id)) homes.emplace(candidate.worker->id, std::move(candidate));
  // The drain's own hold goes first.
  for (auto& [id, home] : homes) {
    const auto holds = fleet.holds_on(id);
    const bool is_ours_alone =
        std::ranges::all_of(holds, [&](const Hold* hold) { return hold->owner == hold_owner(drain); });
    if (is_ours_alone && seen.is_ready(id)) home.refusal.clear();
  }
  std::map<GroupId, std::vector<placement::Stand>> going;
  const auto all_moved = moved_by(fleet, drain);
  const auto goes_back = [&](const placement::Stand& stand) {
    const auto found = all_moved.find(stand.vm);
    const auto* vm = found == all_moved.end() ? nullptr : fleet.find(stand.vm);
    return vm && stand.at[0] != found->second.home.value && why_stays(seen, *vm, found->second) == "";
  };
  for (const auto& [id, moved] : all_moved) {
    const auto* vm = fleet.find(id);
    if (!vm || fleet.open_migration_of(id)) continue;  // it is on its way, and is looked at after that
    auto why = why_stays(seen, *vm, moved);
    if (!why) continue;
    auto home = homes.find(moved.home);
    if (why->empty() && home == homes.end()) why = fmt::format("{} is not there any more", moved.home);
    if (why->empty()) {
      auto request = request_for(fleet, *vm, {});
      for (auto& stand : request.stands) stand.is_leaving |= goes_back(stand);  // nobody stays near those
      if (request.group) std::ranges::copy(going[request.group->id], std::back_inserter(request.stands));
      const auto choice = placement::place({home->second}, {request})[0];
      if (!choice.worker) why = placement::describe(choice.refusals);
      if (choice.worker) home->second.used += request.needs;
      if (choice.worker && request.group)
        going[request.group->id].push_back({id, domains_of(*home->second.worker)});
    }
    if (!why->empty()) {
      plan.blockers.push_back({"vms/" + id.value, *why, "operator",
                               vm->desired == VmDesired::running && vm->worker
                                   ? fmt::format("move it by hand: ebb migrate {} --to {}", id, moved.home)
                                   : fmt::format("start it: ebb start {}", id)});
      continue;
    }
    PlanMove move{id, drain::mechanism_for(*vm), *vm->worker, moved.home};
    move.order = static_cast<std::uint32_t>(plan.moves.size() + 1);
    move.predicted_interruption_ms = eta.of(move.mechanism).interruption_ms();
    move.predicted_total_ms = eta.of(move.mechanism).total_ms();
    plan.moves.push_back(std::move(move));
  }
  return plan;
}

void step_undo(const Fleet& fleet, const Seen& seen, const Drain& drain, Batch& batch) {
  release_holds(fleet, drain, batch);
  if (!batch.empty()) return;
  const auto plan = plan_undo(fleet, seen, drain);
  for (const auto& move : plan.moves) {
    if (batch.is_full()) return;
    const auto& vm = fleet.at(move.vm);
    begin_migration(batch, vm, move.target, {.drain = drain.id, .was_failing = is_failing(seen, vm)});
  }
  // Whoever moves them: where they are going to be is known after that.
  const auto moved = moved_by(fleet, drain);
  const auto is_moving = [&](const auto& item) { return fleet.open_migration_of(item.first) != nullptr; };
  const auto is_ours = [&](const MigrationId& id) { return fleet.at(id).drain == drain.id; };
  if (!batch.empty() || std::ranges::any_of(fleet.open_migrations(), is_ours) ||
      std::ranges::any_of(moved, is_moving))
    return;
  auto next = drain;
  next.state = DrainState::undone, next.ended_at = batch.now(), next.end_reason = summary(fleet, drain, plan);
  batch.put(next);
  batch.journal("drain.undone", "drains/" + drain.id.value, next.end_reason);
}

}  // namespace ebb::control
