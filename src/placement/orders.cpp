#include "placement/orders.h"

#include <algorithm>

#include "placement/patterns.h"

namespace ebb::placement {
namespace {

// What takes more of a worker than this can be combined with little, and goes before all others.
constexpr double giant_share = 0.25;
// Above every key that is a size.
constexpr double before_all = 1e9;

// Largest key first, equals as they stand.
std::vector<VmIndex> by_key(std::vector<VmIndex> vms, const std::function<double(VmIndex)>& key) {
  struct Keyed {
    double key;
    std::size_t at;
    VmIndex vm;
  };
  std::vector<Keyed> keyed;
  keyed.reserve(vms.size());
  for (const auto vm : vms) keyed.push_back({key(vm), keyed.size(), vm});
  std::ranges::sort(
      keyed, [](const Keyed& a, const Keyed& b) { return a.key != b.key ? a.key > b.key : a.at < b.at; });
  for (std::size_t i = 0; i < vms.size(); ++i) vms[i] = keyed[i].vm;
  return vms;
}

}  // namespace

std::vector<NamedOrder> orders(const FleetNumbers& fleet, const Placer& placer,
                               const std::vector<VmIndex>& vms) {
  const auto share = [&placer](VmIndex vm, std::size_t d) {
    return static_cast<double>(placer.needs(vm)[d]) / std::max(1u, placer.most(d));
  };
  const auto largest_share = [&fleet, share](VmIndex vm) {
    double largest = 0;
    for (std::size_t d = 0; d < fleet.dimensions; ++d) largest = std::max(largest, share(vm, d));
    return largest;
  };
  std::vector<NamedOrder> all;
  const auto add = [&](std::string name, std::function<double(VmIndex)> key) {
    all.push_back({std::move(name), [&vms, key = std::move(key)] { return by_key(vms, key); }});
  };
  add("largest first", [&placer](VmIndex vm) { return placer.size(vm); });
  add("most of the scarcest dimension first",
      [&placer, share](VmIndex vm) { return share(vm, placer.scarcest()); });
  // Those that take little of the scarcest for what else they take fill what giants leave, while there is such room.
  add("giants, then the lopsided first", [&placer, share, largest_share](VmIndex vm) {
    const auto largest = largest_share(vm);
    return largest > giant_share
               ? before_all + largest
               : largest / std::max(1e-9, share(vm, placer.scarcest())) + largest / before_all;
  });
  add("constrained ones first", [&fleet, &placer](VmIndex vm) {
    const bool is_bound = fleet.group_of[vm] != none || placer.shape(vm).features != 0;
    return placer.size(vm) + (is_bound ? before_all : 0);
  });
  all.push_back({"by patterns that fill a worker", [&] {
                   const bool is_worth_it = fit_into_empty(fleet, placer, vms);
                   return is_worth_it ? by_patterns(fleet, vms) : std::vector<VmIndex>();
                 }});
  return all;
}

NamedOrder smallest_first(const Placer& placer, const std::vector<VmIndex>& vms) {
  return {"smallest first", [&] { return by_key(vms, [&placer](VmIndex vm) { return -placer.size(vm); }); }};
}

}  // namespace ebb::placement
