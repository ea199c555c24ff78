#include "platform/uring.h"

#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <deque>
#include <liburing.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "platform/os_error.h"

namespace asio = boost::asio;

namespace ebb {
namespace {

constexpr unsigned under_way_max = 256;
constexpr Duration pause_when_refused = 1ms;

struct Request {
  std::function<void(io_uring_sqe*)> fill;
  std::function<void(int)> done;
  std::shared_ptr<const void> keep;
};

}  // namespace

struct Uring::Impl {
  explicit Impl(AsioLoop& l) : loop(l), completed(l.context()) {}

  ~Impl() {
    boost::system::error_code ignored;
    completed.close(ignored);
    if (retry) loop.cancel(*retry);
    if (!is_open) return;
    // What never got into the ring is dropped.
    while (under_way > 0) {
      (void)io_uring_submit(&ring);
      io_uring_cqe* cqe = nullptr;
      bool may_wait = io_uring_sq_ready(&ring) == 0;
      if ((may_wait ? io_uring_wait_cqe(&ring, &cqe) : io_uring_peek_cqe(&ring, &cqe)) == 0) finish(cqe);
    }
    io_uring_queue_exit(&ring);
  }

  Status open() {
    auto failed = io_uring_queue_init(under_way_max, &ring, IORING_SETUP_COOP_TASKRUN);
    if (failed == -EINVAL) failed = io_uring_queue_init(under_way_max, &ring, 0);  // an older kernel
    if (failed < 0) return fail_os(-failed, "set up", "an io_uring");
    is_open = true;
    UniqueFd event(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    if (!event) return fail_os(errno, "create", "an eventfd");
    failed = io_uring_register_eventfd(&ring, event.get());
    if (failed < 0) return fail_os(-failed, "register", "an eventfd");
    completed.assign(event.release());
    wait();
    return {};
  }

  void wait() {
    completed.async_wait(asio::posix::stream_descriptor::wait_read, [this](boost::system::error_code error) {
      if (error) return;
      std::uint64_t count = 0;
      [[maybe_unused]] auto got = ::read(completed.native_handle(), &count, sizeof count);
      io_uring_cqe* cqe = nullptr;
      while (io_uring_peek_cqe(&ring, &cqe) == 0) {
        auto result = cqe->res;
        finish(cqe)->done(result);
      }
      hand_over();
      wait();
    });
  }

  std::unique_ptr<Request> finish(io_uring_cqe* cqe) {
    std::unique_ptr<Request> request(static_cast<Request*>(io_uring_cqe_get_data(cqe)));
    io_uring_cqe_seen(&ring, cqe);
    --under_way;
    return request;
  }

  // As many as the ring holds; the others wait for their turn.
  void hand_over() {
    while (!waiting.empty() && under_way < under_way_max) {
      auto* sqe = io_uring_get_sqe(&ring);
      if (!sqe) break;
      auto request = std::move(waiting.front());
      waiting.pop_front();
      request->fill(sqe);
      io_uring_sqe_set_data(sqe, request.release());
      ++under_way;
    }
    if (io_uring_sq_ready(&ring) == 0) return;
    // The kernel may be short of memory; what it did not take stays in the ring.
    if (io_uring_submit(&ring) >= 0 || retry) return;
    retry = loop.call_at(loop.now() + pause_when_refused, [this] {
      retry.reset();
      hand_over();
    });
  }

  static Task<int> run(Impl* self, std::function<void(io_uring_sqe*)> fill,
                       std::shared_ptr<const void> keep) {
    OneShot<int> shot(self->loop);
    self->waiting.push_back(
        std::make_unique<Request>(Request{std::move(fill), shot.completer(), std::move(keep)}));
    self->hand_over();
    co_return co_await shot;
  }

  AsioLoop& loop;
  asio::posix::stream_descriptor completed;
  io_uring ring{};
  bool is_open = false;
  unsigned under_way = 0;
  std::deque<std::unique_ptr<Request>> waiting;
  std::optional<std::uint64_t> retry;
};

Uring::Uring(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Uring::~Uring() = default;

Result<std::unique_ptr<Uring>> Uring::make(AsioLoop& loop) {
  auto impl = std::make_unique<Impl>(loop);
  EBB_CHECKED(impl->open());
  return std::unique_ptr<Uring>(new Uring(std::move(impl)));
}

Task<int> Uring::read(int fd, std::uint64_t offset, MutableBytes into, std::shared_ptr<const void> keep) {
  return Impl::run(
      impl_.get(),
      [=](io_uring_sqe* sqe) {
        io_uring_prep_read(sqe, fd, into.data(), static_cast<unsigned>(into.size()), offset);
      },
      std::move(keep));
}

Task<int> Uring::write(int fd, std::uint64_t offset, ByteView from, std::shared_ptr<const void> keep) {
  return Impl::run(
      impl_.get(),
      [=](io_uring_sqe* sqe) {
        io_uring_prep_write(sqe, fd, from.data(), static_cast<unsigned>(from.size()), offset);
      },
      std::move(keep));
}

Task<int> Uring::sync_data(int fd, std::shared_ptr<const void> keep) {
  return Impl::run(
      impl_.get(), [=](io_uring_sqe* sqe) { io_uring_prep_fsync(sqe, fd, IORING_FSYNC_DATASYNC); },
      std::move(keep));
}

}  // namespace ebb
