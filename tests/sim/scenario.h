// What is played on a simulated fleet: drains while things break (act one), then healing and a demand for
// progress (act two); and the same with the control plane killed at one chosen point.
#pragma once
#include "fleet_sim.h"

namespace ebb::fleet_sim {

struct RunResult {
  std::vector<std::string> violations;
  std::uint64_t state_hash = 0;
  std::uint64_t events = 0;
  std::string summary;  // one line: troubles, moves, virtual time
  bool ok() const { return violations.empty(); }
};

// Everything from the seed: which troubles, which drains, when.
RunResult play_seed(FleetSimOptions options);

// One drain without troubles, with a crash at the `nth` point that `filter` accepts; none, if it has fewer.
struct CrashRun {
  RunResult result;
  std::uint64_t points = 0;          // that the run passed
  std::optional<std::string> fired;  // where it crashed
};
CrashRun play_crash(FleetSimOptions options, sim::CrashPoints::Filter filter, std::uint64_t nth);
// The control plane's own points: around each commit, around each effect on the pool, and after each request
// was handled but not answered.
sim::CrashPoints::Filter control_points();

}  // namespace ebb::fleet_sim
