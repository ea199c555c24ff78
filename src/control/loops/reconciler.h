// The control loops in one: poked on change and by a slow timer, never told what changed. Each turn takes
// small decisions, one commit each, until nothing is left to decide.
#pragma once
#include "control/loops/drain_loop.h"
#include "control/loops/migration_loop.h"
#include "control/loops/return_loop.h"
#include "control/loops/vm_loop.h"
#include "control/owner.h"
#include "control/pools.h"

namespace ebb::control {

struct LivenessLimits {
  Duration silent = 10s, suspect = 60s;
};

class Reconciler {
 public:
  struct Limits {
    LivenessLimits liveness;
    drain::PaceLimits pace;
    Duration disk_retention{};  // how long the data of a removed disk is kept
    ReturnLimits returns{};
  };
  Reconciler(Loop& loop, Owner& owner, Pools& pools, Limits limits, Logger log);
  // Never ends.
  Task<void> run();
  void poke() { poke_.poke(); }

  const DrainProgresses& drains() const { return drains_; }
  const Unplaced& unplaced() const { return unplaced_; }
  // What moves that could begin wait for.
  const std::map<MigrationId, Reason>& waits() const;
  const Limits& limits() const { return limits_; }

 private:
  Task<bool> turn();  // true if anything was decided
  Task<bool> step_moves();
  Task<void> look_around();
  Task<void> update_liveness();
  Task<void> expire_holds();
  Task<bool> step_drains();
  Task<void> confirm_heads(DrainId drain);
  Task<bool> decide(std::function<void(Batch&)> decision);

  Loop& loop_;
  Owner& owner_;
  Pools& pools_;
  const Limits limits_;
  Instant began_{};
  Logger log_;
  Poke poke_;
  std::map<WorkerId, Liveness> told_;  // in the journal
  DrainProgresses drains_;
  Unplaced unplaced_;
  Instant look_again_{};
  std::optional<MovesRound> round_;  // of looks at the moves
  bool looks_at_waiting_ = false;    // the next one looks at all that wait, too
  // As of a moment, for whoever asks.
  struct Waits {
    std::uint64_t revision;
    Instant at;
    std::map<MigrationId, Reason> reasons;
  };
  mutable std::optional<Waits> waits_;
};

}  // namespace ebb::control
