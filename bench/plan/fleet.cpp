#include "bench/plan/fleet.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <fmt/format.h>
#include <fstream>
#include <numeric>
#include <optional>
#include <stdexcept>

#include "base/random.h"
#include "base/sha256.h"

namespace ebb::bench {
namespace {

constexpr auto none = Fleet::none;
constexpr double grouped_by_rack = 0.25, grouped_by_worker = 0.10, feature_needed = 0.10,
                 feature_offered = 0.70;
constexpr std::uint32_t rack_group_size = 3;
constexpr double tenant_share_max = 0.01;

std::vector<std::vector<std::uint32_t>> read_table(const std::string& path) {
  std::ifstream file(path);
  if (!file) throw std::runtime_error("cannot read " + path);
  std::vector<std::vector<std::uint32_t>> rows;
  std::string line;
  std::getline(file, line);  // names of the columns
  while (std::getline(file, line)) {
    auto& row = rows.emplace_back();
    for (std::size_t at = 0; at < line.size(); at = std::min(line.find(',', at), line.size() - 1) + 1)
      row.push_back(static_cast<std::uint32_t>(std::stoul(line.substr(at))));
  }
  return rows;
}

// Draws an index with a probability in proportion to its weight.
class Lottery {
 public:
  explicit Lottery(std::vector<double> weights) : upto_(std::move(weights)) {
    std::partial_sum(upto_.begin(), upto_.end(), upto_.begin());
  }
  std::uint32_t draw(Random& random) const {
    const auto at = std::upper_bound(upto_.begin(), upto_.end(), random.unit() * upto_.back());
    return static_cast<std::uint32_t>(std::min<std::ptrdiff_t>(at - upto_.begin(), std::ssize(upto_) - 1));
  }

 private:
  std::vector<double> upto_;
};

// Workers by free RAM: how many have so much, and one of them at random.
class Free {
 public:
  Free(const Fleet& fleet, const std::vector<bool>& is_in)
      : ram_(fleet.ram), buckets_(fleet.ram + 1), sums_(fleet.ram + 2) {
    cores.assign(fleet.workers(), fleet.cores), ram.assign(fleet.workers(), fleet.ram);
    place_.resize(fleet.workers());
    for (std::uint32_t w = 0; w < fleet.workers(); ++w)
      if (is_in[w]) insert(w);
  }
  void change(std::uint32_t worker, const Fleet::Shape& shape, bool takes) {
    erase(worker);
    cores[worker] += takes ? -shape.cores : shape.cores, ram[worker] += takes ? -shape.ram : shape.ram;
    insert(worker);
  }
  std::uint32_t count_with(std::uint32_t least) const { return sum(ram_ + 1) - sum(least); }
  // The n-th of those with at least so much, from the least free on.
  std::uint32_t nth_with(std::uint32_t least, std::uint32_t n) const {
    n += sum(least);
    std::uint32_t at = 0;
    for (auto step = std::bit_floor(ram_ + 1); step > 0; step /= 2)
      if (at + step <= ram_ + 1 && sums_[at + step] <= n) at += step, n -= sums_[at];
    return buckets_[at][n];
  }
  std::vector<std::uint32_t> cores, ram;  // by worker

 private:
  void insert(std::uint32_t worker) {
    auto& bucket = buckets_[ram[worker]];
    place_[worker] = static_cast<std::uint32_t>(bucket.size());
    bucket.push_back(worker);
    add(ram[worker], 1);
  }
  void erase(std::uint32_t worker) {
    auto& bucket = buckets_[ram[worker]];
    bucket[place_[worker]] = bucket.back();
    place_[bucket.back()] = place_[worker];
    bucket.pop_back();
    add(ram[worker], ~0u);
  }
  // A Fenwick tree: sums_[i] counts the buckets from i - lowbit(i) to i - 1.
  void add(std::uint32_t bucket, std::uint32_t count) {
    for (auto i = bucket + 1; i < sums_.size(); i += i & (~i + 1)) sums_[i] += count;
  }
  std::uint32_t sum(std::uint32_t upto) const {
    std::uint32_t all = 0;
    for (auto i = upto; i > 0; i -= i & (~i + 1)) all += sums_[i];
    return all;
  }
  std::uint32_t ram_;
  std::vector<std::vector<std::uint32_t>> buckets_;
  std::vector<std::uint32_t> sums_, place_;
};

class Maker {
 public:
  Maker(const FleetSpec& spec, const std::string& data)
      : spec_(spec), random_(spec.seed), drawn_(read_shapes(data)) {
    for (const auto& row : read_table(data + "/group_sizes.csv")) {
      sizes_.push_back(row[0]);
      size_weights_.push_back(row[1]);
      size_mean_ += row[0] * row[1];
    }
    size_mean_ /= std::accumulate(size_weights_.begin(), size_weights_.end(), 0.0);
    fleet_.cores = spec.hardware == "az" ? 10400 : 7400, fleet_.ram = 2250;
    for (std::uint32_t w = 0; w < spec.workers; ++w)
      fleet_.has_feature.push_back(random_.chance(feature_offered));
    choose_racks();
  }

