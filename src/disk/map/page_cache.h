// Pages of maps in memory, of all disks of a daemon together, within one bound. Pages are immutable: what was
// evicted is fetched again from its pack.
#pragma once
#include <list>
#include <map>
#include <memory>

#include "disk/format/checkpoint_types.h"

namespace ebb::disk {

// A page that can be searched.
class LoadedPage {
 public:
  explicit LoadedPage(MapPage page);
  const MapPage& page() const { return page_; }
  // The first run that ends behind `block`, as an index; runs().size() if there is none.
  std::size_t run_at(std::uint32_t block) const;
  // The CRC of the run's first block stands here in page().crcs.
  std::size_t crc_at(std::size_t run) const { return crc_at_[run]; }
  std::size_t bytes() const;

 private:
  MapPage page_;
  std::vector<std::uint32_t> crc_at_;
};
using PageHandle = std::shared_ptr<const LoadedPage>;

class PageCache {
 public:
  struct Key {
    PagePack pack;
    std::uint32_t offset = 0;
    auto operator<=>(const Key&) const = default;
  };
  explicit PageCache(std::size_t bytes_max = 64 * MiB) : bytes_max_(bytes_max) {}
  PageHandle find(const Key& key);
  void add(const Key& key, PageHandle page);
  std::size_t bytes() const { return bytes_; }

 private:
  struct Entry {
    PageHandle page;
    std::list<Key>::iterator age;
  };
  std::size_t bytes_max_, bytes_ = 0;
  std::map<Key, Entry> entries_;
  std::list<Key> ages_;  // oldest first
};

}  // namespace ebb::disk
