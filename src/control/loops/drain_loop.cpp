#include "control/loops/drain_loop.h"

#include "base/text.h"
#include "control/loops/candidates.h"
#include "control/loops/drain_undo.h"
#include "control/loops/vm_loop.h"
#include "model/room_ahead.h"

namespace ebb::control {
namespace {

void end_drain(Drain drain, DrainState state, std::string text, Batch& batch) {
  drain.state = state, drain.ended_at = batch.now();
  if (state == DrainState::failed) drain.end_reason = text;
  batch.put(drain);
  batch.journal(fmt::format("drain.{}", json::name_of(state)), "drains/" + drain.id.value, std::move(text));
}

// Whether nothing but room may be missing since the move was planned. In between, others of its group may have come there, and the
// VM, its group or the worker may have been changed.
bool may_still_go(const Fleet& fleet, const Seen& seen, const PlanMove& move) {
  const auto* vm = fleet.find(move.vm);
  const auto* target = fleet.find(move.target);
  if (!vm || vm->worker != move.source || vm->desired != VmDesired::running || !target ||
      !seen.is_ready(move.target) || fleet.is_held(move.target))
    return false;
  if (!vm->spec.group && !vm->spec.worker_labels && !vm->spec.cpu_features) return true;
  auto request = request_for(fleet, *vm, {});
  request.needs = {};
  return placement::place({{target, {}, {}}}, {std::move(request)})[0].worker.has_value();
}

bool is_about_room(const PlanMove& move) { return move.makes_room || !move.after.empty(); }

// Carries out a plan, batch by batch.
class Reserving {
 public:
  Reserving(const Fleet& fleet, const Seen& seen, const Drain& drain, Batch& batch)
      : fleet_(fleet), seen_(seen), drain_(drain), batch_(batch) {}

  enum class Result { all, more_to_come, plan_is_stale, no_room_made };
  // All moves that are about room, or none: room that is made for somebody who is not there would be in nobody's account. The others
  // in the order of the plan, as many as the batch takes.
  Result run(PlanUnderWay& under_way) {
    const auto& moves = under_way.plan.moves;
    auto& next = under_way.next;
    const auto is_moving = [&](const PlanMove& move) { return fleet_.open_migration_of(move.vm) != nullptr; };
    if (next < under_way.about_room) {
      const std::span about_room(moves.data(), under_way.about_room);
      if (std::ranges::any_of(about_room, is_moving)) return Result::plan_is_stale;
      for (const auto& move : about_room)
        if (!may_still_go(fleet_, seen_, move) || !has_room(move)) return Result::no_room_made;
      while (next < under_way.about_room) begin(moves[next++]);
    }
    for (; next < moves.size(); ++next) {
      if (batch_.is_full()) return Result::more_to_come;
      if (is_moving(moves[next])) continue;  // by somebody's hand
      if (!may_still_go(fleet_, seen_, moves[next]) || !has_room(moves[next])) return Result::plan_is_stale;
      begin(moves[next]);
    }
    return Result::all;
  }

 private:
  // Counts it, too.
  bool has_room(const PlanMove& move) {
    auto& target = arriving_[move.target];
    const auto needs = footprint(fleet_.at(move.vm).spec);
    for (const auto& maker : move.after)
      if (const auto* vm = fleet_.find(maker); vm && vm->worker == move.target)
        target.room.make(maker, footprint(vm->spec));
    if (move.after.empty())
      target.others += needs;
    else
      target.room.take(needs);
    auto used = fleet_.used_on(move.target);
    used += target.others, used += target.room.most();
    return used.fits_in(fleet_.at(move.target).capacity);
  }
  void begin(const PlanMove& move) {
    const auto& vm = fleet_.at(move.vm);
    MigrationReason reason{drain_.id, drain_.options.source_dead && !move.makes_room, is_failing(seen_, vm)};
    for (const auto& maker : move.after)
      if (auto found = begun_.find(maker); found != begun_.end()) reason.after.push_back(found->second);
    begun_[move.vm] = begin_migration(batch_, vm, move.target, std::move(reason)).id;
  }