  Fleet make() {
    std::vector<bool> is_in(spec_.workers, true);
    const bool is_planted = spec_.policy == Policy::planted;
    if (is_planted)
      for (std::uint32_t w = 0; w < spec_.workers; ++w) is_in[w] = !is_drained_[Fleet::rack(w)];
    free_.emplace(fleet_, is_in);
    open_ = static_cast<std::uint32_t>(std::ranges::count(is_in, true));
    use_ = is_planted ? spec_.use_after : spec_.use_after * (1 - spec_.drained);
    fill();
    if (!is_planted) turn_over(), fill();
    if (is_planted) lift_out();
    drop_the_unplaced();
    fleet_.rejects_pct =
        100.0 * static_cast<double>(rejects_) / static_cast<double>(std::max<std::uint64_t>(1, asked_));
    give_the_rest();
    return std::move(fleet_);
  }

 private:
  Lottery read_shapes(const std::string& data) {
    std::vector<double> alive;
    for (const auto& row : read_table(data + "/shapes.csv")) {
      fleet_.shapes.push_back({row[0], row[1]});
      alive.push_back(row[2]);
    }
    return Lottery(std::move(alive));
  }
  void choose_racks() {
    const auto racks = (spec_.workers + Fleet::rack_workers - 1) / Fleet::rack_workers;
    std::vector<std::uint32_t> all(racks);
    std::iota(all.begin(), all.end(), 0u);
    for (std::uint32_t i = racks; i > 1; --i) std::swap(all[i - 1], all[random_.below(i)]);
    all.resize(static_cast<std::size_t>(spec_.drained * racks + 0.5));
    std::ranges::sort(all);
    is_drained_.resize(racks);
    for (const auto rack : all) is_drained_[rack] = true;
    fleet_.drained_racks = std::move(all);
  }

  double use() const {
    return std::max(static_cast<double>(used_cores_) / fleet_.cores,
                    static_cast<double>(used_ram_) / fleet_.ram) /
           open_;
  }
  // VMs come, alone or as a group, until so much is in use, or hardly any finds room.
  void fill() {
    const double three = grouped_by_rack / rack_group_size, many = grouped_by_worker / size_mean_;
    const Lottery kinds({1 - grouped_by_rack - grouped_by_worker, three, many}), sizes(size_weights_);
    for (int misses = 0; use() < use_ && misses < 2000;) {
      const auto kind = kinds.draw(random_);
      const auto size = kind == 0 ? 1 : kind == 1 ? rack_group_size : sizes_[sizes.draw(random_)];
      const auto shape = drawn_.draw(random_);
      const bool feature = random_.chance(feature_needed);
      auto group = none;
      if (kind > 0) {
        group = static_cast<std::uint32_t>(fleet_.groups.size());
        fleet_.groups.push_back({kind == 1, size});
        members_.emplace_back();
      }
      for (std::uint32_t i = 0; i < size; ++i) {
        const auto vm = static_cast<std::uint32_t>(fleet_.shape.size());
        fleet_.shape.push_back(static_cast<std::uint16_t>(shape));
        fleet_.needs_feature.push_back(feature);
        fleet_.group.push_back(group);
        fleet_.worker.push_back(none);
        if (group != none) members_[group].push_back(vm);
        misses = place(vm) ? 0 : misses + 1;
      }
    }
  }
  // Twice as many as there are: one goes, another comes in its stead.
  void turn_over() {
    const auto count = static_cast<std::uint32_t>(fleet_.shape.size());
    for (std::uint64_t i = 0; i < 2ull * count; ++i) {
      const auto vm = static_cast<std::uint32_t>(random_.below(count));
      if (fleet_.worker[vm] != none) remove(vm);
      for (int tries = 0; tries < 20; ++tries) {
        fleet_.shape[vm] = static_cast<std::uint16_t>(drawn_.draw(random_));
        if (place(vm)) break;
      }
    }
  }

