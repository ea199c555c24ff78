#include "bench/plan/yardsticks.h"

#include <algorithm>
#include <bit>
#include <chrono>
#include <functional>
#include <optional>
#include <set>

namespace ebb::bench {
namespace {

// The most free RAM of any worker below each node of a binary tree over them.
class Tree {
 public:
  explicit Tree(const std::vector<std::uint32_t>& ram)
      : leaves_(std::bit_ceil(ram.size())), most_(2 * leaves_) {
    std::ranges::copy(ram, most_.begin() + static_cast<std::ptrdiff_t>(leaves_));
    for (auto node = leaves_; node-- > 1;) most_[node] = std::max(most_[2 * node], most_[2 * node + 1]);
  }
  void set(std::size_t worker, std::uint32_t ram) {
    auto node = worker + leaves_;
    for (most_[node] = ram; node > 1; node /= 2) most_[node / 2] = std::max(most_[node], most_[node ^ 1]);
  }
  // Calls `will_do` with workers that have so much, in their order, until it is true.
  bool find(std::uint32_t ram, const std::function<bool(std::uint32_t)>& will_do,
            std::size_t node = 1) const {
    if (most_[node] < ram) return false;
    if (node >= leaves_) return will_do(static_cast<std::uint32_t>(node - leaves_));
    return find(ram, will_do, 2 * node) || find(ram, will_do, 2 * node + 1);
  }

 private:
  std::size_t leaves_;
  std::vector<std::uint32_t> most_;
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
    if (fit == Fit::first) tree_.emplace(ram_);
    for (std::uint32_t w = 0; fit != Fit::first && w < ram_.size(); ++w) by_ram_.emplace(ram_[w], w);
    for (const auto vm : must_) {
      auto target = fit == Fit::first ? first_fit(vm) : best_fit(vm);
      if (target == Fleet::none && fit == Fit::best_eject1) target = eject_for(vm);
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

  std::uint32_t first_fit(std::uint32_t vm) const {
    auto target = Fleet::none;
    tree_->find(shape(vm).ram, [&](std::uint32_t worker) {
      if (fits(vm, worker) && may_run(vm, worker)) target = worker;
      return target != Fleet::none;
    });
    return target;
  }
  std::uint32_t best_fit(std::uint32_t vm) const {
    for (auto it = by_ram_.lower_bound({shape(vm).ram, 0}); it != by_ram_.end(); ++it)
      if (fits(vm, it->second) && may_run(vm, it->second)) return it->second;
    return Fleet::none;
  }
  // One of the workers with most free RAM from which others could go.
  std::uint32_t eject_for(std::uint32_t vm) {
    std::vector<std::uint32_t> emptiest;
    for (auto it = by_ram_.rbegin(); it != by_ram_.rend() && emptiest.size() < looked_at_max; ++it)
      emptiest.push_back(it->second);
    const auto found =
        std::ranges::find_if(emptiest, [&](auto worker) { return may_run(vm, worker) && clear(vm, worker); });
    return found == emptiest.end() ? Fleet::none : *found;
  }
  // The smallest VM leaves that leaves room enough, else the largest one, and so on. If one fits nowhere, all stay.
  bool clear(std::uint32_t vm, std::uint32_t worker) {
    by_ram_.erase({ram_[worker], worker});  // where none of them goes
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
    by_ram_.emplace(ram_[worker], worker);
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
    if (by_ram_.erase({ram_[worker], worker}) > 0) by_ram_.emplace(ram, worker);
    cores_[worker] = cores, ram_[worker] = ram;
    if (tree_) tree_->set(worker, ram);
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
  std::set<std::pair<std::uint32_t, std::uint32_t>> by_ram_;     // for the best
  double ejected_ = 0, ejected_ram_ = 0;
};

}  // namespace

Yardstick yardstick(const Fleet& fleet, Fit fit) { return Planner(fleet).run(fit); }

}  // namespace ebb::bench
