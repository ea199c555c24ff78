// The map of a disk: for each block where its bytes lie and what their CRC is. What changed since the last
// checkpoint is in memory, page by page; all else is in pages that are fetched when they are asked for.
#pragma once
#include <boost/container/deque.hpp>
#include <boost/unordered/unordered_flat_map.hpp>
#include <map>
#include <memory>
#include <optional>
#include <set>

#include "disk/format/segment_types.h"
#include "disk/map/page_cache.h"
#include "disk/map/page_delta.h"
#include "disk/store_access.h"
#include "env/sync.h"

namespace ebb::disk {

// Consecutive blocks that lie one after the other in one object; or a hole.
struct MapPiece {
  std::uint64_t block = 0;
  std::uint64_t count = 0;
  std::optional<DataObject> object;  // absent: reads as zeroes
  std::uint32_t data_block = 0;
  std::vector<std::uint32_t> crcs;
};

class BlockMap final {
 public:
  // An empty map.
  BlockMap(StoreAccess access, std::shared_ptr<PageCache> cache, std::uint64_t size_bytes);
  BlockMap(const BlockMap&) = delete;
  // The map of a checkpoint, before anything is changed. The disk may have grown since.
  void start_from(CheckpointRoot root);

  std::uint64_t size_blocks() const { return blocks_; }
  // What is new reads as zeroes.
  void grow(std::uint64_t size_bytes);

  // ---- changes; all at once, none suspends ----
  ObjectId add_object(const DataObject& object);
  // What is known only once the object's head is made.
  struct ObjectSize {
    std::uint32_t data_offset = 0, blocks = 0, trims = 0;
    bool is_packed = false;
  };
  void complete_object(ObjectId id, ObjectSize size);
  void set(std::uint64_t block, std::span<const std::uint32_t> crcs, ObjectId object,
           std::uint32_t data_block);
  void clear(std::uint64_t block, std::uint64_t count);
  // Applies what a segment says. corrupt if it lies outside the disk.
  Status apply(const ReadSegment& segment);
  // Of data, by the last checkpoint's counts.
  std::uint64_t live_blocks() const { return live_blocks_; }
  // Of all pages of the last checkpoint.
  std::uint64_t stored_bytes() const { return stored_bytes_; }
  // What is held in memory because no checkpoint has it.
  std::size_t changed_bytes() const { return changed_.bytes + (frozen_ ? frozen_->bytes : 0); }

  // ---- cleaning ----
  // What the last checkpoint counted, of everything that data lies in.
  std::span<const MapObject> counted_objects() const;
  const MapObject* entry(ObjectId id) const;
  // Blocks that are said to lie in `from`, and lie in the new object as well.
  struct Move {
    std::uint64_t block = 0;
    std::uint32_t count = 0;
    DataObject from;
    std::uint32_t from_block = 0, to_block = 0;
    std::vector<std::uint32_t> crcs;
  };
  // `cleaned` is in the store and holds what `moves` (by block) say, and the trims of `released`. From here
  // on blocks that the map still names at their source are named there. Returns how many they were.
  Task<Result<std::uint64_t>> repoint(DataObject cleaned, ObjectSize size, std::vector<Move> moves,
                                      std::vector<ObjectId> released);
  // The trims of these say nothing that newer, committed data does not say.
  void release(std::span<const ObjectId> ids) {
    for (auto id : ids) released_[id] = root_.next_object;
  }
  bool is_released(ObjectId id) const { return released_.contains(id); }

  // ---- looking ----
  // Everything in the range, in order, without gaps, as it is when this ends. corrupt: a page is damaged or
  // gone.
  Task<Result<std::vector<MapPiece>>> find(std::uint64_t block, std::uint64_t count);
  // The object as it is known now; a piece found earlier may name one that was not complete yet.
  std::optional<DataObject> object(const DataObject& incomplete) const;

