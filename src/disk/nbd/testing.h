// For tests of this module: a disk in memory that can be slow or broken, and two ends of a stream without a
// kernel.
#pragma once
#include <deque>

#include "disk/block_device.h"
#include "env/scope.h"
#include "env/stream.h"

namespace ebb::disk::testing {

// Checks that requests are whole blocks, and keeps a log of them.
class MemoryDevice final : public BlockDevice {
 public:
  MemoryDevice(Loop& loop, std::size_t bytes) : data(bytes), allocated(bytes / block_bytes), loop_(loop) {}
  std::uint64_t size_bytes() const override { return data.size(); }
  bool is_read_only() const override { return read_only; }

  Task<Result<Bytes>> read(std::uint64_t offset, std::size_t length) override {
    check(offset, length);
    note(fmt::format("read {} {}", offset, length));
    co_await pause(offset);
    if (auto why = failure_at(offset, length)) co_return fail(*why);
    auto from = data.begin() + static_cast<std::ptrdiff_t>(offset);
    co_return Bytes(from, from + static_cast<std::ptrdiff_t>(length));
  }
  Task<Status> write(std::uint64_t offset, Bytes bytes) override {
    check(offset, bytes.size());
    note(fmt::format("write {} {}", offset, bytes.size()));
    co_await pause(offset);
    if (auto why = failure_at(offset, bytes.size())) co_return fail(*why);
    std::copy(bytes.begin(), bytes.end(), data.begin() + static_cast<std::ptrdiff_t>(offset));
    mark(offset, bytes.size(), true);
    co_return Status{};
  }
  Task<Status> flush() override {
    note("flush");
    auto covered = keep_durable ? data : Bytes();  // what ends after the call is not
    co_await pause(0);
    if (failure) co_return fail(*failure);
    durable = std::move(covered);
    co_return Status{};
  }
  Task<Status> trim(std::uint64_t offset, std::uint64_t length) override {
    check(offset, length);
    note(fmt::format("trim {} {}", offset, length));
    co_return co_await clear(offset, length, ZeroMode::may_unmap);
  }
  Task<Status> write_zeroes(std::uint64_t offset, std::uint64_t length, ZeroMode mode) override {
    check(offset, length);
    note(fmt::format("zero {} {}", offset, length));
    co_return co_await clear(offset, length, mode);
  }
  bool zeroes_fast(std::uint64_t, std::uint64_t) const override { return zeroing_is_fast; }
  Task<Result<std::vector<Extent>>> extents(std::uint64_t offset, std::uint64_t length) override {
    check(offset, length);
    if (failure) co_return fail(*failure);
    extents_bytes += length;
    std::vector<Extent> out;
    for (auto at = offset; at < offset + length; at += block_bytes) {
      bool is_hole = !allocated[at / block_bytes];
      if (!out.empty() && out.back().is_hole == is_hole)
        out.back().length += block_bytes;
      else
        out.push_back({at, block_bytes, is_hole});
    }
    co_return out;
  }

  Bytes data;
  std::vector<bool> allocated;
  std::vector<std::string> log;
  bool keep_log = true;
  std::optional<Error> failure;                     // of everything from now on
  std::optional<std::uint64_t> broken_at;           // reads and writes of this place fail
  std::function<Duration()> delay;                  // of each request, if set
  std::function<Duration(std::uint64_t)> delay_at;  // as delay, by the offset
  bool read_only = false, zeroing_is_fast = true, keep_durable = false;
  Bytes durable;                    // what a flush has covered, if that is kept
  std::uint64_t extents_bytes = 0;  // looked up so far

