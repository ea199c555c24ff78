// The fleet as the placement planner sees it.
#pragma once
#include "model/fleet.h"
#include "placement/placement_planner.h"

namespace ebb::control {

// Every worker with its room, and why it takes nothing at all if it does not.
std::vector<placement::Candidate> candidates(const Fleet& fleet, const Seen& seen);
// Where those of a group are, or come to. On `sources`, and on workers of drains that have begun, everything leaves.
std::vector<placement::Stand> stands_of(const Fleet& fleet, const GroupId& group,
                                        const std::vector<WorkerId>& sources = {});
// What `vm` needs of any worker, but for the rules of its group.
placement::Request needs_of(const Fleet& fleet, const Vm& vm);
// All that it needs; `excluded` names workers that will not do, with the reason.
placement::Request request_for(const Fleet& fleet, const Vm& vm, std::map<WorkerId, std::string> excluded);

}  // namespace ebb::control
