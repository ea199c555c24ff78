// Whether a disk could be had again from its segments and cleaned objects alone: every object is read whole,
// and of all that is said about a block the newest must be what the map says. And whether each snapshot can be read.
#pragma once
#include "disk/offline/object_claims.h"

namespace ebb::disk {

struct ScrubReport {
  std::uint64_t objects = 0;     // read whole
  std::uint64_t data_bytes = 0;  // of data in them
  std::uint64_t live_bytes = 0;  // of the disk
  std::uint64_t roots = 0;       // snapshots, and branches that restores left behind, checked beside it
  std::vector<BadExtent>
      bad;  // the first `bad_extents_max`: the disk's, then those of each root, by its name
  std::uint64_t bad_extents = 0;  // all of them
};

BOOST_DESCRIBE_STRUCT(ScrubReport, (), (objects, data_bytes, live_bytes, roots, bad, bad_extents))

// Reads the disk as the store has it, without a lease; the disk may be in use. Takes the memory of
// ObjectClaims. corrupt: what the objects are found by (HEAD, the page of its roots, both copies of the checkpoint's root, heads of segments after it) is damaged.
Task<Result<ScrubReport>> scrub(StoreAccess access, DiskId disk);

}  // namespace ebb::disk
