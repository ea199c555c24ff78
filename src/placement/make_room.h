// Room for a VM that fits nowhere: the cheapest set of VMs on one worker that can go elsewhere and leave enough behind.
#pragma once
#include <algorithm>
#include <map>
#include <unordered_map>

#include "placement/evacuation.h"

namespace ebb::placement {

class RoomMaker final {
 public:
  RoomMaker(const FleetNumbers& fleet, Placer* placer, Evacuation* into, std::size_t moves_max,
            const EvacuationOptions& options);

  // Where `vm` now fits, and nothing is in its way any more; none if there is no such worker within `depth` ejections one behind the
  // other: then nothing has changed. What has to move was appended to the evacuation.
  WorkerIndex make_room(VmIndex vm, unsigned depth);
  // To be called for each move to a worker, after it was appended: it may need what others leave there.
  void follow(const Move& move);

 private:
  struct Way {
    WorkerIndex worker = none;
    std::vector<VmIndex> out;
    double cost = 0;
  };
  static constexpr double move_price = 0.35;  // in VMs of mean size
  static constexpr int steps_max = 300;
  static constexpr std::size_t workers_max = 128, ways_max = 6;  // of a sort, looked at; tried

  // What was found out about a worker for VMs of one shape: it holds until something else comes to that worker, or leaves it.
  struct Known {
    std::uint32_t changes = none;  // of the worker, when it was looked at
    double cost = 0;
    std::vector<VmIndex> out;  // empty: there is no set that would do
  };

  std::vector<Way> ways_for(VmIndex vm);
  // The VMs to move out, and what that costs.
  const Known& cheapest_known(VmIndex vm, WorkerIndex worker);
  std::vector<VmIndex> cheapest_out(VmIndex vm, WorkerIndex worker) const;
  double cost_of(const std::vector<VmIndex>& out) const;
  bool clear(VmIndex vm, const Way& way, unsigned depth);
  // Of moving it out: its size, and something for the move itself.
  double cost_of(VmIndex vm) const { return placer_.size(vm) + move_cost_; }
  // Whether it may move at all, and the time in which its tenant's and its group's moves have to end allows for one more.
  bool may_move(VmIndex vm) const;
  bool is_within_budget(VmIndex vm) const;
  // Its move is added to its tenant's (1), or taken back (-1).
  void charge(VmIndex vm, int times);
  bool is_taken(WorkerIndex worker) const { return std::ranges::find(taken_, worker) != taken_.end(); }
  bool append(VmIndex vm, WorkerIndex to);
  void undo_to(std::size_t moves);

  const FleetNumbers& fleet_;
  Placer& placer_;
  Evacuation& into_;
  std::size_t moves_left_;
  const EvacuationOptions& options_;
  std::vector<double> spare_seconds_;  // by tenant
  double move_cost_ = 0;
  std::map<WorkerIndex, std::vector<std::uint32_t>> left_;  // moves that leave a worker, and room there
  std::vector<WorkerIndex> taken_;                          // being cleared: nobody else's way
  std::unordered_map<std::uint64_t, Known> known_;          // by shape and worker
  std::vector<std::uint32_t> changes_;                      // by worker: of what is on it
};

}  // namespace ebb::placement
