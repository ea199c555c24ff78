// What a run tells: as a value for scripts, and as text for people.
#pragma once
#include <boost/describe.hpp>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/time.h"
#include "model/api_types.h"

namespace ebb::what_if {

struct FleetFacts {
  std::string origin;
  std::uint64_t seed = 0;
  std::uint32_t workers = 0, vms = 0, groups = 0, budgets = 0;
  double cpu_use_percent = 0, memory_use_percent = 0;
};
BOOST_DESCRIBE_STRUCT(FleetFacts, (),
                      (origin, seed, workers, vms, groups, budgets, cpu_use_percent, memory_use_percent))

// One drain: what its plan says, and what became of it.
struct DrainFacts {
  DrainId id;
  std::string what;  // "zone=z1 (1 of 2)"
  std::uint32_t workers = 0;
  std::map<std::string, std::uint32_t> moves_planned;  // by mechanism
  std::uint32_t moves_to_make_room = 0;
  std::uint32_t planned_blockers = 0;
  std::uint32_t eta_ms = 0;
  std::vector<PlanBound> bounds;  // the largest first
  double plan_s = 0;              // that it took to make the plan, in real time
  std::string state;
  std::optional<std::uint64_t> makespan_ms;  // from its beginning to its end
  std::uint32_t not_emptied = 0;             // workers
  std::vector<PlanBlocker> blockers;         // the first ones
  std::uint32_t blockers_all = 0;
  std::vector<std::string> waits_for;
  // It has ended, or says who has to do what.
  bool is_explained() const { return state == "done" || blockers_all > 0 || !waits_for.empty(); }
};
BOOST_DESCRIBE_STRUCT(DrainFacts, (),
                      (id, what, workers, moves_planned, moves_to_make_room, planned_blockers, eta_ms, bounds,
                       plan_s, state, makespan_ms, not_emptied, blockers, blockers_all, waits_for))

struct Interruptions {
  std::uint64_t moves = 0;
  std::uint32_t median_ms = 0, p99_ms = 0, max_ms = 0;
};
BOOST_DESCRIBE_STRUCT(Interruptions, (), (moves, median_ms, p99_ms, max_ms))

struct MoveFacts {
  std::uint64_t done = 0, aborted = 0, failed_targets = 0, of_dead = 0, still_open = 0;
  std::uint64_t vms_moved = 0, vms_bounced = 0, bounces = 0;
  std::map<std::string, Interruptions> interruptions;  // by mechanism
};
BOOST_DESCRIBE_STRUCT(MoveFacts, (),
                      (done, aborted, failed_targets, of_dead, still_open, vms_moved, vms_bounced, bounces,
                       interruptions))

struct BudgetFacts {
  std::uint32_t touched = 0;    // budgets of VMs that moved
  std::uint32_t exhausted = 0;  // of which nothing was free at some time
  std::optional<std::uint32_t> slack_least;
  BudgetId tightest;  // that was full for the longest
  std::uint64_t tightest_full_ms = 0;
};
BOOST_DESCRIBE_STRUCT(BudgetFacts, (), (touched, exhausted, slack_least, tightest, tightest_full_ms))

struct TroubleFacts {
  std::uint32_t killed = 0, back = 0, declared_dead = 0;
};
BOOST_DESCRIBE_STRUCT(TroubleFacts, (), (killed, back, declared_dead))

struct CostFacts {
  double virtual_s = 0, real_s = 0;
  double load_s = 0;      // until the control plane has its records
  double plan_s = 0;      // all plans that were asked for
  double control_s = 0;   // the control plane's loops: decisions and commits
  double requests_s = 0;  // workers, and its answers to them
  double real_s_per_virtual_hour = 0;
  std::uint64_t commits = 0, reports = 0;
  double rss_mb = 0, rss_peak_mb = 0;
};
BOOST_DESCRIBE_STRUCT(CostFacts, (),
                      (virtual_s, real_s, load_s, plan_s, control_s, requests_s, real_s_per_virtual_hour,
                       commits, reports, rss_mb, rss_peak_mb))

struct WhatIfReport {
  FleetFacts fleet;
  std::vector<DrainFacts> drains;
  std::uint64_t makespan_ms = 0;  // until the last move had ended
  std::uint64_t bound_ms = 0;     // the largest of any plan: no order of moves is faster
  std::string bound;              // what that is
  double makespan_to_bound = 0;   // 0: there is no bound
  MoveFacts moves;
  BudgetFacts budgets;
  TroubleFacts troubles;
  CostFacts costs;
  std::uint64_t violations_seen = 0;
  std::vector<std::string> violations;  // the first ones
  std::string hash;                     // the same for the same run
  // Nothing was violated, and each drain has ended or says why not.
  bool is_ok() const;
};
BOOST_DESCRIBE_STRUCT(WhatIfReport, (),
                      (fleet, drains, makespan_ms, bound_ms, bound, makespan_to_bound, moves, budgets,
                       troubles, costs, violations_seen, violations, hash))

Interruptions summary_of(std::vector<std::uint32_t> ms);
std::string text_of(const WhatIfReport& report);

}  // namespace ebb::what_if
