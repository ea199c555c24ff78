#include "placement/evacuation.h"

#include <algorithm>

#include "placement/make_room.h"
#include "placement/orders.h"

namespace ebb::placement {
namespace {

// If more than so many have nowhere to go, the fleet lacks room, not an order: as many as can shall go.
std::size_t unplaced_max(std::size_t vms) { return std::max<std::size_t>(100, vms / 50); }

// Closed, and leaving, while this lives.
class Closed {
 public:
  Closed(Placer* placer, const std::vector<WorkerIndex>& workers) : placer_(*placer), leaving_(workers) {
    for (const auto worker : workers) {
      if (!placer_.is_closed(worker)) placer_.close(worker), closed_.push_back(worker);
      placer_.set_leaving(worker, true);
    }
  }
  Closed(const Closed&) = delete;
  Closed& operator=(const Closed&) = delete;
  ~Closed() {
    for (const auto worker : closed_) placer_.open(worker);
    for (const auto worker : leaving_) placer_.set_leaving(worker, false);
  }

 private:
  Placer& placer_;
  const std::vector<WorkerIndex>& leaving_;
  std::vector<WorkerIndex> closed_;
};

// One order.
class Attempt {
 public:
  Attempt(const FleetNumbers& fleet, Placer* placer, const EvacuationOptions& options)
      : fleet_(fleet), placer_(*placer), options_(options), is_hopeless_(fleet.shapes.size()) {
    if (!options.seconds.empty()) arrival_seconds_.resize(fleet.workers());
  }

  Evacuation run(const std::vector<VmIndex>& vms) {
    moves_max_ = static_cast<std::size_t>(options_.extra_moves_max * static_cast<double>(vms.size()));
    unplaced_max_ = unplaced_max(vms.size());
    result_.moves.reserve(vms.size());
    for (const auto vm : vms) {
      if (const auto to = target_of(vm); to != none)
        move(vm, to);
      else
        result_.unplaced.push_back(vm);
    }
    for (const auto& move : result_.moves) result_.extra_moves += move.makes_room;
    for (auto move = result_.moves.rbegin(); move != result_.moves.rend(); ++move)
      placer_.move_back(move->vm, move->makes_room);
    return std::move(result_);
  }

 private:
  WorkerIndex target_of(VmIndex vm) {
    if (!options_.stays.empty() && options_.stays[vm]) return none;
    if (!arrival_seconds_.empty()) {
      const auto seconds = seconds_of(vm);
      const auto to = placer_.choose(vm, [&](WorkerIndex worker) {
        return arrival_seconds_[worker] + seconds <= options_.arrival_seconds_max;
      });
      if (to != none) return to;
    }
    if (const auto to = placer_.choose(vm); to != none) return to;
    const auto shape = fleet_.shape_of[vm];
    if (options_.eject_depth == 0 || is_hopeless_[shape] || result_.unplaced.size() > unplaced_max_)
      return none;
    if (!room_maker_) room_maker_.emplace(fleet_, &placer_, &result_, moves_max_, options_);
    for (unsigned depth = 1; depth <= options_.eject_depth; ++depth)
      if (const auto to = room_maker_->make_room(vm, depth); to != none) return to;
    // There will hardly be more room later. A group may be the reason: that says nothing of others.
    is_hopeless_[shape] = fleet_.group_of[vm] == none;
    return none;
  }
  void move(VmIndex vm, WorkerIndex to) {
    result_.moves.push_back({vm, placer_.at(vm), to, false});
    placer_.move(vm, to);
    if (room_maker_) room_maker_->follow(result_.moves.back());
    if (!arrival_seconds_.empty()) arrival_seconds_[to] += seconds_of(vm);
  }
  double seconds_of(VmIndex vm) const { return options_.seconds[vm]; }

  const FleetNumbers& fleet_;
  Placer& placer_;
  const EvacuationOptions& options_;
  Evacuation result_;
  std::size_t moves_max_ = 0, unplaced_max_ = 0;
  std::vector<bool> is_hopeless_;        // by shape: no room could be made for one
  std::optional<RoomMaker> room_maker_;  // only once it is needed
  std::vector<double> arrival_seconds_;  // by worker
};

}  // namespace

std::vector<VmIndex> leaving(const Placer& placer, const std::vector<WorkerIndex>& sources) {
  std::vector<VmIndex> vms;
  for (const auto worker : sources)
    for (const auto vm : placer.residents(worker))
      if (placer.at(vm) == worker && placer.leaves(vm) == none) vms.push_back(vm);
  std::ranges::sort(vms);
  vms.erase(std::ranges::unique(vms).begin(), vms.end());
  return vms;
}

Evacuation evacuate(const FleetNumbers& fleet, Placer* placer, const std::vector<WorkerIndex>& sources,
                    const EvacuationOptions& options) {
  const Closed closed(placer, sources);
  const auto vms = leaving(*placer, sources);
  std::optional<Evacuation> best;
  const auto attempt = [&](const NamedOrder& order, const EvacuationOptions& how) {
    const auto in_order = order.vms();
    if (in_order.empty() && best) return;
    auto found = Attempt(fleet, placer, how).run(in_order);
    found.order = order.name;
    if (!best || std::tuple(found.unplaced.size(), found.extra_moves) <
                     std::tuple(best->unplaced.size(), best->extra_moves))
      best = std::move(found);
  };
  for (const auto& order : orders(fleet, *placer, vms)) {
    attempt(order, options);
    if (best->unplaced.empty()) return std::move(*best);
    if (best->unplaced.size() > unplaced_max(vms.size())) break;
  }
  auto without_room = options;
  without_room.eject_depth = 0;
  attempt(smallest_first(*placer, vms), without_room);
  return std::move(*best);
}

}  // namespace ebb::placement
