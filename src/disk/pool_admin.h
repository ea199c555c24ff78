// What the control plane does in a pool. Everything here may be repeated after a crash or a lost reply: the
// second time finds what the first one made.
#pragma once
#include "disk/disk_log.h"

namespace ebb::disk {

struct HeadSummary {
  DiskId disk;
  DiskEpoch epoch;
  std::string owner;
  HeadState state = HeadState::detached_clean;
  std::uint64_t size_bytes = 0;
  DiskClass disk_class = DiskClass::remote;
};

// The one name under which an image's content stands.
inline constexpr std::string_view image_root = "image";

class PoolAdmin {
 public:
  // What it refers to outlives it. Its requests wait out transient faults of the store; trouble() tells.
  PoolAdmin(Loop& loop, ObjectStore& store) : trouble_(loop), access_{&loop, &store, &trouble_} {}
  PoolAdmin(const PoolAdmin&) = delete;

  // Writes the `format` object, or checks it. invalid: the pool was made by a newer version.
  Task<Status> prepare();

  // conflict: a disk of that id exists, or existed, and is another one.
  Task<Status> create_empty_disk(DiskId disk, std::uint64_t size_bytes, DiskClass disk_class);
  // A disk that begins as the image, or as a snapshot of a living disk; O(1) whatever its size. invalid:
  // `parent` is no image, or is larger. not_found: it has no such root.
  Task<Status> create_fork(DiskId parent, DiskId disk, std::uint64_t size_bytes, DiskClass disk_class,
                           std::string root = std::string(image_root));
  Task<Result<HeadSummary>> read_head(DiskId disk);
  // Ends every owner's epoch, then leaves a tombstone; the objects stay, reclaim is another's job. Fine if it
  // is deleted; an id that never was is burnt. busy: forks of it live. Its own pin in its parent falls last.
  Task<Status> delete_disk(DiskId disk);

  // Of a disk that no worker holds: see detached.h.
  Task<Result<NamedRoot>> snapshot(DiskId disk, SnapshotRequest request, DiskTuning tuning = {}) {
    return snapshot_detached(access_, std::move(disk), std::move(request), tuning);
  }
  Task<Result<RestorePlan>> plan_restore(DiskId disk, std::string root) {
    return disk::plan_restore(access_, std::move(disk), std::move(root));
  }
  Task<Result<RestoreRecord>> restore(DiskId disk, RestoreRequest request, DiskTuning tuning = {}) {
    return restore_detached(access_, std::move(disk), std::move(request), tuning);
  }
  Task<Status> grow(DiskId disk, std::uint64_t size_bytes) {
    return grow_detached(access_, std::move(disk), size_bytes);
  }
  Task<Result<DiskLogView>> read_log(DiskId disk) { return read_disk_log(access_, std::move(disk)); }
  Task<Result<RootsPage>> read_roots(DiskId disk);
  // Whoever holds the disk goes on. Fine if there is none of that name; then, should it still be on its way,
  // it will not come. busy: a fork of it lives.
  Task<Status> remove_root(DiskId disk, SnapshotRequest made_by);

  // Chunk `n` of a blob, at most 8 MiB. conflict: other bytes stand there.
  Task<Status> write_blob_chunk(std::string id, std::uint64_t n, Bytes content);
  Task<Result<Bytes>> read_blob_chunk(std::string id, std::uint64_t n);
  Task<Status> write_blob(std::string id, SharedBytes content);
  Task<Result<Bytes>> read_blob(std::string id, std::uint64_t size_bytes);

  std::string waiting_for() const { return trouble_.text(); }

 private:
  Task<Status> pin_fork(HeadAt parent, ForkPin pin, CheckpointRef checkpoint);
  Task<Status> drop_pins(HeadAt parent, std::vector<ForkPin> pins);
  Task<Status> let_go(DiskId child);
  Task<Result<std::vector<ForkPin>>> dead_pins(Head head, std::optional<std::string> root);

  Trouble trouble_;
  StoreAccess access_;
};

// Streams a raw image into a disk of its own, which is sealed at the end: VMs fork from it. Begun again after
// a crash, it starts from nothing; begun again after it was finished, it takes the bytes and changes nothing.
class ImageWriter {
 public:
  ImageWriter(Loop& loop, ObjectStore& store, DiskTuning tuning = {});
  ImageWriter(const ImageWriter&) = delete;

  Task<Status> begin(DiskId disk, std::uint64_t size_bytes);
  // Offset and length in whole blocks, except that the last may be short. Blocks of zeroes are left out.
  Task<Status> write(std::uint64_t offset, Bytes bytes);
  Task<Status> finish();
  std::string waiting_for() const { return trouble_.text(); }

 private:
  Task<Status> open_fresh();

  Trouble trouble_;
  StoreAccess access_;
  DiskTuning tuning_;
  DiskId disk_id_;
  std::uint64_t size_bytes_ = 0;
  std::unique_ptr<ObjectDisk> disk_;  // null: the image was finished before
};

}  // namespace ebb::disk
