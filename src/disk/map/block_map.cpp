#include "disk/map/block_map.h"

#include "base/check.h"
#include "disk/block_device.h"
#include "disk/keys.h"
#include "env/scope.h"

namespace ebb::disk {

BlockMap::BlockMap(StoreAccess access, std::shared_ptr<PageCache> cache, std::uint64_t size_bytes)
    : access_(access), cache_(std::move(cache)), blocks_(size_bytes / block_bytes) {}

void BlockMap::start_from(CheckpointRoot root) {
  CHECK(changed_.pages.empty() && root_.objects.empty());
  use_root(std::move(root));
}

void BlockMap::grow(std::uint64_t size_bytes) {
  CHECK(size_bytes / block_bytes >= blocks_);
  blocks_ = size_bytes / block_bytes;
}

void BlockMap::use_root(CheckpointRoot root) {
  root_ = std::move(root);
  counted_next_object_ = root_.next_object;
  stored_bytes_ = live_blocks_ = 0;
  for (const auto& object : root_.objects) live_blocks_ += object.live;
  for (const auto& ref : root_.pages) stored_bytes_ += ref.bytes;
}

// ---- changes

const PageDelta* BlockMap::Changes::find(std::uint32_t page) const {
  auto it = pages.find(page);
  return it == pages.end() ? nullptr : &deltas[it->second];
}

BlockMap::Spans BlockMap::spans(std::uint64_t block, std::uint64_t count) const {
  CHECK(block + count <= blocks_);
  Spans out;
  for (auto end = block + count; block < end;) {
    auto begin = static_cast<std::uint32_t>(block % blocks_per_page);
    auto length = static_cast<std::uint32_t>(std::min<std::uint64_t>(end - block, blocks_per_page - begin));
    out.push_back({static_cast<std::uint32_t>(block / blocks_per_page), begin, begin + length});
    block += length;
  }
  return out;
}

template <class Change>
void BlockMap::change_pages(std::uint64_t block, std::uint64_t count, Change change) {
  for (const auto& span : spans(block, count)) {
    auto& [pages, deltas, bytes] = changed_;
    auto [it, is_new] = pages.try_emplace(span.page, static_cast<std::uint32_t>(deltas.size()));
    auto& delta = is_new ? deltas.emplace_back() : deltas[it->second];
    if (!is_new) bytes -= delta.bytes();
    change(delta, span);
    bytes += delta.bytes();
  }
}

ObjectId BlockMap::add_object(const DataObject& object) {
  root_.objects.push_back({root_.next_object, object, 0, 0, 0});
  return root_.next_object++;
}

void BlockMap::complete_object(ObjectId id, ObjectSize size) {
  auto it = std::ranges::lower_bound(root_.objects, id, {}, &MapObject::id);
  CHECK(it != root_.objects.end() && it->id == id);
  it->object.data_offset = size.data_offset, it->object.is_packed = size.is_packed;
  it->blocks = size.blocks, it->trims = size.trims;
}

void BlockMap::set(std::uint64_t block, std::span<const std::uint32_t> crcs, ObjectId object,
                   std::uint32_t data_block) {
  change_pages(block, crcs.size(), [&](PageDelta& delta, const Span& span) {
    auto count = span.end - span.begin;
    delta.set(span.begin, crcs.first(count), object, data_block);
    crcs = crcs.subspan(count), data_block += count;
  });
}

void BlockMap::clear(std::uint64_t block, std::uint64_t count) {
  change_pages(block, count,
               [](PageDelta& delta, const Span& span) { delta.clear(span.begin, span.end - span.begin); });
}

Status BlockMap::apply(const ReadSegment& segment) {
  const auto& h = segment.head;
  for (const auto& e : h.extents) {
    if (e.block + e.count <= blocks_) continue;
    return fail(Code::corrupt, "segment {}/{}/{} writes beyond the end of the disk", h.disk, h.epoch.text(),
                h.seq);
  }
  auto id = add_object({h.disk, h.epoch, h.seq, segment.data_offset});
  auto trims = std::ranges::count(h.extents, ExtentKind::zeroes, &SegmentExtent::kind);
  complete_object(id, {segment.data_offset, static_cast<std::uint32_t>(h.crcs.size()),
                       static_cast<std::uint32_t>(trims), h.is_packed});
  for (const auto& e : h.extents) {
    if (e.kind == ExtentKind::zeroes)
      clear(e.block, e.count);
    else
      set(e.block, std::span(h.crcs).subspan(e.data_block, e.count), id, e.data_block);
  }
  return {};
}

// ---- cleaning

std::span<const MapObject> BlockMap::counted_objects() const {
  auto end = std::ranges::lower_bound(root_.objects, counted_next_object_, {}, &MapObject::id);
  return {root_.objects.begin(), end};
}

Task<Result<std::uint64_t>> BlockMap::repoint(DataObject cleaned, ObjectSize size, std::vector<Move> moves,
                                              std::vector<ObjectId> released) {
  auto id = add_object(cleaned);
  complete_object(id, size);
  CHECK(cleaned.seq == cleaned_ + 1);
  cleaned_ = cleaned.seq;
  for (auto victim : released) released_[victim] = id;
  being_filled_.insert(id);
  std::uint64_t repointed = 0;
  Status failed;
  for (std::size_t at = 0; at < moves.size() && failed;) {
    auto page = static_cast<std::uint32_t>(moves[at].block / blocks_per_page);
    auto end = at;
    while (end < moves.size() && moves[end].block / blocks_per_page == page) ++end;
    auto done = co_await repoint_page(page, id, std::span(moves).subspan(at, end - at));
    if (done)
      repointed += *done;
    else
      failed = fail(std::move(done).error());
    at = end;
  }
  being_filled_.erase(id);
  if (!failed) co_return fail(std::move(failed).error());
  co_return repointed;
}

// Looking and changing happen between two suspensions.
Task<Result<std::uint64_t>> BlockMap::repoint_page(std::uint32_t page, ObjectId to,
                                                   std::span<const Move> moves) {
  for (;;) {
    auto place = place_of(page);
    PageHandle stored;
    if (place) {
      stored = cache_->find(place->key);
      if (!stored) {
        auto fetched = co_await fetch(*place);
        if (place_of(page) != place) continue;
        if (!fetched) co_return fail(std::move(fetched).error());
        stored = std::move(*fetched);
      }
    }
    std::uint64_t repointed = 0;
    for (const auto& move : moves) repointed += repoint_now(move, to, stored.get());
    co_return repointed;
  }
}

std::uint64_t BlockMap::repoint_now(const Move& move, ObjectId to, const LoadedPage* stored) {
  CHECK(move.block / blocks_per_page == (move.block + move.count - 1) / blocks_per_page);
  std::uint64_t repointed = 0;
  std::vector<MapPiece> pieces;
  for (const auto& span : spans(move.block, move.count)) append_pieces(span, stored, pieces);
  for (const auto& piece : pieces) {
    auto skip = static_cast<std::uint32_t>(piece.block - move.block);
    bool is_still_there = piece.object == move.from && piece.data_block == move.from_block + skip;
    if (!is_still_there) continue;
    set(piece.block, std::span(move.crcs).subspan(skip, piece.count), to, move.to_block + skip);
    repointed += piece.count;
  }
  return repointed;
}

// ---- looking

const MapObject* BlockMap::entry(ObjectId id) const {
  auto it = std::ranges::lower_bound(root_.objects, id, {}, &MapObject::id);
  return it != root_.objects.end() && it->id == id ? &*it : nullptr;
}

std::optional<DataObject> BlockMap::object(const DataObject& incomplete) const {
  for (auto it = root_.objects.rbegin(); it != root_.objects.rend(); ++it) {
    const auto& object = it->object;
    if (object.seq == incomplete.seq && object.kind == incomplete.kind && object.epoch == incomplete.epoch &&
        object.disk == incomplete.disk)
      return object;
  }
  return std::nullopt;
}

bool BlockMap::is_covered(const Span& span) const {
  const auto* delta = changed_.find(span.page);
  if (delta && delta->covers(span.begin, span.end)) return true;
  const auto* frozen = frozen_ ? frozen_->find(span.page) : nullptr;
  return frozen && frozen->covers(span.begin, span.end);
}

// Until all pages that show through are in memory at once, under the root as it is at the end.
Task<Result<std::vector<MapPiece>>> BlockMap::find(std::uint64_t block, std::uint64_t count) {
  constexpr std::size_t parallel_max = 16;
  const auto wanted = spans(block, count);
  std::map<std::uint32_t, std::pair<PagePlace, PageHandle>> pages;
  for (;;) {
    std::vector<PagePlace> missing;
    for (const auto& span : wanted) {
      auto place = is_covered(span) ? std::nullopt : place_of(span.page);
      auto& [held, page] = pages[span.page];
      if (!place) page = nullptr;
      if (!place || (page && held == *place)) continue;
      held = *place, page = cache_->find(place->key);
      if (!page && missing.size() < parallel_max) missing.push_back(*place);
    }
    if (missing.empty()) break;
    std::vector<Task<Result<PageHandle>>> fetches;
    fetches.reserve(missing.size());
    for (const auto& place : missing) fetches.push_back(fetch(place));
    auto fetched = co_await when_all(*access_.loop, std::move(fetches));
    for (std::size_t i = 0; i < missing.size(); ++i) {
      // A checkpoint may have moved the page meanwhile, and its old place may be gone.
      if (!fetched[i] && place_of(missing[i].page) != missing[i]) continue;
      EBB_CO_TRY(page, std::move(fetched[i]));
      pages[missing[i].page] = {missing[i], std::move(page)};
    }
  }
  std::vector<MapPiece> out;
  for (const auto& span : wanted) append_pieces(span, pages[span.page].second.get(), out);
  for (const auto& piece : out) {
    if (!piece.object || piece.object->seq > 0) continue;
    co_return fail(Code::corrupt, "block {}: the map names an object that its checkpoint does not know",
                   piece.block);
  }
  co_return out;
}

// Three layers: changed above frozen above stored.
void BlockMap::append_pieces(const Span& span, const LoadedPage* stored, std::vector<MapPiece>& out) const {
  const PageDelta* layers[] = {changed_.find(span.page), frozen_ ? frozen_->find(span.page) : nullptr};
  auto first = std::uint64_t{span.page} * blocks_per_page;
  for (auto at = span.begin; at < span.end;) {
    auto silent = span.end;
    bool is_decided = false;
    for (const auto* layer : layers) {
      if (!layer || is_decided) continue;
      auto until = layer->silent_until(at, silent);
      if (until > at) {
        silent = until;
        continue;
      }
      auto above = layer->entries_from(at);
      if (!above.empty() && above.front().block == at) {
        append_data(first + at, above.front().object, above.front().data_block, {&above.front().crc32c, 1},
                    out);
        ++at;
      } else {
        auto end = std::min(layer->cleared_at(at)->end, silent);
        if (!above.empty()) end = std::min(end, above.front().block);
        append_stored({span.page, at, end}, nullptr, out);
        at = end;
      }
      is_decided = true;
    }
    if (is_decided) continue;
    append_stored({span.page, at, silent}, stored, out);
    at = silent;
  }
}

void BlockMap::append_stored(const Span& span, const LoadedPage* stored, std::vector<MapPiece>& out) const {
  auto first = std::uint64_t{span.page} * blocks_per_page;
  auto hole = [&](std::uint32_t begin, std::uint32_t end) {
    if (begin >= end) return;
    if (!out.empty() && !out.back().object && out.back().block + out.back().count == first + begin)
      out.back().count += end - begin;
    else
      out.push_back({first + begin, end - begin, std::nullopt, 0, {}});
  };
  auto at = span.begin;
  static const MapPage nothing;
  const auto& page = stored ? stored->page() : nothing;
  for (auto i = stored ? stored->run_at(at) : 0; i < page.runs.size() && page.runs[i].block < span.end; ++i) {
    const auto& run = page.runs[i];
    auto begin = std::max(at, run.block), end = std::min(span.end, run.block + run.count);
    hole(at, begin);
    auto skip = begin - run.block;
    append_data(first + begin, run.object, run.data_block + skip,
                std::span(page.crcs).subspan(stored->crc_at(i) + skip, end - begin), out);
    at = end;
  }
  hole(at, span.end);
}

void BlockMap::append_data(std::uint64_t block, ObjectId object, std::uint32_t data_block,
                           std::span<const std::uint32_t> crcs, std::vector<MapPiece>& out) const {
  const auto* known = entry(object);
  if (!known) {
    out.push_back({block, crcs.size(), DataObject{}, data_block, {}});
    return;
  }
  if (!out.empty()) {
    auto& last = out.back();
    bool goes_on = last.object == known->object && last.block + last.count == block &&
                   last.data_block + last.count == data_block;
    if (goes_on) {
      last.count += crcs.size();
      last.crcs.insert(last.crcs.end(), crcs.begin(), crcs.end());
      return;
    }
  }
  out.push_back({block, crcs.size(), known->object, data_block, {crcs.begin(), crcs.end()}});
}

// ---- pages

std::optional<BlockMap::PagePlace> BlockMap::place_of(std::uint32_t page) const {
  auto it = std::ranges::lower_bound(root_.pages, page, {}, &PageRef::page);
  if (it == root_.pages.end() || it->page != page) return std::nullopt;
  return PagePlace{page, {root_.packs[it->pack], it->offset}, it->bytes};
}

// One fetch at a time for one page, however many ask.
Task<Result<PageHandle>> BlockMap::fetch(PagePlace place) {
  if (auto known = cache_->find(place.key)) co_return known;
  auto& slot = fetching_[place.key];
  if (!slot) slot = std::make_shared<AsyncMutex>(*access_.loop);
  auto mutex = slot;
  auto turn = co_await mutex->lock();
  auto page = cache_->find(place.key);
  Result<PageHandle> fetched = page;
  if (!page) fetched = co_await fetch_from_store(place);
  if (fetched) cache_->add(place.key, *fetched);
  fetching_.erase(place.key);
  co_return fetched;
}

Task<Result<PageHandle>> BlockMap::fetch_from_store(PagePlace place) {
  const auto& pack = place.key.pack;
  auto key = map_pack_key(pack.disk, pack.epoch, pack.checkpoint, pack.number);
  auto got = co_await access_.get_range(key, place.key.offset, place.bytes);
  if (!got) co_return fail(std::move(got).error().within(fmt::format("map page {}", place.page)));
  auto page = decode_map_page(*got);
  if (!page)
    co_return fail(std::move(page).error().within(fmt::format("map page {} in {}", place.page, key)));
  if (page->page != place.page || page->disk != pack.disk)
    co_return fail(Code::corrupt, "map page {} in {} says that it is another", place.page, key);
  co_return std::make_shared<const LoadedPage>(std::move(*page));
}

}  // namespace ebb::disk
