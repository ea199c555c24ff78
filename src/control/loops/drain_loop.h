// Drains as reconcilers: reserve, publish, watch, and decide "done" from a check that is made anew each time.
#pragma once
#include "control/batch.h"
#include "control/loops/drain_plan.h"

namespace ebb::control {

// A plan that is being carried out, a commit after the other. Moves that make room, and those that wait for it, come first.
struct PlanUnderWay {
  explicit PlanUnderWay(DrainPlan made);

  DrainPlan plan;
  std::size_t about_room = 0;  // so many moves
  std::size_t next = 0;        // the first that has not begun
};

// What is known of a drain besides its record; in memory only, made anew after a restart.
struct DrainProgress {
  std::vector<PlanBlocker> blockers;
  std::optional<PlanUnderWay> plan{};
  WallMs looked_at = 0;              // last; a plan looks at the whole fleet
  bool is_stuck = false;             // that came to nothing
  WallMs without_room_until = 0;     // nobody is asked to make room before that
  bool heads_checked = false;        // since the last change at the worker
  std::uint32_t heads_attached = 0;  // disks that the store says the worker still holds
};
using DrainProgresses = std::map<DrainId, DrainProgress>;

// One turn of one drain. Holds and reservations come in commits of bounded size; the last one publishes (state
// running).
void step_drain(const Fleet& fleet, const Seen& seen, const drain::PaceLimits& limits, const Drain& drain,
                DrainProgress& progress, Batch& batch);
// Its workers take nothing new; as many as the batch takes. Holds of drains that have ended give way to it.
void hold_workers(const Fleet& fleet, const Drain& drain, Batch& batch);
void release_holds(const Fleet& fleet, const Drain& drain, Batch& batch);
// Of its holds; and whose a hold is, null: no drain's, or one that is not there any more.
std::string hold_owner(const Drain& drain);
const Drain* drain_of(const Fleet& fleet, const Hold& hold);

DoneCheck done_check(const Fleet& fleet, const Seen& seen, const Drain& drain, const DrainProgress& progress);

// Disks whose HEADs prove that the workers have let go: those of every VM that this drain moved.
std::vector<DiskId> disks_to_confirm(const Fleet& fleet, const Drain& drain);

}  // namespace ebb::control
