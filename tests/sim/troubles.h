// Troublemakers of act one: each one thing that goes wrong again and again, drawn from the seed, independent
// of the others.
#pragma once
#include <memory>
#include <string_view>
#include <vector>

#include "base/random.h"

namespace ebb::fleet_sim {

class FleetSim;

class Trouble {
 public:
  virtual ~Trouble() = default;
  virtual std::string_view name() const = 0;
  // Once, when act one begins: settings that last until everything is healed.
  virtual void begin(FleetSim&, Random&) {}
  // Every few seconds of act one.
  virtual void strike(FleetSim&, Random&) {}
};

// All of them, in a fixed order.
std::vector<std::unique_ptr<Trouble>> all_troubles();

}  // namespace ebb::fleet_sim
