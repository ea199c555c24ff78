#include "disk/log/segment_builder.h"

#include "base/check.h"
#include "disk/block_device.h"
#include "disk/format/hash.h"
#include "disk/format/limits.h"
#include "disk/format/packed_data.h"

namespace ebb::disk {

bool SegmentBuilder::has_room(std::size_t bytes, std::size_t segment_bytes) const {
  return empty() || (data_bytes() + bytes <= segment_bytes && head_.extents.size() < extents_per_segment_max);
}

void SegmentBuilder::add(std::uint64_t write_seq, SegmentExtent extent) {
  if (empty()) head_.first_write_seq = write_seq;
  head_.last_write_seq = write_seq;
  head_.extents.push_back(extent);
}

std::uint32_t SegmentBuilder::add_data(std::uint64_t write_seq, std::uint64_t block, ByteView data,
                                       std::span<const std::uint32_t> crcs) {
  auto data_block = static_cast<std::uint32_t>(head_.crcs.size());
  add(write_seq, {block, static_cast<std::uint32_t>(crcs.size()), ExtentKind::data, write_seq, data_block});
  head_.crcs.insert(head_.crcs.end(), crcs.begin(), crcs.end());
  if (body_.empty()) {
    body_.reserve(std::max(last_body_bytes_, head_room_ + data.size()));
    body_.resize(head_room_);
  }
  append(body_, data);
  CHECK(data_bytes() == head_.crcs.size() * block_bytes);
  return data_block;
}

void SegmentBuilder::add_zeroes(std::uint64_t write_seq, std::uint64_t block, std::uint32_t count) {
  add(write_seq, {block, count, ExtentKind::zeroes, write_seq, 0});
}

SegmentBuilder::Cut SegmentBuilder::cut(const DiskId& disk, const LogPoint& before, std::string log_id,
                                        std::uint64_t log_position, bool may_pack) {
  CHECK(!empty());
  head_.disk = disk;
  head_.epoch = before.epoch;
  head_.opener = before.opener;
  head_.seq = before.seq + 1;
  head_.previous = before.chain;
  head_.log_id = log_id;
  head_.log_position = log_position;
  head_.is_packed = may_pack && is_worth_packing(data());
  const auto head = encode(head_);
  Cut cut;
  cut.data_offset = static_cast<std::uint32_t>(head.size());
  cut.data_bytes = data_bytes(), cut.is_packed = head_.is_packed;
  cut.trims =
      static_cast<std::uint32_t>(std::ranges::count(head_.extents, ExtentKind::zeroes, &SegmentExtent::kind));
  cut.point = {before.epoch,     before.opener,     head_.seq,   head_.last_write_seq,
               sha256_hex(head), std::move(log_id), log_position};
  put_before_data(head);
  last_body_bytes_ = body_.size();
  cut.body = std::make_shared<const Bytes>(std::exchange(body_, {}));
  head_ = {};
  return cut;
}

void SegmentBuilder::put_before_data(ByteView head) {
  body_.resize(std::max(body_.size(), head_room_));  // without data there is no room yet
  auto begin = body_.begin();
  if (head.size() > head_room_)
    body_.insert(begin, head.size() - head_room_, std::byte{});
  else
    body_.erase(begin, begin + static_cast<std::ptrdiff_t>(head_room_ - head.size()));
  std::ranges::copy(head, body_.begin());
  head_room_ = head.size();
}

}  // namespace ebb::disk
