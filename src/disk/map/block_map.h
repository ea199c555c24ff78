// The map of a disk: for each block where its bytes lie and what their CRC is. What changed since the last
// checkpoint is in memory, page by page; all else is in pages that are fetched when they are asked for.
#pragma once
#include <map>
#include <memory>
#include <optional>
#include <unordered_map>

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

  // ---- changes; all at once, none suspends ----
  ObjectId add_object(const DataObject& object);
  // What is known only once the segment's head is made.
  void complete_object(ObjectId id, std::uint32_t data_offset, std::uint32_t blocks);
  void set(std::uint64_t block, std::span<const std::uint32_t> crcs, ObjectId object, std::uint32_t data_block);
  void clear(std::uint64_t block, std::uint64_t count);
  // Applies what a segment says. corrupt if it lies outside the disk.
  Status apply(const ReadSegment& segment);
  // Of all pages of the last checkpoint.
  std::uint64_t stored_bytes() const { return stored_bytes_; }
  // What is held in memory because no checkpoint has it.
  std::size_t changed_bytes() const { return changed_.bytes + (frozen_ ? frozen_->bytes : 0); }

  // ---- looking ----
  // Everything in the range, in order, without gaps, as it is when this ends. corrupt: a page is damaged or gone.
  Task<Result<std::vector<MapPiece>>> find(std::uint64_t block, std::uint64_t count);
  // The object as it is known now; a piece found earlier may name one that was not complete yet.
  std::optional<DataObject> object(const DataObject& incomplete) const;

  // ---- checkpoints ----
  struct CheckpointPlan {
    DiskId disk;
    DiskEpoch epoch;
    std::uint64_t number = 0;
    std::uint64_t size_bytes = 0;
    LogPoint position;              // the map as it is now holds every write up to it, and none after
    std::vector<LogPoint> lineage;  // all sealed epochs before it
  };
  // From here on changes are the next checkpoint's. Only one at a time.
  void freeze();
  bool is_frozen() const { return frozen_ != nullptr; }
  // Stores what was frozen as pages and a root under keys that nobody knows yet; HEAD must name it before adopt().
  Task<Result<CheckpointRef>> store_checkpoint(CheckpointPlan plan);
  // HEAD names what store_checkpoint() stored.
  void adopt();

 private:
  struct Changes {
    std::unordered_map<std::uint32_t, PageDelta> pages;
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
  std::vector<Span> spans(std::uint64_t block, std::uint64_t count) const;
  bool is_covered(const Span& span) const;
  void append_pieces(const Span& span, const LoadedPage* stored, std::vector<MapPiece>& out) const;
  void append_stored(const Span& span, const LoadedPage* stored, std::vector<MapPiece>& out) const;
  // An object that nobody knows stands there as one with seq 0.
  void append_data(std::uint64_t block, ObjectId object, std::uint32_t data_block,
                   std::span<const std::uint32_t> crcs, std::vector<MapPiece>& out) const;

  std::optional<PagePlace> place_of(std::uint32_t page) const;
  Task<Result<PageHandle>> fetch(PagePlace place);
  Task<Result<PageHandle>> fetch_from_store(PagePlace place);
  const MapObject* entry(ObjectId id) const;

  StoreAccess access_;
  std::shared_ptr<PageCache> cache_;
  std::uint64_t blocks_;
  CheckpointRoot root_;  // as HEAD names it, and the objects added since
  std::uint64_t stored_bytes_ = 0;
  Changes changed_;
  std::shared_ptr<const Changes> frozen_;
  ObjectId frozen_next_object_ = 0;
  std::optional<CheckpointRoot> stored_;  // by store_checkpoint(), not yet adopted
  std::map<PageCache::Key, std::shared_ptr<AsyncMutex>> fetching_;
};

}  // namespace ebb::disk
