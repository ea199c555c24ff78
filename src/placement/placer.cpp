#include "placement/placer.h"

#include <algorithm>
#include <boost/container/small_vector.hpp>
#include <map>
#include <numeric>
#include <utility>

namespace ebb::placement {
namespace {

// Of a dimension that is all but used up, so much counts as free: its weight stays finite.
constexpr double least_free_share = 0.01;
// To take a worker that offers what the VM does not need, when half of what offers it is in use by those who do, costs so much, in
// the measure of size().
constexpr double surplus_price = 0.05;

double share(double part, double whole) { return whole <= 0 ? 0 : std::min(1.0, part / whole); }

std::vector<Features> sets_of_features(const FleetNumbers& fleet) {
  std::vector<Features> sets;
  for (const auto& kind : fleet.kinds) sets.push_back(kind.features);
  std::sort(sets.begin(), sets.end());
  sets.erase(std::unique(sets.begin(), sets.end()), sets.end());
  return sets;
}

}  // namespace

// Looked up once for all candidates.
class Placer::Others {
 public:
  Others(const Placer& placer, VmIndex vm) : fleet_(placer.fleet_) {
    const auto group = placer.vms_[vm].group;
    if (group == none) return;
    group_ = &fleet_.groups[group];
    for (const auto other : placer.members_[group]) {
      const auto at = placer.at(other);
      if (other == vm || at == none) continue;
      standing_.push_back({at, placer.leaves(other)});
      if (group_->together != 0 && !placer.is_leaving_[at]) staying_.push_back({at, none});
    }
  }
  bool allow(WorkerIndex worker) const {
    if (!group_ || standing_.empty()) return true;
    for (std::size_t level = 0; level < levels_max; ++level) {
      const auto most = group_->apart[level];
      if (most > 0 && count(standing_, level, worker) >= most) return false;
    }
    return group_->together == 0 || staying_.empty() || count(staying_, group_->together - 1u, worker) > 0;
  }

 private:
  struct Standing {
    WorkerIndex at, leaves;  // leaves: or none
  };
  using Places = boost::container::small_vector<Standing, 16>;
  // How many of them stand in the worker's domain, or leave it.
  std::size_t count(const Places& places, std::size_t level, WorkerIndex worker) const {
    const auto domain = fleet_.domain(level, worker);
    std::size_t found = 0;
    for (const auto& [at, leaves] : places)
      found +=
          fleet_.domain(level, at) == domain || (leaves != none && fleet_.domain(level, leaves) == domain);
    return found;
  }

