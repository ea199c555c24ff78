// From HEAD to the map: the checkpoint's root, then the heads of all segments since, along the lineage. Pages
// are fetched when they are asked for.
#pragma once
#include "disk/attach/head_store.h"
#include "disk/log_objects.h"
#include "disk/map/block_map.h"

namespace ebb::disk {

struct LoadedMap {
  std::unique_ptr<BlockMap> map;
  std::vector<LogPoint> older_lineage;  // what the checkpoint's root remembers, of this disk
  std::uint64_t segments_since_checkpoint = 0;
};

// That object alone. corrupt: it is not the one that `ref` names.
Task<Result<CheckpointRoot>> read_root_at(StoreAccess access, std::string key, CheckpointRef ref);
// Either of its two copies; the error is that of the first. Through `cache`, unless that is null.
Task<Result<CheckpointRoot>> read_checkpoint_root(StoreAccess access, CheckpointRef ref, LogCache* cache);

// The map at the end of `head`'s lineage. What is read goes through `cache`, which outlives the task; what
// `access` refers to outlives the map.
Task<Result<LoadedMap>> load_map(StoreAccess access, Head head, LogCache* cache,
                                 std::shared_ptr<PageCache> pages);

// Everything that opening `head` will ask for, as far as its place is known beforehand, in one round. What
// cannot be read is left to whoever needs it.
Task<void> prefetch_log(StoreAccess access, Head head, LogCache* cache);

// For reading without owning: the unsealed epochs too, as far as their segments stand in the store now.
// not_found: some were reclaimed meanwhile; HEAD says more.
Task<Result<Head>> follow_unsealed(StoreAccess access, Head head, LogCache* cache);

// HEAD of now, and the same followed, also while reclaim goes on. A deleted disk has nothing to follow.
struct FollowedHead {
  Head head, followed;
};
Task<Result<FollowedHead>> read_followed(StoreAccess access, DiskId disk, LogCache* cache);

}  // namespace ebb::disk
