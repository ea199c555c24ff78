#include "disk/format/cleaned_types.h"

#include "disk/block_device.h"
#include "disk/format/extents.h"
#include "disk/format/limits.h"

namespace ebb::disk {
namespace {

constexpr auto cleaned_magic = magic_of("EBBCLND1");

Status check_order(const CleanedHead& h, std::string_view what) {
  std::uint64_t next = 0;
  for (const auto& e : h.extents) {
    if (e.kind != ExtentKind::data) continue;
    if (e.block < next) return fail(Code::corrupt, "{}: blocks out of order", what);
    next = e.block + e.count;
  }
  return {};
}

}  // namespace

Bytes encode(const CleanedHead& h) {
  Bytes out = begin_object(cleaned_magic);
  append_text(out, h.disk.str());
  for (auto number : {h.epoch.placement, h.epoch.incarnation, h.number}) append_le(out, number);
  append_index(out, h.extents, h.crcs, h.is_packed);
  finish_object(out);
  return out;
}

Result<std::size_t> cleaned_head_bytes(ByteView start) {
  EBB_TRY(object, peek_object(start, "a cleaned object"));
  if (object.magic != cleaned_magic) return fail(Code::corrupt, "a cleaned object is none");
  if (object.length > segment_head_bytes_max || object.length < envelope_bytes)
    return fail(Code::corrupt, "a cleaned object says that its head has {} bytes", object.length);
  return static_cast<std::size_t>(object.length);
}

Result<ReadCleaned> decode_cleaned(ByteView bytes, const DiskId& disk, DiskEpoch epoch,
                                   std::uint64_t number) {
  auto what = fmt::format("cleaned object {}/{}/{}", disk, epoch.text(), number);
  EBB_TRY(body, open_object(bytes, cleaned_magic, what));
  WireReader in(body);
  ReadCleaned out;
  auto& h = out.head;
  h.disk = DiskId(in.text());
  h.epoch.placement = in.number<std::uint64_t>();
  h.epoch.incarnation = in.number<std::uint64_t>();
  h.number = in.number<std::uint64_t>();
  EBB_CHECKED(read_index(in, {h.extents, h.crcs, h.is_packed}, what));
  if (bytes.size() % block_bytes != 0) return fail(Code::corrupt, "{} is not padded", what);
  EBB_CHECKED(check_extents(h.extents, h.crcs.size(), what));
  EBB_CHECKED(check_order(h, what));
  if (h.disk != disk || h.epoch != epoch || h.number != number)
    return fail(Code::corrupt, "{} says that it is {}/{}/{}", what, h.disk, h.epoch.text(), h.number);
  out.data_offset = static_cast<std::uint32_t>(bytes.size());
  return out;
}

}  // namespace ebb::disk
