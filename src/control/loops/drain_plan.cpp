#include "control/loops/drain_plan.h"

#include "base/text.h"
#include "control/loops/targets.h"
#include "drain/loss_explain.h"
#include "planning/schedule.h"

namespace ebb::control {
namespace {

// Why a VM may not move again so soon; empty: it may.
std::string why_rests(const Fleet& fleet, const Seen& seen, const DrainScope& scope,
                      const drain::PaceLimits& limits, const VmId& id, WallMs now) {
  const auto& vm = fleet.at(id);
  if (scope.terms.options.source_dead || scope.terms.is_forced || drain::is_down(fleet, seen, vm)) return "";
  return drain::why_not_again(vm, limits, now);
}

// Whom nothing keeps from moving once more, although he need not. Of a snapshot: it is asked about many.
class MakersOfRoom {
 public:
  MakersOfRoom(const Fleet& fleet, const Seen& seen, const DrainScope& scope, const drain::PaceLimits& limits,
               WallMs now)
      : fleet_(fleet), seen_(seen), limits_(limits), now_(now) {
    for (const auto& [id, budget] : fleet.budgets())
      if (drain::away_max(fleet, budget) == 0) rigid_.push_back(&budget);
    // Those that this drain has asked, and that came up nowhere.
    for (const auto& [id, m] : fleet.migrations())
      if (scope.drain && m.drain == scope.drain && !m.rejected.empty() &&
          m.history.back().entered_at + drain::rejected_for_ms > now)
        failed_.insert(m.vm);
  }
  bool may(const Vm& vm) const {
    if (vm.spec.restart == Restart::never || failed_.contains(vm.id) || drain::is_down(fleet_, seen_, vm))
      return false;
    return drain::why_not_again(vm, limits_, now_).empty() &&
           std::ranges::none_of(
               rigid_, [&](const Budget* budget) { return has_labels(vm.spec.labels, budget->selector); });
  }

 private:
  const Fleet& fleet_;
  const Seen& seen_;
  const drain::PaceLimits& limits_;
  WallMs now_;
  std::vector<const Budget*> rigid_;
  std::set<VmId> failed_;
};

// VMs that may not move again so soon are left out.
std::vector<drain::Placed> place_leaving(const Fleet& fleet, const Seen& seen, const DrainScope& scope,
                                         const drain::PaceLimits& limits, const drain::Eta& eta, WallMs now) {
  std::vector<Leaving> leaving;
  for (const auto& worker : scope.workers) {
    for (const auto& id : drain::to_place(fleet, worker, scope.terms)) {
      if (!why_rests(fleet, seen, scope, limits, id, now).empty()) continue;
      Leaving one{id};
      if (scope.drain) one.excluded = drain::rejected_targets(fleet, *scope.drain, id, now);
      one.seconds = 1 + eta.of(drain::mechanism_for(fleet.at(id))).total_ms() / 1000;
      leaving.push_back(std::move(one));
    }
  }
  MayMakeRoom may_move;
  std::optional<MakersOfRoom> makers;  // once they are asked for
  if (scope.terms.options.make_room.value_or(true))
    may_move = [&](const Vm& vm) {
      if (!makers) makers.emplace(fleet, seen, scope, limits, now);
      return makers->may(vm);
    };
  return choose_targets(fleet, seen, scope.workers, std::move(leaving), scope.terms.options.parallel_max,
                        may_move);
}

// Indexes for names, in the order in which they are met.
template <class Key>
class Numbered {
 public:
  std::uint32_t of(const Key& key) {
    return index_.try_emplace(key, static_cast<std::uint32_t>(index_.size())).first->second;
  }
  std::uint32_t size() const { return static_cast<std::uint32_t>(index_.size()); }

