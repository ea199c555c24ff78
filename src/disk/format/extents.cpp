#include "disk/format/extents.h"

#include "base/check.h"
#include "disk/block_device.h"
#include "disk/format/limits.h"

namespace ebb::disk {
namespace {

constexpr std::size_t extent_bytes = 32, frame_bytes = 12;
constexpr std::uint32_t codec_none = 0;

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

}  // namespace

void append_index(Bytes& out, std::span<const SegmentExtent> extents, std::span<const std::uint32_t> crcs) {
  CHECK(extents.size() <= extents_per_segment_max && crcs.size() <= segment_data_blocks_max);
  append_le(out, static_cast<std::uint32_t>(extents.size()));
  for (const auto& e : extents) {
    append_le(out, e.block);
    append_le(out, e.count);
    append_le(out, static_cast<std::uint32_t>(e.kind));
    append_le(out, e.write_seq);
    append_le(out, e.data_block);
    append_le(out, std::uint32_t{0});
  }
  append_le(out, static_cast<std::uint32_t>(crcs.size()));
  for (auto crc : crcs) append_le(out, crc);
  append_le(out, std::uint32_t{crcs.empty() ? 0u : 1u});
  if (!crcs.empty()) {
    append_le(out, static_cast<std::uint32_t>(crcs.size()));
    append_le(out, static_cast<std::uint32_t>(crcs.size() * block_bytes));
    append_le(out, codec_none);
  }
  out.resize((out.size() + block_bytes - 1) / block_bytes * block_bytes);
}

void read_index(WireReader& in, ExtentIndex index) {
  index.extents.resize(in.count(extent_bytes));
  for (auto& e : index.extents) {
    e.block = in.number<std::uint64_t>();
    e.count = in.number<std::uint32_t>();
    e.kind = static_cast<ExtentKind>(in.number<std::uint32_t>());
    e.write_seq = in.number<std::uint64_t>();
    e.data_block = in.number<std::uint32_t>();
    in.number<std::uint32_t>();
  }
  index.crcs.resize(in.count(4));
  for (auto& crc : index.crcs) crc = in.number<std::uint32_t>();
}

Status check_rest(WireReader& in, std::size_t blocks, std::string_view what) {
  EBB_CHECKED(read_frames(in, blocks, what));
  if (in.left() >= block_bytes || !is_all_zero(in.bytes(in.left())))
    return fail(Code::corrupt, "{} has bytes too many", what);
  return in.finish(what);
}

Status check_extents(std::span<const SegmentExtent> extents, std::size_t crcs, std::string_view what) {
  if (extents.size() > extents_per_segment_max) return fail(Code::corrupt, "{} has too many extents", what);
  std::uint64_t data_blocks = 0;
  for (const auto& e : extents) {
    if (e.count == 0 || e.block > disk_bytes_max / block_bytes)
      return fail(Code::corrupt, "{} has an extent out of range", what);
    if (e.kind != ExtentKind::data && e.kind != ExtentKind::zeroes)
      return fail(Code::corrupt, "{} has an unknown extent", what);
    if (e.data_block != (e.kind == ExtentKind::data ? data_blocks : 0))
      return fail(Code::corrupt, "{}: data out of order", what);
    if (e.kind == ExtentKind::data) data_blocks += e.count;
  }
  if (data_blocks != crcs || data_blocks > segment_data_blocks_max)
    return fail(Code::corrupt, "{} has {} blocks of data and {} checksums", what, data_blocks, crcs);
  return {};
}

}  // namespace ebb::disk
