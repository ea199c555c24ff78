#include "disk/cache/disk_tier_format.h"

#include "base/checksum.h"
#include "disk/format/wire.h"

namespace ebb::disk {
namespace {

constexpr std::uint64_t layout_magic = magic_of("EBBCACH1");
constexpr std::size_t crc_at = cache_entry_bytes - 4;

std::uint32_t entry_crc(ByteView entry, const CacheLayout& layout, std::uint32_t slot) {
  Bytes place;
  append_le(place, slot);
  return crc32c(entry.first(crc_at), crc32c(place, crc32c(as_bytes(layout.token))));
}

}  // namespace

std::uint32_t cache_slots(std::uint64_t bytes) {
  constexpr std::uint64_t slots_max = 1u << 24;  // 1 TiB
  auto around = cache_header_bytes + piece_bytes;
  if (bytes <= around) return 0;
  return static_cast<std::uint32_t>(
      std::min(slots_max, (bytes - around) / (piece_bytes + cache_entry_bytes)));
}

Bytes encode(const CacheLayout& layout) {
  auto header = begin_object(layout_magic);
  append_le<std::uint32_t>(header, layout.slots);
  append_text(header, layout.token);
  header.resize(cache_header_bytes);
  finish_object(header);
  return header;
}

Result<CacheLayout> decode_cache_layout(ByteView header) {
  EBB_TRY(body, open_object(header, layout_magic, "the cache's header"));
  WireReader in(body);
  CacheLayout layout;
  layout.slots = in.number<std::uint32_t>();
  layout.token = in.text();
  if (!in.fits() || layout.token.empty()) return fail(Code::corrupt, "the cache's header ends too early");
  return layout;
}

void append_entry(Bytes& to, const CacheLayout& layout, std::uint32_t slot, const CacheEntry& entry) {
  auto at = to.size();
  append_le<std::uint64_t>(to, entry.key.object.high);
  append_le<std::uint64_t>(to, entry.key.object.low);
  append_le<std::uint32_t>(to, entry.key.piece);
  append_le<std::uint32_t>(to, entry.length);
  append_le<std::uint32_t>(to, entry.crc);
  append_le<std::uint32_t>(to, entry_crc(ByteView(to).subspan(at), layout, slot));
}

std::optional<CacheEntry> decode_entry(ByteView bytes, const CacheLayout& layout, std::uint32_t slot) {
  if (bytes.size() != cache_entry_bytes ||
      load_le<std::uint32_t>(bytes, crc_at) != entry_crc(bytes, layout, slot))
    return std::nullopt;
  CacheEntry entry;
  entry.key.object = {load_le<std::uint64_t>(bytes, 0), load_le<std::uint64_t>(bytes, 8)};
  entry.key.piece = load_le<std::uint32_t>(bytes, 16);
  entry.length = load_le<std::uint32_t>(bytes, 20);
  entry.crc = load_le<std::uint32_t>(bytes, 24);
  if (entry.length == 0 || entry.length > piece_bytes) return std::nullopt;
  return entry;
}

}  // namespace ebb::disk
