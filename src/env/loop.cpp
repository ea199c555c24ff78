#include "env/loop.h"

#include "env/sync.h"

namespace ebb {
namespace {
struct TimerGuard {
  Loop& loop;
  std::uint64_t timer;
  ~TimerGuard() { loop.cancel(timer); }
};
}  // namespace

Task<void> sleep_until(Loop& loop, Instant when) {
  OneShot<bool> shot(loop);
  TimerGuard guard{loop, loop.call_at(when, [done = shot.completer()] { done(true); })};
  co_await shot;
}

Task<void> sleep_for(Loop& loop, Duration duration) { return sleep_until(loop, loop.now() + duration); }

}  // namespace ebb
