// Gathers writes, in order, until they are cut into a segment.
#pragma once
#include "disk/format/segment_types.h"
#include "env/object_store.h"

namespace ebb::disk {

class SegmentBuilder {
 public:
  bool empty() const { return head_.extents.empty(); }
  std::size_t data_bytes() const { return data().size(); }
  ByteView data() const { return ByteView(body_).subspan(std::min(head_room_, body_.size())); }
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
    bool is_packed = false;   // in the store; `body` has the data as it is
  };
  // The finished object. `before` is where the log ended until now; seq, chain and position of the result
  // follow from it.
  // `may_pack`: its data is stored in frames if that makes it smaller.
  Cut cut(const DiskId& disk, const LogPoint& before, std::string log_id, std::uint64_t log_position,
          bool may_pack);

 private:
  void add(std::uint64_t write_seq, SegmentExtent extent);
  void put_before_data(ByteView head);

  SegmentHead head_;
  // The data, behind room for a head of the size that the last one had: what is written alike is not moved once more when it
  // is cut, and grows in place.
  Bytes body_;
  std::size_t head_room_ = 0, last_body_bytes_ = 0;
};

}  // namespace ebb::disk
