// The fleet as the placement planner sees it.
#pragma once
#include "model/fleet.h"
#include "placement/placement_planner.h"

namespace ebb::control {

// Every worker with its room, and why it takes nothing at all if it does not.
std::vector<placement::Candidate> candidates(const Fleet& fleet, const Seen& seen);
// What `vm` needs of any worker, but for the firmware.
placement::Request needs_of(const Fleet& fleet, const Vm& vm);
// The firmware that its image needs, if any; and whether a worker has none of that.
std::optional<Firmware> firmware_of(const Fleet& fleet, const Vm& vm);
bool lacks(const Worker& worker, Firmware firmware);
// What `vm` needs; `excluded` names workers that will not do, with the reason.
placement::Request request_for(const Fleet& fleet, const Vm& vm, std::map<WorkerId, std::string> excluded);

}  // namespace ebb::control
