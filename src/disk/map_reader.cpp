#include "base/check.h"
#include "base/checksum.h"
#include "disk/keys.h"
#include "disk/object_disk.h"

namespace ebb::disk {
namespace {

// The index in `data` of the first block that is not what the map says; data.size() / block_bytes if all are
// right.
std::size_t first_wrong(ByteView data, std::span<const std::uint32_t> crcs) {
  std::size_t i = 0;
  while (i < crcs.size() && crc32c(data.subspan(i * block_bytes, block_bytes)) == crcs[i]) ++i;
  return i;
}

}  // namespace

Task<Status> MapReader::fetch(Wanted wanted, Bytes* into) {
  auto count = static_cast<std::uint32_t>(wanted.crcs.size());
  for (auto use : {CacheUse::normal, CacheUse::refresh}) {
    auto got = co_await read_segment_data(access_, &cache_, wanted.object, wanted.data_block, count, use);
    if (!got && use == CacheUse::refresh) co_return fail(std::move(got).error());
    if (!got) continue;
    auto wrong = first_wrong(*got, wanted.crcs);
    if (wrong == count) {
      std::copy(got->begin(), got->end(), into->begin() + static_cast<std::ptrdiff_t>(wanted.at));
      co_return Status{};
    }
    if (use == CacheUse::refresh) {
      co_return fail(Code::corrupt, "block {} has a wrong checksum: block {} of the data of {}", wanted.block + wrong,
                     wanted.data_block + wrong, name_of(wanted.object));
    }
  }
  co_return Status{};
}

// What was cleaned while it was being fetched lies elsewhere now: the map knows.
Task<Result<Bytes>> MapReader::read(std::uint64_t offset, std::size_t length) {
  constexpr int tries_max = 3;
  for (int tries = 1;; ++tries) {
    auto got = co_await read_once(offset, length);
    if (got || got.error().code != Code::not_found || tries == tries_max) co_return got;
  }
}

Task<Result<Bytes>> MapReader::read_once(std::uint64_t offset, std::size_t length) {
  Bytes out(length);
  std::vector<Wanted> wanted;
  EBB_CO_TRY(pieces, co_await map_.find(offset / block_bytes, length / block_bytes));
  // Everything that depends on the map as it is now happens before the next suspension.
  for (auto& piece : pieces) {
    if (!piece.object) continue;
    auto at = piece.block * block_bytes - offset;
    auto& crcs = piece.crcs;
    auto resident = resident_ ? resident_(*piece.object) : ByteView();
    if (resident.empty()) {
      auto object = piece.object->data_offset ? piece.object : map_.object(*piece.object);
      CHECK(object && object->data_offset > 0);  // neither in memory nor in the store is nowhere
      wanted.push_back({*object, piece.data_block, at, piece.block, std::move(crcs)});
      continue;
    }
    auto bytes = resident.subspan(piece.data_block * block_bytes, piece.count * block_bytes);
    if (first_wrong(bytes, crcs) != crcs.size())
      co_return fail(Code::corrupt, "block {} was damaged in memory", piece.block);
    std::copy(bytes.begin(), bytes.end(), out.begin() + static_cast<std::ptrdiff_t>(at));
  }
  if (wanted.size() == 1) {
    EBB_CO_CHECKED(co_await fetch(std::move(wanted[0]), &out));
    co_return out;
  }
  constexpr std::size_t parallel_max = 16;
  for (std::size_t at = 0; at < wanted.size(); at += parallel_max) {
    std::vector<Task<Status>> fetches;
    for (auto i = at; i < std::min(wanted.size(), at + parallel_max); ++i)
      fetches.push_back(fetch(std::move(wanted[i]), &out));
    for (auto& fetched : co_await when_all(*access_.loop, std::move(fetches)))
      EBB_CO_CHECKED(std::move(fetched));
  }
  co_return out;
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