  const FleetNumbers& fleet_;
  const Group* group_ = nullptr;
  Places standing_, staying_;
};

Placer::Placer(const FleetNumbers& fleet)
    : fleet_(fleet),
      scales_(scales_of(fleet)),
      index_(fleet.dimensions, axis(0), axis(1), fleet.workers(), sets_of_features(fleet).size()),
      is_leaving_(fleet.workers()),
      members_(fleet.groups.size(), fleet.group_of),
      residents_(fleet.workers(), fleet.worker_of) {
  vms_.reserve(fleet.vms());
  for (VmIndex vm = 0; vm < fleet.vms(); ++vm)
    vms_.push_back({fleet.worker_of[vm], none, fleet.group_of[vm]});
  for (const auto& shape : fleet.shapes) sizes_.push_back(size(shape.needs));
  sort_workers();
}

// A dimension weighs more the less of it will be free when all VMs are on workers that are open.
Placer::Scales Placer::scales_of(const FleetNumbers& fleet) {
  std::array<double, dimensions_max> used{}, capacity{};
  Scales scales;
  for (WorkerIndex worker = 0; worker < fleet.workers(); ++worker)
    for (std::size_t d = 0; d < fleet.dimensions; ++d) {
      const auto amount = fleet.kinds[fleet.kind_of[worker]].capacity[d];
      if (!fleet.is_closed[worker]) capacity[d] += amount;
      scales.most[d] = std::max(scales.most[d], amount);
    }
  for (VmIndex vm = 0; vm < fleet.vms(); ++vm)
    if (fleet.worker_of[vm] != none)
      for (std::size_t d = 0; d < fleet.dimensions; ++d) used[d] += fleet.shapes[fleet.shape_of[vm]].needs[d];
  for (std::size_t d = 0; d < fleet.dimensions; ++d) {
    for (const auto& kind : fleet.kinds) scales.unit[d] = std::gcd(scales.unit[d], kind.capacity[d]);
    for (const auto& shape : fleet.shapes) scales.unit[d] = std::gcd(scales.unit[d], shape.needs[d]);
  }
  std::array<std::size_t, dimensions_max> order{};
  for (std::size_t d = 0; d < fleet.dimensions; ++d) {
    order[d] = d;
    scales.weight[d] =
        1 / (1 + least_free_share - share(used[d], capacity[d])) / std::max(1u, scales.most[d]);
  }
  std::sort(order.begin(), order.begin() + static_cast<std::ptrdiff_t>(fleet.dimensions),
            [&](auto a, auto b) {
              const auto in_use_a = share(used[a], capacity[a]), in_use_b = share(used[b], capacity[b]);
              return in_use_a != in_use_b ? in_use_a > in_use_b : a < b;
            });
  scales.scarcest = {order[0], order[1]};
  return scales;
}

void Placer::sort_workers() {
  std::map<Features, std::uint32_t> sort_of;
  for (const auto features : sets_of_features(fleet_)) {
    sort_of[features] = static_cast<std::uint32_t>(sorts_.size());
    sorts_.push_back({features, 0});
  }
  std::array<double, 64> wanted{}, offered{};  // by feature, in workers
  const auto count = [&](std::array<double, 64>& into, Features features, double amount) {
    for (; features != 0; features &= features - 1)
      into[static_cast<std::size_t>(std::countr_zero(features))] += amount;
  };
  for (WorkerIndex worker = 0; worker < fleet_.workers(); ++worker) {
    const auto& kind = fleet_.kinds[fleet_.kind_of[worker]];
    ResidualIndex::Free free{};
    for (std::size_t d = 0; d < fleet_.dimensions; ++d) free[d] = kind.capacity[d];
    for (const auto vm : residents_[worker]) {
      for (std::size_t d = 0; d < fleet_.dimensions; ++d) free[d] -= needs(vm)[d];
      count(wanted, shape(vm).features, size(vm));
    }
    index_.add(worker, sort_of[kind.features], free);
    if (fleet_.is_closed[worker])
      index_.remove(worker);
    else
      count(offered, kind.features, size(kind.capacity));
  }
  for (auto& sort : sorts_)
    for (std::size_t f = 0; f < 64; ++f)
      if (const auto in_use = share(wanted[f], offered[f]); (sort.features >> f & 1) != 0)
        sort.surplus += surplus_price * in_use / (1 + least_free_share - in_use);
}

double Placer::size(const Amounts& amounts) const {
  double sum = 0;
  for (std::size_t d = 0; d < fleet_.dimensions; ++d) sum += scales_.weight[d] * amounts[d];
  return sum;
}

void Placer::close(WorkerIndex worker) { index_.remove(worker); }
void Placer::open(WorkerIndex worker) { index_.put_back(worker); }

WorkerIndex Placer::choose(VmIndex vm, const Allowed& allowed) const {
  const auto& wanted = shape(vm);
  const Others others(*this, vm);
  const auto is_allowed = [&](WorkerIndex worker) {
    return worker != at(vm) && others.allow(worker) && (!allowed || allowed(worker));
  };
  WorkerIndex best = none;
  auto cost = std::numeric_limits<double>::infinity();
  for (std::uint32_t sort = 0; sort < sorts_.size(); ++sort) {
    const auto& [features, surplus] = sorts_[sort];
    if (!offers(features, wanted.features)) continue;
    const auto extra = features == wanted.features ? 0 : surplus;
    const auto fit = index_.best_fit(sort, wanted.needs, cost - extra, is_allowed);
    if (fit.worker != none) best = fit.worker, cost = fit.leftover + extra;
  }
  return best;
}

bool Placer::may_run(VmIndex vm, WorkerIndex worker) const {
  return index_.holds(worker) && worker != at(vm) &&
         offers(fleet_.kinds[fleet_.kind_of[worker]].features, shape(vm).features) &&
         Others(*this, vm).allow(worker);
}

void Placer::move(VmIndex vm, WorkerIndex to) {
  CHECK(leaves(vm) == none && fits(vm, to));
  index_.take(to, needs(vm));
  vms_[vm].leaves = std::exchange(vms_[vm].at, to);
}

void Placer::vacate(VmIndex vm) { index_.give_back(leaves(vm), needs(vm)); }

void Placer::move_back(VmIndex vm, bool has_vacated) {
  if (has_vacated) index_.take(leaves(vm), needs(vm));
  index_.give_back(std::exchange(vms_[vm].at, std::exchange(vms_[vm].leaves, none)), needs(vm));
}

void Placer::remove(VmIndex vm) { index_.give_back(std::exchange(vms_[vm].at, none), needs(vm)); }

}  // namespace ebb::placement