  // By this batch, which the fleet does not know yet.
  struct Arriving {
    Resources others;
    RoomAhead room;
  };
  const Fleet& fleet_;
  const Seen& seen_;
  const Drain& drain_;
  Batch& batch_;
  std::map<WorkerId, Arriving> arriving_;
  std::map<VmId, MigrationId> begun_;
};

// Records and planner do not agree about room: for a while it is planned without.
constexpr WallMs without_room_ms = 60'000;

// A plan looks at each worker, and takes so long in a large fleet that what fails meanwhile is better planned together. One that
// came to nothing will hardly come to something in the same second.
bool is_too_soon(const Fleet& fleet, const DrainProgress& progress, WallMs now) {
  const auto pause = progress.is_stuck ? 1000 : static_cast<WallMs>(fleet.workers().size() / 100);
  return now >= progress.looked_at && now < progress.looked_at + pause;
}

DrainPlan plan_now(const Fleet& fleet, const Seen& seen, const drain::PaceLimits& limits, const Drain& drain,
                   DrainProgress& progress, WallMs now) {
  progress.looked_at = now, progress.is_stuck = false;
  auto scope = scope_of(drain);
  if (now < progress.without_room_until) scope.terms.options.make_room = false;
  return plan_drain(fleet, seen, scope, limits, now);
}

// Nothing has arrived that the plan does not know of.
bool is_about_all(const Fleet& fleet, const Drain& drain, const DrainPlan& plan) {
  std::set<std::string> known;
  for (const auto& move : plan.moves) known.insert("vms/" + move.vm.value);
  for (const auto& blocker : plan.blockers) known.insert(blocker.subject);
  return std::ranges::all_of(drain.workers, [&](const WorkerId& worker) {
    return std::ranges::all_of(drain::to_place(fleet, worker, drain::terms_of(drain)),
                               [&](const VmId& id) { return known.contains("vms/" + id.value); });
  });
}

// The plan is made once, and carried out over as many commits as it takes; anew when something has come between.
void reserve_all(const Fleet& fleet, const Seen& seen, const drain::PaceLimits& limits, const Drain& drain,
                 DrainProgress& progress, Batch& batch) {
  if (!progress.plan && is_too_soon(fleet, progress, batch.now())) return;
  if (!progress.plan) progress.plan.emplace(plan_now(fleet, seen, limits, drain, progress, batch.now()));
  progress.blockers = progress.plan->plan.blockers;
  // Nothing is touched before everything has a destination, unless the operator said otherwise.
  progress.is_stuck = !progress.blockers.empty() && !drain.options.partial;
  if (progress.is_stuck) return progress.plan.reset();
  const auto done = Reserving(fleet, seen, drain, batch).run(*progress.plan);
  if (done == Reserving::Result::more_to_come) return;
  if (done == Reserving::Result::no_room_made) progress.without_room_until = batch.now() + without_room_ms;
  if (done != Reserving::Result::all) return progress.plan.reset();
  if (!is_about_all(fleet, drain, progress.plan->plan)) return progress.plan.reset();
  progress.plan.reset();
  auto next = drain;
  next.state = DrainState::running;
  batch.put(next);
  batch.journal(
      "drain.running", "drains/" + drain.id.value,
      fmt::format("{}: everything that can move has a destination", text_of(drain.workers, drain.selector)));
}

}  // namespace

PlanUnderWay::PlanUnderWay(DrainPlan made) : plan(std::move(made)) {
  auto moves = std::exchange(plan.moves, {});
  plan.moves.reserve(moves.size());
  std::ranges::copy_if(moves, std::back_inserter(plan.moves), is_about_room);
  about_room = plan.moves.size();
  std::ranges::copy_if(moves, std::back_inserter(plan.moves), std::not_fn(is_about_room));
}

DoneCheck done_check(const Fleet& fleet, const Seen& seen, const Drain& drain,
                     const DrainProgress& progress) {
  auto check = drain::check_done(fleet, seen, drain);
  check.heads_checked = progress.heads_checked, check.heads_attached = progress.heads_attached;
  return check;
}

namespace {
constexpr std::string_view of_drain = "drain:";
}  // namespace

std::string hold_owner(const Drain& drain) { return fmt::format("{}{}", of_drain, drain.id); }

const Drain* drain_of(const Fleet& fleet, const Hold& hold) {
  return hold.owner.starts_with(of_drain) ? fleet.find(DrainId(hold.owner.substr(of_drain.size()))) : nullptr;
}

void hold_workers(const Fleet& fleet, const Drain& drain, Batch& batch) {
  const auto owner = hold_owner(drain);
  for (const auto& worker : drain.workers) {
    if (batch.is_full()) return;
    const auto holds = fleet.holds_on(worker);
    if (std::ranges::any_of(holds, [&](const Hold* hold) { return hold->owner == owner; })) continue;
    // The holds of earlier drains of this worker have served: this one's takes their place.
    for (const auto* hold : holds) {
      const auto* other = drain_of(fleet, *hold);
      if (other && is_ended(other->state) && drain.state != DrainState::scheduled) batch.erase(*hold);
    }
    auto reason = drain.reason;
    if (drain.state == DrainState::scheduled)
      reason =
          fmt::format("due at {}{}{}", format_time(*drain.begins_at), reason.empty() ? "" : ": ", reason);
    batch.put(Hold{HoldId(batch.mint_id("hold")), worker, owner, reason, batch.now(), std::nullopt});
  }
}

void release_holds(const Fleet& fleet, const Drain& drain, Batch& batch) {
  for (const auto& worker : drain.workers) {
    for (const auto* hold : fleet.holds_on(worker)) {
      if (batch.is_full()) return;
      if (hold->owner == hold_owner(drain)) batch.erase(*hold);
    }
  }
}

namespace {

// The workers take nothing new from the horizon on, and are emptied from its time on.
void step_scheduled(const Fleet& fleet, const drain::PaceLimits& limits, const Drain& drain, Batch& batch) {
  const auto begins_at = drain.begins_at.value_or(drain.created_at);
  if (begins_at - limits.horizon_ms > batch.now()) return;
  auto next = drain;
  std::erase_if(next.workers, [&](const WorkerId& id) { return !fleet.find(id); });  // forgotten meanwhile
  if (next.workers.empty())
    return end_drain(drain, DrainState::failed, "none of its workers is there any more", batch);
  hold_workers(fleet, next, batch);
  const auto is_busy = [&](const WorkerId& id) { return fleet.active_drain_of(id) != nullptr; };
  if (!batch.empty() || begins_at > batch.now() || std::ranges::any_of(next.workers, is_busy)) return;
  next.state = DrainState::reserving;
  next.begins_at = batch.now();  // from which its deadline counts
  batch.put(next);
  batch.journal("drain.begun", "drains/" + drain.id.value,
                fmt::format("{}: everything leaves, as was scheduled", text_of(next.workers, next.selector)));
}

// From the deadline on, if that was asked for.
bool force(const Drain& drain, Batch& batch) {
  const auto deadline = drain.deadline_at();
  if (drain.options.at_deadline != AtDeadline::force || drain.forced_at || !deadline ||
      *deadline > batch.now())
    return false;
  auto next = drain;
  next.forced_at = batch.now();
  batch.put(next);
  batch.journal(
      "drain.forced", "drains/" + drain.id.value,
      "its deadline has passed: budgets, limits of tenants and times to stop in do not hold it back");
  return true;
}

}  // namespace

void step_drain(const Fleet& fleet, const Seen& seen, const drain::PaceLimits& limits, const Drain& drain,
                DrainProgress& progress, Batch& batch) {
  if (is_ended(drain.state)) return;
  if (drain.state == DrainState::scheduled) return step_scheduled(fleet, limits, drain, batch);
  if (drain.state == DrainState::undoing) return step_undo(fleet, seen, drain, batch);
  if (force(drain, batch)) return;
  // All of them first: nothing may be placed on one while another one is emptied.
  if (!progress.plan) hold_workers(fleet, drain, batch);
  if (!batch.empty() || drain.state == DrainState::paused) return;
  if (drain.state == DrainState::reserving) return reserve_all(fleet, seen, limits, drain, progress, batch);
  if (!progress.plan && is_too_soon(fleet, progress, batch.now())) return;
  progress.looked_at = batch.now();
  const auto has_leaving = [&](const WorkerId& worker) {
    return !drain::to_place(fleet, worker, drain::terms_of(drain)).empty();
  };
  if (std::ranges::any_of(drain.workers, has_leaving)) {
    if (!progress.plan) progress.plan.emplace(plan_now(fleet, seen, limits, drain, progress, batch.now()));
    progress.blockers = progress.plan->plan.blockers;
    const auto reserved = Reserving(fleet, seen, drain, batch).run(*progress.plan);
    if (reserved == Reserving::Result::no_room_made)
      progress.without_room_until = batch.now() + without_room_ms;
    if (reserved != Reserving::Result::more_to_come) progress.plan.reset();
    progress.is_stuck = batch.empty();
    if (!batch.empty()) return;
  } else {
    progress.blockers.clear(), progress.plan.reset(), progress.is_stuck = false;
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
