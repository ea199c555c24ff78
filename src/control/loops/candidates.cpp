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

// Machines that still run here, of VMs that went on elsewhere: this worker was declared dead, is back, and has
// not been rid of them yet. No record counts them.
Resources left_over(const Fleet& fleet, const Seen& seen, const WorkerId& id) {
  Resources taken;
  const auto* at = seen.find(id);
  if (!at) return taken;
  for (const auto& [name, said] : at->vms) {
    const auto* vm = said.machine ? fleet.find(name) : nullptr;
    if (!vm || vm->worker == id) continue;
    const auto* m = fleet.open_migration_of(name);
    if (m && (m->source == id || m->target == id)) continue;
    taken += footprint(vm->spec);
  }
  return taken;
}

}  // namespace

std::vector<placement::Candidate> candidates(const Fleet& fleet, const Seen& seen) {
  std::vector<placement::Candidate> all;
  for (const auto& [id, worker] : fleet.workers()) {
    auto used = fleet.used_on(id);
    used += left_over(fleet, seen, id);
    all.push_back({id, worker.capacity, used, worker.pools,
                   worker.networks.value_or(std::vector<NetworkId>()), refusal(fleet, seen, id)});
  }
  return all;
}

bool lacks(const Worker& worker, Firmware firmware) {
  return worker.firmware && std::ranges::find(*worker.firmware, firmware) == worker.firmware->end();
}

std::optional<Firmware> firmware_of(const Fleet& fleet, const Vm& vm) {
  const auto* image = fleet.find(vm.spec.image);
  return image ? image->firmware : std::nullopt;
}

placement::Request needs_of(const Fleet& fleet, const Vm& vm) {
  std::set<PoolId> pools;
  if (const auto* image = fleet.find(vm.spec.image)) pools.insert(image->pool);
  for (const auto* disk : fleet.disks_of(vm)) pools.insert(disk->pool);
  std::vector<NetworkId> networks;
  for (const auto& interface : vm.interfaces.value_or(std::vector<NetworkInterface>()))
    networks.push_back(interface.network);
  return {vm.id, footprint(vm.spec), {pools.begin(), pools.end()}, std::move(networks), {}};
}

placement::Request request_for(const Fleet& fleet, const Vm& vm, std::map<WorkerId, std::string> excluded) {
  auto request = needs_of(fleet, vm);
  request.excluded = std::move(excluded);
  if (const auto firmware = firmware_of(fleet, vm)) {
    for (const auto& [id, worker] : fleet.workers())
      if (lacks(worker, *firmware))
        request.excluded.emplace(id, fmt::format("has no firmware '{}'", json::name_of(*firmware)));
  }
  return request;
}

}  // namespace ebb::control
