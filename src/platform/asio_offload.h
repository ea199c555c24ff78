// Blocking work of modules below (the records' database) on the loop's threads.
#pragma once
#include "env/offload.h"
#include "platform/asio_loop.h"

namespace ebb {

class AsioOffload final : public Offload {
 public:
  explicit AsioOffload(AsioLoop& loop) : loop_(loop) {}
  void run(Callback work, Callback then) override {
    loop_.run_blocking([this, work = std::move(work), then = std::move(then)]() mutable {
      work();
      loop_.post(std::move(then));
    });
  }

 private:
  AsioLoop& loop_;
};

}  // namespace ebb
