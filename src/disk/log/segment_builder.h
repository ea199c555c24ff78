// Gathers writes, in order, until they are cut into a segment.
#pragma once
#include "disk/format/segment_types.h"
#include "env/object_store.h"

namespace ebb::disk {

class SegmentBuilder {
 public:
  bool empty() const { return head_.extents.empty(); }
  std::size_t data_bytes() const { return data_.size(); }
  ByteView data() const { return data_; }
  // Whether so much more still fits into a segment of `segment_bytes`.
  bool has_room(std::size_t bytes, std::size_t segment_bytes) const;
  std::uint64_t last_write_seq() const { return head_.last_write_seq; }

  // Returns the first data block of the extent. The CRCs are those of its blocks.
  std::uint32_t add_data(std::uint64_t write_seq, std::uint64_t block, ByteView data,
                         std::span<const std::uint32_t> crcs);
  void add_zeroes(std::uint64_t write_seq, std::uint64_t block, std::uint32_t count);

  struct Cut {
    SharedBytes body;
    LogPoint point;
    std::uint32_t data_offset = 0;
    std::size_t data_bytes = 0;
    std::uint32_t trims = 0;  // extents of zeroes
  };
  // The finished object. `before` is where the log ended until now; seq, chain and position of the result
  // follow from it.
  Cut cut(const DiskId& disk, const LogPoint& before, std::string log_id, std::uint64_t log_position);

 private:
  void add(std::uint64_t write_seq, SegmentExtent extent);

  SegmentHead head_;
  Bytes data_;
};

}  // namespace ebb::disk
