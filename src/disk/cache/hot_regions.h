// Which 64 KiB regions of a disk its guest reads, the most used first. By place in the disk and not by
// object: it stays true when data is rewritten elsewhere, and is small enough to be handed over.
#pragma once
#include <cstdint>
#include <vector>

#include "base/bytes.h"
#include "disk/cache/s3_fifo.h"

namespace ebb::disk {

struct RegionRun {
  std::uint32_t first = 0, count = 0;
  bool operator==(const RegionRun&) const = default;
};

class HotRegions {
 public:
  static constexpr std::uint64_t region_bytes = 64 * KiB;
  static constexpr std::size_t regions_max = 8192;  // 512 MiB of disk

  HotRegions() : items_(regions_max, regions_max) {}
  void on_read(std::uint64_t offset, std::uint64_t length);
  // Neighbours are joined; about the hottest first.
  std::vector<RegionRun> list() const;
  std::uint64_t changes() const { return changes_; }  // regions that came in, ever

 private:
  struct Nothing {};
  S3Fifo<std::uint32_t, Nothing, std::hash<std::uint32_t>> items_;
  std::uint64_t changes_ = 0;
  std::uint32_t last_ = ~std::uint32_t{0};
};

}  // namespace ebb::disk
