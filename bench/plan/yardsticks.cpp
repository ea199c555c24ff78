#include "bench/plan/yardsticks.h"

#include <algorithm>
#include <bit>
#include <chrono>
#include <functional>
#include <map>
#include <optional>
#include <set>

namespace ebb::bench {
namespace {

// The most free RAM and the most free cores of any worker below each node of a binary tree over them.
class Tree {
 public:
  using Free = Fleet::Shape;
  explicit Tree(std::size_t workers) : leaves_(std::bit_ceil(workers)), most_(2 * leaves_) {}
  void set(std::size_t worker, Free free) {
    auto node = worker + leaves_;
    for (most_[node] = free; node > 1; node /= 2) {
      const auto &a = most_[node], &b = most_[node ^ 1];
      most_[node / 2] = {std::max(a.cores, b.cores), std::max(a.ram, b.ram)};
    }
  }
  // Calls `will_do` with workers that have so much, in their order, until it is true.
  bool find(Free least, const std::function<bool(std::uint32_t)>& will_do, std::size_t node = 1) const {
    if (most_[node].ram < least.ram || most_[node].cores < least.cores) return false;
    if (node >= leaves_) return will_do(static_cast<std::uint32_t>(node - leaves_));
    return find(least, will_do, 2 * node) || find(least, will_do, 2 * node + 1);
  }

 private:
  std::size_t leaves_;
  std::vector<Free> most_;
};

class Planner {
 public:
  explicit Planner(const Fleet& fleet)
      : fleet_(fleet), at_(fleet.worker), members_(fleet.groups.size()), residents_(fleet.workers()) {
    std::vector<bool> is_drained((fleet.workers() + Fleet::rack_workers - 1) / Fleet::rack_workers);
    for (const auto rack : fleet.drained_racks) is_drained[rack] = true;
    cores_.assign(fleet.workers(), fleet.cores), ram_.assign(fleet.workers(), fleet.ram);
    for (std::uint32_t vm = 0; vm < at_.size(); ++vm) {
      const auto& shape = fleet.shapes[fleet.shape[vm]];
      cores_[at_[vm]] -= shape.cores, ram_[at_[vm]] -= shape.ram;
      if (fleet.group[vm] != Fleet::none) members_[fleet.group[vm]].push_back(vm);
      residents_[at_[vm]].push_back(vm);
      if (is_drained[Fleet::rack(at_[vm])]) must_.push_back(vm);
    }
    for (std::uint32_t w = 0; w < fleet.workers(); ++w)
      if (is_drained[Fleet::rack(w)]) cores_[w] = ram_[w] = 0;
  }
  Yardstick run(Fit fit) {
    const auto began = std::chrono::steady_clock::now();
    Yardstick result;
    double must_ram = 0;
    if (fit == Fit::first) tree_.emplace(ram_.size());
    for (std::uint32_t w = 0; tree_ && w < ram_.size(); ++w) tree_->set(w, {cores_[w], ram_[w]});
    if (fit != Fit::first) by_ram_.resize(fleet_.ram + 1);
    for (std::uint32_t w = 0; fit != Fit::first && w < ram_.size(); ++w) insert(w);
    for (const auto vm : must_) {
      auto& is_hopeless = is_hopeless_[{fleet_.shape[vm], fleet_.needs_feature[vm]}];
      const auto target = is_hopeless ? Fleet::none : target_of(vm, fit);
      is_hopeless = is_hopeless || (target == Fleet::none && fleet_.group[vm] == Fleet::none);
      must_ram += shape(vm).ram;
      if (target == Fleet::none)
        ++result.unplaced, result.unplaced_ram += shape(vm).ram;
      else
        put(vm, target);
    }
    result.unplaced_ram /= std::max(1.0, must_ram);
    result.ejected = ejected_ / std::max(1.0, static_cast<double>(must_.size()));
    result.ejected_ram = ejected_ram_ / std::max(1.0, must_ram);
    result.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count();
    return result;
  }

 private:
  static constexpr std::size_t looked_at_max = 128;

