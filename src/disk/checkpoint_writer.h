// Stores a checkpoint: pages and root first, under keys that nobody knows yet; HEAD names it only afterwards.
#pragma once
#include "disk/attach/head_store.h"
#include "disk/block_map.h"

namespace ebb::disk {

struct CheckpointPlan {
  DiskId disk;
  DiskEpoch epoch;
  std::uint64_t number = 0;
  std::uint64_t size_bytes = 0;
  LogPoint position;              // the snapshot holds every write up to it, and none after
  std::vector<LogPoint> lineage;  // all sealed epochs before it
  BlockMap::Snapshot snapshot;
};

Task<Result<CheckpointRef>> store_checkpoint(StoreAccess access, CheckpointPlan plan);

// HEAD with the checkpoint in it, for a writer that is attached: older lineage lives in the checkpoint's root
// from now on.
void record_checkpoint(Head& head, const CheckpointRef& checkpoint);

}  // namespace ebb::disk
