#include <gtest/gtest.h>
#include <queue>

#include "env/scope.h"

namespace ebb {
namespace {

// A loop in virtual time, small enough for these tests; the simulator has its own.
class TestLoop final : public Loop {
 public:
  Instant now() const override { return now_; }
  WallMs wall_now() const override { return to_ms(now_.time_since_epoch()); }
  void post(Callback callback) override { timers_.emplace(std::pair(now_, ++last_id_), std::move(callback)); }
  std::uint64_t call_at(Instant when, Callback callback) override {
    timers_.emplace(std::pair(std::max(when, now_), ++last_id_), std::move(callback));
    return last_id_;
  }
  void cancel(std::uint64_t timer) override {
    std::erase_if(timers_, [&](auto& item) { return item.first.second == timer; });
  }
  Random& random() override { return random_; }
  void run() {
    while (!timers_.empty()) {
      auto first = timers_.begin();
      now_ = first->first.first;
      auto callback = std::move(first->second);
      timers_.erase(first);
      callback();
    }
  }

 private:
  Instant now_{};
  std::uint64_t last_id_ = 0;
  std::map<std::pair<Instant, std::uint64_t>, Callback> timers_;
  Random random_{1};
};

Task<int> add_later(Loop& loop, int a, int b) {
  co_await sleep_for(loop, 10ms);
  co_return a + b;
}

TEST(Task, ValuesComeBackThroughSleeps) {
  TestLoop loop;
  Scope scope(loop);
  int got = 0;
  scope.spawn([](Loop& l, int* out) -> Task<void> {
    *out = co_await add_later(l, 1, co_await add_later(l, 2, 3));
  }(loop, &got));
  loop.run();
  EXPECT_EQ(got, 6);
  EXPECT_EQ(to_ms(loop.now().time_since_epoch()), 20);
}

struct Witness {
  int* ended;
  ~Witness() { ++*ended; }
};

TEST(Scope, DestroyingItDestroysWhatIsSuspendedInIt) {
  TestLoop loop;
  int ended = 0;
  auto scope = std::make_unique<Scope>(loop);
  for (int i = 0; i < 3; ++i) {
    scope->spawn([](Loop& l, int* count) -> Task<void> {
      Witness witness{count};
      co_await sleep_for(l, 1h);
      ADD_FAILURE() << "ran on after its scope ended";
    }(loop, &ended));
  }
  loop.call_at(loop.now() + 1s, [&] { scope.reset(); });
  loop.run();
  EXPECT_EQ(ended, 3);
  EXPECT_EQ(loop.now().time_since_epoch(), 1s) << "the timers of destroyed tasks must be cancelled";
}

TEST(Timeout, TheTaskIsDestroyedWhenTimeIsUp) {
  TestLoop loop;
  Scope scope(loop);
  std::optional<int> slow = 1, fast;
  scope.spawn([](Loop& l, std::optional<int>* s, std::optional<int>* f) -> Task<void> {
    *s = co_await with_timeout(l, add_later(l, 1, 2), 5ms);
    *f = co_await with_timeout(l, add_later(l, 1, 2), 50ms);
  }(loop, &slow, &fast));
  loop.run();
  EXPECT_EQ(slow, std::nullopt);
  EXPECT_EQ(fast, 3);
}

TEST(AsyncMutex, GivesTheLockInOrderAndSkipsTheDead) {
  TestLoop loop;
  AsyncMutex mutex(loop);
  std::string order;
  auto work = [](Loop& l, AsyncMutex& m, std::string* out, char name) -> Task<void> {
    auto guard = co_await m.lock();
    *out += name;
    co_await sleep_for(l, 10ms);
  };
  Scope scope(loop);
  auto doomed = std::make_unique<Scope>(loop);
  scope.spawn(work(loop, mutex, &order, 'a'));
  doomed->spawn(work(loop, mutex, &order, 'b'));
  scope.spawn(work(loop, mutex, &order, 'c'));
  loop.call_at(loop.now() + 5ms, [&] { doomed.reset(); });
  loop.run();
  EXPECT_EQ(order, "ac");
}

TEST(Notify, WakesAllOrTimesOut) {
  TestLoop loop;
  Notify notify(loop);
  Scope scope(loop);
  int woken = 0, timed_out = 0;
  auto wait = [](Notify& n, int* yes, int* no, Duration limit) -> Task<void> {
    ++*(co_await n.wait_for(limit) ? yes : no);
  };
  scope.spawn(wait(notify, &woken, &timed_out, 1s));
  scope.spawn(wait(notify, &woken, &timed_out, 1ms));
  loop.call_at(loop.now() + 10ms, [&] { notify.notify_all(); });
  loop.run();
  EXPECT_EQ(woken, 1);
  EXPECT_EQ(timed_out, 1);
}

}  // namespace
}  // namespace ebb
