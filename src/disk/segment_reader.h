// Bytes of committed segments, through a cache of 64 KiB pieces that all disks of a daemon share. Objects are
// immutable: the cache needs no coherence, and losing it costs only time.
#pragma once
#include <list>

#include "disk/format/checkpoint_types.h"
#include "disk/store_access.h"

namespace ebb::disk {

class PieceCache {
 public:
  struct Key {
    DataObject object;
    std::uint64_t piece = 0;
    auto operator<=>(const Key&) const = default;
  };
  explicit PieceCache(std::size_t bytes_max = 64 * MiB) : bytes_max_(bytes_max) {}
  SharedBytes find(const Key& key);
  void add(const Key& key, SharedBytes bytes);
  void drop(const Key& key);
  std::size_t bytes() const { return bytes_; }

 private:
  struct Entry {
    SharedBytes bytes;
    std::list<Key>::iterator age;
  };
  std::size_t bytes_max_, bytes_ = 0;
  std::map<Key, Entry> entries_;
  std::list<Key> ages_;  // oldest first
};

enum class CacheUse { normal, refresh };  // refresh: read from the store, whatever the cache says

// `count` blocks of the object's data, from its block `first` on. Not verified: the caller holds the
// checksums.
Task<Result<Bytes>> read_segment_data(StoreAccess access, PieceCache* cache, DataObject object,
                                      std::uint32_t first, std::uint32_t count, CacheUse use);

}  // namespace ebb::disk
