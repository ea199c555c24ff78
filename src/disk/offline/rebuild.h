// The map of a disk made anew from what its segments and cleaned objects say, when pages of the map are
// damaged or gone.
#pragma once
#include "disk/object_disk.h"
#include "disk/offline/object_claims.h"

namespace ebb::disk {

struct RebuildReport {
  std::uint64_t objects = 0;     // read whole
  std::uint64_t data_bytes = 0;  // of data in them
  std::uint64_t live_bytes = 0;  // of the disk
  std::vector<BadExtent> bad;    // the first `bad_extents_max`: then nothing was changed
  std::uint64_t bad_extents = 0;
  CheckpointRef checkpoint;  // the new one, if there is no bad extent
};

BOOST_DESCRIBE_STRUCT(RebuildReport, (), (objects, data_bytes, live_bytes, bad, bad_extents))

// Of a disk that no worker holds. Reads everything, and changes nothing unless all of it is good: the newest
// data of a block may not be replaced by what it was before. Then opens the disk under an epoch of its own,
// stores a checkpoint with the new map, and detaches. Named roots keep their own maps. Takes the memory of
// ObjectClaims, and that of a map in which everything has changed. conflict: a worker holds the disk, or
// opened it meanwhile. invalid: an image. corrupt: the objects cannot be found: HEAD or the checkpoint's root
// is damaged.
Task<Result<RebuildReport>> rebuild(StoreAccess access, DiskId disk, DiskTuning tuning = {});

}  // namespace ebb::disk