 private:
  std::map<Key, std::uint32_t> index_;
};

// The tightest of a VM's budgets; null: none.
const Budget* tightest(const Fleet& fleet, const Vm& vm) {
  const Budget* found = nullptr;
  std::uint32_t least = 0;
  for (const auto* budget : fleet.budgets_of(vm)) {
    const auto max = drain::away_max(fleet, *budget);
    if (!found || max < least) found = budget, least = max;
  }
  return found;
}

planning::ScheduleInput schedule_input(const Fleet& fleet, const Seen& seen,
                                       const std::vector<PlanMove>& moves, const drain::Terms& terms,
                                       const drain::PaceLimits& limits) {
  const auto& options = terms.options;
  planning::ScheduleInput in;
  Numbered<WorkerId> workers;
  Numbered<BudgetId> budgets;
  Numbered<std::string> tenants;
  for (const auto& move : moves) {
    planning::Job job;
    job.seconds = move.predicted_total_ms / 1000.0;
    job.from = workers.of(move.source), job.to = workers.of(move.target);
    const auto* vm = fleet.find(move.vm);
    const bool is_let = options.source_dead || terms.is_forced || (vm && drain::is_down(fleet, seen, *vm));
    if (const auto* budget = vm && !is_let ? tightest(fleet, *vm) : nullptr) {
      job.budget = budgets.of(budget->id);
      if (job.budget == in.budgets.size())
        in.budgets.push_back({drain::away_max(fleet, *budget), budget->healthy_ms / 1000.0});
    }
    if (vm && !is_let && vm->spec.tenant) {
      job.tenant = tenants.of(*vm->spec.tenant);
      if (job.tenant == in.tenant_max.size())
        in.tenant_max.push_back(drain::tenant_moves_max(limits, fleet.vms_of_tenant(*vm->spec.tenant)));
    }
    in.jobs.push_back(job);
  }
  std::map<VmId, std::uint32_t> job_of;
  for (std::uint32_t i = 0; i < moves.size(); ++i) {
    for (const auto& vm : moves[i].after)
      if (auto found = job_of.find(vm); found != job_of.end()) in.precedences.push_back({i, found->second});
    job_of[moves[i].vm] = i;
  }
  in.workers = workers.size(), in.domains = 1, in.target_domains = 1;
  if (moves.empty()) return in;
  for (const auto& [id, worker] : fleet.workers()) in.targets += seen.is_ready(id) && !fleet.is_held(id);
  in.limits.per_source = options.parallel_max, in.limits.per_target = options.per_target_max;
  return in;
}

std::uint32_t ms_of(double seconds) {
  constexpr double most = 4'000'000;  // 46 days: whatever takes longer takes as long
  return static_cast<std::uint32_t>(std::clamp(seconds, 0.0, most) * 1000 + 0.5);
}

// Nobody makes room that nobody takes.
void drop_needless(std::vector<PlanMove>& moves) {
  for (std::size_t before = moves.size() + 1; moves.size() < before;) {
    before = moves.size();
    std::set<VmId> needed;
    for (const auto& move : moves) needed.insert(move.after.begin(), move.after.end());
    std::erase_if(moves, [&](const PlanMove& move) { return move.makes_room && !needed.contains(move.vm); });
  }
}

// Moves in the order in which they start; those that never can become blockers.
void schedule_moves(const Fleet& fleet, const Seen& seen, const DrainScope& scope,
                    const drain::PaceLimits& limits, DrainPlan& plan) {
  const auto input = schedule_input(fleet, seen, plan.moves, scope.terms, limits);
  const auto schedule = planning::schedule(input);
  std::vector<PlanMove> moves;
  for (std::size_t i = 0; i < plan.moves.size(); ++i) {
    auto& move = plan.moves[i];
    if (schedule.start[i] < 0) {
      const auto* budget = tightest(fleet, fleet.at(move.vm));
      plan.blockers.push_back(
          {"vms/" + move.vm.value,
           budget ? drain::why_impossible(fleet, *budget) : "its tenant may have no moves", "operator",
           budget ? fmt::format("change the budget: ebb budgets set {}", budget->id)
                  : "raise tenant_min in [moves] of the control plane"});
    }
    if (schedule.start[i] < 0) continue;
    move.starts_ms = ms_of(schedule.start[i]), move.wave = schedule.wave[i];
    moves.push_back(std::move(move));
  }
  drop_needless(moves);
  std::ranges::sort(moves, {}, [](const PlanMove& m) { return std::tie(m.starts_ms, m.order); });
  for (std::size_t i = 0; i < moves.size(); ++i) moves[i].order = static_cast<std::uint32_t>(i + 1);
  plan.moves = std::move(moves);
  plan.eta_ms = ms_of(schedule.makespan);
  for (const auto& bound : planning::makespan_bounds(input))
    if (bound.seconds > 0) plan.bounds.push_back({bound.name, ms_of(bound.seconds)});
}

void add_resting(const Fleet& fleet, const Seen& seen, const DrainScope& scope,
                 const drain::PaceLimits& limits, WallMs now, DrainPlan& plan) {
  for (const auto& worker : scope.workers)
    for (const auto& id : drain::to_place(fleet, worker, scope.terms))
      if (auto why = why_rests(fleet, seen, scope, limits, id, now); !why.empty())
        plan.blockers.push_back(
            {"vms/" + id.value, std::move(why), "operator",
             fmt::format("move it by hand: ebb migrate {}; or raise vm_max in [moves] of the "
                         "control plane; or drain with --partial to move the others",
                         id)});
}

// Workers that nothing may be taken from while so many are silent.
void add_brake(const Fleet& fleet, const Seen& seen, const DrainScope& scope, const drain::PaceLimits& limits,
               DrainPlan& plan) {
  if (!scope.terms.options.source_dead || scope.terms.options.many_dead.value_or(false)) return;
  drain::Brake brake(fleet, seen, limits.brake);
  for (const auto& worker : scope.workers) {
    if (seen.is_ready(worker)) continue;
    if (auto why = brake.why_not(worker); !why.empty())
      plan.blockers.push_back({"workers/" + worker.value, why, brake.owner(), brake.remedy(scope.workers)});
  }
}

void add_finishing(const Fleet& fleet, const DrainScope& scope, DrainPlan& plan) {
  const auto& options = scope.terms.options;
  const auto until = options.at_deadline == AtDeadline::force ? options.deadline_ms : std::nullopt;
  for (const auto& worker : scope.workers)
    for (auto& vm : drain::finishing_on(fleet, worker, scope.terms))
      plan.finishing.push_back({std::move(vm), worker, until});
}

std::string critical_path(const DrainPlan& plan, const DrainOptions& options) {
  if (plan.moves.empty()) return "";
  auto end = [](const PlanMove& m) { return std::uint64_t{m.starts_ms} + m.predicted_total_ms; };
  const auto& last = *std::ranges::max_element(plan.moves, {}, end);
  auto text = fmt::format("{} move{}, {} at a time from one worker and {} into one; {} to {} ends last",
                          plan.moves.size(), plan.moves.size() == 1 ? "" : "s", options.parallel_max,
                          options.per_target_max, last.vm, last.target);
  if (!plan.bounds.empty())
    text += fmt::format("; it cannot take less than {}: {}",
                        format_duration(std::chrono::milliseconds(plan.bounds.front().ms)),
                        plan.bounds.front().name);
  return text;
}

}  // namespace

DrainScope scope_of(const Drain& drain) {
  return {drain.workers, drain.selector, drain::terms_of(drain), drain.id};
}

DrainPlan plan_drain(const Fleet& fleet, const Seen& seen, const DrainScope& scope,
                     const drain::PaceLimits& limits, WallMs now) {
  const auto eta = drain::measure(fleet);
  auto plan =
      drain::make_plan(fleet, scope.workers, place_leaving(fleet, seen, scope, limits, eta, now), eta);
  plan.selector = scope.selector;
  add_resting(fleet, seen, scope, limits, now, plan);
  schedule_moves(fleet, seen, scope, limits, plan);
  add_brake(fleet, seen, scope, limits, plan);
  add_finishing(fleet, scope, plan);
  plan.critical_path = critical_path(plan, scope.terms.options);
  if (scope.terms.options.source_dead) {
    for (const auto& worker : scope.workers)
      std::ranges::move(drain::losses_at(fleet, seen, worker), std::back_inserter(plan.losses));
  }
  return plan;
}

std::uint32_t time_left_ms(const Fleet& fleet, const Seen& seen, const std::vector<PlanMove>& moves,
                           const drain::Terms& terms, const drain::PaceLimits& limits) {
  const auto input = schedule_input(fleet, seen, moves, terms, limits);
  return ms_of(planning::schedule(input, planning::Order::first_in_first_out).makespan);
}

}  // namespace ebb::control
