// Where the VMs of drained workers go.
#pragma once
#include <functional>

#include "drain/drain_planner.h"

namespace ebb::control {

struct Leaving {
  VmId vm;
  std::map<WorkerId, std::string> excluded{};  // workers that will not do for it, with the reason
  std::uint32_t seconds = 1;                   // that its move takes
};

// Whether a VM of another worker may be moved to make room.
using MayMakeRoom = std::function<bool(const Vm&)>;

// A target for each of them, all decided together, or why there is none. None goes to one of `sources`. `parallel_max`: moves at a
// time from one source. If not all of them fit, others that may (null: none) move out of their way, each before those that take its room.
std::vector<drain::Placed> choose_targets(const Fleet& fleet, const Seen& seen,
                                          const std::vector<WorkerId>& sources, std::vector<Leaving> leaving,
                                          std::uint32_t parallel_max,
                                          const MayMakeRoom& may_make_room = nullptr);

}  // namespace ebb::control
