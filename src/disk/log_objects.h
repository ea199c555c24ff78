// Reading the log from the store: segments and fences by their places.
#pragma once
#include <map>
#include <set>

#include "disk/format/checkpoint_types.h"
#include "disk/format/segment_types.h"
#include "disk/store_access.h"

namespace ebb::disk {

// Heads that were read already. What is in here is immutable in the store: a standby fills it, an attach
// finds it.
class LogCache {
 public:
  using Place = std::pair<DiskEpoch, std::uint64_t>;
  const ReadSegment* find(DiskEpoch epoch, std::uint64_t seq) const;
  void add(const ReadSegment& segment);
  // A fence that was read is final, as a segment is.
  bool has_fence(DiskEpoch epoch, std::uint64_t seq) const { return fences_.contains({epoch, seq}); }
  void add_fence(DiskEpoch epoch, std::uint64_t seq) { fences_.insert({epoch, seq}); }
  const CheckpointRoot* find_root(const CheckpointRef& ref) const;
  void add_root(const CheckpointRef& ref, CheckpointRoot root);

 private:
  std::map<Place, ReadSegment> segments_;
  std::set<Place> fences_;
  std::optional<std::pair<CheckpointRef, CheckpointRoot>> root_;  // the newest
};

// not_found: nothing stands in that place. corrupt: neither a fence nor the segment of that place.
Task<Result<LogObject>> read_log_object(StoreAccess access, DiskId disk, DiskEpoch epoch, std::uint64_t seq);

}  // namespace ebb::disk
