#include <algorithm>

#include "base/checksum.h"
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

}  // namespace ebb::fuzz