  bool place(std::uint32_t vm) {
    ++asked_;
    const auto worker = spec_.policy == Policy::packed || spec_.policy == Policy::planted
                            ? best_fit(vm)
                            : best_of(vm, spec_.policy == Policy::aged ? 4 : 1);
    if (worker == none) {
      ++rejects_;
      return false;
    }
    put(vm, worker);
    return true;
  }
  void put(std::uint32_t vm, std::uint32_t worker) {
    const auto& shape = fleet_.shapes[fleet_.shape[vm]];
    fleet_.worker[vm] = worker;
    free_->change(worker, shape, true);
    used_cores_ += shape.cores, used_ram_ += shape.ram;
  }
  void remove(std::uint32_t vm) {
    const auto& shape = fleet_.shapes[fleet_.shape[vm]];
    free_->change(fleet_.worker[vm], shape, false);
    used_cores_ -= shape.cores, used_ram_ -= shape.ram;
    fleet_.worker[vm] = none;
  }
  bool may_run(std::uint32_t vm, std::uint32_t worker) const {
    const auto& shape = fleet_.shapes[fleet_.shape[vm]];
    if (free_->cores[worker] < shape.cores || free_->ram[worker] < shape.ram) return false;
    if (fleet_.needs_feature[vm] && !fleet_.has_feature[worker]) return false;
    const auto group = fleet_.group[vm];
    if (group == none) return true;
    return std::ranges::none_of(members_[group], [&](std::uint32_t other) {
      const auto at = fleet_.worker[other];
      if (other == vm || at == none) return false;
      return fleet_.groups[group].by_rack ? Fleet::rack(at) == Fleet::rack(worker) : at == worker;
    });
  }
  // The first that will do, from the least free RAM on; a few hundred are looked at.
  std::uint32_t best_fit(std::uint32_t vm) {
    const auto ram = fleet_.shapes[fleet_.shape[vm]].ram;
    const auto count = free_->count_with(ram);
    for (std::uint32_t n = 0; n < std::min(count, 300u); ++n)
      if (const auto worker = free_->nth_with(ram, n); may_run(vm, worker)) return worker;
    return best_of(vm, 4);
  }
  // Of so many random ones that will do, the one that is left with the least.
  std::uint32_t best_of(std::uint32_t vm, int wanted) {
    const auto ram = fleet_.shapes[fleet_.shape[vm]].ram;
    const auto count = free_->count_with(ram);
    auto best = none;
    double best_left = 0;
    for (int tries = 0; count > 0 && wanted > 0 && tries < 64; ++tries) {
      const auto worker = free_->nth_with(ram, static_cast<std::uint32_t>(random_.below(count)));
      if (!may_run(vm, worker)) continue;
      --wanted;
      const auto left = static_cast<double>(free_->cores[worker]) / fleet_.cores +
                        static_cast<double>(free_->ram[worker]) / fleet_.ram;
      if (best == none || left < best_left) best = worker, best_left = left;
    }
    return best;
  }

  // Puts random VMs on the racks that will be drained, until those are as full as the others will be left; then moves others about, at
  // most a twentieth as many, so that what was taken out does not fit back by itself.
  void lift_out() {
    std::vector<bool> all(spec_.workers, true);
    free_.emplace(fleet_, all);
    for (std::uint32_t vm = 0; vm < fleet_.shape.size(); ++vm)
      if (fleet_.worker[vm] != none) free_->change(fleet_.worker[vm], fleet_.shapes[fleet_.shape[vm]], true);
    const auto sources = static_cast<std::uint64_t>(spec_.workers - open_);
    std::vector<std::uint32_t> targets;
    for (std::uint32_t w = 0; w < spec_.workers; ++w)
      if (is_drained_[Fleet::rack(w)]) targets.push_back(w);
    std::uint64_t cores = 0, ram = 0, lifted = 0;
    const auto limit = spec_.use_after * (1 - spec_.drained) * static_cast<double>(sources);
    const auto full = [&] {
      return std::max(static_cast<double>(cores) / fleet_.cores, static_cast<double>(ram) / fleet_.ram) >=
             limit;
    };
    const auto random_vm = [&] { return static_cast<std::uint32_t>(random_.below(fleet_.shape.size())); };
    for (std::uint64_t tries = 0; !full() && tries < 100 * fleet_.shape.size(); ++tries) {
      const auto vm = random_vm();
      if (fleet_.worker[vm] == none || is_drained_[Fleet::rack(fleet_.worker[vm])]) continue;
      const auto target = targets[random_.below(targets.size())];
      const auto from = fleet_.worker[vm];
      remove(vm);
      const bool fits = may_run(vm, target);
      put(vm, fits ? target : from);
      const auto& shape = fleet_.shapes[fleet_.shape[vm]];
      if (fits) cores += shape.cores, ram += shape.ram, ++lifted;
    }
    for (std::uint64_t moved = 0, tries = 0; moved < lifted / 20 && tries < 100 * lifted; ++tries) {
      const auto vm = random_vm();
      if (fleet_.worker[vm] == none || is_drained_[Fleet::rack(fleet_.worker[vm])]) continue;
      const auto from = fleet_.worker[vm];
      remove(vm);
      const auto to = best_of(vm, 1);
      const bool moves = to != none && to != from && !is_drained_[Fleet::rack(to)];
      put(vm, moves ? to : from);
      moved += moves;
    }
  }

