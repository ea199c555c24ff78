// Puts VMs on workers, one after the other, and knows at each moment who has room for what: best fit under every hard constraint.
//
// A VM that moves is counted at both ends: in what is free, until it has vacated the one that it leaves, and with those it must stay
// apart from.
#pragma once
#include <functional>

#include "placement/grouped.h"
#include "placement/residual_index.h"

namespace ebb::placement {

class Placer final {
 public:
  // Further conditions on a target, beyond the fleet's.
  using Allowed = std::function<bool(WorkerIndex)>;

  // `fleet` outlives it, and stays as it is but for the shapes of VMs that run nowhere.
  explicit Placer(const FleetNumbers& fleet);

  // A closed worker is chosen for nothing; what is on it counts.
  void close(WorkerIndex worker);
  void open(WorkerIndex worker);
  bool is_closed(WorkerIndex worker) const { return !index_.holds(worker); }
  // Everything on it is to leave: those who belong together need not stay near it.
  void set_leaving(WorkerIndex worker, bool is_leaving) { is_leaving_[worker] = is_leaving; }

  // The best worker for it, other than where it is; none if it fits nowhere. `allowed` (null: all) is asked last.
  WorkerIndex choose(VmIndex vm, const Allowed& allowed = nullptr) const;
  // Whether it may run there, whatever is free.
  bool may_run(VmIndex vm, WorkerIndex worker) const;
  bool fits(VmIndex vm, WorkerIndex worker) const { return index_.fits(worker, needs(vm)); }

  // It takes room there. One that runs elsewhere moves: it keeps its room there, too, until vacate(). Each VM moves once.
  void move(VmIndex vm, WorkerIndex to);
  // The room that it leaves is free; for those who must stay apart from it, it is still there.
  void vacate(VmIndex vm);
  // Undoes a move. What was vacated must still be free.
  void move_back(VmIndex vm, bool has_vacated);
  // It runs nowhere any more.
  void remove(VmIndex vm);

  WorkerIndex at(VmIndex vm) const { return vms_[vm].at; }
  WorkerIndex leaves(VmIndex vm) const { return vms_[vm].leaves; }
  bool is_to_leave(VmIndex vm) const { return at(vm) != none && is_leaving_[at(vm)]; }
  std::span<const VmIndex> members(std::uint32_t group) const { return members_[group]; }
  // Those that were there when this was made.
  std::span<const VmIndex> residents(WorkerIndex worker) const { return residents_[worker]; }
  const Shape& shape(VmIndex vm) const { return fleet_.shapes[fleet_.shape_of[vm]]; }
  const Amounts& needs(VmIndex vm) const { return shape(vm).needs; }
  Amount free(WorkerIndex worker, std::size_t dimension) const { return index_.free(worker, dimension); }
  // What is missing there for it, of the dimension by which from_emptiest() goes, in the measure of size().
  double gap(VmIndex vm, WorkerIndex worker) const {
    const auto d = scales_.scarcest[0];
    const auto need = needs(vm)[d], free = index_.free(worker, d);
    return need > free ? scales_.weight[d] * (need - free) : 0;
  }
  std::size_t scarcest() const { return scales_.scarcest[0]; }                  // dimension
  Amount most(std::size_t dimension) const { return scales_.most[dimension]; }  // that a worker has
  // How much of the fleet's largest worker this is, each dimension weighted by how scarce it is.
  double size(const Amounts& amounts) const;
  double size(VmIndex vm) const { return sizes_[fleet_.shape_of[vm]]; }
  // Calls `look(sort, worker)` with the open workers that offer what the VM's shape asks for, of each sort the emptiest first, until it
  // returns false for one of that sort.
  template <class Look>
  void from_emptiest(VmIndex vm, Look look) const {
    for (std::uint32_t sort = 0; sort < sorts_.size(); ++sort)
      if (offers(sorts_[sort].features, shape(vm).features))
        index_.from_emptiest(sort, [&](WorkerIndex worker) { return look(sort, worker); });
  }

 private:
  // What a look at a VM needs, in one place.
  struct Vm {
    WorkerIndex at, leaves;  // or none
    std::uint32_t group;     // or none
  };
  // Workers that offer the same.
  struct Sort {
    Features features;
    double surplus;  // what it costs to be there without need of all that they offer
  };
  struct Scales {
    std::array<double, dimensions_max> weight{};  // of a unit that is left over
    std::array<std::size_t, 2> scarcest{};
    Amounts most{}, unit{};  // unit: all amounts are multiples of it
  };
  // Where the others of a VM's group stand, and what they leave.
  class Others;

  static bool offers(Features worker, Features needed) { return (worker & needed) == needed; }
  static Scales scales_of(const FleetNumbers& fleet);
  ResidualIndex::Axis axis(std::size_t which) const {
    const auto d = scales_.scarcest[which];
    return {d, scales_.most[d], std::max(1u, scales_.unit[d]), scales_.weight[d]};
  }
  void sort_workers();

  const FleetNumbers& fleet_;
  Scales scales_;
  std::vector<double> sizes_;  // by shape
  std::vector<Sort> sorts_;
  ResidualIndex index_;
  std::vector<Vm> vms_;
  std::vector<bool> is_leaving_;  // by worker
  Grouped members_, residents_;   // by group, by worker
};

}  // namespace ebb::placement
