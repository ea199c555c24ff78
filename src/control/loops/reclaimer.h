// Gives space in the pools back: asks of each disk, in turn, what it no longer needs, and removes that. Slow
// by intention, and apart from everything that guests wait for.
#pragma once
#include <set>

#include "control/owner.h"
#include "control/pools.h"

namespace ebb::control {

class Reclaimer {
 public:
  // Each disk is asked once in `period`, and one that gave back much the last time six times as often: what it writes over, and what
  // cleaning leaves, takes room until then.
  Reclaimer(Loop& loop, Owner& owner, Pools& pools, Duration period, Logger log);
  // Never ends.
  Task<void> run();

  std::uint64_t objects_removed() const { return objects_removed_; }
  // What stands in the way, by pool; empty if nothing does.
  const std::map<PoolId, std::string>& troubles() const { return troubles_; }

 private:
  Task<void> look_at_disks(bool all);
  Task<void> look_at(DiskId disk, PoolId pool);
  Task<void> empty(Effect effect);
  void note(const PoolId& pool, const DiskId& disk, const Error* error);

  Loop& loop_;
  Owner& owner_;
  Pools& pools_;
  const Duration period_;
  Logger log_;
  std::uint64_t objects_removed_ = 0;
  std::set<DiskId> busy_;  // gave back much the last time
  std::map<PoolId, std::string> troubles_;
};

}  // namespace ebb::control
