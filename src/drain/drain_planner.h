// A drain as a reconciler, in pure functions of a snapshot: who still lives there, who may move now, why we
// wait, are we done. It stores the wish and re-decides each turn, so work that arrived late is seen and a
// crash changes nothing.
#pragma once
#include "model/fleet.h"

namespace ebb::drain {

// Median lengths of the phases of past moves, milliseconds; defaults (measured on slow emulated guests) until
// there are some.
struct PhaseTimes {
  std::uint32_t preparing = 400, freezing = 700, moving_lease = 200, starting = 4000, releasing = 300;
  std::uint32_t samples = 0;
  std::uint32_t interruption_ms() const { return freezing + moving_lease + starting; }
  std::uint32_t total_ms() const { return preparing + interruption_ms() + releasing; }
};
struct Eta {
  std::map<Mechanism, PhaseTimes> by_mechanism;
  const PhaseTimes& of(Mechanism m) const;
};
// From the histories of the last moves that ended well.
Eta measure(const Fleet& fleet);
// From freezing entered to the guest healthy on the target; absent while that has not happened.
std::optional<std::uint32_t> interruption_ms(const Migration& migration);
// 0 to 1: how far a move is, by the usual lengths of its phases.
double progress(const Migration& migration, const Eta& eta, WallMs now);

Mechanism mechanism_for(const Vm& vm);

// What a drain asks of each of its VMs.
struct Terms {
  DrainOptions options;
  bool is_forced = false;  // its deadline has passed, and it was to be forced then
};
Terms terms_of(const Drain& drain);
// It ends by itself, and is waited for.
bool is_left_to_finish(const Vm& vm, const Terms& terms);
// VMs owned by the worker that shall leave it and have no move open. Stopped VMs are not moved: they are released where they
// are.
std::vector<VmId> to_place(const Fleet& fleet, const WorkerId& worker, const Terms& terms);
// VMs owned by the worker that are left to finish.
std::vector<VmId> finishing_on(const Fleet& fleet, const WorkerId& worker, const Terms& terms);
// Workers that proved unable to take `vm` in this drain not long ago, with the reason. What stood in the way
// may have been a store that was away for a moment, so each is asked again after `rejected_for_ms`.
inline constexpr WallMs rejected_for_ms = 5 * 60 * 1000;
std::map<WorkerId, std::string> rejected_targets(const Fleet& fleet, const DrainId& drain, const VmId& vm,
                                                 WallMs now);

// A destination for each VM, or why there is none.
struct Placed {
  VmId vm;
  std::optional<WorkerId> target;
  std::string why_not;
  bool makes_room = false;    // it need not leave
  std::vector<VmId> after{};  // whose moves make the room that it takes
};
// Moves and blockers; when each move starts is for whoever knows what else is under way.
DrainPlan make_plan(const Fleet& fleet, std::vector<WorkerId> workers, const std::vector<Placed>& placed,
                    const Eta& eta);
// What the records and the agent's report say of "done" for one worker; heads_* are filled in by who reads the store.
DoneCheck check_done(const Fleet& fleet, const Seen& seen, const WorkerId& worker);
// Of all of them together: the sums; fresh if all are, silent if one is.
DoneCheck check_done(const Fleet& fleet, const Seen& seen, const Drain& drain);
// Nothing of this drain is left there, as far as worker and records say. One declared dead that is silent cannot report: its
// records decide.
bool is_empty(const Drain& drain, const DoneCheck& of_worker);
// True only if that holds of every worker, and the store names none of them as the owner of a disk.
bool is_done(const Fleet& fleet, const Seen& seen, const Drain& drain, const DoneCheck& check);

// Everything the drain waits for that is not a move in progress (those explain themselves). `check`: of all.
std::vector<Reason> explain(const Fleet& fleet, const Seen& seen, const Drain& drain, const DoneCheck& check,
                            const std::vector<PlanBlocker>& blockers, WallMs now);

}  // namespace ebb::drain
