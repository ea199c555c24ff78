// What an operator does to a fleet in act one, each act drawn from the seed.
#pragma once
#include "base/random.h"
#include "fleet_sim.h"

namespace ebb::fleet_sim {

class Operator final {
 public:
  // Whatever the act, an operator who is refused shrugs.
  void act(FleetSim& sim, Random& random);

 private:
  void act_on_vms(FleetSim& sim, Random& random);
  void act_on_disks(FleetSim& sim, Random& random);
  void act_on_workers(FleetSim& sim, Random& random);

  std::uint32_t made_ = 0;  // VMs and disks, besides those of the beginning
};

}  // namespace ebb::fleet_sim
