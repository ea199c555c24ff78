#include "disk/format/segment_types.h"

#include "base/check.h"
#include "disk/block_device.h"
#include "disk/format/hash.h"
#include "disk/format/limits.h"
#include "disk/format/wire.h"

namespace ebb::disk {
namespace {

constexpr auto segment_magic = magic_of("EBBSEGM1"), fence_magic = magic_of("EBBFENC1");
constexpr std::size_t extent_bytes = 32, frame_bytes = 12;
constexpr std::uint32_t codec_none = 0;

Status check_extents(const SegmentHead& h, std::string_view what) {
  std::uint64_t data_blocks = 0, last_write = h.first_write_seq;
  for (const auto& e : h.extents) {
    if (e.count == 0 || e.block > disk_bytes_max / block_bytes) {
      return fail(Code::corrupt, "{} has an extent out of range", what);
    }
    if (e.write_seq < last_write || e.write_seq > h.last_write_seq)
      return fail(Code::corrupt, "{}: write sequences out of order", what);
    last_write = e.write_seq;
    if (e.kind != ExtentKind::data && e.kind != ExtentKind::zeroes)
      return fail(Code::corrupt, "{} has an unknown extent", what);
    if (e.data_block != (e.kind == ExtentKind::data ? data_blocks : 0))
      return fail(Code::corrupt, "{}: data out of order", what);
    if (e.kind == ExtentKind::data) data_blocks += e.count;
  }
  if (data_blocks != h.crcs.size() || data_blocks > segment_data_blocks_max) {
    return fail(Code::corrupt, "{} has {} blocks of data and {} checksums", what, data_blocks, h.crcs.size());
  }
  return {};
}

Status read_frames(WireReader& in, std::size_t blocks, std::string_view what) {
  std::uint64_t framed = 0;
  for (auto n = in.count(frame_bytes); n > 0; --n) {
    auto raw = in.number<std::uint32_t>(), stored = in.number<std::uint32_t>(),
         codec = in.number<std::uint32_t>();
    if (codec != codec_none)
      return fail(Code::invalid, "{} is compressed in a way that this program does not know", what);
    if (stored != raw * block_bytes) return fail(Code::corrupt, "{} has a frame of a wrong length", what);
    framed += raw;
  }
  if (framed != blocks) return fail(Code::corrupt, "{} has frames for {} of {} blocks", what, framed, blocks);
  return {};
}

void read_body(WireReader& in, SegmentHead& h) {
  h.disk = DiskId(in.text());
  h.epoch.placement = in.number<std::uint64_t>();
  h.epoch.incarnation = in.number<std::uint64_t>();
  h.seq = in.number<std::uint64_t>();
  h.opener = in.text();
  h.previous = in.text();
  h.log_id = in.text();
  h.log_position = in.number<std::uint64_t>();
  h.first_write_seq = in.number<std::uint64_t>();
  h.last_write_seq = in.number<std::uint64_t>();
  h.extents.resize(in.count(extent_bytes));
  for (auto& e : h.extents) {
    e.block = in.number<std::uint64_t>();
    e.count = in.number<std::uint32_t>();
    e.kind = static_cast<ExtentKind>(in.number<std::uint32_t>());
    e.write_seq = in.number<std::uint64_t>();
    e.data_block = in.number<std::uint32_t>();
    in.number<std::uint32_t>();
  }
  h.crcs.resize(in.count(4));
  for (auto& crc : h.crcs) crc = in.number<std::uint32_t>();
}

Result<ReadSegment> decode_segment(ByteView bytes, std::string_view what) {
  EBB_TRY(body, open_object(bytes, segment_magic, what));
  WireReader in(body);
  ReadSegment out;
  read_body(in, out.head);
  EBB_CHECKED(read_frames(in, out.head.crcs.size(), what));
  if (in.left() >= block_bytes || !is_all_zero(in.bytes(in.left())))
    return fail(Code::corrupt, "{} has bytes too many", what);
  EBB_CHECKED(in.finish(what));
  if (bytes.size() % block_bytes != 0) return fail(Code::corrupt, "{} is not padded", what);
  if (!out.head.previous.empty() && !is_sha256_hex(out.head.previous))
    return fail(Code::corrupt, "{} has no valid chain", what);
  if (out.head.extents.size() > extents_per_segment_max)
    return fail(Code::corrupt, "{} has too many extents", what);
  EBB_CHECKED(check_extents(out.head, what));
  out.chain = sha256_hex(bytes);
  out.data_offset = static_cast<std::uint32_t>(bytes.size());
  return out;
}

Result<Fence> decode_fence(ByteView bytes, std::string_view what) {
  EBB_TRY(body, open_object(bytes, fence_magic, what));
  WireReader in(body);
  Fence f;
  f.disk = DiskId(in.text());
  f.epoch.placement = in.number<std::uint64_t>();
  f.epoch.incarnation = in.number<std::uint64_t>();
  f.seq = in.number<std::uint64_t>();
  f.by_epoch.placement = in.number<std::uint64_t>();
  f.by_epoch.incarnation = in.number<std::uint64_t>();
  f.by_owner = in.text();
  f.by_opener = in.text();
  EBB_CHECKED(in.finish(what));
  return f;
}

}  // namespace

Bytes encode(const SegmentHead& h) {
  CHECK(h.extents.size() <= extents_per_segment_max && h.crcs.size() <= segment_data_blocks_max);
  Bytes out = begin_object(segment_magic);
  append_text(out, h.disk.str());
  for (auto number : {h.epoch.placement, h.epoch.incarnation, h.seq}) append_le(out, number);
  append_text(out, h.opener);
  append_text(out, h.previous);
  append_text(out, h.log_id);
  for (auto number : {h.log_position, h.first_write_seq, h.last_write_seq}) append_le(out, number);
  append_le(out, static_cast<std::uint32_t>(h.extents.size()));
  for (const auto& e : h.extents) {
    append_le(out, e.block);
    append_le(out, e.count);
    append_le(out, static_cast<std::uint32_t>(e.kind));
    append_le(out, e.write_seq);
    append_le(out, e.data_block);
    append_le(out, std::uint32_t{0});
  }
  append_le(out, static_cast<std::uint32_t>(h.crcs.size()));
  for (auto crc : h.crcs) append_le(out, crc);
  append_le(out, std::uint32_t{h.crcs.empty() ? 0u : 1u});
  if (!h.crcs.empty()) {
    append_le(out, static_cast<std::uint32_t>(h.crcs.size()));
    append_le(out, static_cast<std::uint32_t>(h.crcs.size() * block_bytes));
    append_le(out, codec_none);
  }
  out.resize((out.size() + block_bytes - 1) / block_bytes * block_bytes);
  finish_object(out);
  return out;
}

Bytes encode(const Fence& f) {
  Bytes out = begin_object(fence_magic);
  append_text(out, f.disk.str());
  for (auto number :
       {f.epoch.placement, f.epoch.incarnation, f.seq, f.by_epoch.placement, f.by_epoch.incarnation}) {
    append_le(out, number);
  }
  append_text(out, f.by_owner);
  append_text(out, f.by_opener);
  finish_object(out);
  return out;
}

Result<std::size_t> log_object_head_bytes(ByteView start) {
  EBB_TRY(object, peek_object(start, "a log object"));
  if (object.magic != segment_magic && object.magic != fence_magic) {
    return fail(Code::corrupt, "a log object is neither a segment nor a fence");
  }
  if (object.length > segment_head_bytes_max || object.length < envelope_bytes) {
    return fail(Code::corrupt, "a log object says that its head has {} bytes", object.length);
  }
  return static_cast<std::size_t>(object.length);
}

Result<LogObject> decode_log_object(ByteView head, const DiskId& disk, DiskEpoch epoch, std::uint64_t seq) {
  EBB_TRY(start, peek_object(head, "a log object"));
  auto what =
      fmt::format("{} {}/{}/{}", start.magic == fence_magic ? "fence" : "segment", disk, epoch.text(), seq);
  auto check_place = [&](const auto& o) -> Status {
    if (o.disk == disk && o.epoch == epoch && o.seq == seq) return {};
    return fail(Code::corrupt, "{} says that it is {}/{}/{}", what, o.disk, o.epoch.text(), o.seq);
  };
  if (start.magic == fence_magic) {
    EBB_TRY(fence, decode_fence(head, what));
    EBB_CHECKED(check_place(fence));
    return LogObject(std::move(fence));
  }
  EBB_TRY(segment, decode_segment(head, what));
  EBB_CHECKED(check_place(segment.head));
  return LogObject(std::move(segment));
}

}  // namespace ebb::disk
