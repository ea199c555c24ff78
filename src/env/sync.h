// What coroutines of one loop wait on. Every awaitable unregisters itself when its frame is destroyed while
// waiting.
#pragma once
#include <deque>
#include <functional>
#include <memory>
#include <optional>

#include "env/loop.h"
#include "env/task.h"

namespace ebb {

// OneShot<T>: a value that arrives once, from a callback. The bridge from callbacks to Task; all of env is
// built on it.
//
//   OneShot<int> shot(loop);
//   start_something([done = shot.completer()](int v) { done(v); });   // from the loop's thread
//   int v = co_await shot;
//
// The waiter is resumed from the loop, never from inside the completing callback. A completer outlives its
// OneShot harmlessly; only its first call counts.
template <class T>
class OneShot {
  struct State {
    Loop& loop;
    std::optional<T> value;
    std::coroutine_handle<> waiter;
  };

 public:
  explicit OneShot(Loop& loop) : state_(std::make_shared<State>(State{loop, std::nullopt, {}})) {}
  OneShot(const OneShot&) = delete;
  ~OneShot() { state_->waiter = {}; }

  // Copyable; call it on the loop's thread.
  auto completer() const {
    return [state = state_](T value) {
      if (state->value) return;
      state->value.emplace(std::move(value));
      state->loop.post([state] {
        if (auto waiter = std::exchange(state->waiter, {})) waiter.resume();
      });
    };
  }

  bool await_ready() const noexcept { return state_->value.has_value(); }
  void await_suspend(std::coroutine_handle<> h) noexcept { state_->waiter = h; }
  T await_resume() { return std::move(*state_->value); }

 private:
  std::shared_ptr<State> state_;
};

// Notify: "something changed, look again". Each waiter of wait() is woken by the next notify_all(); nothing
// is counted.
class Notify {
 public:
  explicit Notify(Loop& loop) : loop_(loop) {}
  Notify(const Notify&) = delete;
  void notify_all();
  Task<void> wait();
  // False when `limit` passed without a notification.
  Task<bool> wait_for(Duration limit);

 private:
  Loop& loop_;
  std::vector<std::function<void(bool)>> waiters_;
};

// Poke: like Notify for a single waiting loop, but remembers one poke that came while it was busy.
class Poke {
 public:
  explicit Poke(Loop& loop) : notify_(loop) {}
  void poke() { poked_ = true, notify_.notify_all(); }
  // Ends at once if poked since the last wait; else at the next poke, or after `limit`.
  Task<void> wait_for(Duration limit);

 private:
  Notify notify_;
  bool poked_ = false;
};

// A first-come first-served lock for coroutines. co_await lock() gives a Guard; its destructor unlocks.
class AsyncMutex {
  struct State {
    Loop* loop;
    bool locked = false;
    std::deque<std::function<bool()>> waiters;  // returns false if that waiter is gone
  };

 public:
  class [[nodiscard]] Guard {
   public:
    Guard() = default;
    explicit Guard(std::shared_ptr<State> state) : state_(std::move(state)) {}
    Guard(Guard&&) noexcept = default;
    Guard& operator=(Guard&& other) noexcept {
      release();
      state_ = std::move(other.state_);
      return *this;
    }
    ~Guard() { release(); }
    void release();

   private:
    std::shared_ptr<State> state_;
  };

  explicit AsyncMutex(Loop& loop) : state_(std::make_shared<State>()) { state_->loop = &loop; }
  Task<Guard> lock();

 private:
  std::shared_ptr<State> state_;
};

}  // namespace ebb
