// Ending an epoch: fences are put where its next segments would go. The seal is below the lowest fence,
// whoever put it.
#pragma once
#include "disk/attach/head_store.h"
#include "disk/log_objects.h"

namespace ebb::disk {

// In whose name the fences are put.
struct Opener {
  DiskEpoch epoch;
  std::string owner, opener;
};

// Where `unsealed` ended: known only when every place below the lowest fence was read as a valid segment,
// each naming the one before. Segments that were read go to `cache`, which outlives the task.
Task<Result<LogPoint>> seal_epoch(StoreAccess access, DiskId disk, LogPoint unsealed, Opener by,
                                  LogCache* cache);

// A writer's own fence at its next place, before it detaches. fenced if somebody else's stands there.
Task<Status> fence_own_next(StoreAccess access, DiskId disk, LogPoint last, Opener by);

// The log point of a segment that was read.
LogPoint point_of(const ReadSegment& segment);

}  // namespace ebb::disk
