#include "disk/cache/hot_regions.h"

#include <algorithm>

namespace ebb::disk {

void HotRegions::on_read(std::uint64_t offset, std::uint64_t length) {
  auto first = static_cast<std::uint32_t>(offset / region_bytes),
       last = static_cast<std::uint32_t>((offset + length - 1) / region_bytes);
  for (auto region = first; region <= last; ++region) {
    if (region == last_) continue;  // a reader that walks through it uses it once
    if (items_.find(region)) {
      items_.use(region);
      continue;
    }
    items_.add(region, {}, 1);
    (void)items_.shrink(regions_max);
    ++changes_;
  }
  last_ = last;
}

// Sorted within chunks of the list: runs stay long, and what is hottest comes early.
std::vector<RegionRun> HotRegions::list() const {
  constexpr std::size_t chunk = 1024;
  auto regions = items_.keys();
  std::vector<RegionRun> runs;
  for (std::size_t at = 0; at < regions.size(); at += chunk) {
    auto begin = regions.begin() + static_cast<std::ptrdiff_t>(at);
    auto end = regions.begin() + static_cast<std::ptrdiff_t>(std::min(regions.size(), at + chunk));
    std::sort(begin, end);
    for (auto it = begin; it != end; ++it) {
      if (!runs.empty() && runs.back().first + runs.back().count == *it)
        ++runs.back().count;
      else
        runs.push_back({*it, 1});
    }
  }
  return runs;
}

}  // namespace ebb::disk
