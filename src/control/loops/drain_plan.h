// What a drain would do now: where everything goes, when each move starts, and what that time is bound by.
#pragma once
#include "drain/drain_planner.h"
#include "drain/pacing.h"

namespace ebb::control {

// Of those workers that exist; without the hash, which only somebody who holds on to a plan needs.
struct DrainScope {
  std::vector<WorkerId> workers;
  std::optional<Labels> selector{};
  drain::Terms terms{};
  std::optional<DrainId> drain{};  // that is under way; absent: a wish
};
DrainScope scope_of(const Drain& drain);

DrainPlan plan_drain(const Fleet& fleet, const Seen& seen, const DrainScope& scope,
                     const drain::PaceLimits& limits, WallMs now);

// How long these moves take from now on, the first ones first, under all limits.
std::uint32_t time_left_ms(const Fleet& fleet, const Seen& seen, const std::vector<PlanMove>& moves,
                           const drain::Terms& terms, const drain::PaceLimits& limits);

}  // namespace ebb::control
