// What runs on a simulated worker.
#pragma once
#include "fleet_worker.h"

namespace ebb::fleet_sim {

// The production agent and disk daemon.
std::unique_ptr<FleetWorker> make_production_worker(FleetSim& sim, WorkerId id);
// Sketches of both: fast, for what is asked of the control plane alone.
std::unique_ptr<FleetWorker> make_sketch_worker(FleetSim& sim, WorkerId id);

}  // namespace ebb::fleet_sim
