#include "control/loops/candidates.h"

#include <fmt/ranges.h>

namespace ebb::control {
namespace {

std::string refusal(const Fleet& fleet, const Seen& seen, const WorkerId& id) {
  std::vector<std::string> reasons;
  for (const auto* hold : fleet.holds_on(id)) {
    reasons.push_back(hold->reason.empty() ? fmt::format("held by {}", hold->owner)
                                           : fmt::format("held by {} ({})", hold->owner, hold->reason));
  }
  if (!seen.is_ready(id)) reasons.push_back("does not answer");
  return fmt::format("{}", fmt::join(reasons, ", "));
}

}  // namespace

std::vector<placement::Candidate> candidates(const Fleet& fleet, const Seen& seen) {
  std::vector<placement::Candidate> all;
  for (const auto& [id, worker] : fleet.workers()) {
    all.push_back({id, worker.capacity, fleet.used_on(id), worker.pools, refusal(fleet, seen, id)});
  }
  return all;
}

placement::Request request_for(const Fleet& fleet, const Vm& vm, std::map<WorkerId, std::string> excluded) {
  std::set<PoolId> pools;
  if (const auto* image = fleet.find(vm.spec.image)) pools.insert(image->pool);
  if (const auto* disk = vm.disk ? fleet.find(*vm.disk) : nullptr) pools.insert(disk->pool);
  return {vm.id, footprint(vm.spec), {pools.begin(), pools.end()}, std::move(excluded)};
}

}  // namespace ebb::control
