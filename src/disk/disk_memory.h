// What all disks of a daemon share in memory. Everything in it can be fetched again.
#pragma once
#include "disk/cache/piece_cache.h"
#include "disk/map/page_cache.h"

namespace ebb::disk {

struct DiskMemory {
  DiskMemory() = default;
  DiskMemory(std::size_t data_bytes_max, std::size_t map_bytes_max)
      : pieces(std::make_shared<PieceCache>(data_bytes_max)),
        pages(std::make_shared<PageCache>(map_bytes_max)) {}
  std::shared_ptr<PieceCache> pieces = std::make_shared<PieceCache>();  // of data
  std::shared_ptr<PageCache> pages = std::make_shared<PageCache>();     // of maps
};

}  // namespace ebb::disk
