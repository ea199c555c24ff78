// Effects: what the control plane does to the outside world after a commit has decided it. Executed at least
// once; the key makes a repetition harmless, the result is the next event.
#pragma once
#include "model/fleet_types.h"

namespace ebb::control {

enum class EffectKind {
  create_disk,    // a fork of `parent`'s image or of its `snapshot`, or an empty disk
  delete_disk,    // taken over, sealed, tombstoned
  empty_disk,     // its objects removed; the tombstone stays
  snapshot_disk,  // that nobody holds
  remove_snapshot,
  restore_disk,  // that nobody holds, to `snapshot`
  grow_disk,     // that nobody holds, to `size_bytes`
};
BOOST_DESCRIBE_ENUM(EffectKind, create_disk, delete_disk, empty_disk, snapshot_disk, remove_snapshot,
                    restore_disk, grow_disk)

struct Effect {
  std::string key;  // "create_disk/<disk>"
  EffectKind kind = EffectKind::create_disk;
  DiskId disk;
  PoolId pool;
  std::optional<DiskId> parent;
  std::uint64_t size_bytes = 0;
  DiskClass disk_class = DiskClass::remote;
  std::string snapshot{}, request{}, keep_as{};
  bool operator==(const Effect&) const = default;
};
BOOST_DESCRIBE_STRUCT(Effect, (),
                      (key, kind, disk, pool, parent, size_bytes, disk_class, snapshot, request, keep_as))

inline std::string snapshot_effect_key(const DiskId& disk, const std::string& request) {
  return "snapshot_disk/" + disk.value + "/" + request;
}

}  // namespace ebb::control
