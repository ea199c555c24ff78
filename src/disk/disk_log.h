// Who wrote a disk, and where each turn ended: read from its objects alone.
#pragma once
#include "disk/detached.h"
#include "model/api_types.h"

namespace ebb::disk {

// Oldest first: what it began as, each epoch on the present lineage, HEAD's checkpoint, named roots and the
// forks of them, restores; last what HEAD says now.
Task<Result<DiskLogView>> read_disk_log(StoreAccess access, DiskId disk);

}  // namespace ebb::disk
