// What a worker's log holds beyond the cut of a take-over becomes a disk of its own: a fork of that cut, which the worker itself
// writes. The cut goes when the worker has said that its log holds nothing more, or will never say anything again.
#pragma once
#include "control/batch.h"

namespace ebb::control {

void step_rescues(const Fleet& fleet, const Seen& seen, Batch& batch);

// The fork of that snapshot, or null.
const Disk* fork_of(const Fleet& fleet, const DiskOrigin& origin);

}  // namespace ebb::control
