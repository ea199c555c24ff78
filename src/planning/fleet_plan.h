// A plan for many workers at once, in numbers: where everything on them goes, in which order, when, and what that is bound by.
#pragma once
#include "planning/schedule.h"

namespace ebb::planning {

struct FleetPlanRequest {
  std::vector<placement::WorkerIndex> sources;
  // By VM.
  std::span<const float> seconds;          // that its move takes
  std::span<const float> clone_bytes;      // that go from worker to worker; 0: it moves without
  std::span<const std::uint32_t> tenants;  // empty: no limits by tenant
  std::vector<std::uint32_t> tenant_max;   // by tenant
  std::vector<Budget> budgets;             // by group; empty: none
  std::size_t clone_level = 1;             // of the domains that MoveLimits::clones_per_domain is about
  MoveLimits limits;
  unsigned eject_depth = 2;
  double extra_moves_max = 0.1;
};

struct FleetPlan {
  struct Row {
    placement::VmIndex vm;
    placement::WorkerIndex from, to;
    double start, end;   // seconds after the plan begins; start below 0: never, a budget is 0
    std::uint32_t wave;  // one more than that of the move which it waited for
    bool makes_room;
  };
  std::vector<Row> rows;  // as they start
  std::vector<placement::VmIndex> unplaced;
  std::string order;  // in which targets were chosen
  double makespan = 0;
  std::vector<Bound> bounds;  // of it, the largest first
  std::string state;  // SHA-256 of what it was made from: applied to anything else, it is another plan
};

// `placer`: of this fleet; it is as it was in the end. `state`: see state_of().
FleetPlan plan_fleet(const placement::FleetNumbers& fleet, placement::Placer* placer,
                     const FleetPlanRequest& request, std::string state, Order order = Order::critical_first);

// What a plan is made from, but for the request, as one number.
std::string state_of(const placement::FleetNumbers& fleet);

}  // namespace ebb::planning
