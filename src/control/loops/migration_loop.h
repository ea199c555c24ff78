// Drives every open migration: what the world shows becomes at most one event each turn.
#pragma once
#include "control/batch.h"
#include "drain/pacing.h"
#include "migration/migration_step.h"

namespace ebb::control {

// `pacing`: which may begin now.
void step_migrations(const Fleet& fleet, const Seen& seen, const drain::BrakeLimits& brake,
                     const drain::Pacing& pacing, Batch& batch);

// Applies one event in `batch`: the migration, the VM's ownership at `=>`, the journal. conflict if it is
// refused.
Status apply_event(const Fleet& fleet, Batch& batch, const Migration& migration, migration::Event event);

// Ended migrations beyond this many are forgotten, oldest first, unless a drain needs them that is open, or that ended so short a
// time ago that somebody may want it undone.
inline constexpr std::size_t ended_migrations_max = 2000;
inline constexpr WallMs undo_kept_ms = 3'600'000;
void forget_old_migrations(const Fleet& fleet, Batch& batch);

}  // namespace ebb::control
