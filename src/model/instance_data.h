// What a guest is told by cloud-init, checked before it is taken: cloud-init would only complain in the guest.
#pragma once
#include "model/fleet_types.h"

namespace ebb {

// Names the field of what cannot be.
Status check_instance_data(const InstanceData& data);

}  // namespace ebb
