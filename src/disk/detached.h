// What the control plane does with a disk that no worker holds: it opens the disk itself for a moment, under
// an epoch of its own, and never serves it. A worker that comes meanwhile wins.
#pragma once
#include "disk/object_disk.h"

namespace ebb::disk {

// The map under the HEAD that was just attached.
using LoadForOurselves = std::function<Task<Result<LoadedMap>>(Head attached)>;
// Attached under an epoch of our own, without a log on any worker; `purpose` is who HEAD says that we are.
// Without `load` the map is the one that HEAD names. conflict: a worker holds the disk.
Task<Result<std::unique_ptr<ObjectDisk>>> open_for_ourselves(StoreAccess access, HeadAt before,
                                                             std::string purpose, DiskTuning tuning,
                                                             LoadForOurselves load = nullptr);

// conflict: a worker holds the disk, or opened it meanwhile; or the name is another request's. invalid: an
// image.
Task<Result<NamedRoot>> snapshot_detached(StoreAccess access, DiskId disk, SnapshotRequest request,
                                          DiskTuning tuning);

// What a restore would undo: the writes since the last one that root and present have in common.
struct RestorePlan {
  NamedRoot root;
  std::uint64_t writes_undone = 0, segments_undone = 0;
  std::uint64_t writes_back =
      0;  // that the present lacks: the root is of a state that an earlier restore left
};
// Of the disk as the store has it now.
Task<Result<RestorePlan>> plan_restore(StoreAccess access, DiskId disk, std::string root);
// The disk becomes what it was at that root, and what it is now stays as another root: ObjectDisk::restore.
Task<Result<RestoreRecord>> restore_detached(StoreAccess access, DiskId disk, RestoreRequest request,
                                             DiskTuning tuning);

// HEAD says so; what is new reads as zeroes. The size that it has is fine. invalid: a smaller one, or an image.
Task<Status> grow_detached(StoreAccess access, DiskId disk, std::uint64_t size_bytes);

// Where each epoch of `head` ended, oldest first: what a checkpoint's root remembers, then HEAD's lineage and
// unsealed.
Task<Result<std::vector<LogPoint>>> read_line(StoreAccess access, Head head);
// The same up to a root of the disk.
Task<Result<std::vector<LogPoint>>> read_line(StoreAccess access, DiskId disk, CheckpointRef checkpoint);

}  // namespace ebb::disk
