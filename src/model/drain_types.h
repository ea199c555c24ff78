// The records of holds, drains, budgets and moves.
#pragma once
#include "model/fleet_types.h"

namespace ebb {

// Keeps a worker from new placements. Many may stand at once; each owner releases only its own.
struct Hold {
  HoldId id;
  WorkerId worker;
  std::string owner;  // "operator", "drain:<id>", "agent"
  std::string reason;
  WallMs since = 0;
  std::optional<WallMs> expires_at;
  bool operator==(const Hold&) const = default;
};
BOOST_DESCRIBE_STRUCT(Hold, (), (id, worker, owner, reason, since, expires_at))

// How a VM leaves its worker.
enum class Mechanism {
  restart,  // stateless: stop here, start there
  pointer,  // object disk: flush, seal, open there
};
BOOST_DESCRIBE_ENUM(Mechanism, restart, pointer)

// scheduled -> reserving -> running <-> paused; `done`, `cancelled` and `failed` end it; blocked is derived, never stored.
// From anywhere but the first: undoing -> undone.
enum class DrainState { scheduled, reserving, running, paused, done, cancelled, failed, undoing, undone };
BOOST_DESCRIBE_ENUM(DrainState, scheduled, reserving, running, paused, done, cancelled, failed, undoing,
                    undone)

// What becomes of a drain that has not ended by its deadline.
enum class AtDeadline {
  wait,  // it goes on as before, and is said to be late
  force,  // from then on budgets, limits of tenants and of moves a VM, and times to stop in do not hold it back
};
BOOST_DESCRIBE_ENUM(AtDeadline, wait, force)
// invalid: says which there are.
Result<AtDeadline> parse_at_deadline(std::string_view name);

struct DrainOptions {
  bool partial = false;              // go on although some VMs cannot be placed
  std::uint32_t parallel_max = 2;    // moves at a time from one worker
  std::uint32_t per_target_max = 2;  // moves at a time into one worker
  bool source_dead =
      false;  // an operator declares the workers dead: their disks are taken over, nothing is awaited
  std::optional<std::uint64_t> deadline_ms{};  // after it has begun
  std::optional<AtDeadline> at_deadline{};     // absent: wait
  // VMs that end by themselves (restart `never`) are left to, until the deadline; absent: they are.
  std::optional<bool> finish{};
  // VMs of other workers may move to make room, up to a tenth of those that have to; absent: they may.
  std::optional<bool> make_room{};
  std::optional<bool>
      many_dead{};  // an operator has seen that so many workers are dead: the brake does not hold it
  bool operator==(const DrainOptions&) const = default;
};
BOOST_DESCRIBE_STRUCT(DrainOptions, (),
                      (partial, parallel_max, per_target_max, source_dead, deadline_ms, at_deadline, finish,
                       make_room, many_dead))

// The wish, not a list of VMs: who still lives there is decided from a snapshot at each turn.
struct Drain {
  DrainId id;
  std::vector<WorkerId> workers;  // at least one; each once, sorted
  std::string requested_by, reason;
  DrainOptions options;
  DrainState state = DrainState::reserving;
  WallMs created_at = 0;
  std::optional<WallMs> ended_at;
  std::string end_reason;  // why it was cancelled or failed
  std::optional<std::string> request_id;
  std::optional<Labels> selector{};   // by which the workers were chosen when it was asked for
  std::optional<WallMs> begins_at{};  // absent: at once
  std::optional<WallMs> forced_at{};  // since its deadline has passed, if it is forced then
  bool operator==(const Drain&) const = default;
  bool is_of(const WorkerId& worker) const { return std::ranges::binary_search(workers, worker); }
  std::optional<WallMs> deadline_at() const {
    if (!options.deadline_ms) return std::nullopt;
    return begins_at.value_or(created_at) + static_cast<WallMs>(*options.deadline_ms);
  }
};
BOOST_DESCRIBE_STRUCT(Drain, (),
                      (id, workers, requested_by, reason, options, state, created_at, ended_at, end_reason,
                       request_id, selector, begins_at, forced_at))

// How many of a set of VMs may be away at once, over all drains and moves together. A VM that is down - its worker
// says so, or was declared dead - may always move.
struct Budget {
  BudgetId id;
  Labels selector;  // VMs with all of these labels; empty: all VMs
  // At least one of the two; both hold.
  std::optional<std::uint32_t> away_max{}, present_min{};
  std::uint32_t healthy_ms = 0;  // a VM that has moved counts as away until it has run for so long
  WallMs created_at = 0;
  bool operator==(const Budget&) const = default;
};
BOOST_DESCRIBE_STRUCT(Budget, (), (id, selector, away_max, present_min, healthy_ms, created_at))

// Which workers those are, for people: "worker-1", "worker-1 and worker-2", "20 workers (rack=r7)".
std::string text_of(const std::vector<WorkerId>& workers, const std::optional<Labels>& selector);

//                                     the point of no return
//                                               ||
//   reserving -> preparing -> freezing  =========>>  moving_lease -> starting -> releasing -> done
//       \____________\____________\____ aborting -> aborted
//
// `=>` is the commit that publishes the new placement epoch: from there on the VM only goes forward.
enum class Phase {
  reserving,
  preparing,
  freezing,
  moving_lease,
  starting,
  releasing,
  done,
  aborting,
  aborted
};
BOOST_DESCRIBE_ENUM(Phase, reserving, preparing, freezing, moving_lease, starting, releasing, done, aborting,
                    aborted)

struct PhaseTime {
  Phase phase = Phase::reserving;
  WallMs entered_at = 0;
  bool operator==(const PhaseTime&) const = default;
};
BOOST_DESCRIBE_STRUCT(PhaseTime, (), (phase, entered_at))

struct Migration {
  MigrationId id;
  VmId vm;
  WorkerId source, target;
  Mechanism mechanism = Mechanism::restart;
  Epoch source_epoch = 0;
  Epoch target_epoch = 0;        // 0 until `=>`
  std::optional<DrainId> drain;  // who asked; absent: an operator
  Phase phase = Phase::reserving;
  std::vector<PhaseTime> history;
  bool source_dead = false;    // take over without a confirmed stop
  std::uint32_t attempts = 0;  // that failed on the target: of preparing, from `=>` on of booting
  std::string last_error;
  std::vector<WorkerId> rejected;     // targets that could not boot it
  std::optional<bool> was_failing{};  // on its source, as it began: nobody waits until it runs on the target
  // Moves away from its target that make the room which it takes: it begins when they have ended.
  std::optional<std::vector<MigrationId>> after{};
  bool operator==(const Migration&) const = default;
};
BOOST_DESCRIBE_STRUCT(Migration, (),
                      (id, vm, source, target, mechanism, source_epoch, target_epoch, drain, phase, history,
                       source_dead, attempts, last_error, rejected, was_failing, after))

inline bool is_ended(DrainState s) {
  return s == DrainState::done || s == DrainState::cancelled || s == DrainState::failed ||
         s == DrainState::undone;
}
inline bool is_ended(Phase p) { return p == Phase::done || p == Phase::aborted; }
inline bool is_past_no_return(Phase p) {
  return p == Phase::moving_lease || p == Phase::starting || p == Phase::releasing || p == Phase::done;
}

// ---- JSON: see model.cpp ----
EBB_JSON_EXTERN(Hold)
EBB_JSON_EXTERN(DrainOptions)
EBB_JSON_EXTERN(Drain)
EBB_JSON_EXTERN(Budget)
EBB_JSON_EXTERN(PhaseTime)
EBB_JSON_EXTERN(Migration)

}  // namespace ebb
