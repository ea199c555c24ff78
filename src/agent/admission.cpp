#include "agent/admission.h"

#include "base/text.h"

namespace ebb::agent {

Status admit(const WantedVm& wish, const Resources& used, const Resources& capacity) {
  auto needed = footprint(wish);
  auto free = capacity.minus(used);
  if (needed.memory_bytes > free.memory_bytes) {
    return fail(Code::busy, "no room: VM '{}' needs {} of memory (QEMU's own included), {} of {} are free",
                wish.vm, format_size(needed.memory_bytes), format_size(free.memory_bytes),
                format_size(capacity.memory_bytes));
  }
  if (needed.cpu_millis > free.cpu_millis) {
    return fail(Code::busy, "no room: VM '{}' needs {} cores, {} of {} are free", wish.vm,
                static_cast<double>(needed.cpu_millis) / 1000, static_cast<double>(free.cpu_millis) / 1000,
                static_cast<double>(capacity.cpu_millis) / 1000);
  }
  return {};
}

}  // namespace ebb::agent
