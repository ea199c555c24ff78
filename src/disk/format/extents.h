// The index of an object with data, as segments and cleaned objects have it: extents, the CRC of each data
// block, frames, and zeroes up to a whole block.
#pragma once
#include "disk/format/segment_types.h"
#include "disk/format/wire.h"

namespace ebb::disk {

struct ExtentIndex {
  std::vector<SegmentExtent>& extents;
  std::vector<std::uint32_t>& crcs;
  bool& is_packed;
};

// Padded: finish_object comes next. `is_packed`: what follows is in frames (packed_data.h).
void append_index(Bytes& out, std::span<const SegmentExtent> extents, std::span<const std::uint32_t> crcs,
                  bool is_packed);
// To the end of the head.
Status read_index(WireReader& in, ExtentIndex index, std::string_view what);
// Ranges, kinds, and data without gaps; not the order of write sequences.
Status check_extents(std::span<const SegmentExtent> extents, std::size_t crcs, std::string_view what);

}  // namespace ebb::disk
