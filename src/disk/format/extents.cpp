#include "disk/format/extents.h"

#include "base/check.h"
#include "disk/block_device.h"
#include "disk/format/limits.h"

namespace ebb::disk {
namespace {

constexpr std::size_t extent_bytes = 32, storage_bytes = 12;
constexpr std::uint32_t codec_none = 0, codec_frames = 1;

// Whether the data is packed.
Result<bool> read_storage(WireReader& in, std::size_t blocks, std::string_view what) {
  std::uint64_t stated = 0;
  bool is_packed = false;
  const auto entries = in.count(storage_bytes);
  for (std::size_t i = 0; i < entries; ++i) {
    auto raw = in.number<std::uint32_t>(), stored = in.number<std::uint32_t>(),
         codec = in.number<std::uint32_t>();
    if (codec != codec_none && codec != codec_frames)
      return fail(Code::invalid, "{} is compressed in a way that this program does not know", what);
    is_packed |= codec == codec_frames;
    if (stored != (is_packed ? 0 : raw * block_bytes))
      return fail(Code::corrupt, "{} has data of a wrong length", what);
    stated += raw;
    if (is_packed && entries > 1) return fail(Code::corrupt, "{} is packed in part", what);
  }
  if (stated != blocks) return fail(Code::corrupt, "{} stores {} of {} blocks", what, stated, blocks);
  return is_packed;
}

}  // namespace

void append_index(Bytes& out, std::span<const SegmentExtent> extents, std::span<const std::uint32_t> crcs,
                  bool is_packed) {
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
    append_le(out, static_cast<std::uint32_t>(is_packed ? 0 : crcs.size() * block_bytes));
    append_le(out, is_packed ? codec_frames : codec_none);
  }
  out.resize((out.size() + block_bytes - 1) / block_bytes * block_bytes);
}

Status read_index(WireReader& in, ExtentIndex index, std::string_view what) {
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
  EBB_TRY(is_packed, read_storage(in, index.crcs.size(), what));
  index.is_packed = is_packed;
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
