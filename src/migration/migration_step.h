// The life of one migration as a pure state machine. A migration never knows why it was started.
//
// What the world shows is turned into at most one event (observe), and the event into the next state (step).
// step answers every pair of phase and event: applied, ignored (already so, or not yet meaningful) or refused
// (would be wrong).
#pragma once
#include "base/check.h"
#include "model/fleet.h"

namespace ebb::migration {

inline constexpr std::uint32_t boot_attempts_max =
    3;  // of preparing, and then of booting; then the VM is placed anew

enum class EventKind {
  begin,          // the limits allow it to start
  standby_ready,  // the target can take over
  source_sealed,  // the guest has stopped and HEAD says detached-clean
  source_dead,    // an operator has declared the source dead: nothing to wait for
  lease_taken,    // the target owns the disk (or, without one, has begun to boot)
  guest_healthy,  // the guest runs on the target
  source_empty,   // nothing of the VM is left on the source
  start_failed,   // the target could not prepare or boot it
  target_lost,    // the target does not answer
  target_dead,  // an operator has declared the target dead, which has the VM: that one's drain takes it over
  cancel,       // somebody asked for it
  source_running,  // (aborting) the guest runs on the source again, and the target holds nothing
};
BOOST_DESCRIBE_ENUM(EventKind, begin, standby_ready, source_sealed, source_dead, lease_taken, guest_healthy,
                    source_empty, start_failed, target_lost, target_dead, cancel, source_running)

struct Event {
  EventKind kind = EventKind::begin;
  std::string why;      // for start_failed, target_lost, target_dead and cancel
  Epoch new_epoch = 0;  // for source_sealed and source_dead: the epoch that the commit will publish
};

enum class Outcome { applied, ignored, refused };

struct StepResult {
  Outcome outcome = Outcome::ignored;
  Migration next;   // as it was, unless applied
  std::string why;  // unless applied
};

// The next state. `now` is entered in the history.
StepResult step(const Migration& migration, const Event& event, WallMs now);

// The event that records and reports show for `migration` now, if any. Never yields begin or cancel.
// new_epoch is left 0.
std::optional<Event> observe(const Migration& migration, const Vm& vm, const Seen& seen);

// What the two ends are wanted to do in each phase (see DRAIN in docs/internals).
Wanted wanted_of_source(const Migration& migration, VmDesired desired);
Wanted wanted_of_target(const Migration& migration, VmDesired desired);

// What is waited for, since when, and who can act.
std::vector<Reason> explain(const Migration& migration, const Seen& seen);

}  // namespace ebb::migration
