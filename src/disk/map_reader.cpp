#include "disk/map_reader.h"

#include "base/check.h"
#include "base/checksum.h"
#include "disk/keys.h"

namespace ebb::disk {
namespace {

constexpr std::size_t parallel_max = 64;  // fetches for one read
constexpr std::uint32_t piece_blocks = piece_bytes / block_bytes;

PieceRange range_of(const DataObject& object, std::uint32_t data_block, std::uint64_t count) {
  auto end = (data_block + count + piece_blocks - 1) / piece_blocks;
  return {object, data_block / piece_blocks, static_cast<std::uint32_t>(end)};
}

// `bytes` of an object from `offset` in the first of the pieces on; fewer if they end before.
Slices slices_of(const PieceCache::Pieces& pieces, std::size_t offset, std::size_t bytes) {
  Slices slices;
  while (slices.size() < bytes) {
    auto at = offset + slices.size();
    const auto& piece = pieces[at / piece_bytes];
    auto rest = ByteView(*piece).subspan(std::min(at % piece_bytes, piece->size()));
    if (rest.empty()) break;
    slices.add(piece, rest.first(std::min(rest.size(), bytes - slices.size())));
  }
  return slices;
}

// Asks for all of a block's cache lines at once. The checksum alone takes 4.1 GB/s out of memory, with this 6.5, and that was half of a
// large read's time.
void prefetch(ByteView block) {
  constexpr std::size_t line_bytes = 64;
  for (std::size_t at = 0; at < block.size(); at += line_bytes) __builtin_prefetch(block.data() + at);
}

// The index of the first block that is not what the map says; crcs.size() if all are right.
std::size_t first_wrong(ByteView data, std::span<const std::uint32_t> crcs) {
  for (std::size_t i = 0; i < crcs.size(); ++i) {
    auto block = data.subspan(i * block_bytes, block_bytes);
    prefetch(block);
    if (crc32c(block) != crcs[i]) return i;
  }
  return crcs.size();
}

std::size_t first_wrong(const Slices& slices, std::span<const std::uint32_t> crcs) {
  std::size_t right = 0;
  for (const auto& [owner, bytes] : slices.parts()) {
    auto own = crcs.subspan(right, bytes.size() / block_bytes);
    auto wrong = first_wrong(bytes, own);
    right += wrong;
    if (wrong < own.size()) break;
  }
  return right;
}

}  // namespace

std::vector<PieceRange> piece_ranges(const std::vector<MapPiece>& pieces, const Resident& resident) {
  std::vector<PieceRange> ranges;
  for (const auto& piece : pieces) {
    bool is_stored =
        piece.object && piece.object->data_offset > 0 && (!resident || resident(*piece.object).empty());
    if (is_stored) ranges.push_back(range_of(*piece.object, piece.data_block, piece.count));
  }
  std::sort(ranges.begin(), ranges.end(), [](const PieceRange& a, const PieceRange& b) {
    return std::tie(a.object, a.first) < std::tie(b.object, b.first);
  });
  std::vector<PieceRange> joined;
  for (auto& range : ranges) {
    if (!joined.empty() && joined.back().object == range.object && joined.back().end >= range.first)
      joined.back().end = std::max(joined.back().end, range.end);
    else
      joined.push_back(std::move(range));
  }
  return joined;
}

Task<Result<Slices>> MapReader::fetch(Wanted wanted) {
  auto count = wanted.crcs.size();
  auto range = range_of(wanted.object, wanted.data_block, count);
  auto offset = wanted.data_block * block_bytes - range.first * piece_bytes;
  for (auto purpose : {ReadFor::use, ReadFor::refresh}) {
    bool is_last = purpose == ReadFor::refresh;
    auto got = co_await cache_.read(access_, range, purpose);
    if (!got && is_last) co_return fail(std::move(got).error());
    if (!got) continue;
    auto slices = slices_of(*got, offset, count * block_bytes);
    if (slices.size() < count * block_bytes) {
      if (is_last) co_return fail(Code::corrupt, "{} is shorter than its head says", text_of(wanted.object));
      continue;
    }
    auto wrong = first_wrong(slices, wanted.crcs);
    if (wrong == count) co_return slices;
    if (is_last)
      co_return fail(Code::corrupt, "block {} has a wrong checksum: block {} of the data of {}",
                     wanted.block + wrong, wanted.data_block + wrong, text_of(wanted.object));
  }
  CHECK(false);
}

Task<Status> MapReader::fetch_copy(Wanted wanted, std::byte* to) {
  EBB_CO_TRY(slices, co_await fetch(std::move(wanted)));
  for (const auto& [owner, bytes] : slices.parts()) to = std::ranges::copy(bytes, to).out;
  co_return Status{};
}

// ---- ahead of sequential readers

void MapReader::look_ahead(std::uint64_t offset, std::size_t length) {
  constexpr std::size_t tasks_max = 64;
  hot_.on_read(offset, length);
  auto range = streams_.on_read(offset, length);
  if (!range) return;
  range->end = std::min(range->end, map_.size_blocks() * block_bytes);
  if (range->begin >= range->end) return;
  if (ahead_.size() < tasks_max)
    ahead_.spawn(read_ahead(*range));
  else
    streams_.give_back(*range);
}

Task<void> MapReader::read_ahead(ByteRange range) {
  constexpr std::uint64_t step = 1 * MiB;
  for (auto at = range.begin; at < range.end; at += step) {
    auto length = std::min(step, range.end - at);
    auto found = co_await map_.find(at / block_bytes, length / block_bytes);
    if (!found) co_return;
    for (auto& pieces : piece_ranges(*found, resident_)) {
      auto room = cache_.take_room_ahead(pieces.bytes(), access_.loop->now());
      if (!room) {
        streams_.give_back({at, range.end});
        co_return;
      }
      ahead_.spawn(read_ahead_one(std::move(pieces), std::move(room)));
    }
  }
}

// An error is whoever's who comes for it.
Task<void> MapReader::read_ahead_one(PieceRange range, std::unique_ptr<PieceCache::AheadRoom> room) {
  const auto held = std::move(room);
  (void)co_await cache_.read(access_, std::move(range), ReadFor::later);
}

// ---- what a disk is asked

// What was cleaned while it was being fetched lies elsewhere now: the map knows.
template <class T>
Task<Result<T>> MapReader::until_found(Once<T> once, std::uint64_t offset, std::size_t length) {
  constexpr int tries_max = 3;
  for (int tries = 1;; ++tries) {
    look_ahead(offset, length);
    auto pieces = co_await map_.find(offset / block_bytes, length / block_bytes);
    if (!pieces) co_return fail(std::move(pieces).error());
    auto got = co_await (this->*once)(std::move(*pieces), offset, length);
    if (got || got.error().code != Code::not_found || tries == tries_max) co_return got;
  }
}

Task<Result<Bytes>> MapReader::read(std::uint64_t offset, std::size_t length) {
  return until_found(&MapReader::copy, offset, length);
}

Task<Result<Slices>> MapReader::gather(std::uint64_t offset, std::size_t length) {
  return until_found(&MapReader::slice, offset, length);
}

ByteView MapReader::in_memory(const MapPiece& piece) const {
  auto data = resident_ ? resident_(*piece.object) : ByteView();
  return data.empty() ? data : data.subspan(piece.data_block * block_bytes, piece.count * block_bytes);
}

MapReader::Wanted MapReader::stored(MapPiece piece) const {
  auto object = piece.object->data_offset ? piece.object : map_.object(*piece.object);
  CHECK(object && object->data_offset > 0);  // neither in memory nor in the store is nowhere
  return {*object, piece.data_block, piece.block, std::move(piece.crcs)};
}

Task<Result<Bytes>> MapReader::copy(std::vector<MapPiece> pieces, std::uint64_t offset, std::size_t length) {
  Bytes out(length);
  std::vector<std::pair<Wanted, std::byte*>> wanted;
  // Everything that depends on the map as it is now happens before the next suspension.
  for (auto& piece : pieces) {
    if (!piece.object) continue;
    auto* to = out.data() + (piece.block * block_bytes - offset);
    auto bytes = in_memory(piece);
    if (bytes.empty()) {
      wanted.emplace_back(stored(std::move(piece)), to);
      continue;
    }
    if (first_wrong(bytes, piece.crcs) != piece.crcs.size())
      co_return fail(Code::corrupt, "block {} was damaged in memory", piece.block);
    std::ranges::copy(bytes, to);
  }
  if (wanted.size() == 1) {
    EBB_CO_CHECKED(co_await fetch_copy(std::move(wanted[0].first), wanted[0].second));
    co_return out;
  }
  for (std::size_t at = 0; at < wanted.size(); at += parallel_max) {
    std::vector<Task<Status>> fetches;
    for (auto i = at; i < std::min(wanted.size(), at + parallel_max); ++i)
      fetches.push_back(fetch_copy(std::move(wanted[i].first), wanted[i].second));
    for (auto& fetched : co_await when_all(*access_.loop, std::move(fetches)))
      EBB_CO_CHECKED(std::move(fetched));
  }
  co_return out;
}

Task<Result<Slices>> MapReader::slice(std::vector<MapPiece> pieces, std::uint64_t offset,
                                      std::size_t length) {
  // A slice keeps whole pieces of the cache in memory, and many small ones cost more than a copy.
  auto may_stay = [this](const MapPiece& piece) {
    if (!piece.object || !in_memory(piece).empty()) return false;
    return range_of(*piece.object, piece.data_block, piece.count).bytes() <= 2 * piece.count * block_bytes;
  };
  if (pieces.size() > parallel_max || !std::ranges::all_of(pieces, may_stay)) {
    EBB_CO_TRY(data, co_await copy(std::move(pieces), offset, length));
    co_return Slices(std::move(data));
  }
  std::vector<Task<Result<Slices>>> fetches;
  for (auto& piece : pieces) fetches.push_back(fetch(stored(std::move(piece))));
  if (fetches.size() == 1) co_return co_await std::move(fetches[0]);
  Slices all;
  for (auto& fetched : co_await when_all(*access_.loop, std::move(fetches))) {
    if (!fetched) co_return fail(std::move(fetched).error());
    for (const auto& [owner, bytes] : fetched->parts()) all.add(owner, bytes);
  }
  co_return all;
}

Task<Result<std::vector<Extent>>> MapReader::extents(std::uint64_t offset, std::uint64_t length) {
  std::vector<Extent> out;
  EBB_CO_TRY(pieces, co_await map_.find(offset / block_bytes, length / block_bytes));
  for (const auto& piece : pieces) {
    bool is_hole = !piece.object;
    if (!out.empty() && out.back().is_hole == is_hole)
      out.back().length += piece.count * block_bytes;
    else
      out.push_back({piece.block * block_bytes, piece.count * block_bytes, is_hole});
  }
  co_return out;
}

}  // namespace ebb::disk
