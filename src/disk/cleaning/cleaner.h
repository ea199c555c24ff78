// Gathers what is live in objects that are mostly dead into new ones, so that the old can go. It changes
// where blocks lie, never what they hold; a checkpoint makes that visible, and names what is no longer
// needed.
#pragma once
#include "disk/format/cleaned_types.h"
#include "disk/map/block_map.h"

namespace ebb::disk {

struct CleaningTuning {
  std::uint32_t live_percent_max = 66;  // an object with less is cleaned
  std::size_t object_bytes = 8 * MiB;   // of data in a new object
  std::size_t victims_at_once = 64;
};

class Cleaner {
 public:
  // Whether what stands in it can never be lost again, short of the store losing objects.
  using IsCommitted = std::function<bool(const DataObject&)>;
  Cleaner(StoreAccess access, DiskId disk, DiskEpoch epoch, BlockMap* map, CleaningTuning tuning,
          IsCommitted is_committed)
      : access_(access),
        disk_(std::move(disk)),
        epoch_(epoch),
        map_(*map),
        tuning_(tuning),
        is_committed_(std::move(is_committed)) {}

  // Makes at most one new object from the objects that, by the last checkpoint's counts, are worth it most.
  // Returns whether anything was gathered: until nothing is, it is worth calling again. corrupt: an object
  // is damaged; it is left alone from now on.
  Task<Result<bool>> run();
  std::uint64_t blocks_moved() const { return blocks_moved_; }
  // What was gathered is in no checkpoint yet.
  bool owes_checkpoint() const { return owes_checkpoint_; }
  void checkpoint_begun() { owes_checkpoint_ = false, done_.clear(); }

 private:
  struct Fragment {  // live in a victim
    BlockMap::Move move;
    std::uint64_t write_seq = 0;
    Bytes data;
  };
  struct Gathered {
    std::vector<Fragment> fragments;
    std::vector<SegmentExtent> trims;
    std::vector<ObjectId> victims;
    std::uint64_t blocks = 0;
  };

  std::vector<MapObject> choose() const;
  bool is_worth_it(const MapObject& object, std::size_t bare_trims) const;
  Task<Status> gather(MapObject victim, Gathered* into);
  Task<Status> gather_extent(MapObject victim, SegmentExtent extent, Gathered* into);
  Task<Status> read_fragments(MapObject victim, std::vector<Fragment>* fragments);
  Task<Status> store(Gathered gathered);

  StoreAccess access_;
  DiskId disk_;
  DiskEpoch epoch_;
  BlockMap& map_;
  CleaningTuning tuning_;
  IsCommitted is_committed_;
  std::uint64_t number_ = 0;  // of the last object put
  std::uint64_t blocks_moved_ = 0;
  bool owes_checkpoint_ = false;
  std::set<ObjectId> done_;  // since the last checkpoint began
  std::set<ObjectId> damaged_;
};

}  // namespace ebb::disk
