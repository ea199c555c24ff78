#include "disk/attach/load_map.h"

#include "base/checksum.h"
#include "disk/attach/attach.h"
#include "disk/attach/fence.h"
#include "disk/keys.h"
#include "env/scope.h"

namespace ebb::disk {
namespace {

constexpr std::size_t parallel_max = 16;

Task<Result<MapPage>> read_page(StoreAccess access, PageRef ref, LogCache* cache) {
  if (const auto* known = cache->find_page(ref)) co_return *known;
  auto key = map_page_key(ref.disk, ref.epoch, ref.checkpoint, ref.page);
  auto got = co_await access.get(key);
  if (!got) co_return fail(Code::corrupt, "map page {}: {}", key, got.error().message);
  if (got->body.size() != ref.bytes || crc32c(got->body) != ref.crc32c) {
    co_return fail(Code::corrupt, "map page {} is not the one that its checkpoint names", key);
  }
  EBB_CO_TRY(page, decode_map_page(got->body));
  if (page.page != ref.page || page.disk != ref.disk || page.epoch != ref.epoch ||
      page.checkpoint != ref.checkpoint) {
    co_return fail(Code::corrupt, "map page {} says that it is another", key);
  }
  cache->add_page(ref, page);
  co_return page;
}

Task<Status> load_pages(StoreAccess access, CheckpointRoot root, BlockMap* map, LogCache* cache) {
  for (std::size_t at = 0; at < root.pages.size(); at += parallel_max) {
    std::vector<Task<Result<MapPage>>> reads;
    auto end = std::min(root.pages.size(), at + parallel_max);
    for (auto i = at; i < end; ++i) reads.push_back(read_page(access, root.pages[i], cache));
    auto pages = co_await when_all(*access.loop, std::move(reads));
    for (std::size_t i = 0; i < pages.size(); ++i) {
      EBB_CO_TRY(page, std::move(pages[i]));
      EBB_CO_CHECKED(map->load(page, root.pages[at + i]));
    }
  }
  co_return Status{};
}

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

Task<Result<CheckpointRoot>> read_checkpoint_root(StoreAccess access, CheckpointRef ref) {
  auto key = checkpoint_root_key(ref.disk, ref.epoch, ref.number);
  auto got = co_await access.get(key);
  if (!got) co_return fail(Code::corrupt, "checkpoint {}: {}", key, got.error().message);
  if (got->body.size() != ref.bytes || crc32c(got->body) != ref.crc32c) {
    co_return fail(Code::corrupt, "checkpoint {} is not the one that is named", key);
  }
  EBB_CO_TRY(root, decode_checkpoint_root(got->body));
  if (root.disk != ref.disk || root.position != ref.position)
    co_return fail(Code::corrupt, "checkpoint {} says that it is another", key);
  co_return root;
}

Task<Result<LoadedMap>> load_map(StoreAccess access, Head head, LogCache* cache) {
  LoadedMap out{BlockMap(head.size_bytes), {}, 0};
  LogPoint last;
  if (head.checkpoint) {
    EBB_CO_TRY(root, co_await read_checkpoint_root(access, *head.checkpoint));
    if (root.size_bytes > head.size_bytes)
      co_return fail(Code::corrupt, "the checkpoint of {} is larger than the disk", head.disk);
    if (root.disk == head.disk) out.older_lineage = root.lineage;
    EBB_CO_CHECKED(co_await load_pages(access, root, &out.map, cache));
    last = root.position;
  }
  for (const auto& end : head.lineage) {
    bool goes_on = head.checkpoint && head.checkpoint->disk == head.disk && last.epoch == end.epoch;
    if (!goes_on) last.epoch = end.epoch, last.opener = end.opener, last.seq = 0;
    out.segments_since_checkpoint += end.seq - std::min(last.seq, end.seq);
    EBB_CO_TRY(reached, co_await roll_forward(access, head.disk, last, end, &out.map, cache));
    last = reached;
  }
  co_return out;
}

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
  record_seals(head, ends);
  co_return head;
}

}  // namespace ebb::disk
