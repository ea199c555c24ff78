#include "planning/fleet_plan.h"

#include <algorithm>

#include "base/sha256.h"

namespace ebb::planning {
namespace {

using placement::FleetNumbers;
using placement::none;

template <class T>
void add(Sha256& sum, const std::vector<T>& all) {
  static_assert(std::has_unique_object_representations_v<T>);
  const std::array<std::uint64_t, 1> size{all.size()};
  sum.add(std::as_bytes(std::span(size)));
  sum.add(std::as_bytes(std::span(all)));
}

ScheduleInput frame_of(const FleetNumbers& fleet, const placement::Placer& placer,
                       const FleetPlanRequest& request) {
  ScheduleInput input;
  input.workers = static_cast<std::uint32_t>(fleet.workers());
  std::vector<bool> is_source(fleet.workers());
  for (const auto worker : request.sources) is_source[worker] = true;
  std::vector<bool> takes;
  for (std::uint32_t worker = 0; worker < fleet.workers(); ++worker) {
    const auto domain = fleet.domain(request.clone_level, worker);
    if (domain >= takes.size()) takes.resize(domain + 1);
    if (!placer.is_closed(worker) && !is_source[worker]) ++input.targets, takes[domain] = true;
  }
  input.domains = static_cast<std::uint32_t>(takes.size());
  input.target_domains = static_cast<std::uint32_t>(std::ranges::count(takes, true));
  input.budgets = request.budgets;
  input.tenant_max = request.tenant_max;
  input.limits = request.limits;
  return input;
}

Job job_of(const FleetNumbers& fleet, const FleetPlanRequest& request, std::uint32_t vm, std::uint32_t from,
           std::uint32_t to) {
  return {.seconds = request.seconds[vm],
          .from = from,
          .to = to,
          .from_domain = fleet.domain(request.clone_level, from),
          .to_domain = fleet.domain(request.clone_level, to),
          .is_clone = request.clone_bytes[vm] > 0,
          .bytes = request.clone_bytes[vm],
          .budget = request.budgets.empty() ? none : fleet.group_of[vm],
          .tenant = request.tenants.empty() ? none : request.tenants[vm]};
}

bool never_moves(const FleetNumbers& fleet, const FleetPlanRequest& request, std::uint32_t vm) {
  const auto group = fleet.group_of[vm];
  if (!request.budgets.empty() && group != none && request.budgets[group].away_max == 0) return true;
  return !request.tenants.empty() && request.tenants[vm] != none &&
         request.tenant_max[request.tenants[vm]] == 0;
}

}  // namespace

std::string state_of(const FleetNumbers& fleet) {
  Sha256 sum;
  for (const auto& kind : fleet.kinds)
    sum.add(std::as_bytes(std::span(kind.capacity))), add(sum, std::vector{kind.features});
  for (const auto& shape : fleet.shapes)
    sum.add(std::as_bytes(std::span(shape.needs))), add(sum, std::vector{shape.features});
  add(sum, fleet.kind_of), add(sum, fleet.shape_of), add(sum, fleet.group_of), add(sum, fleet.worker_of);
  for (const auto& level : fleet.domains) add(sum, level);
  std::vector<std::uint8_t> closed(fleet.is_closed.begin(), fleet.is_closed.end());
  add(sum, closed);
  for (const auto& group : fleet.groups) {
    add(sum, std::vector(group.apart.begin(), group.apart.end()));
    add(sum, std::vector{group.together});
  }
  add(sum, std::vector<std::uint64_t>{fleet.dimensions});
  return sum.hex();
}

FleetPlan plan_fleet(const FleetNumbers& fleet, placement::Placer* placer, const FleetPlanRequest& request,
                     std::string state, Order order) {
  CHECK(request.clone_level <= fleet.domains.size());
  FleetPlan plan;
  plan.state = std::move(state);
  // What has to leave, wherever to, bounds the makespan; a target should not need longer for what comes.
  auto leaving = frame_of(fleet, *placer, request);
  const auto vms = placement::leaving(*placer, request.sources);
  leaving.jobs.reserve(vms.size());
  for (const auto vm : vms)
    leaving.jobs.push_back(job_of(fleet, request, vm, placer->at(vm), placer->at(vm)));
  const auto expected = makespan_bounds(leaving).front().seconds;

  placement::EvacuationOptions options;
  options.eject_depth = request.eject_depth;
  options.extra_moves_max = request.extra_moves_max;
  options.arrival_seconds_max = expected;
  options.seconds = request.seconds;
  // Nor should room be made at the cost of those whose own moves take longest.
  options.budgets = request.budgets;
  if (!request.tenants.empty()) {
    options.tenants = request.tenants;
    for (const auto slots : request.tenant_max) options.tenant_spare_seconds.push_back(expected * slots);
    for (const auto& job : leaving.jobs)
      if (job.tenant != none) options.tenant_spare_seconds[job.tenant] -= job.seconds;
  }
  // Seldom needed, and a look at every VM.
  if (std::ranges::any_of(request.budgets, [](const Budget& budget) { return budget.away_max == 0; }) ||
      std::ranges::find(request.tenant_max, 0u) != request.tenant_max.end())
    for (std::uint32_t vm = 0; vm < fleet.vms(); ++vm)
      options.stays.push_back(never_moves(fleet, request, vm));
  auto found = placement::evacuate(fleet, placer, request.sources, options);

  auto input = std::move(leaving);
  input.jobs.clear();
  for (const auto& move : found.moves)
    if (!move.makes_room) input.jobs.push_back(job_of(fleet, request, move.vm, move.from, move.to));
  plan.bounds = makespan_bounds(input);
  input.jobs.clear();
  input.jobs.reserve(found.moves.size());
  for (const auto& move : found.moves)
    input.jobs.push_back(job_of(fleet, request, move.vm, move.from, move.to));
  input.precedences = std::move(found.precedences);
  const auto times = schedule(input, order);
  plan.rows.reserve(found.moves.size());
  for (std::size_t i = 0; i < found.moves.size(); ++i) {
    const auto& move = found.moves[i];
    plan.rows.push_back({move.vm, move.from, move.to, times.start[i], times.start[i] + input.jobs[i].seconds,
                         times.wave[i], move.makes_room});
  }
  std::ranges::sort(plan.rows, {}, [](const FleetPlan::Row& row) { return std::pair(row.start, row.vm); });
  plan.unplaced = std::move(found.unplaced);
  plan.order = std::move(found.order);
  plan.makespan = times.makespan;
  return plan;
}

}  // namespace ebb::planning
