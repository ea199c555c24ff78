// Whether a plan may be carried out: played through, move by move, on the fleet. Shares no code with the planner.
#pragma once
#include <map>

#include "bench/plan/fleet.h"

namespace ebb::bench {

struct PlannedMove {
  std::uint32_t vm, from, to;
  double start, end;
};

// What the makespan model of the benchmark allows.
struct Rules {
  std::uint32_t per_source = 2, per_target = 2, clones_per_rack = 10, group_away = 1;
  double healthy_s = 30;
  bool one_per_tenant = false;  // else the larger of one and a hundredth of its VMs
  double boots_per_s = 0, boots_at_once = 1;
  std::uint32_t tenant_max(std::uint32_t vms) const { return one_per_tenant ? 1 : std::max(1u, vms / 100); }
};

// What a move of this VM takes, and how.
enum class Mechanism : std::uint8_t { restart, pointer, clone };
Mechanism mechanism_of(const Fleet& fleet, std::uint32_t vm);
double seconds_of(const Fleet& fleet, std::uint32_t vm);
double gib_of(const Fleet& fleet, std::uint32_t vm);  // of its disk

// Each breach with how often it was found; empty: none. `drained`: workers; `unplaced`: of whom the plan says that they stay.
std::map<std::string, std::uint64_t> check_plan(const Fleet& fleet, const std::vector<std::uint32_t>& drained,
                                                const std::vector<PlannedMove>& plan,
                                                const std::vector<std::uint32_t>& unplaced,
                                                const Rules& rules);

}  // namespace ebb::bench
