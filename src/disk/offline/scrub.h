// Whether a disk could be had again from its segments and cleaned objects alone: every object is read whole,
// and of all that is said about a block the newest must be what the map says.
#pragma once
#include "disk/offline/object_claims.h"

namespace ebb::disk {

struct ScrubReport {
  std::uint64_t objects = 0;      // read whole
  std::uint64_t data_bytes = 0;   // of data in them
  std::uint64_t live_bytes = 0;   // of the disk
  std::vector<BadExtent> bad;     // the first `bad_extents_max`
  std::uint64_t bad_extents = 0;  // all of them
};

BOOST_DESCRIBE_STRUCT(ScrubReport, (), (objects, data_bytes, live_bytes, bad, bad_extents))

// Reads the disk as the store has it, without a lease; the disk may be in use. Takes the memory of
// ObjectClaims. corrupt: what the objects are found by (HEAD, the checkpoint's root) is damaged.
Task<Result<ScrubReport>> scrub(StoreAccess access, DiskId disk);

}  // namespace ebb::disk
