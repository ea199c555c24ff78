// CHECK(condition): stays on in production, and is for our own mistakes only, never for input or I/O.
#pragma once

namespace ebb {
// Prints where and what, then aborts.
[[noreturn]] void check_failed(const char* file, int line, const char* condition);
}  // namespace ebb

#define CHECK(...) \
  (static_cast<bool>(__VA_ARGS__) ? void(0) : ::ebb::check_failed(__FILE__, __LINE__, #__VA_ARGS__))
