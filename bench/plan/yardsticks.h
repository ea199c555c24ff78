// What simpler planners make of the same drain: each VM in the order of the fleet, no look-ahead, no room made.
#pragma once
#include "bench/plan/fleet.h"

namespace ebb::bench {

struct Yardstick {
  std::uint64_t unplaced = 0;
  double unplaced_ram = 0;  // as a share of what has to move
  double seconds = 0;
};
enum class Fit { first, best };  // the worker with the lowest number, or with the least RAM left
Yardstick yardstick(const Fleet& fleet, Fit fit);

}  // namespace ebb::bench
