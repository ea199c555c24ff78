#include "control/loops/numbers.h"

namespace ebb::control {
namespace {

using placement::Amount;
using placement::Amounts;
using placement::Features;
using placement::none;
using placement::WorkerIndex;

template <class... Fs>
struct Overloaded : Fs... {
  using Fs::operator()...;
};

constexpr std::uint64_t mib = 1024 * 1024;

// What is needed is rounded up, what there is down.
Amounts needed(const Resources& r) {
  return {static_cast<Amount>(r.cpu_millis), static_cast<Amount>((r.memory_bytes + mib - 1) / mib)};
}
Amounts offered(const Resources& r) {
  return {static_cast<Amount>(r.cpu_millis), static_cast<Amount>(r.memory_bytes / mib)};
}

placement::Group rules_of(const Group& group) {
  placement::Group rules;
  for (const auto& apart : group.apart)
    rules.apart[static_cast<std::size_t>(apart.level)] =
        static_cast<std::uint16_t>(std::min<std::uint32_t>(apart.most, 0xffff));
  if (group.together) rules.together = static_cast<std::uint8_t>(static_cast<int>(*group.together) + 1);
  return rules;
}

}  // namespace

Numbers::Numbers(const Fleet& fleet, const std::vector<placement::Candidate>& workers,
                 const std::vector<WorkerId>& sources)
    : fleet_(fleet), workers_(workers), named_on_(workers.size()), is_source_(workers.size()) {
  for (const auto& source : sources)
    if (const auto at = index_of(source); at != none) sources_.push_back(at);
  for (const auto source : sources_) is_source_[source] = true;
}

WorkerIndex Numbers::index_of(const WorkerId& id) const {
  const auto at = std::ranges::lower_bound(workers_, id, {}, [](const auto& c) { return c.worker->id; });
  return at != workers_.end() && at->worker->id == id ? static_cast<WorkerIndex>(at - workers_.begin())
                                                      : none;
}

std::vector<Numbers::Offer> Numbers::offers_needed(const placement::Request& request) {
  std::vector<Offer> all;
  for (const auto& pool : request.pools) all.emplace_back(pool);
  for (const auto& network : request.networks) all.emplace_back(network);
  if (request.firmware) all.emplace_back(*request.firmware);
  for (const auto& [key, value] : request.labels) all.emplace_back(Label{key, value});
  for (const auto& feature : request.cpu_features) all.emplace_back(CpuFeature{feature});
  return all;
}

bool Numbers::has(const Worker& worker, const Offer& offer) {
  return std::visit(
      Overloaded{
          [&](const PoolId& pool) { return std::ranges::find(worker.pools, pool) != worker.pools.end(); },
          [&](const NetworkId& network) { return placement::has_network(worker, network); },
          [&](Firmware firmware) { return placement::has_firmware(worker, firmware); },
          [&](const Label& label) { return has_labels(worker.labels, {{label.key, label.value}}); },
          [&](const CpuFeature& feature) { return placement::has_cpu_feature(worker, feature.name); }},
      offer);
}

std::optional<Features> Numbers::bits_of(const std::vector<Offer>& offers) {
  Features all = 0;
  for (const auto& offer : offers) {
    auto found = bits_.find(offer);
    if (found == bits_.end() && bits_.size() == 64) return std::nullopt;
    if (found == bits_.end()) found = bits_.emplace(offer, static_cast<unsigned>(bits_.size())).first;
    all |= Features{1} << found->second;
  }
  return all;
}

Features Numbers::offered_by(const Worker& worker) const {
  Features all = 0;
  for (const auto& [offer, bit] : bits_)
    if (has(worker, offer)) all |= Features{1} << bit;
  return all;
}

placement::VmIndex Numbers::add_vm(const placement::Shape& shape, std::uint32_t group, WorkerIndex at) {
  numbers_.shape_of.push_back(shapes_.of(numbers_.shapes, {shape.needs, shape.features}, shape));
  numbers_.group_of.push_back(group);
  numbers_.worker_of.push_back(at);
  return static_cast<placement::VmIndex>(numbers_.vms() - 1);
}

std::uint32_t Numbers::group_of(const Vm& vm) {
  const auto* group = vm.spec.group ? fleet_.find(*vm.spec.group) : nullptr;
  return group ? groups_.of(numbers_.groups, group->id, rules_of(*group)) : none;
}

bool Numbers::add(const placement::Request& request, const Vm& vm) {
  const auto features = bits_of(offers_needed(request));
  if (!features) return false;
  add_vm({needed(request.needs), *features}, group_of(vm), index_of(*vm.worker));
  names_.push_back(vm.id), named_.insert(vm.id);
  return true;
}

bool Numbers::add_leaving(const placement::Request& request, const Vm& vm) { return add(request, vm); }

void Numbers::add_movable(const placement::Request& request, const Vm& vm) {
  if (!add(request, vm)) return;
  auto& taken = named_on_[index_of(*vm.worker)];
  const auto needs = needed(request.needs);
  for (std::size_t d = 0; d < numbers_.dimensions; ++d) taken[d] += needs[d];
}

void Numbers::finish() {
  add_workers();
  if (numbers_.groups.empty()) return;
  add_domains();
  add_rest_of_groups();
}

void Numbers::add_domains() {
  numbers_.domains.resize(domain_levels - 1);
  std::array<std::map<std::string, placement::DomainIndex>, domain_levels> known;
  for (const auto& candidate : workers_) {
    const auto stands_in = domains_of(*candidate.worker);
    for (std::size_t level = 1; level < domain_levels; ++level) {
      auto& domains = known[level];
      const auto next = static_cast<placement::DomainIndex>(domains.size());
      numbers_.domains[level - 1].push_back(domains.try_emplace(stands_in[level], next).first->second);
    }
  }
}

void Numbers::add_workers() {
  for (WorkerIndex i = 0; i < workers_.size(); ++i) {
    const auto& worker = *workers_[i].worker;
    const auto capacity = offered(worker.capacity);
    const placement::WorkerKind kind{capacity, offered_by(worker)};
    numbers_.kind_of.push_back(kinds_.of(numbers_.kinds, {kind.capacity, kind.features}, kind));
    numbers_.is_closed.push_back(!workers_[i].refusal.empty());
    auto used = needed(workers_[i].used);
    for (std::size_t d = 0; d < numbers_.dimensions; ++d) {
      used[d] -= std::min(used[d], named_on_[i][d]);
      used[d] = std::min(used[d], capacity[d]);
    }
    // What stays on a source is in nobody's way.
    if (!is_source_[i] && used != Amounts{}) add_vm({used, 0}, none, i);
  }
}

// They take nothing: their workers have counted them. One that moves stands at both ends.
void Numbers::add_rest_of_groups() {
  for (const auto& [id, group] : groups_.index()) {
    for (const auto& member : fleet_.vms_in(id)) {
      if (named_.contains(member)) continue;
      const auto& vm = fleet_.at(member);
      std::set<WorkerIndex> ends;
      if (vm.worker) ends.insert(index_of(*vm.worker));
      if (const auto* m = fleet_.open_migration_of(member))
        ends.insert({index_of(m->source), index_of(m->target)});
      for (const auto at : ends)
        if (at != none) add_vm({}, group, at);
    }
  }
}

placement::Placer Numbers::placer() const {
  placement::Placer placer(numbers_);
  for (WorkerIndex i = 0; i < workers_.size(); ++i)
    if (fleet_.is_emptied(workers_[i].worker->id)) placer.set_leaving(i, true);
  return placer;
}

}  // namespace ebb::control
