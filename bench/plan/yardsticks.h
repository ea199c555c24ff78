// What simpler planners make of the same drain: each VM in the order of the fleet, no look-ahead.
#pragma once
#include "bench/plan/fleet.h"

namespace ebb::bench {

struct Yardstick {
  std::uint64_t unplaced = 0;
  double unplaced_ram = 0;              // as a share of what has to move
  double ejected = 0, ejected_ram = 0;  // what moves to make room, as a share of what has to move
  double seconds = 0;
};
// The worker with the lowest number; with the least RAM, then the fewest cores left; and, where that is none, one of those with most free RAM, after some of its
// VMs have gone where they fit.
enum class Fit { first, best, best_eject1 };
Yardstick yardstick(const Fleet& fleet, Fit fit);

}  // namespace ebb::bench
