// The control loops in one: poked on change and by a slow timer, never told what changed. Each turn takes
// small decisions, one commit each, until nothing is left to decide.
#pragma once
#include "control/loops/drain_loop.h"
#include "control/loops/vm_loop.h"
#include "control/owner.h"
#include "control/pools.h"

namespace ebb::control {

struct LivenessLimits {
  Duration silent = 10s, suspect = 60s;
};

class Reconciler {
 public:
  // `disk_retention`: how long the data of a removed disk is kept.
  Reconciler(Loop& loop, Owner& owner, Pools& pools, LivenessLimits limits, Duration disk_retention,
             Logger log);
  // Never ends.
  Task<void> run();
  void poke() { poke_.poke(); }

  const DrainProgresses& drains() const { return drains_; }
  const Unplaced& unplaced() const { return unplaced_; }
  Duration disk_retention() const { return disk_retention_; }

 private:
  Task<bool> turn();  // true if anything was decided
  Task<void> update_liveness();
  Task<void> expire_holds();
  Task<bool> step_drains();
  Task<void> confirm_heads(DrainId drain);
  Task<bool> decide(std::function<void(Batch&)> decision);

  Loop& loop_;
  Owner& owner_;
  Pools& pools_;
  LivenessLimits limits_;
  const Duration disk_retention_;
  Instant began_{};
  Logger log_;
  Poke poke_;
  std::map<WorkerId, Liveness> told_;  // in the journal
  DrainProgresses drains_;
  Unplaced unplaced_;
};

}  // namespace ebb::control
