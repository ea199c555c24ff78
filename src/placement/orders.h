// In which order VMs are placed when many are.
#pragma once
#include <string>

#include "placement/placer.h"

namespace ebb::placement {

struct NamedOrder {
  std::string name;
  // In that order; made when it is asked for. Empty: it is not worth a try.
  std::function<std::vector<VmIndex>()> vms;
};

// The one that does best most often first. All three outlive them.
std::vector<NamedOrder> orders(const FleetNumbers& fleet, const Placer& placer,
                               const std::vector<VmIndex>& vms);

// By which most are placed where not all can be.
NamedOrder smallest_first(const Placer& placer, const std::vector<VmIndex>& vms);

}  // namespace ebb::placement
