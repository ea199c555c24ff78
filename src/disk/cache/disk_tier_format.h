// The file of the cache on the worker's own disk: a header, an index of fixed entries, slots of 64 KiB.
// Nothing in it is ever believed without its checksum, so nothing of it needs to be synced: torn, stale or
// foreign bytes are no entry.
#pragma once
#include <optional>

#include "disk/cache/piece_key.h"

namespace ebb::disk {

inline constexpr std::size_t cache_header_bytes = 4096, cache_entry_bytes = 32;

struct CacheLayout {
  std::uint32_t slots = 0;
  std::string token;  // fresh in every cache: entries of another are not ours
  bool operator==(const CacheLayout&) const = default;

  std::uint64_t entry_offset(std::uint32_t slot) const {
    return cache_header_bytes + std::uint64_t{slot} * cache_entry_bytes;
  }
  std::uint64_t slot_offset(std::uint32_t slot) const {
    auto index_end = entry_offset(slots);
    return (index_end + piece_bytes - 1) / piece_bytes * piece_bytes + slot * piece_bytes;
  }
};
// How many slots fit into a file of so many bytes.
std::uint32_t cache_slots(std::uint64_t bytes);

struct CacheEntry {
  PieceKey key;
  std::uint32_t length = 0;
  std::uint32_t crc = 0;  // of the bytes in the slot
  bool operator==(const CacheEntry&) const = default;
};

Bytes encode(const CacheLayout& layout);
Result<CacheLayout> decode_cache_layout(ByteView header);
// An entry holds in its own cache and slot only.
void append_entry(Bytes& to, const CacheLayout& layout, std::uint32_t slot, const CacheEntry& entry);
std::optional<CacheEntry> decode_entry(ByteView bytes, const CacheLayout& layout, std::uint32_t slot);

}  // namespace ebb::disk
