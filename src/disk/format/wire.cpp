#include "disk/format/wire.h"

#include "base/checksum.h"

namespace ebb::disk {
namespace {

constexpr std::size_t version_at = 8, key_at = 12, length_at = 16, crc_at = 24, flags_at = 28;

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

Result<ByteView> open_object(ByteView object, std::uint64_t magic, std::string_view what) {
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
  if (load_le<std::uint32_t>(object, flags_at) != 0)
    return fail(Code::invalid, "{} has flags that this program does not know", what);
  return object.subspan(envelope_bytes);
}

}  // namespace ebb::disk
