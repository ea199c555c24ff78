// Time as plain numbers: durations in nanoseconds, two clocks that must not be mixed.
#pragma once
#include <chrono>
#include <cstdint>

namespace ebb {

using Duration = std::chrono::nanoseconds;
using namespace std::chrono_literals;

// CLOCK_BOOTTIME: runs through suspend, never set back; for time-outs and leases.
struct BootClock {
  using duration = Duration;
  using rep = Duration::rep;
  using period = Duration::period;
  using time_point = std::chrono::time_point<BootClock>;
  static constexpr bool is_steady = true;
};
using Instant = BootClock::time_point;

// Wall clock, in milliseconds since 1970 (UTC); for people and records, never for decisions about safety.
using WallMs = std::int64_t;

inline double to_seconds(Duration d) { return std::chrono::duration<double>(d).count(); }
inline std::int64_t to_ms(Duration d) {
  return std::chrono::duration_cast<std::chrono::milliseconds>(d).count();
}

}  // namespace ebb
