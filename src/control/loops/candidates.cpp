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
  const auto& owned = fleet.vms_owned_by(id);  // in the order of those that it tells of
  auto own = owned.begin();
  for (const auto& [name, said] : at->vms) {
    while (own != owned.end() && *own < name) ++own;
    const bool is_owned = own != owned.end() && *own == name;
    const auto* vm = said.machine && !is_owned ? fleet.find(name) : nullptr;
    if (!vm) continue;
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
    all.push_back({&worker, used, refusal(fleet, seen, id)});
  }
  return all;
}

std::vector<placement::Stand> stands_of(const Fleet& fleet, const GroupId& group,
                                        const std::vector<WorkerId>& sources) {
  std::vector<placement::Stand> stands;
  const auto add = [&](const VmId& vm, const WorkerId& at, bool is_leaving) {
    if (const auto* worker = fleet.find(at)) stands.push_back({vm, domains_of(*worker), is_leaving});
  };
  const auto is_emptied = [&](const WorkerId& worker) {
    return std::ranges::binary_search(sources, worker) || fleet.is_emptied(worker);
  };
  for (const auto& id : fleet.vms_in(group)) {
    if (const auto* m = fleet.open_migration_of(id))
      add(id, m->source, true), add(id, m->target, is_emptied(m->target));
    else if (const auto& vm = fleet.at(id); vm.worker)
      add(id, *vm.worker, is_emptied(*vm.worker));
  }
  return stands;
}

placement::Request needs_of(const Fleet& fleet, const Vm& vm) {
  std::set<PoolId> pools;
  const auto* image = fleet.find(vm.spec.image);
  if (image) pools.insert(image->pool);
  for (const auto* disk : fleet.disks_of(vm)) pools.insert(disk->pool);
  std::vector<NetworkId> networks;
  for (const auto& interface : vm.interfaces.value_or(std::vector<NetworkInterface>()))
    networks.push_back(interface.network);
  return {.vm = vm.id,
          .needs = footprint(vm.spec),
          .pools = {pools.begin(), pools.end()},
          .networks = std::move(networks),
          .firmware = image ? image->firmware : std::nullopt,
          .labels = vm.spec.worker_labels.value_or(Labels()),
          .cpu_features = vm.spec.cpu_features.value_or(std::vector<std::string>())};
}

placement::Request request_for(const Fleet& fleet, const Vm& vm, std::map<WorkerId, std::string> excluded) {
  auto request = needs_of(fleet, vm);
  request.excluded = std::move(excluded);
  request.group = vm.spec.group ? fleet.find(*vm.spec.group) : nullptr;
  if (request.group) request.stands = stands_of(fleet, *vm.spec.group);
  return request;
}

}  // namespace ebb::control
