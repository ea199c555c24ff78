#include "disk/cache/hints.h"

#include "disk/format/wire.h"
#include "disk/keys.h"
#include "disk/map_reader.h"

namespace ebb::disk {
namespace {
constexpr std::uint64_t hints_magic = magic_of("EBBHINT1");
}

Bytes encode(const Hints& hints) {
  auto object = begin_object(hints_magic);
  append_text(object, hints.disk.str());
  append_le<std::uint64_t>(object, hints.epoch.placement);
  append_le<std::uint64_t>(object, hints.epoch.incarnation);
  append_le<std::uint32_t>(object, hints.number);
  append_le<std::uint32_t>(object, static_cast<std::uint32_t>(hints.runs.size()));
  for (const auto& run : hints.runs)
    append_le<std::uint32_t>(object, run.first), append_le<std::uint32_t>(object, run.count);
  finish_object(object);
  return object;
}

Result<Hints> decode_hints(ByteView object) {
  EBB_TRY(body, open_object(object, hints_magic, "a list of hot regions"));
  WireReader in(body);
  Hints hints;
  hints.disk = DiskId(in.text());
  hints.epoch.placement = in.number<std::uint64_t>();
  hints.epoch.incarnation = in.number<std::uint64_t>();
  hints.number = in.number<std::uint32_t>();
  std::uint64_t regions = 0;
  for (auto left = in.count(8); left > 0; --left) {
    RegionRun run;
    run.first = in.number<std::uint32_t>(), run.count = in.number<std::uint32_t>();
    regions += run.count;
    bool is_sane =
        run.count > 0 && (std::uint64_t{run.first} + run.count) * HotRegions::region_bytes <= disk_bytes_max;
    if (!is_sane || regions > HotRegions::regions_max)
      return fail(Code::corrupt, "a list of hot regions names what cannot be");
    hints.runs.push_back(run);
  }
  EBB_CHECKED(in.finish("a list of hot regions"));
  return hints;
}

Task<Status> store_hints(StoreAccess access, Hints hints) {
  auto body = std::make_shared<const Bytes>(encode(hints));
  auto put = co_await access.store->put(hints_key(hints.disk, hints.epoch), body, PutCondition::always());
  if (!put) co_return fail(std::move(put).error());
  co_return Status{};
}

Task<std::optional<Hints>> find_hints(StoreAccess access, Head head) {
  std::vector<DiskEpoch> epochs{head.epoch};
  for (auto it = head.unsealed.rbegin(); it != head.unsealed.rend(); ++it) epochs.push_back(it->epoch);
  for (auto it = head.lineage.rbegin(); it != head.lineage.rend(); ++it) epochs.push_back(it->epoch);
  epochs.erase(std::unique(epochs.begin(), epochs.end()), epochs.end());
  for (std::size_t i = 0; i < std::min(epochs.size(), hints_epochs_max); ++i) {
    auto object = co_await access.store->get(hints_key(head.disk, epochs[i]));
    if (!object) continue;
    auto hints = decode_hints(object->body);
    if (hints && hints->disk == head.disk && hints->epoch == epochs[i]) co_return std::move(*hints);
  }
  co_return std::nullopt;
}

Task<std::uint64_t> warm_up(StoreAccess access, BlockMap* map, PieceCache* cache, Hints hints,
                            WarmingLimits limits) {
  constexpr std::uint64_t region_blocks = HotRegions::region_bytes / block_bytes;
  constexpr std::uint64_t regions_at_once = 16;
  auto turn = co_await cache->warming_turn(*access.loop).lock();
  const auto bytes_max = cache->warming_bytes_max();
  std::uint64_t warmed = 0;
  const auto began = access.loop->now();
  std::vector<Task<Result<PieceCache::Pieces>>> reads;
  for (const auto& run : hints.runs) {
    for (std::uint64_t done = 0; done < run.count && warmed < bytes_max; done += regions_at_once) {
      auto block = (run.first + done) * region_blocks;
      auto count = std::min<std::uint64_t>(run.count - done, regions_at_once) * region_blocks;
      if (!limits.goes_on()) co_return warmed;
      if (block >= map->size_blocks()) break;
      auto found = co_await map->find(block, std::min(count, map->size_blocks() - block));
      if (!found) co_return warmed;
      auto ranges = piece_ranges(*found, {});
      for (auto& range : ranges) {
        warmed += range.bytes();
        reads.push_back(cache->read(access, std::move(range), ReadFor::warming));
        if (reads.size() < limits.requests) continue;
        (void)co_await when_all(*access.loop, std::exchange(reads, {}));
        co_await sleep_until(*access.loop,
                             began + std::chrono::microseconds(warmed * 1000000 / limits.bytes_each_second));
      }
    }
  }
  (void)co_await when_all(*access.loop, std::move(reads));
  co_return warmed;
}

}  // namespace ebb::disk
