// Undoing a drain: its VMs go back to where they were, as far as they still can.
#pragma once
#include "control/batch.h"

namespace ebb::control {

// Who would go back now, and who would stay where it is, as blockers with the reason. Those that are where they were are in neither.
DrainPlan plan_undo(const Fleet& fleet, const Seen& seen, const Drain& drain);

// One turn of a drain that is being undone. It ends when nobody is on the way and nobody more can go back; who stays is told in its
// record.
void step_undo(const Fleet& fleet, const Seen& seen, const Drain& drain, Batch& batch);

}  // namespace ebb::control