 private:
  void check(std::uint64_t offset, std::uint64_t length) const {
    CHECK(length > 0 && length <= 32 * MiB && offset % block_bytes == 0 && length % block_bytes == 0);
    CHECK(offset + length <= data.size());
  }
  void note(std::string what) {
    if (keep_log) log.push_back(std::move(what));
  }
  Task<void> pause(std::uint64_t offset) {
    if (delay) co_await sleep_for(loop_, delay());
    if (delay_at) co_await sleep_for(loop_, delay_at(offset));
  }
  std::optional<Error> failure_at(std::uint64_t offset, std::uint64_t length) const {
    if (failure || !broken_at || *broken_at < offset || *broken_at >= offset + length) return failure;
    return Error{Code::corrupt, fmt::format("block {} is damaged", *broken_at / block_bytes), {}};
  }
  void mark(std::uint64_t offset, std::uint64_t length, bool is_allocated) {
    for (auto at = offset; at < offset + length; at += block_bytes)
      allocated[at / block_bytes] = is_allocated;
  }
  Task<Status> clear(std::uint64_t offset, std::uint64_t length, ZeroMode mode) {
    co_await pause(offset);
    if (failure) co_return fail(*failure);
    std::fill_n(data.begin() + static_cast<std::ptrdiff_t>(offset), length, std::byte{0});
    mark(offset, length, mode == ZeroMode::keep_space);
    co_return Status{};
  }
  Loop& loop_;
};

// One direction of a pair: bytes that wait to be read.
struct Pipe {
  Pipe(Loop& loop, std::size_t room_bytes) : room(room_bytes), changed(loop) {}
  const std::size_t room;  // a writer waits while this much waits to be read
  std::deque<std::byte> bytes;
  bool closed = false;
  Notify changed;
};

class PipeStream final : public Stream {
 public:
  PipeStream(std::shared_ptr<Pipe> in, std::shared_ptr<Pipe> out)
      : in_(std::move(in)), out_(std::move(out)) {}
  ~PipeStream() override { PipeStream::close(); }
  Task<Result<std::size_t>> read_some(MutableBytes into) override {
    auto in = in_;
    while (in->bytes.empty() && !in->closed) co_await in->changed.wait();
    auto count = std::min(into.size(), in->bytes.size());
    std::copy_n(in->bytes.begin(), count, into.begin());
    in->bytes.erase(in->bytes.begin(), in->bytes.begin() + static_cast<std::ptrdiff_t>(count));
    in->changed.notify_all();
    co_return count;
  }
  Task<Status> write_all(std::vector<ByteView> parts) override {
    auto out = out_;
    for (auto part : parts) {
      while (out->bytes.size() >= out->room && !out->closed) co_await out->changed.wait();
      if (out->closed) co_return fail(Code::unavailable, "closed");
      out->bytes.insert(out->bytes.end(), part.begin(), part.end());
      out->changed.notify_all();
    }
    co_return Status{};
  }
  void close() override {
    for (auto& pipe : {in_, out_}) {
      pipe->closed = true;
      pipe->changed.notify_all();
    }
  }

 private:
  std::shared_ptr<Pipe> in_, out_;
};

inline std::pair<std::unique_ptr<Stream>, std::unique_ptr<Stream>> make_pipe(Loop& loop,
                                                                             std::size_t room = ~0ull) {
  auto a = std::make_shared<Pipe>(loop, room), b = std::make_shared<Pipe>(loop, ~0ull);
  return {std::make_unique<PipeStream>(a, b), std::make_unique<PipeStream>(b, a)};
}

// Virtual time, one thread, in order.
class StepLoop final : public Loop {
 public:
  Instant now() const override { return now_; }
  WallMs wall_now() const override { return to_ms(now_.time_since_epoch()); }
  void post(Callback callback) override { timers_.emplace(std::pair(now_, ++last_), std::move(callback)); }
  std::uint64_t call_at(Instant when, Callback callback) override {
    timers_.emplace(std::pair(std::max(when, now_), ++last_), std::move(callback));
    return last_;
  }
  void cancel(std::uint64_t timer) override {
    std::erase_if(timers_, [&](const auto& item) { return item.first.second == timer; });
  }
  Random& random() override { return random_; }

  // Until nothing is left to do, or `limit` of virtual time is over.
  void run(Duration limit = 1h) {
    auto end = now_ + limit;
    while (!timers_.empty() && timers_.begin()->first.first <= end) step();
  }
  template <class T>
  T run_until_done(Task<T> task) {
    std::optional<T> result;
    Scope scope(*this);
    scope.spawn([](Task<T> body, std::optional<T>* out) -> Task<void> { out->emplace(co_await body); }(
                                                            std::move(task), &result));
    while (!result && !timers_.empty()) step();
    CHECK(result);
    return std::move(*result);
  }

 private:
  void step() {
    auto first = timers_.begin();
    now_ = first->first.first;
    auto callback = std::move(first->second);
    timers_.erase(first);
    callback();
  }
  Instant now_{};
  std::uint64_t last_ = 0;
  std::map<std::pair<Instant, std::uint64_t>, Callback> timers_;
  Random random_{1};
};

}  // namespace ebb::disk::testing
