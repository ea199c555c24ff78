#include "disk/format/packed_data.h"

#include <zstd.h>

#include "base/check.h"
#include "disk/format/limits.h"
#include "disk/format/wire.h"

namespace ebb::disk {
namespace {

constexpr auto table_magic = magic_of("EBBFRMS1");
constexpr int level = 1;
constexpr std::size_t data_bytes_max = segment_data_blocks_max * 4096;
constexpr std::size_t packed_bytes_min = 32 * KiB;  // of data: the table of less would cost what is saved
static_assert(64 + data_bytes_max / frame_bytes * 2 <= frame_table_bytes && frame_bytes <= 0xffff);

class Packer {
 public:
  // The frame as it is stored: never longer than it is. Good until the next call.
  ByteView pack(ByteView frame) {
    auto size =
        ZSTD_compressCCtx(context_.get(), room_.data(), room_.size(), frame.data(), frame.size(), level);
    return ZSTD_isError(size) || size >= frame.size() ? frame : ByteView(room_).first(size);
  }

 private:
  std::unique_ptr<ZSTD_CCtx, std::size_t (*)(ZSTD_CCtx*)> context_{ZSTD_createCCtx(), ZSTD_freeCCtx};
  Bytes room_ = Bytes(ZSTD_compressBound(frame_bytes));
};

ByteView frame_at(ByteView data, std::size_t i) {
  return data.subspan(i * frame_bytes, std::min(frame_bytes, data.size() - i * frame_bytes));
}

std::size_t frames_of(std::size_t data_bytes) { return (data_bytes + frame_bytes - 1) / frame_bytes; }

}  // namespace

bool is_worth_packing(ByteView data) {
  if (data.size() < packed_bytes_min) return false;
  const auto whole = data.size() / frame_bytes, samples = std::clamp<std::size_t>(whole / 8, 2, 8);
  Packer packer;
  std::size_t taken = 0, stored = frame_table_bytes * samples / whole;
  for (std::size_t i = 0; i < samples; ++i) {
    auto frame = frame_at(data, i * (whole - 1) / (samples - 1));
    taken += frame.size(), stored += packer.pack(frame).size();
  }
  return stored <= taken - taken / 4;
}

Bytes pack(ByteView data) {
  CHECK(data.size() <= data_bytes_max);
  Bytes table = begin_object(table_magic), out(frame_table_bytes);
  out.reserve(frame_table_bytes + data.size());
  Packer packer;
  append_le(table, static_cast<std::uint32_t>(data.size()));
  append_le(table, static_cast<std::uint32_t>(frames_of(data.size())));
  for (std::size_t i = 0; i < frames_of(data.size()); ++i) {
    auto stored = packer.pack(frame_at(data, i));
    append_le(table, static_cast<std::uint16_t>(stored.size()));
    append(out, stored);
  }
  table.resize(frame_table_bytes);
  finish_object(table);
  std::ranges::copy(table, out.begin());
  return out;
}

Result<FrameTable> decode_frame_table(ByteView block) {
  constexpr std::string_view what = "a table of frames";
  // What says that it is shorter has no frames behind it: they begin where a whole table ends.
  if (block.size() < frame_table_bytes)
    return fail(Code::corrupt, "{} has only {} bytes", what, block.size());
  EBB_TRY(body, open_object(block.first(frame_table_bytes), table_magic, what));
  WireReader in(body);
  FrameTable table;
  table.data_bytes = in.number<std::uint32_t>();
  table.begins.resize(in.count(2) + 1);
  if (table.data_bytes > data_bytes_max || table.count() != frames_of(table.data_bytes))
    return fail(Code::corrupt, "{} has {} frames for {} bytes", what, table.count(), table.data_bytes);
  for (std::size_t i = 0; i < table.count(); ++i) {
    auto stored = in.number<std::uint16_t>();
    if (stored == 0 || stored > table.bytes_of(i))
      return fail(Code::corrupt, "{} has a frame of a wrong length", what);
    table.begins[i + 1] = table.begins[i] + stored;
  }
  if (!in.fits() || !is_all_zero(in.bytes(in.left())))
    return fail(Code::corrupt, "{} has bytes too many", what);
  return table;
}

Bytes unpack(const FrameTable& table, std::size_t first, std::size_t end, ByteView stored) {
  std::unique_ptr<ZSTD_DCtx, std::size_t (*)(ZSTD_DCtx*)> context(ZSTD_createDCtx(), ZSTD_freeDCtx);
  Bytes out;
  for (auto i = first; i < end; ++i) {
    const auto at = table.begins[i] - table.begins[first], length = table.begins[i + 1] - table.begins[i];
    const auto begin = out.size(), raw = table.bytes_of(i);
    out.resize(begin + raw);
    if (at + length > stored.size()) continue;
    auto frame = stored.subspan(at, length);
    if (length == raw) {
      std::ranges::copy(frame, out.begin() + static_cast<std::ptrdiff_t>(begin));
      continue;
    }
    auto size = ZSTD_decompressDCtx(context.get(), out.data() + begin, raw, frame.data(), frame.size());
    if (ZSTD_isError(size) || size != raw)
      std::fill_n(out.begin() + static_cast<std::ptrdiff_t>(begin), raw, std::byte{});
  }
  return out;
}

Bytes unpack_all(ByteView packed, std::size_t data_bytes) {
  auto table = decode_frame_table(packed);
  if (!table || table->data_bytes != data_bytes) return Bytes(data_bytes);
  return unpack(*table, 0, table->count(), packed.subspan(frame_table_bytes));
}

}  // namespace ebb::disk
