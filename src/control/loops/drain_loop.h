// Drains as reconcilers: reserve, publish, watch, and decide "done" from a check that is made anew each time.
#pragma once
#include "control/batch.h"
#include "drain/drain_planner.h"

namespace ebb::control {

// What is known of a drain besides its record; in memory only, made anew after a restart.
struct DrainProgress {
  std::vector<PlanBlocker> blockers;
  bool heads_checked = false;        // since the last change at the worker
  std::uint32_t heads_attached = 0;  // disks that the store says the worker still holds
  std::uint64_t checked_at_revision = 0;
};
using DrainProgresses = std::map<DrainId, DrainProgress>;

// The plan of a drain of `worker` now, destinations included; without the hash, which only somebody who holds
// on to a plan needs.
DrainPlan plan_drain(const Fleet& fleet, const Seen& seen, const WorkerId& worker,
                     const DrainOptions& options, const std::optional<DrainId>& drain, WallMs now);

// One turn of one drain. Reservations come in commits of bounded size; the last one publishes (state
// running).
void step_drain(const Fleet& fleet, const Seen& seen, const Drain& drain, DrainProgress& progress,
                Batch& batch);

DoneCheck done_check(const Fleet& fleet, const Seen& seen, const Drain& drain, const DrainProgress& progress);

// Disks whose HEADs prove that the worker has let go: those of every VM that this drain moved.
std::vector<DiskId> disks_to_confirm(const Fleet& fleet, const Drain& drain);

}  // namespace ebb::control
