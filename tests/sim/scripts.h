// What is done to a fleet without troubles while one program is made to die at one chosen point.
#pragma once
#include "fleet_sim.h"

namespace ebb::fleet_sim {

enum class Script {
  drain,         // of worker-1
  life_of_a_vm,  // one VM with a disk is created, stopped, started and removed, until nothing of it is left
};
BOOST_DESCRIBE_ENUM(Script, drain, life_of_a_vm)

// The fleet that a script is made for.
FleetSimOptions fleet_for(Script script, std::uint64_t seed, FleetSimOptions::Workers kind);
// The operator's part; ends when all that was asked for is done.
Status play_script(FleetSim& sim, Script script);
// Nothing is under way, and every VM is as it shall be.
bool all_is_well(FleetSim& sim);

// Points at which something may die.
using Points = std::function<bool(FleetSim&, const sim::CrashPoint&)>;
// The control plane's own: around each commit, around each effect on the pool, and after each request was
// handled but not answered; of an agent's reports only those in a drain, which they drive.
Points control_points(Script script);

}  // namespace ebb::fleet_sim