  std::uint32_t target_of(std::uint32_t vm, Fit fit) {
    const auto target = fit == Fit::first ? first_fit(vm) : best_fit(vm);
    return target == Fleet::none && fit == Fit::best_eject1 ? eject_for(vm) : target;
  }
  std::uint32_t first_fit(std::uint32_t vm) const {
    auto target = Fleet::none;
    tree_->find(shape(vm), [&](std::uint32_t worker) {
      if (may_run(vm, worker)) target = worker;
      return target != Fleet::none;
    });
    return target;
  }
  std::uint32_t best_fit(std::uint32_t vm) const {
    for (auto ram = shape(vm).ram; ram < by_ram_.size(); ++ram)
      for (auto it = by_ram_[ram].lower_bound({shape(vm).cores, 0}); it != by_ram_[ram].end(); ++it)
        if (may_run(vm, it->second)) return it->second;
    return Fleet::none;
  }
  // One of the workers with most free RAM from which others could go.
  std::uint32_t eject_for(std::uint32_t vm) {
    std::vector<std::uint32_t> emptiest;
    for (auto ram = by_ram_.size(); ram-- > 0 && emptiest.size() < looked_at_max;)
      for (const auto& [cores, worker] : by_ram_[ram])
        if (emptiest.size() < looked_at_max) emptiest.push_back(worker);
    const auto found =
        std::ranges::find_if(emptiest, [&](auto worker) { return may_run(vm, worker) && clear(vm, worker); });
    return found == emptiest.end() ? Fleet::none : *found;
  }
  // The smallest VM leaves that leaves room enough, else the largest one, and so on. If one fits nowhere, all stay.
  bool clear(std::uint32_t vm, std::uint32_t worker) {
    erase(worker);  // none of them goes there
    std::vector<std::uint32_t> able, gone;
    for (const auto other : residents_[worker])
      if (at_[other] == worker) able.push_back(other);
    std::ranges::sort(able, {}, [&](auto other) { return shape(other).ram; });
    while (!fits(vm, worker) && !able.empty()) {
      auto next = std::ranges::find_if(able, [&](auto other) {
        return ram_[worker] + shape(other).ram >= shape(vm).ram &&
               cores_[worker] + shape(other).cores >= shape(vm).cores;
      });
      if (next == able.end()) --next;
      const auto to = best_fit(*next);
      if (to == Fleet::none) break;
      put(*next, to), leave(*next, worker);
      gone.push_back(*next);
      able.erase(next);
    }
    const bool is_clear = fits(vm, worker);
    for (const auto other : gone) {
      if (is_clear) {
        ++ejected_, ejected_ram_ += shape(other).ram;
        continue;
      }
      leave(other, at_[other]);
      put(other, worker);
    }
    insert(worker);
    return is_clear;
  }

  void put(std::uint32_t vm, std::uint32_t worker) {
    at_[vm] = worker;
    set_free(worker, cores_[worker] - shape(vm).cores, ram_[worker] - shape(vm).ram);
  }
  void leave(std::uint32_t vm, std::uint32_t worker) {
    set_free(worker, cores_[worker] + shape(vm).cores, ram_[worker] + shape(vm).ram);
  }
  void set_free(std::uint32_t worker, std::uint32_t cores, std::uint32_t ram) {
    const bool was_there = erase(worker);
    cores_[worker] = cores, ram_[worker] = ram;
    if (was_there) insert(worker);
    if (tree_) tree_->set(worker, {cores, ram});
  }
  void insert(std::uint32_t worker) { by_ram_[ram_[worker]].emplace(cores_[worker], worker); }
  bool erase(std::uint32_t worker) {
    return !by_ram_.empty() && by_ram_[ram_[worker]].erase({cores_[worker], worker}) > 0;
  }
  const Fleet::Shape& shape(std::uint32_t vm) const { return fleet_.shapes[fleet_.shape[vm]]; }
  bool fits(std::uint32_t vm, std::uint32_t worker) const {
    return cores_[worker] >= shape(vm).cores && ram_[worker] >= shape(vm).ram;
  }
  // Whatever is free.
  bool may_run(std::uint32_t vm, std::uint32_t worker) const {
    if (fleet_.needs_feature[vm] && !fleet_.has_feature[worker]) return false;
    const auto group = fleet_.group[vm];
    return group == Fleet::none || std::ranges::none_of(members_[group], [&](std::uint32_t other) {
             if (other == vm) return false;
             // Those that move stand in both places.
             for (const auto at : {at_[other], fleet_.worker[other]})
               if (fleet_.groups[group].by_rack ? Fleet::rack(at) == Fleet::rack(worker) : at == worker)
                 return true;
             return false;
           });
  }

  const Fleet& fleet_;
  std::vector<std::uint32_t> at_, cores_, ram_, must_;
  std::vector<std::vector<std::uint32_t>> members_, residents_;  // by group, by worker
  std::optional<Tree> tree_;                                     // for the first fit
  // For the best: by free RAM, by free cores.
  std::vector<std::set<std::pair<std::uint32_t, std::uint32_t>>> by_ram_;
  std::map<std::pair<std::uint32_t, bool>, bool>
      is_hopeless_;  // by shape, and whether it needs the feature: no room was found for one
  double ejected_ = 0, ejected_ram_ = 0;
};

}  // namespace

Yardstick yardstick(const Fleet& fleet, Fit fit) { return Planner(fleet).run(fit); }

}  // namespace ebb::bench
