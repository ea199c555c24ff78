#include "control/loops/targets.h"

#include "control/loops/candidates.h"
#include "placement/evacuation.h"

namespace ebb::control {
namespace {

using placement::Amounts;
using placement::Features;
using placement::none;

constexpr std::uint64_t mib = 1024 * 1024;

// What is needed is rounded up, what there is down.
Amounts needed(const Resources& r) {
  return {static_cast<placement::Amount>(r.cpu_millis),
          static_cast<placement::Amount>((r.memory_bytes + mib - 1) / mib)};
}
Amounts offered(const Resources& r) {
  return {static_cast<placement::Amount>(r.cpu_millis), static_cast<placement::Amount>(r.memory_bytes / mib)};
}

// A bit for each thing that one of the VMs needs of its worker.
class FeatureBits {
 public:
  // nullopt: more kinds than there are bits.
  std::optional<Features> of(const placement::Request& request, std::optional<Firmware> firmware) {
    Features all = 0;
    if (firmware && !add(firmware_, *firmware, all)) return std::nullopt;
    for (const auto& pool : request.pools)
      if (!add(pools_, pool, all)) return std::nullopt;
    for (const auto& network : request.networks)
      if (!add(networks_, network, all)) return std::nullopt;
    return all;
  }
  Features of(const placement::Candidate& candidate, const Worker& worker) const {
    Features all = 0;
    for (const auto& pool : candidate.pools) all |= bit(pools_, pool);
    for (const auto& network : candidate.networks) all |= bit(networks_, network);
    for (const auto& [firmware, at] : firmware_)
      if (!lacks(worker, firmware)) all |= Features{1} << at;
    return all;
  }

 private:
  template <class Id>
  using Bits = std::map<Id, unsigned>;
  template <class Id>
  bool add(Bits<Id>& bits, const Id& id, Features& all) {
    auto found = bits.find(id);
    if (found == bits.end() && used_ == 64) return false;
    if (found == bits.end()) found = bits.emplace(id, used_++).first;
    all |= Features{1} << found->second;
    return true;
  }
  template <class Id>
  static Features bit(const Bits<Id>& bits, const Id& id) {
    auto found = bits.find(id);
    return found == bits.end() ? 0 : Features{1} << found->second;
  }

  Bits<PoolId> pools_;
  Bits<NetworkId> networks_;
  Bits<Firmware> firmware_;
  unsigned used_ = 0;
};

// The fleet in numbers: the VMs that leave come first; what else a worker has is one more VM, which stays.
class Numbers {
 public:
  Numbers(const std::vector<placement::Candidate>& workers, const std::vector<WorkerId>& sources) {
    for (const auto& source : sources) {
      const auto at = std::ranges::lower_bound(workers, source, {}, &placement::Candidate::worker);
      if (at != workers.end() && at->worker == source)
        sources_.push_back(static_cast<placement::WorkerIndex>(at - workers.begin()));
    }
    is_source_.resize(workers.size());
    for (const auto source : sources_) is_source_[source] = true;
  }
  void add_leaving(const Resources& needs, Features features, const WorkerId& at,
                   const std::vector<placement::Candidate>& workers) {
    const auto found = std::ranges::lower_bound(workers, at, {}, &placement::Candidate::worker);
    add_vm({needed(needs), features}, static_cast<placement::WorkerIndex>(found - workers.begin()));
  }
  void add_workers(const Fleet& fleet, const std::vector<placement::Candidate>& workers,
                   const FeatureBits& bits) {
    for (placement::WorkerIndex i = 0; i < workers.size(); ++i) {
      const auto& worker = workers[i];
      const auto capacity = offered(worker.capacity);
      fleet_.kind_of.push_back(
          kinds_.of(fleet_.kinds, {capacity, bits.of(worker, fleet.workers().at(worker.worker))}));
      fleet_.is_closed.push_back(!worker.refusal.empty());
      auto used = needed(worker.used);
      for (std::size_t d = 0; d < fleet_.dimensions; ++d) used[d] = std::min(used[d], capacity[d]);
      // What stays on a source is in nobody's way.
      if (!is_source_[i] && used != Amounts{}) add_vm({used, 0}, i);
    }
  }
  const placement::FleetNumbers& fleet() const { return fleet_; }
  const std::vector<placement::WorkerIndex>& sources() const { return sources_; }

