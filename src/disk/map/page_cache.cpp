#include "disk/map/page_cache.h"

#include <algorithm>

namespace ebb::disk {

LoadedPage::LoadedPage(MapPage page) : page_(std::move(page)) {
  crc_at_.reserve(page_.runs.size());
  std::uint32_t at = 0;
  for (const auto& run : page_.runs) crc_at_.push_back(at), at += run.count;
}

std::size_t LoadedPage::run_at(std::uint32_t block) const {
  auto it = std::upper_bound(page_.runs.begin(), page_.runs.end(), block,
                             [](std::uint32_t b, const MapRun& run) { return b < run.block + run.count; });
  return static_cast<std::size_t>(it - page_.runs.begin());
}

std::size_t LoadedPage::bytes() const {
  return sizeof *this + page_.runs.capacity() * sizeof(MapRun) +
         (page_.crcs.capacity() + crc_at_.capacity()) * 4;
}

PageHandle PageCache::find(const Key& key) {
  auto it = entries_.find(key);
  if (it == entries_.end()) return nullptr;
  ages_.splice(ages_.end(), ages_, it->second.age);
  return it->second.page;
}

void PageCache::add(const Key& key, PageHandle page) {
  if (entries_.contains(key)) return;
  bytes_ += page->bytes();
  entries_[key] = {std::move(page), ages_.insert(ages_.end(), key)};
  while (bytes_ > bytes_max_ && entries_.size() > 1) {
    auto oldest = entries_.find(ages_.front());
    bytes_ -= oldest->second.page->bytes();
    entries_.erase(oldest);
    ages_.pop_front();
  }
}

}  // namespace ebb::disk
