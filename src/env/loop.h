// The event loop as production code sees it: time, timers, and "run this soon". One loop owns a piece of
// state; nothing here may be called from another thread, except Loop::post.
#pragma once
#include <functional>
#include <memory>

#include "base/random.h"
#include "base/time.h"
#include "env/task.h"

namespace ebb {

using Callback = std::move_only_function<void()>;

class Loop {
 public:
  virtual ~Loop() = default;
  virtual Instant now() const = 0;      // CLOCK_BOOTTIME, or virtual time
  virtual WallMs wall_now() const = 0;  // for people and records only
  // Runs `callback` from the loop, after those already posted. Safe from any thread.
  virtual void post(Callback callback) = 0;
  // Runs `callback` at `when` (soon, if that is past), unless cancelled. Ids are never reused.
  virtual std::uint64_t call_at(Instant when, Callback callback) = 0;
  virtual void cancel(std::uint64_t timer) = 0;
  // Randomness for ids, jitter and nonces. Seeded in the simulator, by the kernel elsewhere.
  virtual Random& random() = 0;
};

// Ends after `duration`; destroying the task cancels the timer.
Task<void> sleep_for(Loop& loop, Duration duration);
Task<void> sleep_until(Loop& loop, Instant when);

}  // namespace ebb
