// What is played on a simulated fleet: drains while things break (act one), then healing and a demand for
// progress (act two); and the same with the control plane killed at one chosen point.
#pragma once
#include "scripts.h"

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

// One script without troubles, with a death of the control plane at the `nth` of its points; none, if it has
// fewer.
struct CrashPlan {
  Script script = Script::drain;
  std::uint64_t nth = 0;
};
struct CrashRun {
  RunResult result;
  std::uint64_t points = 0;          // that the run passed
  std::optional<std::string> fired;  // where it crashed
};
CrashRun play_crash(FleetSimOptions options, const CrashPlan& plan);
// The script that leads to it, with one program killed on the way.
CrashRun play_kill(FleetSimOptions options, const Kill& kill);

}  // namespace ebb::fleet_sim
