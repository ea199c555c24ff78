// Removes from a pool what a disk no longer needs. It runs where drains are decided, with rights that workers
// lack, and decides from one HEAD: what no root of that HEAD names, none ever will again.
#pragma once
#include "disk/attach/head_store.h"
#include "disk/format/checkpoint_types.h"

namespace ebb::disk {

struct Reclaimed {
  std::uint64_t objects = 0;  // removed, or found to be gone
  std::uint64_t held = 0;     // condemned, but needed by a named root
  bool is_disk_gone = false;  // a deleted disk, of which nothing is left but its tombstone and fences
};

// Carries out what the checkpoint of HEAD condemns, and says so in HEAD. May be repeated, also after a crash
// half way. Fails closed: whatever cannot be read, nothing is removed. not_found: no such disk.
Task<Result<Reclaimed>> reclaim(StoreAccess access, ObjectRemover* remover, DiskId disk);

}  // namespace ebb::disk
