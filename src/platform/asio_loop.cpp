#include "platform/asio_loop.h"

#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/signal_set.hpp>
#include <condition_variable>
#include <deque>
#include <fcntl.h>
#include <mutex>
#include <sys/random.h>
#include <sys/timerfd.h>
#include <thread>
#include <unistd.h>

#include "platform/os_error.h"

namespace asio = boost::asio;

namespace ebb {
namespace {

constexpr std::size_t threads_max = 8;

std::uint64_t kernel_seed() {
  std::uint64_t seed = 0;
  CHECK(getrandom(&seed, sizeof seed, 0) == sizeof seed);
  return seed;
}

std::int64_t clock_ns(clockid_t clock) {
  timespec t{};
  CHECK(clock_gettime(clock, &t) == 0);
  return t.tv_sec * 1'000'000'000 + t.tv_nsec;
}

// Threads start as work comes, so that an idle process has none.
class BlockingPool {
 public:
  ~BlockingPool() { shut_down(); }

  void run(Callback work) {
    std::lock_guard guard(mutex_);
    queue_.push_back(std::move(work));
    if (idle_ < queue_.size() && threads_.size() < threads_max) add_thread();
    changed_.notify_one();
  }

  // Ends what has begun and drops the rest.
  void shut_down() {
    std::deque<Callback> dropped;
    {
      std::lock_guard guard(mutex_);
      ending_ = true;
      dropped.swap(queue_);
    }
    changed_.notify_all();
    for (auto& thread : threads_) thread.join();
    threads_.clear();
  }

 private:
  void add_thread() {
    try {
      threads_.emplace_back([this] { serve(); });
    } catch (const std::system_error&) {
      CHECK(!threads_.empty());  // the system gives no more: those that there are do the work
    }
  }

  void serve() {
    std::unique_lock lock(mutex_);
    for (;;) {
      ++idle_;
      changed_.wait(lock, [&] { return ending_ || !queue_.empty(); });
      --idle_;
      if (ending_) return;
      auto work = std::move(queue_.front());
      queue_.pop_front();
      lock.unlock();
      work();
      work = nullptr;  // what it owned goes before the next wait, outside the lock
      lock.lock();
    }
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Callback> queue_;
  std::vector<std::thread> threads_;
  std::size_t idle_ = 0;
  bool ending_ = false;
};

}  // namespace

struct AsioLoop::Impl {
  using TimerKey = std::pair<Instant, std::uint64_t>;

  asio::io_context context{1};
  asio::executor_work_guard<asio::io_context::executor_type> stay{context.get_executor()};
  Random random{kernel_seed()};

  // asio's own timers run on CLOCK_MONOTONIC, which stands still in suspend.
  asio::posix::stream_descriptor timer{context};
  std::map<TimerKey, Callback> timers;
  std::unordered_map<std::uint64_t, Instant> timer_times;
  std::uint64_t last_timer = 0;
  Instant armed = Instant::max();

  std::optional<asio::signal_set> signals;
  std::function<void(int)> signal_callback;

  BlockingPool pool;  // last, so that it ends first: its threads post into the context

  Impl() {
    int fd = timerfd_create(CLOCK_BOOTTIME, TFD_CLOEXEC | TFD_NONBLOCK);
    CHECK(fd >= 0);
    timer.assign(fd);
    wait_timer();
  }

  void wait_timer() {
    timer.async_wait(asio::posix::stream_descriptor::wait_read, [this](boost::system::error_code error) {
      if (error) return;
      std::uint64_t expirations = 0;
      [[maybe_unused]] auto got = ::read(timer.native_handle(), &expirations, sizeof expirations);
      armed = Instant::max();
      run_due();
      wait_timer();
    });
  }

  void run_due() {
    // Only what was due when we began: a callback that arms an expired timer again must not starve the
    // sockets.
    auto now = Instant(Duration(clock_ns(CLOCK_BOOTTIME)));
    auto last = last_timer;
    while (!timers.empty()) {
      auto first = timers.begin();
      if (first->first.first > now || first->first.second > last) break;
      auto callback = std::move(first->second);
      timer_times.erase(first->first.second);
      timers.erase(first);
      callback();
    }
    arm();
  }

