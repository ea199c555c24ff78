// Records of a worker's write-ahead log, chained by their checksums.
#pragma once
#include <optional>
#include <string>

#include "base/bytes.h"
#include "base/id.h"
#include "base/result.h"

namespace ebb::disk {

inline constexpr std::size_t wal_file_header_bytes = 4096, wal_record_bytes = 64;

struct WalFileHeader {
  DiskId disk;
  std::string log_id;
  std::uint64_t number = 0;
  std::uint64_t position = 0;  // of its first record
  std::uint32_t seed = 0;
  bool operator==(const WalFileHeader&) const = default;
};

enum class WalKind : std::uint32_t { data = 0, zeroes = 1, padding = 2 };

struct WalRecord {
  WalKind kind = WalKind::data;
  std::uint64_t position = 0;
  std::uint64_t synced = 0;
  std::uint64_t write_seq = 0;
  std::uint64_t block = 0;
  std::uint32_t count = 0;
  std::uint32_t data_bytes = 0;
  bool operator==(const WalRecord&) const = default;
  std::uint64_t end() const { return position + wal_record_bytes + data_bytes; }
};

Bytes encode(const WalFileHeader& header);
Result<WalFileHeader> decode_wal_file_header(ByteView bytes);

// Fills exactly the first bytes of `to` with the record and its data (null: `record.data_bytes` zeroes);
// returns the rest. `seed` is the CRC of the record before, and becomes this one's.
MutableBytes write_record(MutableBytes to, const WalRecord& record, ByteView data, std::uint32_t& seed);
// Whether the record at the beginning of `bytes`, if there is one, says that it lies at `position`: asked
// before find_record, which reads all of it.
bool may_lie_at(ByteView bytes, std::uint64_t position);
// The record at the beginning of `bytes`, if it is whole and right in itself, whatever came before it.
struct FoundRecord {
  WalRecord record;
  ByteView data;
  std::uint32_t seed = 0, crc = 0;
};
std::optional<FoundRecord> find_record(ByteView bytes);

}  // namespace ebb::disk
