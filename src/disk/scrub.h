// Whether a disk could be had again from its segments and cleaned objects alone: every object is read whole,
// and of all that is said about a block the newest must be what the map says.
#pragma once
#include "disk/attach/head_store.h"

namespace ebb::disk {

struct BadExtent {
  std::uint64_t block = 0, count = 0;  // of the disk, in blocks of 4096 bytes
  std::string what;                    // which object, where in it, and what is wrong
  bool operator==(const BadExtent&) const = default;
};

struct ScrubReport {
  std::uint64_t objects = 0;      // read whole
  std::uint64_t data_bytes = 0;   // of data in them
  std::uint64_t live_bytes = 0;   // of the disk
  std::vector<BadExtent> bad;     // the first `bad_extents_max`
  std::uint64_t bad_extents = 0;  // all of them
};
inline constexpr std::size_t bad_extents_max = 1000;

// Reads the disk as the store has it, without a lease; the disk may be in use. Takes about 40 bytes of memory for each
// extent ever written that is still stored. corrupt: what the objects are found by (HEAD, the checkpoint's root) is damaged.
Task<Result<ScrubReport>> scrub(StoreAccess access, DiskId disk);

}  // namespace ebb::disk
