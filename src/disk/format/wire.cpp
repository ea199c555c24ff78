#include "disk/format/wire.h"

#include <zstd.h>

#include "base/checksum.h"

namespace ebb::disk {
namespace {

constexpr std::size_t version_at = 8, key_at = 12, length_at = 16, crc_at = 24, flags_at = 28;
constexpr std::uint32_t flag_zstd = 1;
constexpr int zstd_level = 1;
constexpr std::size_t zstd_block_bytes_max = 128 * KiB, zstd_packed_block_bytes_min = 4;

std::uint32_t crc_of(ByteView object) {
  return crc32c(object.subspan(crc_at + 4), crc32c(object.first(crc_at)));
}

}  // namespace

Bytes begin_object(std::uint64_t magic) {
  Bytes object(envelope_bytes);
  store_le(object, 0, magic);
  store_le(object, version_at, binary_version);
  return object;
}

void finish_object(Bytes& object) {
  store_le<std::uint64_t>(object, length_at, object.size());
  store_le(object, crc_at, crc_of(object));
}

Result<ObjectStart> peek_object(ByteView start, std::string_view what) {
  if (start.size() < envelope_bytes) return fail(Code::corrupt, "{} has only {} bytes", what, start.size());
  return ObjectStart{load_le<std::uint64_t>(start), load_le<std::uint64_t>(start, length_at)};
}

namespace {

// Everything but the flags.
Status check_envelope(ByteView object, std::uint64_t magic, std::string_view what) {
  EBB_TRY(start, peek_object(object, what));
  if (start.magic != magic) return fail(Code::corrupt, "{} begins with other bytes than it should", what);
  if (start.length != object.size()) {
    return fail(Code::corrupt, "{} has {} bytes, and says that it has {}", what, object.size(), start.length);
  }
  if (load_le<std::uint32_t>(object, crc_at) != crc_of(object))
    return fail(Code::corrupt, "{} has a wrong checksum", what);
  if (auto version = load_le<std::uint32_t>(object, version_at); version != binary_version) {
    return fail(Code::invalid, "{} is of version {}; this program reads version {}", what, version,
                binary_version);
  }
  if (load_le<std::uint32_t>(object, key_at) != 0)
    return fail(Code::invalid, "{} is encrypted; this program cannot read that", what);
  return {};
}

std::unexpected<Error> unknown_flags(std::string_view what) {
  return fail(Code::invalid, "{} has flags that this program does not know", what);
}

}  // namespace

Result<ByteView> open_object(ByteView object, std::uint64_t magic, std::string_view what) {
  EBB_CHECKED(check_envelope(object, magic, what));
  if (load_le<std::uint32_t>(object, flags_at) != 0) return unknown_flags(what);
  return object.subspan(envelope_bytes);
}

void finish_packed_object(Bytes& object) {
  auto body = ByteView(object).subspan(envelope_bytes);
  Bytes packed(envelope_bytes + 4 + ZSTD_compressBound(body.size()));
  auto size = ZSTD_compress(packed.data() + envelope_bytes + 4, packed.size() - envelope_bytes - 4,
                            body.data(), body.size(), zstd_level);
  if (!ZSTD_isError(size) && size + body.size() / 8 < body.size()) {
    std::copy_n(object.begin(), envelope_bytes, packed.begin());
    store_le(packed, flags_at, flag_zstd);
    store_le(packed, envelope_bytes, static_cast<std::uint32_t>(body.size()));
    packed.resize(envelope_bytes + 4 + size);
    object = std::move(packed);
  }
  finish_object(object);
}

Result<Bytes> open_packed_object(ByteView object, std::uint64_t magic, std::size_t bytes_max,
                                 std::string_view what) {
  EBB_CHECKED(check_envelope(object, magic, what));
  auto body = object.subspan(envelope_bytes);
  auto flags = load_le<std::uint32_t>(object, flags_at);
  if (flags == 0) return Bytes(body.begin(), body.end());
  if (flags != flag_zstd) return unknown_flags(what);
  if (body.size() < 4) return fail(Code::corrupt, "{} ends too early", what);
  auto unpacked_bytes = load_le<std::uint32_t>(body);
  if (unpacked_bytes > bytes_max) return fail(Code::corrupt, "{} is larger than it may be", what);
  body = body.subspan(4);
  // What it says is not believed before there could be so much in it.
  if (unpacked_bytes > (body.size() / zstd_packed_block_bytes_min + 1) * zstd_block_bytes_max)
    return fail(Code::corrupt, "{} cannot hold the {} bytes that it says", what, unpacked_bytes);
  Bytes out(unpacked_bytes);
  auto size = ZSTD_decompress(out.data(), out.size(), body.data(), body.size());
  if (ZSTD_isError(size) || size != out.size()) return fail(Code::corrupt, "{} cannot be unpacked", what);
  return out;
}

}  // namespace ebb::disk
