// What of a disk is or was in use where it is served, for the worker that it moves to: one object an epoch,
// beside its maps, overwritten now and then. Nobody depends on it.
#pragma once
#include "disk/cache/hot_regions.h"
#include "disk/cache/piece_cache.h"
#include "disk/map/block_map.h"

namespace ebb::disk {

struct Hints {
  DiskId disk;
  DiskEpoch epoch;
  std::uint32_t number = 0;  // of this epoch's lists, from 1
  std::vector<RegionRun> runs;
  bool operator==(const Hints&) const = default;
};
inline constexpr std::size_t hints_epochs_max =
    3;  // the newest that left any is of use, and the two before it are looked at

Bytes encode(const Hints& hints);
Result<Hints> decode_hints(ByteView object);

// Tried once.
Task<Status> store_hints(StoreAccess access, Hints hints);
// Of the epoch that HEAD names, else of the two before it.
Task<std::optional<Hints>> find_hints(StoreAccess access, Head head);

struct WarmingLimits {
  std::uint64_t bytes_each_second = 64 * MiB;
  std::size_t requests = 16;  // at a time
  std::function<bool()> goes_on = [] { return true; };
};
// Fetches what they name, the hottest first, as far as there is room for it and for as long as it goes on; one list at a time,
// for guests of other disks boot meanwhile. Returns the bytes. `map` and `cache` outlive it.
Task<std::uint64_t> warm_up(StoreAccess access, BlockMap* map, PieceCache* cache, Hints hints,
                            WarmingLimits limits);

}  // namespace ebb::disk
