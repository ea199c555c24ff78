// What the cleaner gathered from objects that are mostly dead: extents in block order, each with the write
// sequence that it had. Not part of the log: only a checkpoint makes it visible.
#pragma once
#include "disk/format/segment_types.h"

namespace ebb::disk {

struct CleanedHead {
  DiskId disk;
  DiskEpoch epoch;                     // of the writer that cleaned
  std::uint64_t number = 0;            // from 1, without gaps
  std::vector<SegmentExtent> extents;  // data in the order of its blocks; zeroes wherever
  std::vector<std::uint32_t> crcs;     // of each data block
  bool is_packed = false;
  bool operator==(const CleanedHead&) const = default;
};

// Padded to whole blocks; the data follows it in the object.
Bytes encode(const CleanedHead& head);

struct ReadCleaned {
  CleanedHead head;
  std::uint32_t data_offset = 0;
};

// How many bytes of the object must be at hand for decode_cleaned.
Result<std::size_t> cleaned_head_bytes(ByteView start);
// `head`: exactly that many bytes. The object must be the one so named.
Result<ReadCleaned> decode_cleaned(ByteView head, const DiskId& disk, DiskEpoch epoch, std::uint64_t number);

}  // namespace ebb::disk
