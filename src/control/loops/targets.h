// Where the VMs of drained workers go.
#pragma once
#include "drain/drain_planner.h"

namespace ebb::control {

struct Leaving {
  VmId vm;
  std::map<WorkerId, std::string> excluded{};  // workers that will not do for it, with the reason
  std::uint32_t seconds = 1;                   // that its move takes
};

// A target for each of them, all decided together, or why there is none. None goes to one of `sources`. `parallel_max`: moves at a
// time from one source.
std::vector<drain::Placed> choose_targets(const Fleet& fleet, const Seen& seen,
                                          const std::vector<WorkerId>& sources, std::vector<Leaving> leaving,
                                          std::uint32_t parallel_max);

}  // namespace ebb::control
