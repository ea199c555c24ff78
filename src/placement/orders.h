// In which order VMs are placed when many are: by keys, largest first, equals as they stand.
#pragma once
#include <string>

#include "placement/placer.h"

namespace ebb::placement {

struct NamedOrder {
  std::string name;
  std::function<double(VmIndex)> key;
};

// The one that does best most often first. Both outlive them.
std::vector<NamedOrder> orders(const FleetNumbers& fleet, const Placer& placer);

std::vector<VmIndex> in_order(std::vector<VmIndex> vms, const NamedOrder& order);

}  // namespace ebb::placement
