// The agent's last word on what fits this worker: the placer may have decided from old news.
#pragma once
#include "base/result.h"
#include "model/agent_types.h"

namespace ebb::agent {

inline Resources footprint(const WantedVm& wish) {
  return {wish.cpus * 1000ull, wish.memory_bytes + machine_overhead_bytes};
}

// busy, with what is missing, if `wish` does not fit beside what is `used`.
Status admit(const WantedVm& wish, const Resources& used, const Resources& capacity);

}  // namespace ebb::agent
