// The object pools as the control plane uses them: it makes and removes disks, stores images, and reads HEADs
// to confirm what agents claim. Who writes to a disk is decided by the pool alone.
#pragma once
#include "control/effects/effect_types.h"
#include "env/loop.h"
#include "env/object_store.h"
#include "model/api_types.h"

namespace ebb::control {

struct Pool {
  ObjectStore* store = nullptr;
  ObjectRemover* remover = nullptr;  // null: nothing is ever removed
  DiskClass default_class;           // of disks whose class nobody chooses: named by whoever sets the pool up
};

// What HEAD says of a disk.
struct DiskOwner {
  std::string owner;  // worker id
  Epoch epoch = 0;
  bool attached = false;  // attaching or attached: somebody may be writing
};

// Receives a raw disk image, in order, and leaves it as a sealed disk that VMs fork from.
class DiskUpload {
 public:
  virtual ~DiskUpload() = default;
  virtual Task<Status> write(std::uint64_t offset, Bytes data) = 0;
  virtual Task<Status> finish() = 0;
};

class Pools {
 public:
  Pools(Loop& loop, std::map<PoolId, Pool> pools) : loop_(loop), pools_(std::move(pools)) {}

  const std::map<PoolId, Pool>& all() const { return pools_; }
  // The named pool, or the only one. invalid: names the pools there are.
  Result<PoolId> choose(const std::optional<PoolId>& wanted) const;

  // Makes or checks each pool's format. A pool that does not answer now is no error: what needs it waits.
  Task<Status> prepare();
  // Carries out an effect; safe to repeat.
  Task<Status> carry_out(Effect effect);
  Task<Result<DiskOwner>> owner_of(PoolId pool, DiskId disk);
  // What a restore would undo, and who wrote what: read from the disk's objects.
  Task<Result<RestorePlanView>> plan_restore(PoolId pool, DiskId disk, std::string snapshot);
  Task<Result<DiskLogView>> read_log(PoolId pool, DiskId disk);
  // Removes what the disk no longer needs; returns how many objects. 0 in a pool where nothing is ever
  // removed.
  Task<Result<std::uint64_t>> reclaim(PoolId pool, DiskId disk);
  // One chunk of a blob; `body` is blob_chunk_bytes long, the last one shorter.
  Task<Status> write_blob_chunk(PoolId pool, std::string blob, std::uint64_t n, Bytes body);
  Task<Result<std::unique_ptr<DiskUpload>>> begin_disk(PoolId pool, DiskId disk, std::uint64_t size_bytes);

 private:
  Loop& loop_;
  std::map<PoolId, Pool> pools_;
};

inline constexpr std::uint64_t blob_chunk_bytes = 8ull * 1024 * 1024;

}  // namespace ebb::control
