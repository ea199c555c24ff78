// What all disks of a daemon share in memory.
#pragma once
#include "disk/cache/piece_cache.h"
#include "disk/map/page_cache.h"
#include "disk/shared_room.h"

namespace ebb::disk {

struct DiskMemory {
  DiskMemory() = default;
  DiskMemory(std::size_t data_bytes_max, std::size_t map_bytes_max)
      : pieces(std::make_shared<PieceCache>(data_bytes_max)),
        pages(std::make_shared<PageCache>(map_bytes_max)) {}
  std::shared_ptr<PieceCache> pieces = std::make_shared<PieceCache>();  // of data
  std::shared_ptr<PageCache> pages = std::make_shared<PageCache>();     // of maps
  std::shared_ptr<SharedRoom> room;  // null: each disk has its own, by its tuning
};

// How one number for the memory of a daemon is divided. What is left, three tenths, is for the process itself and for
// copies on their way: replies, appends to logs, objects that are being sent or cleaned.
struct MemoryShares {
  std::size_t cache = 0, maps = 0;
  SharedRoom::Limits room;
};
inline constexpr std::size_t memory_bytes_min = 64 * MiB;
inline MemoryShares shares_of(std::size_t memory_bytes) {
  auto tenth = memory_bytes / 10;
  return {2 * tenth, 2 * tenth, {2 * tenth, tenth}};
}

}  // namespace ebb::disk
