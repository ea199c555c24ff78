// Blocking work of modules below on the loop's threads.
#pragma once
#include <deque>
#include <memory>

#include "env/offload.h"
#include "platform/asio_loop.h"

namespace ebb {

class AsioOffload final : public Offload {
 public:
  // At most so many jobs at a time: what takes a processor for long must not keep all threads from those who wait for a device.
  explicit AsioOffload(AsioLoop& loop, std::size_t at_once = 64)
      : line_(std::make_shared<Line>(loop, at_once)) {}
  void run(Callback work, Callback then) override {
    line_->jobs.push_back({std::move(work), std::move(then)});
    line_->start_next(line_);
  }

 private:
  struct Job {
    Callback work, then;
  };
  // Outlives the offload: jobs may still run when that goes.
  struct Line {
    Line(AsioLoop& its_loop, std::size_t most) : loop(its_loop), at_once(most) {}
    void start_next(std::shared_ptr<Line> self) {
      if (running == at_once || jobs.empty()) return;
      ++running;
      loop.run_blocking([&to = loop, self, job = std::move(jobs.front())]() mutable {
        job.work();
        to.post([self, then = std::move(job.then)]() mutable {
          --self->running;
          then();
          self->start_next(self);
        });
      });
      jobs.pop_front();
    }
    AsioLoop& loop;
    std::size_t at_once, running = 0;
    std::deque<Job> jobs;
  };
  std::shared_ptr<Line> line_;
};

}  // namespace ebb
