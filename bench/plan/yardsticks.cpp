#include "bench/plan/yardsticks.h"

#include <algorithm>
#include <bit>
#include <chrono>
#include <functional>
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
  explicit Planner(const Fleet& fleet) : fleet_(fleet), at_(fleet.worker), members_(fleet.groups.size()) {
    std::vector<bool> is_drained((fleet.workers() + Fleet::rack_workers - 1) / Fleet::rack_workers);
    for (const auto rack : fleet.drained_racks) is_drained[rack] = true;
    cores_.assign(fleet.workers(), fleet.cores), ram_.assign(fleet.workers(), fleet.ram);
    for (std::uint32_t vm = 0; vm < at_.size(); ++vm) {
      const auto& shape = fleet.shapes[fleet.shape[vm]];
      cores_[at_[vm]] -= shape.cores, ram_[at_[vm]] -= shape.ram;
      if (fleet.group[vm] != Fleet::none) members_[fleet.group[vm]].push_back(vm);
      if (is_drained[Fleet::rack(at_[vm])]) must_.push_back(vm);
    }
    for (std::uint32_t w = 0; w < fleet.workers(); ++w)
      if (is_drained[Fleet::rack(w)]) cores_[w] = ram_[w] = 0;
  }
  Yardstick run(Fit fit) {
    const auto began = std::chrono::steady_clock::now();
    Tree tree(ram_);
    std::set<std::pair<std::uint32_t, std::uint32_t>> by_ram;
    for (std::uint32_t w = 0; fit == Fit::best && w < ram_.size(); ++w) by_ram.emplace(ram_[w], w);
    Yardstick result;
    double must_ram = 0;
    for (const auto vm : must_) {
      const auto& shape = fleet_.shapes[fleet_.shape[vm]];
      auto target = Fleet::none;
      const auto will_do = [&](std::uint32_t w) {
        if (may_run(vm, w)) target = w;
        return target != Fleet::none;
      };
      if (fit == Fit::first)
        tree.find(shape.ram, will_do);
      else
        for (auto it = by_ram.lower_bound({shape.ram, 0}); it != by_ram.end() && !will_do(it->second); ++it);
      must_ram += shape.ram;
      if (target == Fleet::none) {
        ++result.unplaced, result.unplaced_ram += shape.ram;
        continue;
      }
      if (fit == Fit::best)
        by_ram.erase({ram_[target], target}), by_ram.emplace(ram_[target] - shape.ram, target);
      cores_[target] -= shape.cores, ram_[target] -= shape.ram, at_[vm] = target;
      if (fit == Fit::first) tree.set(target, ram_[target]);
    }
    result.unplaced_ram /= std::max(1.0, must_ram);
    result.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count();
    return result;
  }

 private:
  bool may_run(std::uint32_t vm, std::uint32_t worker) const {
    const auto& shape = fleet_.shapes[fleet_.shape[vm]];
    if (cores_[worker] < shape.cores || ram_[worker] < shape.ram) return false;
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
  std::vector<std::vector<std::uint32_t>> members_;
};

}  // namespace

Yardstick yardstick(const Fleet& fleet, Fit fit) { return Planner(fleet).run(fit); }

}  // namespace ebb::bench
