#include "formats.h"

#include <algorithm>
#include <array>

#include "disk/block_device.h"
#include "disk/cache/hints.h"
#include "disk/format/blob_types.h"
#include "disk/format/cleaned_types.h"
#include "disk/format/hash.h"
#include "disk/format/packed_data.h"
#include "disk/format/pool_format.h"
#include "disk/format/wal_types.h"
#include "disk/format/wire.h"
#include "disk/log/wal.h"
#include "disk/map/block_map.h"
#include "disk/map/page_delta.h"
#include "disk/served_disk.h"
#include "metered.h"

namespace ebb::fuzz {
namespace {

using namespace disk;

// The place that every input is said to come from: the seeds are of it.
const DiskId disk_id("d1");
constexpr DiskEpoch epoch{7, 2};
constexpr std::uint64_t number = 5;

// At their first use OpenSSL looks for its algorithms: no input is to blame for what that takes.
[[maybe_unused]] const std::string warmed_up = sha256_hex({});

constexpr std::size_t fixed_bytes = 64 * KiB;
std::size_t binary_limit(std::size_t bytes) { return fixed_bytes + 16 * bytes; }
// What zstd needs for itself comes in addition.
std::size_t packed_limit(std::size_t bytes) { return binary_limit(bytes) + 256 * KiB; }
// "{}" is a whole record in a list.
std::size_t text_limit(std::size_t bytes) { return fixed_bytes + 512 * bytes; }

// What was read is written and read again as the same value, and from then on as the same bytes.
template <class T, class Read>
Verdict check_reads_back(const Result<T>& value, const Bytes& written, Read read) {
  CHECK(value);
  auto again = read(ByteView(written));
  CHECK(again && *again == *value);
  return Verdict::accepted;
}
template <class Read>
Verdict check_text(ByteView input, Read read,
                   Bytes (*write)(const typename std::invoke_result_t<Read, ByteView>::value_type&)) {
  auto value = metered(text_limit(input.size()), [&] { return read(input); });
  if (!value) return Verdict::refused;
  auto written = write(*value);
  CHECK(write(*read(ByteView(written))) == written);
  return check_reads_back(value, written, read);
}

Verdict check_head(ByteView input) {
  return check_text(input, [](ByteView bytes) { return decode_head(bytes, disk_id); }, encode);
}

Verdict check_roots(ByteView input) { return check_text(input, decode_roots, encode); }

Verdict check_open_record(ByteView input) {
  auto read = [](ByteView bytes) {
    return read_text_object<OpenRecord>(bytes, "ebb-open", "an open record");
  };
  return check_text(input, read,
                    [](const OpenRecord& record) { return write_text_object("ebb-open", record); });
}

Verdict check_chain(ByteView input) {
  auto read = [](ByteView bytes) { return read_text_object<LogChain>(bytes, "ebb-chain", "a chain"); };
  return check_text(input, read, [](const LogChain& chain) { return write_text_object("ebb-chain", chain); });
}

Verdict check_pool_format(ByteView input) { return check_text(input, decode_pool_format, encode); }

// A segment or a fence, with what follows its head in the object.
Verdict check_log_object(ByteView input) {
  auto head_bytes = log_object_head_bytes(input);
  if (!head_bytes || *head_bytes > input.size()) return Verdict::refused;
  auto head = input.first(*head_bytes);
  auto read = [](ByteView bytes) { return decode_log_object(bytes, disk_id, epoch, number); };
  auto object = metered(binary_limit(head.size()), [&] { return read(head); });
  if (!object) return Verdict::refused;
  if (const auto* fence = std::get_if<Fence>(&*object)) {
    CHECK(std::ranges::equal(encode(*fence), head));
    return Verdict::accepted;
  }
  const auto& segment = std::get<ReadSegment>(*object);
  CHECK(segment.data_offset == head.size());
  auto again = read(encode(segment.head));
  CHECK(again && std::get<ReadSegment>(*again).head == segment.head);
  // Whatever it says, a map of a smaller disk takes it, or says that it cannot be.
  BlockMap map({}, nullptr, 64 * MiB);
  (void)map.apply(segment);
  return Verdict::accepted;
}

// Whatever a table says, as much is read as it says, and what can be read can be read by its parts.
Verdict check_packed_data(ByteView input) {
  auto table = metered(binary_limit(frame_table_bytes), [&] { return decode_frame_table(input); });
  if (!table) return Verdict::refused;
  auto rest = input.subspan(std::min(input.size(), frame_table_bytes));
  auto all =
      metered(packed_limit(2 * table->data_bytes), [&] { return unpack(*table, 0, table->count(), rest); });
  CHECK(all.size() == table->data_bytes && unpack_all(input, table->data_bytes) == all);
  if (table->count() < 2) return Verdict::accepted;
  const auto half = table->count() / 2;
  auto begin = rest.subspan(std::min<std::size_t>(rest.size(), table->begins[half]));
  CHECK(std::ranges::equal(unpack(*table, half, table->count(), begin),
                           ByteView(all).subspan(half * frame_bytes)));
  return Verdict::accepted;
}

Verdict check_cleaned(ByteView input) {
  auto head_bytes = cleaned_head_bytes(input);
  if (!head_bytes || *head_bytes > input.size()) return Verdict::refused;
  auto head = input.first(*head_bytes);
  auto read = [](ByteView bytes) { return decode_cleaned(bytes, disk_id, epoch, number); };
  auto cleaned = metered(binary_limit(head.size()), [&] { return read(head); });
  if (!cleaned) return Verdict::refused;
  CHECK(cleaned->data_offset == head.size());
  auto again = read(encode(cleaned->head));
  CHECK(again && again->head == cleaned->head);
  return Verdict::accepted;
}

// Of a packed object: what it says that it unpacks to, as far as zstd could have made so much of it.
std::size_t unpacked_bytes(ByteView input) {
  constexpr std::size_t flags_at = 28, size_at = envelope_bytes, begin = envelope_bytes + 4;
  if (input.size() < begin || load_le<std::uint32_t>(input, flags_at) != 1) return 0;
  std::size_t said = load_le<std::uint32_t>(input, size_at), packed = input.size() - begin;
  return said <= (packed / 4 + 1) * 128 * KiB ? said : 0;
}
// Filling this much memory again and again would find nothing more.
constexpr std::size_t unpacked_bytes_max = 4 * MiB;

Verdict check_checkpoint_root(ByteView input) {
  if (unpacked_bytes(input) > unpacked_bytes_max) return Verdict::refused;
  auto root = metered(packed_limit(input.size() + unpacked_bytes(input)),
                      [&] { return decode_checkpoint_root(input); });
  if (!root) return Verdict::refused;
  return check_reads_back(root, encode(*root), decode_checkpoint_root);
}

Verdict check_map_page(ByteView input) {
  if (unpacked_bytes(input) > unpacked_bytes_max) return Verdict::refused;
  auto page =
      metered(packed_limit(input.size() + unpacked_bytes(input)), [&] { return decode_map_page(input); });
  if (!page) return Verdict::refused;
  // A checkpoint writes it again, changed or not.
  auto merged = merge(&*page, PageDelta{});
  merged.disk = page->disk;
  auto read = decode_map_page(encode(merged));
  CHECK(read && read->crcs == page->crcs);
  return check_reads_back(page, encode(*page), decode_map_page);
}

Verdict check_blob_chunk(ByteView input) {
  auto content =
      metered(binary_limit(input.size()), [&] { return decode_blob_chunk(input, "kernel", number); });
  if (!content) return Verdict::refused;
  CHECK(std::ranges::equal(encode_blob_chunk("kernel", number, *content), input));
  return Verdict::accepted;
}

Verdict check_log_header(ByteView input) {
  auto header = metered(binary_limit(input.size()), [&] { return decode_wal_file_header(input); });
  if (!header) return Verdict::refused;
  CHECK(std::ranges::equal(encode(*header), input));
  return Verdict::accepted;
}

Verdict check_log_record(ByteView input) {
  auto found = metered(0, [&] { return find_record(input); });
  if (!found) return Verdict::refused;
  const auto& record = found->record;
  CHECK(may_lie_at(input, record.position));
  Bytes written(wal_record_bytes + record.data_bytes);
  auto seed = found->seed;
  CHECK(write_record(written, record, found->data, seed).empty() && seed == found->crc);
  CHECK(std::ranges::equal(written, input.first(written.size())));
  return Verdict::accepted;
}

// As much as a worker fetches by them is bounded, and lies in a disk.
Verdict check_hints(ByteView input) {
  auto hints = metered(binary_limit(input.size()), [&] { return decode_hints(input); });
  if (!hints) return Verdict::refused;
  std::uint64_t regions = 0;
  for (const auto& run : hints->runs) {
    regions += run.count;
    CHECK((std::uint64_t{run.first} + run.count) * HotRegions::region_bytes <= disk_bytes_max);
  }
  CHECK(regions <= HotRegions::regions_max);
  CHECK(std::ranges::equal(encode(*hints), input));
  return Verdict::accepted;
}

constexpr std::array all_formats{
    Format{"head", check_head, repair_text},
    Format{"roots", check_roots, repair_text},
    Format{"open-record", check_open_record, repair_text},
    Format{"chain", check_chain, repair_text},
    Format{"log-object", check_log_object, repair_object},
    Format{"cleaned", check_cleaned, repair_object},
    Format{"checkpoint-root", check_checkpoint_root, repair_object},
    Format{"map-page", check_map_page, repair_object},
    Format{"blob-chunk", check_blob_chunk, repair_object},
    Format{"log-header", check_log_header, repair_object},
    Format{"log-record", check_log_record, repair_record},
    Format{"log", check_log, repair_log},
    Format{"s3-answer", check_s3_answer, nullptr},
    Format{"packed-data", check_packed_data, repair_object},
    Format{"pool-format", check_pool_format, repair_text},
    Format{"hints", check_hints, repair_object},
    Format{"cache-file", check_cache_file, repair_cache_file},
};

}  // namespace

std::span<const Format> formats() { return all_formats; }

Verdict check_input(ByteView input) {
  if (input.empty()) return Verdict::refused;
  auto first = std::to_integer<std::uint8_t>(input[0]);
  const auto& format = all_formats[(first & ~repaired) % all_formats.size()];
  // Of its own size, so that reading beyond it is seen.
  Bytes bytes(input.begin() + 1, input.end());
  if (first & repaired && format.repair) format.repair(bytes);
  return format.check(bytes);
}

}  // namespace ebb::fuzz
