// The real event loop: Boost.Asio's reactor on one thread, timers on CLOCK_BOOTTIME, and a few threads for
// calls that block. Everything but post() and stop() belongs to the thread that runs the loop.
#pragma once
#include <functional>
#include <memory>
#include <type_traits>

#include "env/loop.h"
#include "env/scope.h"
#include "env/sync.h"

namespace boost::asio {
class io_context;
}

namespace ebb {

class AsioLoop final : public Loop {
 public:
  AsioLoop();
  AsioLoop(const AsioLoop&) = delete;
  // Waits for blocking calls that have begun; those still queued are dropped.
  ~AsioLoop() override;

  Instant now() const override;
  WallMs wall_now() const override;
  void post(Callback callback) override;
  std::uint64_t call_at(Instant when, Callback callback) override;
  void cancel(std::uint64_t timer) override;
  Random& random() override;

  // Runs until stop(). May be called again afterwards.
  void run();
  // Safe from any thread.
  void stop();

  // From now on SIGINT and SIGTERM call this, on the loop, instead of ending the process.
  void on_signal(std::function<void(int signal)> callback);

  // Runs `work` on one of the threads. It must own everything it touches: its caller may be gone by then.
  void run_blocking(Callback work);

  // For the other files of this folder.
  boost::asio::io_context& context();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

std::unique_ptr<AsioLoop> make_asio_loop();

// The result of `work`, run on one of the loop's threads. Destroying the task does not end the work: it owns
// what it touches, and its result is dropped.
template <class Work>
Task<std::invoke_result_t<Work&>> blocking(AsioLoop& loop, Work work) {
  OneShot<std::invoke_result_t<Work&>> shot(loop);
  loop.run_blocking([work = std::move(work), done = shot.completer(), &loop]() mutable {
    auto value = work();
    // `done` is moved along, so that the thread never holds the last reference to the waiting side.
    loop.post([value = std::move(value), done = std::move(done)]() mutable { done(std::move(value)); });
  });
  co_return co_await shot;
}

// For mains and tests: runs the loop until `task` ends.
template <class T>
T run_until_done(AsioLoop& loop, Task<T> task) {
  std::optional<T> result;
  Scope scope(loop);
  scope.spawn([](AsioLoop& l, Task<T> body, std::optional<T>* out) -> Task<void> {
    out->emplace(co_await body);
    l.stop();
  }(loop, std::move(task), &result));
  loop.run();
  CHECK(result);  // else somebody else stopped the loop
  return std::move(*result);
}
inline void run_until_done(AsioLoop& loop, Task<void> task) {
  run_until_done(loop, [](Task<void> body) -> Task<bool> {
    co_await body;
    co_return true;
  }(std::move(task)));
}

// Owns a file descriptor and waits for it to become ready. At most one waiter a direction.
class FdWatch final {
 public:
  // Takes `fd` over; it must be one that epoll takes (socket, pipe, pidfd, timerfd) and is made non-blocking.
  FdWatch(AsioLoop& loop, int fd);
  FdWatch(const FdWatch&) = delete;
  ~FdWatch();
  // -1 once closed.
  int fd() const;
  // False when the descriptor was closed instead.
  Task<bool> readable();
  Task<bool> writable();
  // Ends the waits at once.
  void close();

 private:
  struct Impl;
  std::shared_ptr<Impl> impl_;
};

}  // namespace ebb
