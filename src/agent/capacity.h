// What a worker may give to VMs: the rest of the machine is for the kernel, the disk daemon and its cache.
#pragma once
#include <optional>

#include "model/fleet_types.h"

namespace ebb::agent {

struct HostSize {
  std::uint32_t cpus = 0;
  std::uint64_t memory_bytes = 0;
};
// What the configuration says; absent: nothing.
struct WantedCapacity {
  std::optional<std::uint32_t> cpus;
  std::optional<std::uint64_t> memory_bytes;
};

// 1 GiB or a tenth, whichever is more; of a small machine half.
std::uint64_t host_reserve(std::uint64_t memory_bytes);

// As configured, and never what the host keeps for itself. Cores may be promised twice, memory may not.
Resources capacity_for_vms(const HostSize& host, const WantedCapacity& wanted);

}  // namespace ebb::agent
