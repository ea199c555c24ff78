#include "agent/capacity.h"

#include "base/bytes.h"

namespace ebb::agent {

std::uint64_t host_reserve(std::uint64_t memory_bytes) {
  return std::min(std::max<std::uint64_t>(GiB, memory_bytes / 10), memory_bytes / 2);
}

Resources capacity_for_vms(const HostSize& host, const WantedCapacity& wanted) {
  const auto left = host.memory_bytes - host_reserve(host.memory_bytes);
  return {wanted.cpus.value_or(host.cpus) * 1000ull, std::min(wanted.memory_bytes.value_or(left), left)};
}

}  // namespace ebb::agent
