// Where the VMs of workers that are to be emptied go: all of them decided at once, on a snapshot.
//
// Large VMs first, each where it leaves the least (Placer). For one that fits nowhere room is made: VMs of another worker move out of
// its way (an ejection), and, if those fit nowhere, others out of theirs. Several orders are tried, and the best result is kept.
#pragma once
#include <string>

#include "placement/placer.h"

namespace ebb::placement {

struct Move {
  VmIndex vm;
  WorkerIndex from, to;
  bool makes_room;  // it does not have to go: it goes so that another fits
};

// The move at `move` may start only when the one at `after` has ended: it uses the room that this one leaves.
struct Precedence {
  std::uint32_t move, after;
};

// Of a group.
struct Budget {
  std::uint32_t away_max = 1;  // 0: none of its VMs may ever move
  double healthy_seconds = 0;  // a moved VM counts as away for so long after its end
};

struct EvacuationOptions {
  unsigned eject_depth = 2;      // 0: no room is made
  double extra_moves_max = 0.1;  // moves that make room, as a share of the VMs that have to go
  // What a move takes of its target's time, by VM, in seconds (empty: nothing), and how much of it the moves to one worker may take,
  // unless a VM fits nowhere else.
  std::span<const float> seconds{};
  double arrival_seconds_max = 0;
  std::vector<bool> stays{};  // by VM (empty: none): may not move, whether it has to or not
  // Only so many seconds of moves of a tenant's VMs may be added to make room (empty: any number).
  std::span<const std::uint32_t> tenants{};    // by VM
  std::vector<double> tenant_spare_seconds{};  // by tenant
  // Nor is room made with VMs whose group would then need more than `arrival_seconds_max` for all of its moves.
  std::span<const Budget> budgets{};  // by group (empty: any number away); needs `seconds`
};

struct Evacuation {
  std::vector<Move> moves;              // an order in which each fits, precedences kept
  std::vector<Precedence> precedences;  // by `move`
  std::vector<VmIndex> unplaced;
  std::string order;            // by which it was found
  std::size_t extra_moves = 0;  // that make room
};

// Who has to leave these workers: each once, in ascending order.
std::vector<VmIndex> leaving(const Placer& placer, const std::vector<WorkerIndex>& sources);

// Empties these workers. `placer` is as it was in the end, but for which of equal workers it meets first. Deterministic for one that was
// just made.
Evacuation evacuate(const FleetNumbers& fleet, Placer* placer, const std::vector<WorkerIndex>& sources,
                    const EvacuationOptions& options);

}  // namespace ebb::placement
