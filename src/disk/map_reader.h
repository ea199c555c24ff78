// Reads a disk through its map: from memory what the store may not have yet, the rest through the cache,
// ahead of sequential readers; every block is held against the checksum in the map.
#pragma once
#include "disk/block_device.h"
#include "disk/cache/hot_regions.h"
#include "disk/cache/piece_cache.h"
#include "disk/cache/stream_detector.h"
#include "disk/map/block_map.h"
#include "env/scope.h"

namespace ebb::disk {

// The pieces that hold what the map says, in as few ranges as possible; without what is not in the store.
using Resident = std::function<ByteView(const DataObject&)>;
std::vector<PieceRange> piece_ranges(const std::vector<MapPiece>& pieces, const Resident& resident);

class MapReader {
 public:
  using Resident = disk::Resident;
  // `map` and `cache` outlive it.
  MapReader(StoreAccess access, BlockMap* map, PieceCache* cache, Resident resident)
      : access_(access), map_(*map), cache_(*cache), resident_(std::move(resident)), ahead_(*access.loop) {}
  MapReader(const MapReader&) = delete;
  Task<Result<Bytes>> read(std::uint64_t offset, std::size_t length);
  // What lies in a few large parts of objects is not copied.
  Task<Result<Slices>> gather(std::uint64_t offset, std::size_t length);
  Task<Result<std::vector<Extent>>> extents(std::uint64_t offset, std::uint64_t length);
  const HotRegions& hot_regions() const { return hot_; }

 private:
  struct Wanted {
    DataObject object;
    std::uint32_t data_block = 0;
    std::uint64_t block = 0;
    std::vector<std::uint32_t> crcs;
  };
  template <class T>
  using Once = Task<Result<T>> (MapReader::*)(std::vector<MapPiece> pieces, std::uint64_t offset,
                                              std::size_t length);
  template <class T>
  Task<Result<T>> until_found(Once<T> once, std::uint64_t offset, std::size_t length);
  Task<Result<Bytes>> copy(std::vector<MapPiece> pieces, std::uint64_t offset, std::size_t length);
  Task<Result<Slices>> slice(std::vector<MapPiece> pieces, std::uint64_t offset, std::size_t length);
  // What the store may not have yet; empty if it has.
  ByteView in_memory(const MapPiece& piece) const;
  Wanted stored(MapPiece piece) const;
  // Held against the checksums.
  Task<Result<Slices>> fetch(Wanted wanted);
  Task<Status> fetch_copy(Wanted wanted, std::byte* to);
  void look_ahead(std::uint64_t offset, std::size_t length);
  Task<void> read_ahead(ByteRange range);
  Task<void> read_ahead_one(PieceRange range, std::unique_ptr<PieceCache::AheadRoom> room);

  StoreAccess access_;
  BlockMap& map_;
  PieceCache& cache_;
  Resident resident_;
  HotRegions hot_;
  StreamDetector streams_;
  Scope ahead_;
};

}  // namespace ebb::disk
