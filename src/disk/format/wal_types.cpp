#include "disk/format/wal_types.h"

#include "base/check.h"
#include "base/checksum.h"
#include "disk/block_device.h"
#include "disk/format/limits.h"
#include "disk/format/wire.h"

namespace ebb::disk {
namespace {
constexpr auto file_magic = magic_of("EBBWALF1");
constexpr std::uint32_t record_magic = 0x31525745;  // "EWR1"

std::uint32_t record_crc(ByteView fields, ByteView data) {
  return crc32c(data, crc32c(fields.subspan(8), crc32c(fields.first(4))));
}
}  // namespace

Bytes encode(const WalFileHeader& h) {
  Bytes out = begin_object(file_magic);
  append_text(out, h.disk.str());
  append_text(out, h.log_id);
  append_le(out, h.number);
  append_le(out, h.position);
  append_le(out, h.seed);
  out.resize(wal_file_header_bytes);
  finish_object(out);
  return out;
}

Result<WalFileHeader> decode_wal_file_header(ByteView bytes) {
  constexpr std::string_view what = "a log file's header";
  if (bytes.size() != wal_file_header_bytes)
    return fail(Code::corrupt, "{} has {} bytes", what, bytes.size());
  EBB_TRY(body, open_object(bytes, file_magic, what));
  WireReader in(body);
  WalFileHeader h;
  h.disk = DiskId(in.text());
  h.log_id = in.text();
  h.number = in.number<std::uint64_t>();
  h.position = in.number<std::uint64_t>();
  h.seed = in.number<std::uint32_t>();
  if (!is_all_zero(in.bytes(in.left()))) return fail(Code::corrupt, "{} has bytes too many", what);
  EBB_CHECKED(in.finish(what));
  if (h.position > log_position_max)
    return fail(Code::corrupt, "{} has a position that no log reaches", what);
  return h;
}

MutableBytes write_record(MutableBytes to, const WalRecord& r, ByteView data, std::uint32_t& seed) {
  CHECK(data.empty() || data.size() == r.data_bytes);
  auto fields = to.first(wal_record_bytes);
  auto body = to.subspan(wal_record_bytes, r.data_bytes);
  store_le(fields, 0, record_magic);
  store_le(fields, 8, seed);
  store_le(fields, 12, static_cast<std::uint32_t>(r.kind));
  store_le(fields, 16, r.position);
  store_le(fields, 24, r.synced);
  store_le(fields, 32, r.write_seq);
  store_le(fields, 40, r.block);
  store_le(fields, 48, r.count);
  store_le(fields, 52, r.data_bytes);
  store_le(fields, 56, std::uint64_t{0});
  if (!data.empty()) {
    std::memcpy(body.data(), data.data(), body.size());
  } else if (!body.empty()) {
    std::memset(body.data(), 0, body.size());
  }
  seed = record_crc(fields, body);
  store_le(fields, 4, seed);
  return to.subspan(wal_record_bytes + r.data_bytes);
}

bool may_lie_at(ByteView bytes, std::uint64_t position) {
  return bytes.size() >= wal_record_bytes && load_le<std::uint32_t>(bytes) == record_magic &&
         load_le<std::uint64_t>(bytes, 16) == position;
}

std::optional<FoundRecord> find_record(ByteView bytes) {
  if (bytes.size() < wal_record_bytes || load_le<std::uint32_t>(bytes) != record_magic) return std::nullopt;
  FoundRecord f;
  f.crc = load_le<std::uint32_t>(bytes, 4);
  f.seed = load_le<std::uint32_t>(bytes, 8);
  f.record.kind = static_cast<WalKind>(load_le<std::uint32_t>(bytes, 12));
  f.record.position = load_le<std::uint64_t>(bytes, 16);
  f.record.synced = load_le<std::uint64_t>(bytes, 24);
  f.record.write_seq = load_le<std::uint64_t>(bytes, 32);
  f.record.block = load_le<std::uint64_t>(bytes, 40);
  f.record.count = load_le<std::uint32_t>(bytes, 48);
  f.record.data_bytes = load_le<std::uint32_t>(bytes, 52);
  bool sizes_fit =
      f.record.data_bytes <= record_data_bytes_max && f.record.data_bytes <= bytes.size() - wal_record_bytes;
  if (!sizes_fit || load_le<std::uint64_t>(bytes, 56) != 0) return std::nullopt;
  f.data = bytes.subspan(wal_record_bytes, f.record.data_bytes);
  if (record_crc(bytes.first(wal_record_bytes), f.data) != f.crc) return std::nullopt;
  switch (f.record.kind) {
    case WalKind::data:
      return f.record.data_bytes == f.record.count * block_bytes && f.record.count > 0 ? std::optional(f)
                                                                                       : std::nullopt;
    case WalKind::zeroes:
      return f.record.data_bytes == 0 && f.record.count > 0 ? std::optional(f) : std::nullopt;
    case WalKind::padding:
      return f;
  }
  return std::nullopt;
}

}  // namespace ebb::disk
