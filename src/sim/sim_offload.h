// Blocking work in virtual time: done at one instant, its end reported after a while.
#pragma once
#include "env/offload.h"
#include "sim/sim_world.h"

namespace ebb::sim {

class SimOffload final : public Offload {
 public:
  explicit SimOffload(SimProcess& process, Duration typical = 1ms) : process_(process), typical_(typical) {}
  // When the process is killed meanwhile, the work was done or was not, as the seed has it.
  void run(Callback work, Callback then) override;

 private:
  SimProcess& process_;
  Duration typical_;
};

}  // namespace ebb::sim
