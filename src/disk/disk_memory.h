// What all disks of a daemon share in memory. Everything in it can be fetched again.
#pragma once
#include "disk/map/page_cache.h"
#include "disk/segment_reader.h"

namespace ebb::disk {

struct DiskMemory {
  std::shared_ptr<PieceCache> pieces = std::make_shared<PieceCache>();  // of data
  std::shared_ptr<PageCache> pages = std::make_shared<PageCache>();     // of maps
};

}  // namespace ebb::disk
