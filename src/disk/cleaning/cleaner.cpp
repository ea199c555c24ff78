#include "disk/cleaning/cleaner.h"

#include "base/check.h"
#include "base/checksum.h"
#include "disk/block_device.h"
#include "disk/format/limits.h"
#include "disk/keys.h"
#include "disk/log_objects.h"
#include "disk/object_data.h"

namespace ebb::disk {
namespace {

// Small objects that hold nothing but trims are gathered only many at a time: one alone would become itself
// again.
constexpr std::size_t bare_trims_min = 8;
constexpr std::uint64_t lookup_blocks = 16 * blocks_per_page;

bool has_bare_trims(const MapObject& object) {
  return object.live == 0 && object.object.kind == ObjectKind::cleaned;
}

Task<Result<std::vector<SegmentExtent>>> read_extents(StoreAccess access, DataObject object) {
  if (object.kind == ObjectKind::segment) {
    EBB_CO_TRY(found, co_await read_log_object(access, object.disk, object.epoch, object.seq));
    auto* segment = std::get_if<ReadSegment>(&found);
    if (!segment || segment->data_offset != object.data_offset)
      co_return fail(Code::corrupt, "{} is not what the map says", text_of(object));
    co_return std::move(segment->head.extents);
  }
  EBB_CO_TRY(head, co_await access.get_range(data_object_key(object), 0, object.data_offset));
  EBB_CO_TRY(bytes, cleaned_head_bytes(head));
  if (bytes != head.size()) co_return fail(Code::corrupt, "{} is not what the map says", text_of(object));
  EBB_CO_TRY(cleaned, decode_cleaned(head, object.disk, object.epoch, object.seq));
  co_return std::move(cleaned.head.extents);
}

}  // namespace

bool Cleaner::is_worth_it(const MapObject& object, std::size_t bare_trims) const {
  bool is_ours = object.object.disk == disk_;  // a parent's lie where they are for the parent's sake
  if (!is_ours || done_.contains(object.id) || damaged_.contains(object.id) || map_.is_released(object.id))
    return false;
  if (has_bare_trims(object)) return bare_trims >= bare_trims_min;
  return std::uint64_t{object.live} * 100 < std::uint64_t{object.blocks} * tuning_.live_percent_max ||
         object.live == 0;
}

// The deadest first, as many as fill one new object.
std::vector<MapObject> Cleaner::choose() const {
  auto objects = map_.counted_objects();
  auto bare_trims = static_cast<std::size_t>(std::ranges::count_if(objects, has_bare_trims));
  std::vector<MapObject> victims;
  for (const auto& object : objects)
    if (is_worth_it(object, bare_trims)) victims.push_back(object);
  auto deadness = [](const MapObject& o) { return o.blocks == 0 ? 0.0 : double(o.live) / o.blocks; };
  std::ranges::sort(victims, {}, [&](const MapObject& o) { return std::pair(deadness(o), o.id); });
  std::uint64_t live = 0;
  for (std::size_t i = 0; i < victims.size(); ++i) {
    live += victims[i].live;
    if (i < tuning_.victims_at_once && live * block_bytes <= tuning_.object_bytes) continue;
    victims.resize(std::max<std::size_t>(i, 1));
    break;
  }
  return victims;
}

Task<Result<bool>> Cleaner::run() {
  Gathered gathered;
  for (const auto& victim : choose()) {
    auto done = co_await gather(victim, &gathered);
    if (done) continue;
    damaged_.insert(victim.id);
    co_return fail(std::move(done).error());
  }
  if (gathered.victims.empty()) co_return false;
  for (auto id : gathered.victims) done_.insert(id);
  EBB_CO_CHECKED(co_await store(std::move(gathered)));
  co_return true;
}

Task<Status> Cleaner::gather(MapObject victim, Gathered* into) {
  EBB_CO_TRY(extents, co_await read_extents(access_, victim.object));
  Gathered found;
  for (const auto& extent : extents) EBB_CO_CHECKED(co_await gather_extent(victim, extent, &found));
  EBB_CO_CHECKED(co_await read_fragments(victim, &found.fragments));
  std::move(found.fragments.begin(), found.fragments.end(), std::back_inserter(into->fragments));
  into->trims.insert(into->trims.end(), found.trims.begin(), found.trims.end());
  into->blocks += found.blocks;
  into->victims.push_back(victim.id);
  co_return Status{};
}

// Over its whole range: any part of it may have been overwritten, and any other still be live.
Task<Status> Cleaner::gather_extent(MapObject victim, SegmentExtent extent, Gathered* into) {
  auto end = std::min(extent.block + extent.count, map_.size_blocks());
  for (auto at = extent.block; at < end;) {
    auto length = std::min(end - at, lookup_blocks - at % lookup_blocks);
    EBB_CO_TRY(pieces, co_await map_.find(at, length));
    for (auto& piece : pieces) {
      auto skip = static_cast<std::uint32_t>(piece.block - extent.block);
      if (extent.kind == ExtentKind::zeroes) {
        // Where newer data lies for good, that data says enough.
        if (piece.object && is_committed_(*piece.object)) continue;
        auto& trims = into->trims;
        bool goes_on = !trims.empty() && trims.back().write_seq == extent.write_seq &&
                       trims.back().block + trims.back().count == piece.block;
        if (goes_on)
          trims.back().count += static_cast<std::uint32_t>(piece.count);
        else
          trims.push_back({piece.block, static_cast<std::uint32_t>(piece.count), ExtentKind::zeroes,
                           extent.write_seq, 0});
        continue;
      }
      if (piece.object != victim.object || piece.data_block != extent.data_block + skip) continue;
      for (std::uint64_t done = 0; done < piece.count;) {  // a move lies within one page of the map
        auto block = piece.block + done;
        auto count = static_cast<std::uint32_t>(
            std::min(piece.count - done, blocks_per_page - block % blocks_per_page));
        auto crcs = std::span(piece.crcs).subspan(done, count);
        into->fragments.push_back({{block,
                                    count,
                                    victim.object,
                                    static_cast<std::uint32_t>(piece.data_block + done),
                                    0,
                                    {crcs.begin(), crcs.end()}},
                                   extent.write_seq,
                                   {}});
        done += count;
        into->blocks += count;
      }
    }
    at += length;
  }
  co_return Status{};
}

// With one request; checked against the map.
Task<Status> Cleaner::read_fragments(MapObject victim, std::vector<Fragment>* fragments) {
  if (fragments->empty()) co_return Status{};
  std::uint64_t begin = ~std::uint64_t{0}, end = 0;
  for (const auto& f : *fragments) {
    begin = std::min<std::uint64_t>(begin, f.move.from_block);
    end = std::max<std::uint64_t>(end, std::uint64_t{f.move.from_block} + f.move.count);
  }
  EBB_CO_TRY(data, co_await read_object_data(access_, victim.object, begin * block_bytes,
                                             (end - begin) * block_bytes, nullptr));
  if (data.size() != (end - begin) * block_bytes)
    co_return fail(Code::corrupt, "{} is shorter than its head says", text_of(victim.object));
  for (auto& f : *fragments) {
    auto bytes =
        ByteView(data).subspan((f.move.from_block - begin) * block_bytes, f.move.count * block_bytes);
    for (std::size_t i = 0; i < f.move.count; ++i) {
      if (crc32c(bytes.subspan(i * block_bytes, block_bytes)) == f.move.crcs[i]) continue;
      co_return fail(Code::corrupt, "block {} has a wrong checksum: block {} of the data of {}",
                     f.move.block + i, f.move.from_block + i, text_of(victim.object));
    }
    f.data.assign(bytes.begin(), bytes.end());
  }
  co_return Status{};
}

Task<Status> Cleaner::store(Gathered gathered) {
  auto& fragments = gathered.fragments;
  std::ranges::sort(fragments, {}, [](const Fragment& f) { return f.move.block; });
  CleanedHead head{disk_, epoch_, number_ + 1, {}, {}};
  Bytes data;
  std::vector<BlockMap::Move> moves;
  for (auto& f : fragments) {
    auto to_block = static_cast<std::uint32_t>(head.crcs.size());
    // An object's blocks never lie in two victims: what the map names is one place.
    bool is_in_order = moves.empty() || moves.back().block + moves.back().count <= f.move.block;
    bool has_room = head.extents.size() + gathered.trims.size() < extents_per_segment_max &&
                    head.crcs.size() + f.move.count <= segment_data_blocks_max;
    // The map has moved on under us, or there is more than fits: what is left stays where it is.
    if (!is_in_order || !has_room) continue;
    head.extents.push_back({f.move.block, f.move.count, ExtentKind::data, f.write_seq, to_block});
    head.crcs.insert(head.crcs.end(), f.move.crcs.begin(), f.move.crcs.end());
    append(data, f.data);
    f.move.to_block = to_block;
    moves.push_back(std::move(f.move));
  }
  bool takes_trims = head.extents.size() + gathered.trims.size() <= extents_per_segment_max;
  if (!takes_trims) gathered.trims.clear(), gathered.victims.clear();
  head.extents.insert(head.extents.end(), gathered.trims.begin(), gathered.trims.end());
  if (head.extents.empty()) {
    map_.release(gathered.victims);
    co_return Status{};
  }

  head.is_packed = access_.store->is_far() && is_worth_packing(data);
  auto body = encode(head);
  auto size = BlockMap::ObjectSize{static_cast<std::uint32_t>(body.size()),
                                   static_cast<std::uint32_t>(head.crcs.size()),
                                   static_cast<std::uint32_t>(gathered.trims.size()), head.is_packed};
  append(body, data);
  ++number_;
  auto stored = std::make_shared<const Bytes>(std::move(body));
  if (head.is_packed) stored = co_await pack_object(access_, std::move(stored), size.data_offset);
  auto put = co_await access_.put_once(cleaned_key(disk_, epoch_, number_), std::move(stored));
  if (put != StoreAccess::Put::stored)
    co_return fail(Code::fenced, "{} holds what this process did not write",
                   cleaned_key(disk_, epoch_, number_));
  DataObject object{disk_, epoch_, number_, size.data_offset, ObjectKind::cleaned, size.is_packed};
  EBB_CO_TRY(moved, co_await map_.repoint(object, size, std::move(moves), std::move(gathered.victims)));
  blocks_moved_ += moved;
  owes_checkpoint_ = true;
  co_return Status{};
}

}  // namespace ebb::disk
