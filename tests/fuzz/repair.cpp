#include <algorithm>

#include "base/checksum.h"
#include "disk/cache/disk_tier_format.h"
#include "disk/format/text_object.h"
#include "disk/format/wal_types.h"
#include "disk/format/wire.h"
#include "formats.h"

namespace ebb::fuzz {
namespace {

using namespace disk;

constexpr std::size_t length_at = 16, crc_at = 24;                                  // of the envelope
constexpr std::size_t record_crc_at = 4, record_seed_at = 8, record_bytes_at = 52;  // of a record of the log

// A length that cannot be becomes that of all there is.
void repair_envelope(MutableBytes object) {
  if (object.size() < envelope_bytes) return;
  auto length = load_le<std::uint64_t>(object, length_at);
  if (length < envelope_bytes || length > object.size()) length = object.size();
  store_le(object, length_at, length);
  auto view = ByteView(object).first(length);
  store_le(object, crc_at, crc32c(view.subspan(crc_at + 4), crc32c(view.first(crc_at))));
}

// Of one record with its data, whose CRC is returned; data that is not there is left out of its length.
std::uint32_t repair_record_crc(MutableBytes record) {
  auto room = record.size() - wal_record_bytes;
  auto data_bytes = std::min<std::size_t>(load_le<std::uint32_t>(record, record_bytes_at), room);
  store_le(record, record_bytes_at, static_cast<std::uint32_t>(data_bytes));
  auto fields = ByteView(record).first(wal_record_bytes);
  auto data = ByteView(record).subspan(wal_record_bytes, data_bytes);
  auto crc = crc32c(data, crc32c(fields.subspan(8), crc32c(fields.first(4))));
  store_le(record, record_crc_at, crc);
  return crc;
}

}  // namespace

void repair_object(Bytes& object) { repair_envelope(object); }

void repair_text(Bytes& object) {
  auto text = as_text(object);
  auto end = text.find('\n');
  if (end == std::string_view::npos) return;
  object = encode_text(text.substr(0, std::min(end, text.find(' '))), text.substr(end + 1));
}

void repair_record(Bytes& record) {
  if (record.size() >= wal_record_bytes) repair_record_crc(record);
}

LogInput split_log(Bytes& input) {
  LogInput log;
  MutableBytes rest(input);
  if (rest.size() < 8) return log;
  log.from = load_le<std::uint64_t>(rest);
  rest = rest.subspan(8);
  while (rest.size() >= 4) {
    auto bytes = std::min<std::size_t>(load_le<std::uint32_t>(rest), rest.size() - 4);
    log.files.push_back(rest.subspan(4, bytes));
    rest = rest.subspan(4 + bytes);
  }
  return log;
}

// Headers, and the chain of records behind each.
void repair_log(Bytes& input) {
  for (auto file : split_log(input).files) {
    auto header_bytes = std::min(file.size(), wal_file_header_bytes);
    repair_envelope(file.first(header_bytes));
    auto header = decode_wal_file_header(file.first(header_bytes));
    if (!header) continue;
    auto seed = header->seed;
    for (auto rest = file.subspan(header_bytes); rest.size() >= wal_record_bytes;) {
      store_le(rest, record_seed_at, seed);
      seed = repair_record_crc(rest);
      rest = rest.subspan(wal_record_bytes + load_le<std::uint32_t>(rest, record_bytes_at));
    }
  }
}

CacheInput split_cache_file(Bytes& input) {
  const auto slots = cache_slots_of_inputs();
  const auto index_bytes = slots * cache_entry_bytes;
  if (input.size() < cache_header_bytes + index_bytes) input.resize(cache_header_bytes + index_bytes);
  MutableBytes all(input);
  auto data = all.subspan(cache_header_bytes + index_bytes);
  return {slots, all.first(cache_header_bytes), all.subspan(cache_header_bytes, index_bytes),
          data.first(std::min<std::size_t>(data.size(), slots * piece_bytes))};
}

// The header, and each entry: as one of this cache and this slot, of the bytes that lie there.
void repair_cache_file(Bytes& input) {
  constexpr std::size_t slots_at = envelope_bytes, entry_length_at = 20, entry_data_crc_at = 24,
                        entry_crc_at = 28;
  auto file = split_cache_file(input);
  store_le(file.header, slots_at, file.slots);
  repair_envelope(file.header);
  auto layout = decode_cache_layout(file.header);
  if (!layout) return;
  for (std::uint32_t slot = 0; slot < file.slots; ++slot) {
    auto entry = file.index.subspan(slot * cache_entry_bytes, cache_entry_bytes);
    auto length = std::min<std::size_t>(load_le<std::uint32_t>(entry, entry_length_at), piece_bytes);
    Bytes piece(length);
    auto there = ByteView(file.data).subspan(std::min<std::size_t>(file.data.size(), slot * piece_bytes));
    std::ranges::copy(there.first(std::min(there.size(), length)), piece.begin());
    store_le(entry, entry_data_crc_at, crc32c(piece));
    Bytes place;
    append_le(place, slot);
    auto seed = crc32c(place, crc32c(as_bytes(layout->token)));
    store_le(entry, entry_crc_at, crc32c(ByteView(entry).first(entry_crc_at), seed));
  }
}

}  // namespace ebb::fuzz
