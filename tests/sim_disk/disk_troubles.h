// Troublemakers of act one, each one thing that goes wrong again and again, drawn from the seed, independent
// of the others.
#pragma once
#include "disk_fleet.h"

namespace ebb::disk_sim {

class Trouble {
 public:
  virtual ~Trouble() = default;
  virtual std::string_view name() const = 0;
  // Once, when act one begins: settings that last until everything is healed.
  virtual void begin(DiskFleet&, Random&) {}
  // Again and again in act one.
  virtual void strike(DiskFleet&, Random&) {}
};

// All of them, in a fixed order.
std::vector<std::unique_ptr<Trouble>> all_troubles();

Duration between(Random& random, Duration low, Duration high);

}  // namespace ebb::disk_sim
