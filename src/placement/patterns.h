// VMs in an order in which they fill empty workers, one after the other, with little left over.
#pragma once
#include "placement/placer.h"

namespace ebb::placement {

// Each worker begins with the largest VM that is left; to it come, of equal ones in turn, those that fill most of the dimension which all
// that is left needs most, and leave as much of the others as that needs. VMs that ask for different features fill different workers; a
// worker is one of the most frequent kind that offers them. Whoever places them one by one, each where it fits best, meets the same workers.
std::vector<VmIndex> by_patterns(const FleetNumbers& fleet, const std::vector<VmIndex>& vms);

// Whether the open workers on which nothing runs could take them, by volume.
bool fit_into_empty(const FleetNumbers& fleet, const Placer& placer, const std::vector<VmIndex>& vms);

}  // namespace ebb::placement
