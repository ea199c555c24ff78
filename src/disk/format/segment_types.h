// Segments, the log's objects, and fences, which stand in a segment's place and end an epoch.
#pragma once
#include <string>
#include <variant>
#include <vector>

#include "disk/format/head_types.h"

namespace ebb::disk {

enum class ExtentKind : std::uint32_t { data = 0, zeroes = 1 };

struct SegmentExtent {
  std::uint64_t block = 0;
  std::uint32_t count = 0;  // blocks
  ExtentKind kind = ExtentKind::data;
  std::uint64_t write_seq = 0;
  std::uint32_t data_block = 0;  // first of its blocks in the segment's data
  bool operator==(const SegmentExtent&) const = default;
};

struct SegmentHead {
  DiskId disk;
  DiskEpoch epoch;
  std::uint64_t seq = 0;
  std::string opener;
  std::string previous;  // chain of the segment before
  std::string log_id;
  std::uint64_t log_position = 0;  // where this segment ends in that log
  std::uint64_t first_write_seq = 0, last_write_seq = 0;
  std::vector<SegmentExtent> extents;
  std::vector<std::uint32_t> crcs;  // of each data block
  bool is_packed = false;           // how the data is stored: see packed_data.h
  bool operator==(const SegmentHead&) const = default;
};

struct Fence {
  DiskId disk;
  DiskEpoch epoch;  // with seq: the place
  std::uint64_t seq = 0;
  DiskEpoch by_epoch;
  std::string by_owner, by_opener;
  bool operator==(const Fence&) const = default;
};

// Padded to whole blocks; the data follows it in the object.
Bytes encode(const SegmentHead& head);
Bytes encode(const Fence& fence);

// A segment as read back: what it says, the chain that the next one must name, and where its data begins.
struct ReadSegment {
  SegmentHead head;
  std::string chain;
  std::uint32_t data_offset = 0;
};
using LogObject = std::variant<Fence, ReadSegment>;

// How many bytes of the object must be at hand for decode_log_object.
Result<std::size_t> log_object_head_bytes(ByteView start);
// `head`: exactly that many bytes. The object must be that of this place.
Result<LogObject> decode_log_object(ByteView head, const DiskId& disk, DiskEpoch epoch, std::uint64_t seq);

}  // namespace ebb::disk