 private:
  // Values by their index, each once.
  template <class T>
  class Distinct {
   public:
    std::uint32_t of(std::vector<T>& all, const T& value) {
      auto [at, is_new] = index_.try_emplace(key_of(value), static_cast<std::uint32_t>(all.size()));
      if (is_new) all.push_back(value);
      return at->second;
    }

   private:
    static std::pair<Amounts, Features> key_of(const placement::WorkerKind& kind) {
      return {kind.capacity, kind.features};
    }
    static std::pair<Amounts, Features> key_of(const placement::Shape& shape) {
      return {shape.needs, shape.features};
    }
    std::map<std::pair<Amounts, Features>, std::uint32_t> index_;
  };

  void add_vm(const placement::Shape& shape, placement::WorkerIndex at) {
    fleet_.shape_of.push_back(shapes_.of(fleet_.shapes, shape));
    fleet_.group_of.push_back(none);
    fleet_.worker_of.push_back(at);
  }

  placement::FleetNumbers fleet_;
  Distinct<placement::WorkerKind> kinds_;
  Distinct<placement::Shape> shapes_;
  std::vector<placement::WorkerIndex> sources_;
  std::vector<bool> is_source_;
};

// No target should need longer for what comes than the slowest source for what goes.
double longest_source_seconds(const Fleet& fleet, const std::vector<Leaving>& leaving,
                              std::uint32_t parallel_max) {
  std::map<WorkerId, double> seconds;
  double longest = 0;
  for (const auto& one : leaving) {
    auto& at = seconds[*fleet.vms().at(one.vm).worker];
    at += one.seconds;
    longest = std::max({longest, at / std::max(1u, parallel_max), static_cast<double>(one.seconds)});
  }
  return longest;
}

// Why nothing takes a VM is told of so many: each answer looks at every worker.
constexpr std::size_t explained_max = 100;

}  // namespace

std::vector<drain::Placed> choose_targets(const Fleet& fleet, const Seen& seen,
                                          const std::vector<WorkerId>& sources, std::vector<Leaving> leaving,
                                          std::uint32_t parallel_max) {
  if (leaving.empty()) return {};
  auto workers = candidates(fleet, seen);
  Numbers numbers(workers, sources);
  FeatureBits bits;
  std::vector<const Leaving*> in_numbers;
  std::vector<placement::Request> by_name;  // what numbers do not say
  std::vector<float> seconds;
  for (auto& one : leaving) {
    const auto& vm = fleet.vms().at(one.vm);
    const auto needs = needs_of(fleet, vm);
    const auto features = one.excluded.empty() ? bits.of(needs, firmware_of(fleet, vm)) : std::nullopt;
    if (features) {
      numbers.add_leaving(needs.needs, *features, *vm.worker, workers);
      in_numbers.push_back(&one), seconds.push_back(static_cast<float>(one.seconds));
    } else {
      by_name.push_back(request_for(fleet, vm, one.excluded));
    }
  }
  numbers.add_workers(fleet, workers, bits);
  seconds.resize(numbers.fleet().vms());

  placement::Placer placer(numbers.fleet());
  placement::EvacuationOptions options;
  options.eject_depth = 0;  // a move whose target has to be emptied first has no record yet
  options.seconds = seconds;
  options.arrival_seconds_max = longest_source_seconds(fleet, leaving, parallel_max);
  const auto found = placement::evacuate(numbers.fleet(), &placer, numbers.sources(), options);

  std::vector<drain::Placed> placed;
  for (const auto& move : found.moves) {
    auto& target = workers[move.to];
    const auto& vm = fleet.vms().at(in_numbers[move.vm]->vm);
    target.used += footprint(vm.spec);
    placed.push_back({vm.id, target.worker, {}});
  }
  std::vector<VmId> untold;
  for (std::size_t i = 0; i < found.unplaced.size(); ++i) {
    const auto& id = in_numbers[found.unplaced[i]]->vm;
    if (i < explained_max)
      by_name.push_back(request_for(fleet, fleet.vms().at(id), {}));
    else
      untold.push_back(id);
  }
  // The drained workers themselves are no candidates, and need no line among the refusals.
  std::erase_if(workers, [&](const auto& c) { return std::ranges::binary_search(sources, c.worker); });
  for (auto& choice : placement::place(std::move(workers), std::move(by_name)))
    placed.push_back({choice.vm, choice.worker, placement::describe(choice.refusals)});
  for (auto& vm : untold)
    placed.push_back({std::move(vm), std::nullopt,
                      fmt::format("no room is left, as for the {} that are told of", explained_max)});
  return placed;
}

}  // namespace ebb::control
