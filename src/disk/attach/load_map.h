// From HEAD to the map: checkpoint root, pages, then the heads of all segments since, along the lineage.
#pragma once
#include "disk/attach/head_store.h"
#include "disk/block_map.h"
#include "disk/log_objects.h"

namespace ebb::disk {

struct LoadedMap {
  BlockMap map;
  std::vector<LogPoint> older_lineage;  // what the checkpoint's root remembers, of this disk
  std::uint64_t segments_since_checkpoint = 0;
};

Task<Result<CheckpointRoot>> read_checkpoint_root(StoreAccess access, CheckpointRef ref);

// The map at the end of `head`'s lineage. What is read goes through `cache`, which outlives the task.
Task<Result<LoadedMap>> load_map(StoreAccess access, Head head, LogCache* cache);

// For reading without owning: the unsealed epochs too, as far as their segments stand in the store now.
Task<Result<Head>> follow_unsealed(StoreAccess access, Head head, LogCache* cache);

}  // namespace ebb::disk
