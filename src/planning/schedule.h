// When each move of a plan starts and ends: list scheduling under limits on what may be under way at a time. Pure and deterministic.
//
// And how fast any schedule could be: lower bounds on the makespan that do not depend on the targets, each by its name.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "placement/evacuation.h"

namespace ebb::planning {

// What a move needs of others. Durations are in seconds.
struct Job {
  double seconds = 0;              // from its start until the VM runs on the target
  std::uint32_t from = 0, to = 0;  // workers
  std::uint32_t from_domain = 0, to_domain = 0;
  bool is_clone = false;                   // its data go from worker to worker
  double bytes = 0;                        // of a clone
  std::uint32_t budget = placement::none;  // which says how many of its VMs may be away
  std::uint32_t tenant = placement::none;
};

using placement::Budget;

struct MoveLimits {
  std::uint32_t per_source = 2, per_target = 2;
  std::uint32_t clones_per_domain = 10;            // into it and, apart, out of it
  double link_bytes_per_second = 0;                // of a source; 0: not counted in bounds
  double boots_per_second = 0, boots_at_once = 1;  // a token bucket; 0: any number
};

struct ScheduleInput {
  std::uint32_t workers = 0, domains = 0;
  std::uint32_t targets = 0, target_domains = 0;  // of these: so many may be moved to, for the bounds
  std::vector<Job> jobs;
  std::vector<placement::Precedence> precedences;  // between jobs; one only ever follows an earlier one
  std::vector<Budget> budgets;
  std::vector<std::uint32_t> tenant_max;  // by tenant: so many of its VMs may move at a time
  MoveLimits limits;
};

enum class Order { critical_first, longest_first, first_in_first_out };

struct Schedule {
  std::vector<double> start;        // by job; below 0: never, its budget or its tenant's limit is 0
  std::vector<std::uint32_t> wave;  // by job, from 1: one more than that of the job whose end let it start
  double makespan = 0;
};
Schedule schedule(const ScheduleInput& input, Order order = Order::critical_first);

struct Bound {
  std::string name;
  double seconds;
};
// The largest first. Jobs that can never start are left out.
std::vector<Bound> makespan_bounds(const ScheduleInput& input);

}  // namespace ebb::planning
