// Kernels and initial RAM disks of this worker's VMs, fetched from their pools once and kept as files.
//
//   <folder>/<sha256>      the content
//   <folder>/<sha256>.ok   made when the content was complete, synced and right
#pragma once
#include "base/log.h"
#include "env/files.h"
#include "env/object_store.h"
#include "env/sync.h"
#include "model/fleet_types.h"

namespace ebb::agent {

class BlobCache final {
 public:
  // The stores outlive the cache.
  BlobCache(Loop& loop, Files& files, std::map<PoolId, ObjectStore*> pools, std::string folder)
      : loop_(loop), files_(files), pools_(std::move(pools)), folder_(std::move(folder)) {}

  // The path of a file with the blob's content. One fetch at a time for one content, however many ask.
  // corrupt: the pool holds something else than was announced. invalid: the pool is not configured here.
  Task<Result<std::string>> fetch(PoolId pool, Blob blob);

 private:
  Task<Status> download(ObjectStore* store, Blob blob, std::string path);
  Loop& loop_;
  Files& files_;
  std::map<PoolId, ObjectStore*> pools_;
  std::string folder_;
  std::map<std::string, std::shared_ptr<AsyncMutex>> fetching_;
};

}  // namespace ebb::agent
