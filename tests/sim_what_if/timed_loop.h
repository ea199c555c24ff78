// A loop that knows how long what ran on it took, in real time: who else runs on the loop below is not counted.
#pragma once
#include <chrono>

#include "env/loop.h"

namespace ebb::what_if {

class TimedLoop final : public Loop {
 public:
  explicit TimedLoop(Loop& under) : under_(under) {}
  TimedLoop(const TimedLoop&) = delete;

  Instant now() const override { return under_.now(); }
  WallMs wall_now() const override { return under_.wall_now(); }
  void post(Callback callback) override { under_.post(timed(std::move(callback))); }
  std::uint64_t call_at(Instant when, Callback callback) override {
    return under_.call_at(when, timed(std::move(callback)));
  }
  void cancel(std::uint64_t timer) override { under_.cancel(timer); }
  Random& random() override { return under_.random(); }

  double seconds() const { return std::chrono::duration<double>(taken_).count(); }

 private:
  using Clock = std::chrono::steady_clock;
  Callback timed(Callback callback) {
    return [this, run = std::move(callback)]() mutable {
      const auto began = Clock::now();
      run();
      taken_ += Clock::now() - began;
    };
  }
  Loop& under_;
  Clock::duration taken_{};
};

}  // namespace ebb::what_if
