// The record that the witness guest appends to its disk, and how a sequence of records is judged.
// Slot i of the file holds the record with sequence i + 1; every byte of a record follows from (sequence,
// boot), so a lost, repeated, mixed-up or altered write cannot look right. Shared by guest and host; no
// dependencies.
#pragma once
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string_view>

namespace ebb::guest {

// Little-endian, 128 bytes: a divisor of the sector size, so an aligned record is never half old and half new.
//   offset   0  magic      "EBBWREC1"
//   offset   8  sequence   from 1, without gaps
//   offset  16  boot       number of the boot that wrote the record, counted over boots that wrote something
//   offset  20  boot_id    random per boot; tells two boots with the same number apart after a disk went back in time
//   offset  24  tag        serial of the disk it was written to, padded with zeros
//   offset  44  filler     a function of the sequence
//   offset 124  crc32      over the first 124 bytes, IEEE polynomial
struct Record {
  std::array<char, 8> magic;
  std::uint64_t sequence;
  std::uint32_t boot;
  std::uint32_t boot_id;
  std::array<char, 20> tag;
  std::array<std::uint8_t, 80> filler;
  std::uint32_t crc32;
};
static_assert(sizeof(Record) == 128 && offsetof(Record, filler) == 44 && offsetof(Record, crc32) == 124);
static_assert(std::endian::native == std::endian::little, "records are little-endian");

inline constexpr std::array<char, 8> record_magic{'E', 'B', 'B', 'W', 'R', 'E', 'C', '1'};

// Who writes: constant from one boot to the next.
struct Writer {
  std::uint32_t boot = 0;
  std::uint32_t boot_id = 0;
  std::array<char, 20> tag{};
  bool operator==(const Writer&) const = default;
};

inline Writer writer_of(const Record& record) { return {record.boot, record.boot_id, record.tag}; }

inline std::array<char, 20> make_tag(std::string_view text) {
  std::array<char, 20> tag{};
  std::memcpy(tag.data(), text.data(), text.size() < tag.size() ? text.size() : tag.size());
  return tag;
}

// CRC-32 (IEEE 802.3), eight bytes a step: a full disk must be verified within a boot under emulation.
inline std::uint32_t crc32_of(const void* data, std::size_t size) {
  using Tables = std::array<std::array<std::uint32_t, 256>, 8>;
  static constexpr Tables tables = [] {
    Tables made{};
    for (std::uint32_t i = 0; i < 256; ++i) {
      std::uint32_t value = i;
      for (int bit = 0; bit < 8; ++bit) value = (value >> 1) ^ ((value & 1) ? 0xEDB88320u : 0u);
      made[0][i] = value;
    }
    for (std::size_t t = 1; t < 8; ++t)
      for (std::size_t i = 0; i < 256; ++i)
        made[t][i] = (made[t - 1][i] >> 8) ^ made[0][made[t - 1][i] & 0xFF];
    return made;
  }();
  const auto* bytes = static_cast<const unsigned char*>(data);
  std::uint32_t crc = 0xFFFFFFFFu;
  for (; size >= 8; size -= 8, bytes += 8) {
    std::uint32_t low = 0;
    std::uint32_t high = 0;
    std::memcpy(&low, bytes, 4);
    std::memcpy(&high, bytes + 4, 4);
    low ^= crc;
    crc = tables[7][low & 0xFF] ^ tables[6][(low >> 8) & 0xFF] ^ tables[5][(low >> 16) & 0xFF] ^
          tables[4][low >> 24] ^ tables[3][high & 0xFF] ^ tables[2][(high >> 8) & 0xFF] ^
          tables[1][(high >> 16) & 0xFF] ^ tables[0][high >> 24];
  }
  for (; size > 0; --size, ++bytes) crc = (crc >> 8) ^ tables[0][(crc ^ *bytes) & 0xFF];
  return ~crc;
}

inline std::uint32_t record_crc(const Record& record) { return crc32_of(&record, offsetof(Record, crc32)); }

// The filler is the output of splitmix64 (Steele, Lea, Flood 2014) seeded with the sequence.
inline std::array<std::uint8_t, 80> filler_of(std::uint64_t sequence) {
  std::array<std::uint8_t, 80> filler{};
  std::uint64_t state = sequence;
  for (std::size_t at = 0; at < filler.size(); at += 8) {
    std::uint64_t word = (state += 0x9E3779B97F4A7C15u);
    word = (word ^ (word >> 30)) * 0xBF58476D1CE4E5B9u;
    word = (word ^ (word >> 27)) * 0x94D049BB133111EBu;
    word ^= word >> 31;
    std::memcpy(filler.data() + at, &word, 8);
  }
  return filler;
}

inline Record make_record(std::uint64_t sequence, const Writer& writer) {
  Record record{record_magic, sequence, writer.boot, writer.boot_id, writer.tag, filler_of(sequence), 0};
  record.crc32 = record_crc(record);
  return record;
}

enum class RecordFault {
  none,
  magic,     // not a record
  crc32,     // altered
  sequence,  // intact, but another number belongs here
  filler,    // intact by its CRC, but not what the writer wrote
  writer,    // its boot does not follow from the record before it
};

inline const char* fault_name(RecordFault fault) {
  switch (fault) {
    case RecordFault::none:
      return "none";
    case RecordFault::magic:
      return "magic";
    case RecordFault::crc32:
      return "crc32";
    case RecordFault::sequence:
      return "sequence";
    case RecordFault::filler:
      return "filler";
    case RecordFault::writer:
      return "writer";
  }
  return "?";
}

// What a write that was cut off leaves behind; anything else was written by somebody.
inline bool is_torn(RecordFault fault) { return fault == RecordFault::magic || fault == RecordFault::crc32; }

inline RecordFault check_record(const Record& record, std::uint64_t expected_sequence) {
  if (record.magic != record_magic) return RecordFault::magic;
  if (record.crc32 != record_crc(record)) return RecordFault::crc32;
  if (record.sequence != expected_sequence) return RecordFault::sequence;
  if (record.filler != filler_of(expected_sequence)) return RecordFault::filler;
  return RecordFault::none;
}

// Judges records in file order. Within a boot the writer is constant; the next boot's number is one higher.
class RecordWalk final {
 public:
  RecordFault next(const Record& record) {
    const RecordFault fault = check_record(record, ++count_);
    if (fault != RecordFault::none) {
      gap_ = true;
      return fault;
    }
    const Writer writer = writer_of(record);
    // Behind a bad slot the boots in between are unknown, but none goes back.
    const bool next_boot = gap_ ? writer.boot > last_.boot : writer.boot == last_.boot + 1;
    const bool follows = next_boot || (last_.boot > 0 && writer == last_);
    gap_ = !follows;
    last_ = writer;
    return follows ? RecordFault::none : RecordFault::writer;
  }

  // Of the last intact record; boot 0: there was none.
  const Writer& last_writer() const { return last_; }

 private:
  std::uint64_t count_ = 0;
  Writer last_;
  bool gap_ = false;
};

}  // namespace ebb::guest
