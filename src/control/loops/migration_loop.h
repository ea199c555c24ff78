// Drives every open migration: what the world shows becomes at most one event each turn.
#pragma once
#include "control/batch.h"
#include "drain/pacing.h"
#include "migration/migration_step.h"

namespace ebb::control {

// One look at the open moves, which may take several commits.
struct MovesRound {
  std::vector<MigrationId> moves;
  std::size_t next = 0;               // the first that was not looked at
  std::set<MigrationId> may_begin{};  // of those that wait, as one decision
  bool is_over() const { return next == moves.size(); }
};
// Those that are under way, and those that may begin. Of the others each needs a look now and then only: `with_waiting`.
MovesRound begin_round(const Fleet& fleet, std::set<MigrationId> may_begin, bool with_waiting);
void step_migrations(const Fleet& fleet, const Seen& seen, const drain::BrakeLimits& brake, MovesRound& round,
                     Batch& batch);

// Applies one event in `batch`: the migration, the VM's ownership at `=>`, the journal. conflict if it is
// refused.
Status apply_event(const Fleet& fleet, Batch& batch, const Migration& migration, migration::Event event);

// Ended migrations beyond this many are forgotten, oldest first, unless a drain needs them that is open, or that ended so short a
// time ago that somebody may want it undone.
inline constexpr std::size_t ended_migrations_max = 2000;
inline constexpr WallMs undo_kept_ms = 3'600'000;
void forget_old_migrations(const Fleet& fleet, Batch& batch);

}  // namespace ebb::control
