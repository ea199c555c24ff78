#include "disk/attach/fence.h"

#include "disk/keys.h"
#include "env/scope.h"

namespace ebb::disk {
namespace {

constexpr std::uint64_t window = 8;  // places fenced at a time: as many as a writer has in flight

using Decision = Result<std::optional<ReadSegment>>;  // a segment, or a fence

Task<Decision> fence_place(StoreAccess access, DiskId disk, DiskEpoch epoch, std::uint64_t seq, Opener by,
                           const LogCache* cache) {
  if (const auto* known = cache->find(epoch, seq)) co_return Decision(*known);
  Fence fence{disk, epoch, seq, by.epoch, by.owner, by.opener};
  auto body = std::make_shared<const Bytes>(encode(fence));
  if (co_await access.put_once(segment_key(disk, epoch, seq), body) == StoreAccess::Put::stored)
    co_return Decision(std::nullopt);
  EBB_CO_TRY(there, co_await read_log_object(access, disk, epoch, seq));
  if (std::holds_alternative<Fence>(there)) co_return Decision(std::nullopt);
  co_return Decision(std::get<ReadSegment>(std::move(there)));
}

// Whether this segment goes on where `last` ended.
Status check_follows(const ReadSegment& segment, const LogPoint& last) {
  const auto& h = segment.head;
  if (h.opener == last.opener && h.previous == last.chain && h.first_write_seq == last.write_seq + 1)
    return {};
  return fail(Code::corrupt, "segment {}/{}/{} does not follow the one before it", h.disk, h.epoch.text(),
              h.seq);
}

}  // namespace

LogPoint point_of(const ReadSegment& segment) {
  const auto& h = segment.head;
  return {h.epoch, h.opener, h.seq, h.last_write_seq, segment.chain, h.log_id, h.log_position};
}

Task<Result<LogPoint>> seal_epoch(StoreAccess access, DiskId disk, LogPoint unsealed, Opener by,
                                  LogCache* cache) {
  for (auto last = std::move(unsealed);;) {
    for (const auto* known = cache->find(last.epoch, last.seq + 1); known;
         known = cache->find(last.epoch, last.seq + 1)) {
      EBB_CO_CHECKED(check_follows(*known, last));
      last = point_of(*known);
    }
    if (cache->has_fence(last.epoch, last.seq + 1)) co_return last;
    std::vector<Task<Decision>> places;
    for (std::uint64_t i = 1; i <= window; ++i)
      places.push_back(fence_place(access, disk, last.epoch, last.seq + i, by, cache));
    // All of the window is decided before any of it counts: the lowest fence, not the first answer.
    auto decided = co_await when_all(*access.loop, std::move(places));
    for (auto& place : decided) {
      EBB_CO_TRY(segment, std::move(place));
      if (!segment) co_return last;
      EBB_CO_CHECKED(check_follows(*segment, last));
      cache->add(*segment);
      last = point_of(*segment);
    }
  }
}

Task<Status> fence_own_next(StoreAccess access, DiskId disk, LogPoint last, Opener by) {
  Fence fence{disk, last.epoch, last.seq + 1, by.epoch, by.owner, by.opener};
  auto body = std::make_shared<const Bytes>(encode(fence));
  if (co_await access.put_once(segment_key(disk, last.epoch, last.seq + 1), body) == StoreAccess::Put::stored)
    co_return Status{};
  co_return fail(Code::fenced, "another opener has fenced {} in epoch {}", disk, last.epoch.text());
}

}  // namespace ebb::disk
