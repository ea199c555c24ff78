#include "control/loops/drain_plan.h"

#include "base/text.h"
#include "control/loops/targets.h"
#include "drain/loss_explain.h"
#include "planning/schedule.h"

namespace ebb::control {
namespace {

std::vector<drain::Placed> place_leaving(const Fleet& fleet, const Seen& seen, const DrainScope& scope,
                                         const drain::Eta& eta, WallMs now) {
  std::vector<Leaving> leaving;
  for (const auto& worker : scope.workers) {
    for (const auto& id : drain::to_place(fleet, worker)) {
      Leaving one{id};
      if (scope.drain) one.excluded = drain::rejected_targets(fleet, *scope.drain, id, now);
      one.seconds = 1 + eta.of(drain::mechanism_for(fleet.vms().at(id))).total_ms() / 1000;
      leaving.push_back(std::move(one));
    }
  }
  return choose_targets(fleet, seen, scope.workers, std::move(leaving), scope.options.parallel_max);
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
                                       const std::vector<PlanMove>& moves, const DrainOptions& options,
                                       const drain::PaceLimits& limits) {
  planning::ScheduleInput in;
  Numbered<WorkerId> workers;
  Numbered<BudgetId> budgets;
  Numbered<std::string> tenants;
  for (const auto& move : moves) {
    planning::Job job;
    job.seconds = move.predicted_total_ms / 1000.0;
    job.from = workers.of(move.source), job.to = workers.of(move.target);
    const auto* vm = fleet.find(move.vm);
    const bool is_down = options.source_dead || (vm && drain::is_down(fleet, seen, *vm));
    if (const auto* budget = vm && !is_down ? tightest(fleet, *vm) : nullptr) {
      job.budget = budgets.of(budget->id);
      if (job.budget == in.budgets.size())
        in.budgets.push_back({drain::away_max(fleet, *budget), budget->healthy_ms / 1000.0});
    }
    if (vm && !is_down && vm->spec.tenant) {
      job.tenant = tenants.of(*vm->spec.tenant);
      if (job.tenant == in.tenant_max.size())
        in.tenant_max.push_back(drain::tenant_moves_max(limits, fleet.vms_of_tenant(*vm->spec.tenant)));
    }
    in.jobs.push_back(job);
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

// Moves in the order in which they start; those that never can become blockers.
void schedule_moves(const Fleet& fleet, const Seen& seen, const DrainScope& scope,
                    const drain::PaceLimits& limits, DrainPlan& plan) {
  const auto input = schedule_input(fleet, seen, plan.moves, scope.options, limits);
  const auto schedule = planning::schedule(input);
  std::vector<PlanMove> moves;
  for (std::size_t i = 0; i < plan.moves.size(); ++i) {
    auto& move = plan.moves[i];
    if (schedule.start[i] < 0) {
      const auto* budget = tightest(fleet, fleet.vms().at(move.vm));
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
  std::ranges::sort(moves, {}, [](const PlanMove& m) { return std::tie(m.starts_ms, m.order); });
  for (std::size_t i = 0; i < moves.size(); ++i) moves[i].order = static_cast<std::uint32_t>(i + 1);
  plan.moves = std::move(moves);
  plan.eta_ms = ms_of(schedule.makespan);
  for (const auto& bound : planning::makespan_bounds(input))
    if (bound.seconds > 0) plan.bounds.push_back({bound.name, ms_of(bound.seconds)});
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

DrainScope scope_of(const Drain& drain) { return {drain.workers, drain.selector, drain.options, drain.id}; }

DrainPlan plan_drain(const Fleet& fleet, const Seen& seen, const DrainScope& scope,
                     const drain::PaceLimits& limits, WallMs now) {
  const auto eta = drain::measure(fleet);
  auto plan = drain::make_plan(fleet, scope.workers, place_leaving(fleet, seen, scope, eta, now), eta);
  plan.selector = scope.selector;
  schedule_moves(fleet, seen, scope, limits, plan);
  plan.critical_path = critical_path(plan, scope.options);
  if (scope.options.source_dead) {
    for (const auto& worker : scope.workers)
      std::ranges::move(drain::losses_at(fleet, seen, worker), std::back_inserter(plan.losses));
  }
  return plan;
}

std::uint32_t time_left_ms(const Fleet& fleet, const Seen& seen, const std::vector<PlanMove>& moves,
                           const DrainOptions& options, const drain::PaceLimits& limits) {
  const auto input = schedule_input(fleet, seen, moves, options, limits);
  return ms_of(planning::schedule(input, planning::Order::first_in_first_out).makespan);
}

}  // namespace ebb::control
