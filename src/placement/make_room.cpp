#include "placement/make_room.h"

namespace ebb::placement {

RoomMaker::RoomMaker(const FleetNumbers& fleet, Placer* placer, Evacuation* into, std::size_t moves_max,
                     const EvacuationOptions& options)
    : fleet_(fleet),
      placer_(*placer),
      into_(*into),
      moves_left_(moves_max),
      options_(options),
      spare_seconds_(options.tenant_spare_seconds),
      changes_(fleet.workers()) {
  std::size_t running = 0;
  for (VmIndex vm = 0; vm < fleet.vms(); ++vm)
    if (fleet.worker_of[vm] != none) move_cost_ += placer_.size(vm), ++running;
  move_cost_ *= move_price / static_cast<double>(std::max<std::size_t>(1, running));
}

WorkerIndex RoomMaker::make_room(VmIndex vm, unsigned depth) {
  if (depth == 0) return none;
  for (const auto& way : ways_for(vm)) {
    const auto before = into_.moves.size();
    if (clear(vm, way, depth)) return way.worker;
    undo_to(before);
  }
  return none;
}

// The cheapest few, cheapest first.
std::vector<RoomMaker::Way> RoomMaker::ways_for(VmIndex vm) {
  std::vector<Way> ways;
  std::size_t looked_at = 0;
  const auto worst = [&] {
    return ways.size() < ways_max ? std::numeric_limits<double>::infinity() : ways.back().cost;
  };
  std::uint32_t of_sort = none;
  placer_.from_emptiest(vm, [&](std::uint32_t sort, WorkerIndex worker) {
    if (std::exchange(of_sort, sort) != sort) looked_at = 0;
    // What is missing is at least what has to move: those that come later miss more.
    if (placer_.gap(vm, worker) + move_cost_ >= worst()) return false;
    if (is_taken(worker) || !placer_.may_run(vm, worker)) return true;
    if (++looked_at > workers_max) return false;
    const auto& known = cheapest_known(vm, worker);
    if (known.out.empty() || known.cost >= worst()) return true;
    const auto at = std::ranges::upper_bound(ways, known.cost, {}, &Way::cost);
    ways.insert(at, {worker, known.out, known.cost});
    if (ways.size() > ways_max) ways.pop_back();
    return true;
  });
  return ways;
}

// Those that fit nowhere are of few shapes, and between two of them little changes.
const RoomMaker::Known& RoomMaker::cheapest_known(VmIndex vm, WorkerIndex worker) {
  auto& known = known_[std::uint64_t{fleet_.shape_of[vm]} << 32 | worker];
  const bool holds = known.changes == changes_[worker] &&
                     std::ranges::all_of(known.out, [&](VmIndex other) { return may_move(other); });
  if (!holds) {
    auto out = cheapest_out(vm, worker);
    known = {changes_[worker], cost_of(out), std::move(out)};
  }
  return known;
}

double RoomMaker::cost_of(const std::vector<VmIndex>& out) const {
  double cost = 0;
  for (const auto vm : out) cost += cost_of(vm);
  return cost;
}

// The cheapest set that closes the gap, by branch and bound over the VMs there, the largest first; a limited number of steps.
std::vector<VmIndex> RoomMaker::cheapest_out(VmIndex vm, WorkerIndex worker) const {
  struct Search {
    const RoomMaker& maker;
    std::vector<VmIndex> able, taken, best;
    double best_cost = std::numeric_limits<double>::infinity();
    int steps = steps_max;

    void go_on(std::size_t from, const Amounts& gap, double cost) {
      const auto missing = maker.placer_.size(gap);
      if (missing <= 0) {
        if (cost < best_cost) best = taken, best_cost = cost;
        return;
      }
      for (auto i = from; i < able.size() && --steps > 0; ++i) {
        const auto more = maker.cost_of(able[i]);
        if (cost + std::max(more, missing + maker.move_cost_) >= best_cost) continue;
        auto rest = gap;
        for (std::size_t d = 0; d < maker.fleet_.dimensions; ++d)
          rest[d] -= std::min(rest[d], maker.placer_.needs(able[i])[d]);
        taken.push_back(able[i]);
        go_on(i + 1, rest, cost + more);
        taken.pop_back();
      }
    }
  } search{*this, {}, {}, {}};
  Amounts gap{};
  for (std::size_t d = 0; d < fleet_.dimensions; ++d) {
    const auto need = placer_.needs(vm)[d], free = placer_.free(worker, d);
    gap[d] = need > free ? need - free : 0;
  }
  for (const auto other : placer_.residents(worker))
    if (placer_.at(other) == worker && placer_.leaves(other) == none && may_move(other))
      search.able.push_back(other);
  std::ranges::sort(search.able, std::greater(), [&](VmIndex other) { return placer_.size(other); });
  search.go_on(0, gap, 0);
  return std::move(search.best);
}

bool RoomMaker::clear(VmIndex vm, const Way& way, unsigned depth) {
  taken_.push_back(way.worker);
  const auto is_cleared = std::ranges::all_of(way.out, [&](VmIndex other) {
    if (moves_left_ == 0) return false;
    auto to = placer_.choose(other, [&](WorkerIndex worker) { return !is_taken(worker); });
    if (to == none) to = make_room(other, depth - 1);
    return to != none && append(other, to);
  });
  taken_.pop_back();
  return is_cleared && placer_.fits(vm, way.worker) && placer_.may_run(vm, way.worker);
}

bool RoomMaker::may_move(VmIndex vm) const {
  if (!options_.stays.empty() && options_.stays[vm]) return false;
  if (!spare_seconds_.empty() && options_.tenants[vm] != none &&
      spare_seconds_[options_.tenants[vm]] < options_.seconds[vm])
    return false;
  return is_within_budget(vm);
}

bool RoomMaker::is_within_budget(VmIndex vm) const {
  const auto group = fleet_.group_of[vm];
  if (options_.budgets.empty() || group == none) return true;
  const auto& [away_max, healthy_seconds] = options_.budgets[group];
  double away_seconds = 0;
  for (const auto fellow : placer_.members(group))
    if (fellow == vm || placer_.is_to_leave(fellow) || placer_.leaves(fellow) != none)
      away_seconds += options_.seconds[fellow] + healthy_seconds;
  return away_seconds <= (options_.arrival_seconds_max + healthy_seconds) * away_max;
}

void RoomMaker::charge(VmIndex vm, int times) {
  if (!spare_seconds_.empty() && options_.tenants[vm] != none)
    spare_seconds_[options_.tenants[vm]] -= times * double{options_.seconds[vm]};
}

bool RoomMaker::append(VmIndex vm, WorkerIndex to) {
  if (moves_left_ == 0 || !may_move(vm)) return false;
  const Move move{vm, placer_.at(vm), to, true};
  placer_.move(vm, to);
  placer_.vacate(vm);
  into_.moves.push_back(move);
  follow(move);
  left_[move.from].push_back(static_cast<std::uint32_t>(into_.moves.size() - 1));
  --moves_left_;
  charge(vm, 1);
  return true;
}

void RoomMaker::follow(const Move& move) {
  ++changes_[move.from], ++changes_[move.to];
  const auto found = left_.find(move.to);
  if (found == left_.end()) return;
  for (const auto after : found->second)
    into_.precedences.push_back({static_cast<std::uint32_t>(into_.moves.size() - 1), after});
}

void RoomMaker::undo_to(std::size_t moves) {
  while (into_.moves.size() > moves) {
    const auto move = into_.moves.back();
    left_[move.from].pop_back();
    while (!into_.precedences.empty() && into_.precedences.back().move == into_.moves.size() - 1)
      into_.precedences.pop_back();
    into_.moves.pop_back();
    placer_.move_back(move.vm, true);
    ++moves_left_;
    ++changes_[move.from], ++changes_[move.to];
    charge(move.vm, -1);
  }
}

}  // namespace ebb::placement
