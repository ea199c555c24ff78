#include "model/room_ahead.h"

namespace ebb {

void RoomAhead::make(const VmId& vm, const Resources& room) {
  if (!made_.insert(vm).second) return;
  cpu_ -= static_cast<std::int64_t>(room.cpu_millis), memory_ -= static_cast<std::int64_t>(room.memory_bytes);
}

void RoomAhead::take(const Resources& needs) {
  cpu_ += static_cast<std::int64_t>(needs.cpu_millis),
      memory_ += static_cast<std::int64_t>(needs.memory_bytes);
  most_cpu_ = std::max(most_cpu_, cpu_), most_memory_ = std::max(most_memory_, memory_);
}

}  // namespace ebb
