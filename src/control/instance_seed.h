// What cloud-init finds in a guest: the files of a NoCloud seed
// (https://docs.cloud-init.io/en/latest/reference/datasources/nocloud.html).
#pragma once
#include "model/fleet_types.h"

namespace ebb::control {

// By name; none for a guest that comes with its kernel and was told nothing. The same wherever the VM runs, so that its
// moves are no first boots. `networks`: those that the VM has joined, and maybe others.
std::optional<std::map<std::string, std::string>> instance_seed(
    const Vm& vm, const Image& image, const std::map<NetworkId, VmNetwork>& networks);

}  // namespace ebb::control
