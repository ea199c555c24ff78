// What happened to one page of the map since its last checkpoint: blocks that were written, ranges that were
// cleared. A block that is in neither is as the checkpoint says.
#pragma once
#include <boost/container/small_vector.hpp>
#include <optional>
#include <span>
#include <vector>

#include "disk/format/checkpoint_types.h"

namespace ebb::disk {

class PageDelta {
 public:
  struct Entry {
    std::uint32_t block = 0;  // in the page, as everywhere here
    ObjectId object = 0;
    std::uint32_t data_block = 0;
    std::uint32_t crc32c = 0;
  };
  struct Range {
    std::uint32_t begin = 0, end = 0;
  };

  void set(std::uint32_t block, std::span<const std::uint32_t> crcs, ObjectId object,
           std::uint32_t data_block);
  void clear(std::uint32_t block, std::uint32_t count);

  std::span<const Entry> entries() const { return {entries_.data(), entries_.size()}; }
  // Those at or behind `block`.
  std::span<const Entry> entries_from(std::uint32_t block) const;
  // The cleared range that `block` lies in. A write into it stands above it.
  std::optional<Range> cleared_at(std::uint32_t block) const;
  // Where it says something again, from `block` on, at most `end`; `block` if it does so there.
  std::uint32_t silent_until(std::uint32_t block, std::uint32_t end) const;
  // Nothing of what was there before shows through in [begin, end).
  bool covers(std::uint32_t begin, std::uint32_t end) const;
  std::size_t bytes() const {
    const auto apart = entries_.capacity() > few ? entries_.capacity() * sizeof(Entry) : 0;
    return sizeof *this + apart + cleared_.capacity() * sizeof(Range);
  }

 private:
  static constexpr std::size_t few = 2;  // random writes seldom meet in a page: no memory apart for those
  boost::container::small_vector<Entry, few> entries_;  // by block
  std::vector<Range> cleared_;                          // by block, apart from each other
};

// `base` (null: an empty page) with `delta` over it.
MapPage merge(const MapPage* base, const PageDelta& delta);

}  // namespace ebb::disk
