#include "disk/segment_reader.h"

#include "disk/block_device.h"
#include "disk/keys.h"

namespace ebb::disk {
namespace {
constexpr std::uint64_t piece_bytes = 64 * KiB;
}

SharedBytes PieceCache::find(const Key& key) {
  auto it = entries_.find(key);
  if (it == entries_.end()) return nullptr;
  ages_.splice(ages_.end(), ages_, it->second.age);
  return it->second.bytes;
}

void PieceCache::add(const Key& key, SharedBytes bytes) {
  drop(key);
  bytes_ += bytes->size();
  entries_[key] = {std::move(bytes), ages_.insert(ages_.end(), key)};
  while (bytes_ > bytes_max_) drop(Key(ages_.front()));
}

void PieceCache::drop(const Key& key) {
  auto it = entries_.find(key);
  if (it == entries_.end()) return;
  bytes_ -= it->second.bytes->size();
  ages_.erase(it->second.age);
  entries_.erase(it);
}

namespace {

// Reads pieces [first, end) with one request and puts them into the cache.
Task<Result<std::vector<SharedBytes>>> fetch_pieces(StoreAccess access, PieceCache* cache, DataObject object,
                                                    std::uint64_t first, std::uint64_t end) {
  auto got = co_await access.get_range(data_object_key(object),
                                       object.data_offset + first * piece_bytes, (end - first) * piece_bytes);
  if (!got)
    co_return fail(got.error().code == Code::not_found ? Code::not_found : Code::corrupt, "{}: {}", name_of(object),
                   got.error().message);
  std::vector<SharedBytes> pieces;
  for (auto piece = first; piece < end; ++piece) {
    auto rest = ByteView(*got).subspan(std::min<std::size_t>(got->size(), (piece - first) * piece_bytes));
    auto bytes = rest.first(std::min<std::size_t>(rest.size(), piece_bytes));
    pieces.push_back(std::make_shared<const Bytes>(bytes.begin(), bytes.end()));
    if (!bytes.empty()) cache->add({object, piece}, pieces.back());
  }
  co_return pieces;
}

}  // namespace

Task<Result<Bytes>> read_segment_data(StoreAccess access, PieceCache* cache, DataObject object,
                                      std::uint32_t first, std::uint32_t count, CacheUse use) {
  std::uint64_t begin = std::uint64_t{first} * block_bytes, end = begin + std::uint64_t{count} * block_bytes;
  auto first_piece = begin / piece_bytes, end_piece = (end + piece_bytes - 1) / piece_bytes;
  std::vector<SharedBytes> pieces(end_piece - first_piece);
  if (use == CacheUse::normal) {
    for (auto piece = first_piece; piece < end_piece; ++piece)
      pieces[piece - first_piece] = cache->find({object, piece});
  }
  for (std::size_t i = 0; i < pieces.size(); ++i) {
    if (pieces[i]) continue;
    auto run_end = i;
    while (run_end < pieces.size() && !pieces[run_end]) ++run_end;
    EBB_CO_TRY(fetched, co_await fetch_pieces(access, cache, object, first_piece + i, first_piece + run_end));
    std::move(fetched.begin(), fetched.end(), pieces.begin() + static_cast<std::ptrdiff_t>(i));
  }
  Bytes out;
  out.reserve(end - begin);
  for (std::size_t i = 0; i < pieces.size(); ++i) {
    auto piece_begin = (first_piece + i) * piece_bytes;
    auto from = std::max(begin, piece_begin) - piece_begin, to = std::min(end - piece_begin, piece_bytes);
    if (pieces[i]->size() < to) {
      co_return fail(Code::corrupt, "{} is shorter than its head says", name_of(object));
    }
    append(out, ByteView(*pieces[i]).subspan(from, to - from));
  }
  co_return out;
}

}  // namespace ebb::disk