  // ---- checkpoints ----
  struct CheckpointPlan {
    DiskId disk;
    DiskEpoch epoch;
    std::uint64_t number = 0;
    std::uint64_t size_bytes = 0;
    LogPoint position;                      // the map as it is now holds every write up to it, and none after
    std::vector<LogPoint> lineage;          // all sealed epochs before it
    std::optional<CheckpointId> reclaimed;  // as HEAD says
  };
  // From here on changes are the next checkpoint's. Only one at a time.
  void freeze();
  bool is_frozen() const { return frozen_ != nullptr; }
  // Stores what was frozen as pages and a root under keys that nobody knows yet; HEAD must name it before
  // adopt().
  Task<Result<CheckpointRef>> store_checkpoint(CheckpointPlan plan);
  // HEAD names what store_checkpoint() stored.
  void adopt();

 private:
  // A segment of random writes changes a page with nearly each of them, and an attach replays several: no
  // memory apart for each page.
  struct Changes {
    boost::unordered_flat_map<std::uint32_t, std::uint32_t> pages;  // each one's place in `deltas`
    boost::container::deque<PageDelta, void,
                            boost::container::deque_options_t<boost::container::block_size<128>>>
        deltas;
    std::size_t bytes = 0;
    const PageDelta* find(std::uint32_t page) const;
  };
  // Where a page is stored, whatever becomes of the root meanwhile.
  struct PagePlace {
    std::uint32_t page = 0;
    PageCache::Key key;
    std::uint32_t bytes = 0;
    bool operator==(const PagePlace&) const = default;
  };
  struct Span {  // blocks of one page
    std::uint32_t page = 0, begin = 0, end = 0;
  };
  class CheckpointWriter;

  void use_root(CheckpointRoot root);
  template <class Change>
  void change_pages(std::uint64_t block, std::uint64_t count, Change change);
  using Spans = boost::container::small_vector<Span, 2>;
  Spans spans(std::uint64_t block, std::uint64_t count) const;
  bool is_covered(const Span& span) const;
  void append_pieces(const Span& span, const LoadedPage* stored, std::vector<MapPiece>& out) const;
  void append_stored(const Span& span, const LoadedPage* stored, std::vector<MapPiece>& out) const;
  // An object that nobody knows stands there as one with seq 0.
  void append_data(std::uint64_t block, ObjectId object, std::uint32_t data_block,
                   std::span<const std::uint32_t> crcs, std::vector<MapPiece>& out) const;

  std::optional<PagePlace> place_of(std::uint32_t page) const;
  Task<Result<PageHandle>> fetch(PagePlace place);
  Task<Result<PageHandle>> fetch_from_store(PagePlace place);
  Task<Result<std::uint64_t>> repoint_page(std::uint32_t page, ObjectId to, std::span<const Move> moves);
  std::uint64_t repoint_now(const Move& move, ObjectId to, const LoadedPage* stored);

  StoreAccess access_;
  std::shared_ptr<PageCache> cache_;
  std::uint64_t blocks_;
  CheckpointRoot root_;               // as HEAD names it, and the objects added since
  ObjectId counted_next_object_ = 1;  // what is below stood in the checkpoint
  std::uint64_t stored_bytes_ = 0, live_blocks_ = 0;
  Changes changed_;
  std::shared_ptr<const Changes> frozen_;
  ObjectId frozen_next_object_ = 0;
  std::uint64_t cleaned_ = 0, frozen_cleaned_ = 0;  // the last cleaned object of this epoch in the table
  std::set<ObjectId> being_filled_,
      frozen_being_filled_;                // cleaned objects that repoint() is at: none is live yet, perhaps
  std::map<ObjectId, ObjectId> released_;  // whose trims another object holds now
  std::optional<CheckpointRoot> stored_;   // by store_checkpoint(), not yet adopted
  std::map<PageCache::Key, std::shared_ptr<AsyncMutex>> fetching_;
};

}  // namespace ebb::disk
