#include "disk/attach/load_map.h"

#include "base/checksum.h"
#include "disk/attach/attach.h"
#include "disk/attach/fence.h"
#include "disk/keys.h"
#include "env/scope.h"

namespace ebb::disk {
namespace {

constexpr std::size_t parallel_max = 16;

Task<Result<ReadSegment>> read_segment(StoreAccess access, DiskId disk, DiskEpoch epoch, std::uint64_t seq,
                                       LogCache* cache) {
  if (const auto* known = cache->find(epoch, seq)) co_return *known;
  auto object = co_await read_log_object(access, disk, epoch, seq);
  if (!object || !std::holds_alternative<ReadSegment>(*object)) {
    co_return fail(Code::corrupt, "segment {}/{}/{} is part of the disk and not there: {}", disk,
                   epoch.text(), seq, object ? "a fence stands in its place" : object.error().message);
  }
  auto segment = std::get<ReadSegment>(std::move(*object));
  cache->add(segment);
  co_return segment;
}

// Applies segments (after `last`, `end`] of one epoch, each checked to follow the one before.
Task<Result<LogPoint>> roll_forward(StoreAccess access, DiskId disk, LogPoint last, LogPoint end,
                                    BlockMap* map, LogCache* cache) {
  auto chain = last.chain;
  for (auto seq = last.seq + 1; seq <= end.seq;) {
    std::vector<Task<Result<ReadSegment>>> reads;
    for (; seq <= end.seq && reads.size() < parallel_max; ++seq)
      reads.push_back(read_segment(access, disk, end.epoch, seq, cache));
    for (auto& read : co_await when_all(*access.loop, std::move(reads))) {
      EBB_CO_TRY(segment, std::move(read));
      if (segment.head.previous != chain || segment.head.opener != end.opener) {
        co_return fail(Code::corrupt, "segment {}/{}/{} does not follow the one before it", disk,
                       end.epoch.text(), segment.head.seq);
      }
      EBB_CO_CHECKED(map->apply(segment));
      chain = segment.chain;
    }
  }
  if (chain != end.chain)
    co_return fail(Code::corrupt, "epoch {} of {} ends otherwise than HEAD says", end.epoch.text(), disk);
  co_return end;
}

}  // namespace

Task<Result<CheckpointRoot>> read_root_at(StoreAccess access, std::string key, CheckpointRef ref) {
  auto got = co_await access.get(key);
  if (!got) co_return fail(std::move(got).error().within(fmt::format("checkpoint {}", key)));
  if (got->body.size() != ref.bytes || crc32c(got->body) != ref.crc32c) {
    co_return fail(Code::corrupt, "checkpoint {} is not the one that is named", key);
  }
  EBB_CO_TRY(root, decode_checkpoint_root(got->body));
  if (root.disk != ref.disk || root.position != ref.position)
    co_return fail(Code::corrupt, "checkpoint {} says that it is another", key);
  co_return root;
}

Task<Result<CheckpointRoot>> read_checkpoint_root(StoreAccess access, CheckpointRef ref, LogCache* cache) {
  if (const auto* known = cache ? cache->find_root(ref) : nullptr) co_return *known;
  auto root = co_await read_root_at(access, checkpoint_root_key(ref.disk, ref.epoch, ref.number), ref);
  if (!root) {
    auto copy = co_await read_root_at(access, checkpoint_root_copy_key(ref.disk, ref.epoch, ref.number), ref);
    if (copy) root = std::move(copy);
  }
  if (root && cache) cache->add_root(ref, *root);
  co_return root;
}

Task<Result<LoadedMap>> load_map(StoreAccess access, Head head, LogCache* cache,
                                 std::shared_ptr<PageCache> pages) {
  LoadedMap out{std::make_unique<BlockMap>(access, std::move(pages), head.size_bytes), {}, 0};
  LogPoint last;
  if (head.checkpoint) {
    EBB_CO_TRY(root, co_await read_checkpoint_root(access, *head.checkpoint, cache));
    if (root.size_bytes > head.size_bytes)
      co_return fail(Code::corrupt, "the checkpoint of {} is larger than the disk", head.disk);
    if (root.disk == head.disk) out.older_lineage = root.lineage;
    last = root.position;
    out.map->start_from(std::move(root));
  }
  for (const auto& end : head.lineage) {
    bool goes_on = head.checkpoint && head.checkpoint->disk == head.disk && last.epoch == end.epoch;
    if (!goes_on) last.epoch = end.epoch, last.opener = end.opener, last.seq = 0;
    out.segments_since_checkpoint += end.seq - std::min(last.seq, end.seq);
    EBB_CO_TRY(reached, co_await roll_forward(access, head.disk, last, end, out.map.get(), cache));
    last = reached;
  }
  co_return out;
}

namespace {

Task<void> prefetch_root(StoreAccess access, CheckpointRef ref, LogCache* cache) {
  (void)co_await read_checkpoint_root(access, std::move(ref), cache);
}

// Whether anything stands there.
Task<bool> prefetch_place(StoreAccess access, DiskId disk, DiskEpoch epoch, std::uint64_t seq,
                          LogCache* cache) {
  if (cache->find(epoch, seq) || cache->has_fence(epoch, seq)) co_return true;
  auto object = co_await read_log_object(access, disk, epoch, seq);
  if (!object) co_return false;
  if (const auto* segment = std::get_if<ReadSegment>(&*object))
    cache->add(*segment);
  else
    cache->add_fence(epoch, seq);
  co_return true;
}

// How many of the places there is something in, up to the first that is empty.
Task<std::size_t> prefetch_all(StoreAccess access, DiskId disk, DiskEpoch epoch,
                               std::vector<std::uint64_t> places, LogCache* cache) {
  std::vector<Task<bool>> reads;
  for (auto seq : places) reads.push_back(prefetch_place(access, disk, epoch, seq, cache));
  auto found = co_await when_all(*access.loop, std::move(reads));
  co_return static_cast<std::size_t>(std::ranges::find(found, false) - found.begin());
}

constexpr std::uint64_t places_at_once = 4096;  // the store's client lets only some of them go at a time

// Places (`from`, `to`].
Task<void> prefetch_places(StoreAccess access, DiskId disk, DiskEpoch epoch, std::uint64_t from,
                           std::uint64_t to, LogCache* cache) {
  while (from < to) {
    std::vector<std::uint64_t> places;
    while (from < to && places.size() < places_at_once) places.push_back(++from);
    (void)co_await prefetch_all(access, disk, epoch, std::move(places), cache);
  }
}

// On from `from`, where nobody says how far: what stands at doubling distances tells it, so that a log of any length that there
// should be takes two rounds.
Task<void> prefetch_crashed(StoreAccess access, DiskId disk, DiskEpoch epoch, std::uint64_t from,
                            LogCache* cache) {
  constexpr std::uint64_t near = 64;  // a checkpoint is about so old; that of a large map many times as old
  for (;;) {
    std::vector<std::uint64_t> places;
    for (std::uint64_t i = 1; i <= near; ++i) places.push_back(from + i);
    for (auto i = 2 * near; i <= places_at_once; i *= 2) places.push_back(from + i);
    const auto asked = places.size();
    const auto found = co_await prefetch_all(access, disk, epoch, std::move(places), cache);
    if (found < near) co_return;
    const auto end = std::min(2 * near << (found - near), places_at_once);
    co_await prefetch_places(access, disk, epoch, from + near, from + end, cache);
    if (found < asked) co_return;
    from += end;
  }
}

}  // namespace

Task<void> prefetch_log(StoreAccess access, Head head, LogCache* cache) {
  Scope scope(*access.loop);
  DiskEpoch checkpoint_epoch;
  std::uint64_t checkpoint_seq = 0;
  if (head.checkpoint) {
    scope.spawn(prefetch_root(access, *head.checkpoint, cache));
    if (head.checkpoint->disk == head.disk)
      checkpoint_epoch = head.checkpoint->position.epoch, checkpoint_seq = head.checkpoint->position.seq;
  }
  auto begin_of = [&](const LogPoint& point) { return point.epoch == checkpoint_epoch ? checkpoint_seq : 0; };
  for (const auto& sealed : head.lineage)
    scope.spawn(prefetch_places(access, head.disk, sealed.epoch, begin_of(sealed), sealed.seq, cache));
  for (const auto& end : head.unsealed) {
    const bool was_detached = head.state == HeadState::detached_clean;  // then its fence is the next
    scope.spawn(prefetch_places(access, head.disk, end.epoch, begin_of(end), end.seq + (was_detached ? 1 : 0),
                                cache));
    if (!was_detached) scope.spawn(prefetch_crashed(access, head.disk, end.epoch, end.seq, cache));
  }
  co_await scope.join();
}

namespace {

// Where a log seems to end, it may have been reclaimed: its owner writes on, and a newer checkpoint has taken
// it over.
Task<Status> check_not_overtaken(StoreAccess access, Head head, std::vector<LogPoint> ends) {
  EBB_CO_TRY(now, co_await read_head(access, head.disk));
  const auto& newer = now.head.checkpoint;
  bool is_newer = newer && newer != head.checkpoint && newer->disk == head.disk;
  auto place = [](const LogPoint& point) { return std::pair(point.epoch, point.seq); };
  bool was_restored =
      is_newer && head.checkpoint && place(newer->position) < place(head.checkpoint->position);
  for (const auto& end : ends) {
    bool is_behind = is_newer && place(end) < place(newer->position);
    if (is_behind || was_restored || now.head.state == HeadState::deleted)
      co_return fail(Code::not_found, "the log of {} was reclaimed while it was read", head.disk);
  }
  co_return Status{};
}

}  // namespace

Task<Result<Head>> follow_unsealed(StoreAccess access, Head head, LogCache* cache) {
  std::vector<LogPoint> ends;
  for (auto last : head.unsealed) {
    for (;;) {
      auto object = co_await read_log_object(access, head.disk, last.epoch, last.seq + 1);
      if (!object && object.error().code != Code::not_found) co_return fail(std::move(object).error());
      if (!object || std::holds_alternative<Fence>(*object)) break;
      auto segment = std::get<ReadSegment>(std::move(*object));
      if (segment.head.previous != last.chain)
        co_return fail(Code::corrupt, "segment {}/{}/{} does not follow the one before it", head.disk,
                       last.epoch.text(), segment.head.seq);
      last = point_of(segment);
      cache->add(segment);
    }
    ends.push_back(last);
  }
  if (!ends.empty()) EBB_CO_CHECKED(co_await check_not_overtaken(access, head, ends));
  record_seals(head, ends);
  co_return head;
}

Task<Result<FollowedHead>> read_followed(StoreAccess access, DiskId disk, LogCache* cache) {
  constexpr int tries_max = 20;
  for (int tries = 1;; ++tries) {
    EBB_CO_TRY(at, co_await read_head(access, disk));
    if (at.head.state == HeadState::deleted) co_return FollowedHead{at.head, at.head};
    auto followed = co_await follow_unsealed(access, at.head, cache);
    if (followed) co_return FollowedHead{std::move(at.head), std::move(*followed)};
    if (followed.error().code != Code::not_found || tries == tries_max)
      co_return fail(std::move(followed).error());
  }
}

}  // namespace ebb::disk