  void drop_the_unplaced() {
    std::uint32_t kept = 0;
    for (std::uint32_t vm = 0; vm < fleet_.shape.size(); ++vm) {
      if (fleet_.worker[vm] == none) continue;
      fleet_.shape[kept] = fleet_.shape[vm], fleet_.needs_feature[kept] = fleet_.needs_feature[vm];
      fleet_.group[kept] = fleet_.group[vm], fleet_.worker[kept] = fleet_.worker[vm];
      ++kept;
    }
    fleet_.shape.resize(kept), fleet_.needs_feature.resize(kept), fleet_.group.resize(kept),
        fleet_.worker.resize(kept);
  }
  // How each moves, and whose it is: sizes of tenants by Pareto's law, none above its share; a group is one tenant's.
  void give_the_rest() {
    fleet_.tenants = std::clamp<std::uint32_t>(spec_.workers / 50, 200, 5000);
    std::vector<double> weights(fleet_.tenants);
    for (auto& weight : weights) weight = std::pow(1 - random_.unit(), -1 / 1.16);
    for (int round = 0; round < 50; ++round) {
      const auto most = tenant_share_max * 0.95 * std::accumulate(weights.begin(), weights.end(), 0.0);
      for (auto& weight : weights) weight = std::min(weight, most);
    }
    const Lottery tenants(std::move(weights));
    std::vector<std::uint32_t> of_group(fleet_.groups.size());
    for (auto& tenant : of_group) tenant = tenants.draw(random_);
    const Lottery mechanisms({0.15, 0.60, 0.25});
    for (std::size_t vm = 0; vm < fleet_.shape.size(); ++vm)
      fleet_.mechanism.push_back(static_cast<std::uint8_t>(mechanisms.draw(random_)));
    for (const auto group : fleet_.group)
      fleet_.tenant.push_back(group == none ? tenants.draw(random_) : of_group[group]);
  }

  FleetSpec spec_;
  Random random_;
  Fleet fleet_;
  Lottery drawn_;
  std::vector<std::uint32_t> sizes_;
  std::vector<double> size_weights_;
  double size_mean_ = 0;
  std::vector<bool> is_drained_;  // by rack
  std::optional<Free> free_;
  std::uint32_t open_ = 0;  // workers that take VMs while it fills
  double use_ = 0;
  std::uint64_t used_cores_ = 0, used_ram_ = 0, asked_ = 0, rejects_ = 0;
  std::vector<std::vector<std::uint32_t>> members_;  // by group
};

template <class T>
void add_numbers(Sha256& sum, const std::vector<T>& numbers) {
  Bytes bytes;
  for (const auto number : numbers)
    for (int i = 0; i < 4; ++i)
      bytes.push_back(static_cast<std::byte>(static_cast<std::uint32_t>(number) >> (8 * i)));
  sum.add(bytes);
}

}  // namespace

std::string FleetSpec::name() const {
  constexpr std::string_view letters = "PASW";
  return fmt::format("{}-{}-{}k-p{:.0f}-d{:.0f}-s{}", hardware, letters[static_cast<std::size_t>(policy)],
                     workers / 1000, use_after * 100, drained * 100, seed);
}

double Fleet::empty_pct() const {
  std::vector<bool> is_used(workers());
  for (const auto at : worker) is_used[at] = true;
  return 100.0 * static_cast<double>(std::ranges::count(is_used, false)) / workers();
}

double Fleet::big_ram_pct() const {
  double all = 0, big = 0;
  for (const auto s : shape) {
    all += shapes[s].ram;
    if (shapes[s].ram > ram / 2) big += shapes[s].ram;
  }
  return 100 * big / all;
}

std::string Fleet::sha256() const {
  Sha256 sum;
  add_numbers(sum, std::vector<std::uint32_t>{cores, ram});
  add_numbers(sum, has_feature);
  for (const auto& s : shapes) add_numbers(sum, std::vector<std::uint32_t>{s.cores, s.ram});
  for (const auto& g : groups) add_numbers(sum, std::vector<std::uint32_t>{g.by_rack, g.size});
  add_numbers(sum, shape), add_numbers(sum, needs_feature), add_numbers(sum, group), add_numbers(sum, tenant),
      add_numbers(sum, mechanism);
  add_numbers(sum, worker), add_numbers(sum, drained_racks);
  return sum.hex();
}

Fleet make_fleet(const FleetSpec& spec, const std::string& data) { return Maker(spec, data).make(); }

}  // namespace ebb::bench
