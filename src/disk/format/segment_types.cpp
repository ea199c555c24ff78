#include "disk/format/segment_types.h"

#include "disk/block_device.h"
#include "disk/format/extents.h"
#include "disk/format/hash.h"
#include "disk/format/limits.h"

namespace ebb::disk {
namespace {

constexpr auto segment_magic = magic_of("EBBSEGM1"), fence_magic = magic_of("EBBFENC1");
Status check_order(const SegmentHead& h, std::string_view what) {
  auto last_write = h.first_write_seq;
  for (const auto& e : h.extents) {
    if (e.write_seq < last_write || e.write_seq > h.last_write_seq)
      return fail(Code::corrupt, "{}: write sequences out of order", what);
    last_write = e.write_seq;
  }
  return {};
}

Status read_body(WireReader& in, SegmentHead& h, std::string_view what) {
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
  return read_index(in, {h.extents, h.crcs, h.is_packed}, what);
}

Result<ReadSegment> decode_segment(ByteView bytes, std::string_view what) {
  EBB_TRY(body, open_object(bytes, segment_magic, what));
  WireReader in(body);
  ReadSegment out;
  EBB_CHECKED(read_body(in, out.head, what));
  if (bytes.size() % block_bytes != 0) return fail(Code::corrupt, "{} is not padded", what);
  if (!out.head.previous.empty() && !is_sha256_hex(out.head.previous))
    return fail(Code::corrupt, "{} has no valid chain", what);
  EBB_CHECKED(check_extents(out.head.extents, out.head.crcs.size(), what));
  EBB_CHECKED(check_order(out.head, what));
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
  Bytes out = begin_object(segment_magic);
  append_text(out, h.disk.str());
  for (auto number : {h.epoch.placement, h.epoch.incarnation, h.seq}) append_le(out, number);
  append_text(out, h.opener);
  append_text(out, h.previous);
  append_text(out, h.log_id);
  for (auto number : {h.log_position, h.first_write_seq, h.last_write_seq}) append_le(out, number);
  append_index(out, h.extents, h.crcs, h.is_packed);
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
