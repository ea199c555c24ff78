// Room that moves wait for.
#pragma once
#include <set>

#include "model/fleet_types.h"

namespace ebb {

// What moves to one worker need beyond what others leave there for them, whoever comes first: each begins only when those that it
// waits for have left.
class RoomAhead final {
 public:
  // Of a VM that leaves, before the move that waits for it; counts once.
  void make(const VmId& vm, const Resources& room);
  void take(const Resources& needs);
  // At the worst moment.
  Resources most() const {
    return {static_cast<std::uint64_t>(most_cpu_), static_cast<std::uint64_t>(most_memory_)};
  }

 private:
  std::set<VmId> made_;
  std::int64_t cpu_ = 0, memory_ = 0, most_cpu_ = 0, most_memory_ = 0;
};

}  // namespace ebb