  void arm() {
    if (timers.empty() || timers.begin()->first.first >= armed) return;
    armed = timers.begin()->first.first;
    auto ns = std::max<std::int64_t>(armed.time_since_epoch().count(), 1);  // 0 would disarm
    itimerspec when{};
    when.it_value.tv_sec = ns / 1'000'000'000;
    when.it_value.tv_nsec = ns % 1'000'000'000;
    CHECK(timerfd_settime(timer.native_handle(), TFD_TIMER_ABSTIME, &when, nullptr) == 0);
  }

  void wait_signal() {
    signals->async_wait([this](boost::system::error_code error, int signal) {
      if (error) return;
      wait_signal();
      if (signal_callback) signal_callback(signal);
    });
  }
};

AsioLoop::AsioLoop() : impl_(std::make_unique<Impl>()) {}

AsioLoop::~AsioLoop() { impl_->pool.shut_down(); }

Instant AsioLoop::now() const { return Instant(Duration(clock_ns(CLOCK_BOOTTIME))); }

WallMs AsioLoop::wall_now() const { return clock_ns(CLOCK_REALTIME) / 1'000'000; }

void AsioLoop::post(Callback callback) { asio::post(impl_->context, std::move(callback)); }

std::uint64_t AsioLoop::call_at(Instant when, Callback callback) {
  auto id = ++impl_->last_timer;
  impl_->timers.emplace(std::pair(when, id), std::move(callback));
  impl_->timer_times.emplace(id, when);
  // A timer that is due already keeps its place among the posted callbacks.
  if (when <= now()) {
    post([impl = impl_.get()] { impl->run_due(); });
  } else {
    impl_->arm();
  }
  return id;
}

void AsioLoop::cancel(std::uint64_t timer) {
  auto found = impl_->timer_times.find(timer);
  if (found == impl_->timer_times.end()) return;
  auto node = impl_->timers.extract(std::pair(found->second, timer));
  impl_->timer_times.erase(found);
  // The timerfd stays armed: at worst one wake-up for nothing. `node` is destroyed last, because it may
  // cancel too.
}

Random& AsioLoop::random() { return impl_->random; }

void AsioLoop::run() {
  impl_->context.restart();
  impl_->context.run();
}

void AsioLoop::stop() { impl_->context.stop(); }

void AsioLoop::on_signal(std::function<void(int)> callback) {
  impl_->signal_callback = std::move(callback);
  if (impl_->signals) return;
  impl_->signals.emplace(impl_->context, SIGINT, SIGTERM);
  impl_->wait_signal();
}

void AsioLoop::run_blocking(Callback work) { impl_->pool.run(std::move(work)); }

boost::asio::io_context& AsioLoop::context() { return impl_->context; }

std::unique_ptr<AsioLoop> make_asio_loop() { return std::make_unique<AsioLoop>(); }

struct FdWatch::Impl {
  Impl(AsioLoop& l, int fd) : loop(l), descriptor(l.context(), fd) {}
  AsioLoop& loop;
  asio::posix::stream_descriptor descriptor;

  static Task<bool> wait(std::shared_ptr<Impl> self, asio::posix::stream_descriptor::wait_type what) {
    if (!self->descriptor.is_open()) co_return false;
    // The wait carries no buffer: if our task is destroyed it may go on harmlessly until the descriptor
    // closes.
    OneShot<bool> shot(self->loop);
    self->descriptor.async_wait(what,
                                [done = shot.completer()](boost::system::error_code error) { done(!error); });
    bool ready = co_await shot;
    co_return ready && self->descriptor.is_open();
  }
};

FdWatch::FdWatch(AsioLoop& loop, int fd) : impl_(std::make_shared<Impl>(loop, fd)) {
  int flags = fcntl(fd, F_GETFL);
  CHECK(flags >= 0 && fcntl(fd, F_SETFL, flags | O_NONBLOCK) == 0);
}
FdWatch::~FdWatch() { close(); }
int FdWatch::fd() const { return impl_->descriptor.is_open() ? impl_->descriptor.native_handle() : -1; }
Task<bool> FdWatch::readable() { return Impl::wait(impl_, asio::posix::stream_descriptor::wait_read); }
Task<bool> FdWatch::writable() { return Impl::wait(impl_, asio::posix::stream_descriptor::wait_write); }
void FdWatch::close() {
  boost::system::error_code ignored;
  impl_->descriptor.close(ignored);
}

}  // namespace ebb
