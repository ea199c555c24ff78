#include "placement/patterns.h"

#include <algorithm>
#include <map>

namespace ebb::placement {
namespace {

using Shares = std::array<double, dimensions_max>;  // of a worker

// To leave a percent of a worker more or less than the rest of the VMs can use costs as much as to leave so many of the scarcest.
constexpr double imbalance_price = 2;

// VMs that ask for the same features, by their shapes.
class Pool {
 public:
  Pool(const FleetNumbers& fleet, const WorkerKind& kind) : fleet_(fleet), kind_(kind) {}
  void add(VmIndex vm) {
    const auto shape = fleet_.shape_of[vm];
    const auto [at, is_new] = class_of_.try_emplace(shape, classes_.size());
    if (is_new) classes_.push_back({shares_of(fleet_.shapes[shape].needs), {}});
    classes_[at->second].vms.push_back(vm);
    change(rest_, classes_[at->second].needs, 1);
  }
  // Appends them to `order`. They come as they were added.
  void fill_workers(std::vector<VmIndex>& order) {
    std::ranges::sort(classes_, std::greater(), [](const Class& c) { return std::ranges::max(c.needs); });
    while (!classes_.empty()) {
      Shares free;
      free.fill(1);
      // The largest goes first, even if it is too large.
      for (auto* next = &classes_.front(); next; next = best_into(free)) {
        order.push_back(next->vms[next->taken++]);
        change(free, next->needs, -1), change(rest_, next->needs, -1);
      }
      std::erase_if(classes_, [](const Class& c) { return c.is_used_up(); });
    }
  }

 private:
  struct Class {
    Shares needs;
    std::vector<VmIndex> vms;
    std::size_t taken = 0;
    bool is_used_up() const { return taken == vms.size(); }
  };

  Shares shares_of(const Amounts& needs) const {
    Shares shares{};
    for (std::size_t d = 0; d < fleet_.dimensions; ++d)
      shares[d] = static_cast<double>(needs[d]) / std::max(1u, kind_.capacity[d]);
    return shares;
  }
  void change(Shares& shares, const Shares& by, double times) const {
    for (std::size_t d = 0; d < fleet_.dimensions; ++d) shares[d] += times * by[d];
  }
  // nullptr: none fits.
  Class* best_into(const Shares& free) {
    const auto scarcest = static_cast<std::size_t>(std::ranges::max_element(rest_) - rest_.begin());
    Class* best = nullptr;
    double best_score = 0;
    for (auto& one : classes_) {
      if (one.is_used_up() || !fits(one.needs, free)) continue;
      const auto score = one.needs[scarcest] - imbalance_price * imbalance(free, one.needs, scarcest);
      if (!best || score > best_score) best = &one, best_score = score;
    }
    return best;
  }
  bool fits(const Shares& needs, const Shares& free) const {
    for (std::size_t d = 0; d < fleet_.dimensions; ++d)
      if (needs[d] > free[d] + rounding) return false;
    return true;
  }
  // How far what is then free of each dimension is from what the rest of the VMs, if they are alike, need beside that much of the scarcest; a
  // worker full of these has something to spare, which is neither missing nor too much.
  double imbalance(const Shares& free, const Shares& needs, std::size_t scarcest) const {
    const auto left = free[scarcest] - needs[scarcest];
    double sum = 0;
    for (std::size_t d = 0; d < fleet_.dimensions; ++d) {
      const auto share = rest_[d] / rest_[scarcest];
      const auto beyond = free[d] - needs[d] - share * left;
      sum += std::max({0.0, -beyond, beyond - (1 - share)});
    }
    return sum;
  }

  static constexpr double rounding = 1e-9;
  const FleetNumbers& fleet_;
  const WorkerKind& kind_;
  std::map<std::uint32_t, std::size_t> class_of_;  // by shape
  std::vector<Class> classes_;
  Shares rest_{};  // that all who are left need
};

// The most frequent one of those that offer them; of the most frequent ones that offer less, if none does.
const WorkerKind& usual_kind(const FleetNumbers& fleet, Features features) {
  std::vector<std::size_t> workers(fleet.kinds.size());
  for (const auto kind : fleet.kind_of) ++workers[kind];
  const auto rank = [&](std::size_t kind) {
    return std::pair((fleet.kinds[kind].features & features) == features, workers[kind]);
  };
  std::size_t usual = 0;
  for (std::size_t kind = 1; kind < fleet.kinds.size(); ++kind)
    if (rank(kind) > rank(usual)) usual = kind;
  return fleet.kinds[usual];
}

// The first of each group, then the second of each, and so on: they would fill the same worker, and may have to be apart.
std::vector<VmIndex> fellows_apart(const FleetNumbers& fleet, const std::vector<VmIndex>& vms) {
  std::vector<std::uint32_t> met(fleet.groups.size());
  std::vector<std::vector<VmIndex>> rounds(1);
  for (const auto vm : vms) {
    const auto group = fleet.group_of[vm];
    const auto round = group == none ? 0 : met[group]++;
    if (round >= rounds.size()) rounds.emplace_back();
    rounds[round].push_back(vm);
  }
  std::vector<VmIndex> all;
  for (const auto& round : rounds) all.insert(all.end(), round.begin(), round.end());
  return all;
}

}  // namespace

std::vector<VmIndex> by_patterns(const FleetNumbers& fleet, const std::vector<VmIndex>& vms) {
  std::map<Features, Pool, std::greater<>> pools;
  for (const auto vm : fellows_apart(fleet, vms)) {
    const auto features = fleet.shapes[fleet.shape_of[vm]].features;
    auto pool = pools.find(features);
    if (pool == pools.end()) pool = pools.emplace(features, Pool(fleet, usual_kind(fleet, features))).first;
    pool->second.add(vm);
  }
  std::vector<VmIndex> order;
  order.reserve(vms.size());
  for (auto& [features, pool] : pools) pool.fill_workers(order);
  return order;
}

bool fit_into_empty(const FleetNumbers& fleet, const Placer& placer, const std::vector<VmIndex>& vms) {
  std::array<double, dimensions_max> room{};
  for (WorkerIndex worker = 0; worker < fleet.workers(); ++worker) {
    const auto& capacity = fleet.kinds[fleet.kind_of[worker]].capacity;
    bool is_empty = !placer.is_closed(worker);
    for (std::size_t d = 0; d < fleet.dimensions; ++d)
      is_empty = is_empty && placer.free(worker, d) == capacity[d];
    for (std::size_t d = 0; is_empty && d < fleet.dimensions; ++d) room[d] += capacity[d];
  }
  for (const auto vm : vms)
    for (std::size_t d = 0; d < fleet.dimensions; ++d) room[d] -= placer.needs(vm)[d];
  return std::ranges::none_of(room, [](double left) { return left < 0; });
}

}  // namespace ebb::placement
