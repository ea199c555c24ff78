#include "env/sync.h"

#include <bit>

namespace ebb {

namespace {

// One that may have given up waiting.
struct Waiter {
  std::weak_ptr<bool> here;
  std::function<void(bool)> done;
  void operator()(bool value) const { done(value); }
};

}  // namespace

void Notify::notify_all() {
  for (auto& waiter : std::exchange(waiters_, {})) waiter(true);
}

Task<void> Notify::wait() {
  OneShot<bool> shot(loop_);
  waiters_.push_back(shot.completer());
  co_await shot;
}

Task<bool> Notify::wait_for(Duration limit) {
  // Those who gave up are forgotten now and then, also if there is never anything to notify of.
  constexpr std::size_t few = 16;
  if (waiters_.size() >= few && std::has_single_bit(waiters_.size())) {
    std::erase_if(waiters_, [](const auto& waiter) {
      const auto* known = waiter.template target<Waiter>();
      return known && known->here.expired();
    });
  }
  OneShot<bool> shot(loop_);
  auto done = shot.completer();
  auto here = std::make_shared<bool>(true);
  waiters_.push_back(Waiter{here, done});
  struct Timer {
    Loop& loop;
    std::uint64_t id;
    ~Timer() { loop.cancel(id); }
  } timer{loop_, loop_.call_at(loop_.now() + limit, [done] { done(false); })};
  co_return co_await shot;
}

Task<void> Poke::wait_for(Duration limit) {
  if (!poked_) co_await notify_.wait_for(limit);
  poked_ = false;
}

Task<AsyncMutex::Guard> AsyncMutex::lock() {
  auto state = state_;
  if (!state->locked) {
    state->locked = true;
    co_return Guard(state);
  }
  // The guard travels with the wake-up, so that a waiter destroyed in between hands the lock on.
  auto slot = std::make_shared<Guard>();
  auto here = std::make_shared<bool>(true);
  struct Leave {
    std::shared_ptr<bool> here;
    ~Leave() { *here = false; }
  } leave{here};
  OneShot<bool> shot(*state->loop);
  state->waiters.push_back([done = shot.completer(), weak = std::weak_ptr(slot), here, state] {
    auto target = weak.lock();
    if (!*here || !target) return false;
    *target = Guard(state);
    done(true);
    return true;
  });
  co_await shot;
  co_return std::move(*slot);
}

void AsyncMutex::Guard::release() {
  auto state = std::exchange(state_, nullptr);
  if (!state) return;
  while (!state->waiters.empty()) {
    auto waiter = std::move(state->waiters.front());
    state->waiters.pop_front();
    if (waiter()) return;  // the lock stays locked and is theirs
  }
  state->locked = false;
}

}  // namespace ebb
