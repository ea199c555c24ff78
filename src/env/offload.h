// Work that blocks (a database, a checksum of a large file) runs outside the loop.
#pragma once
#include "env/loop.h"
#include "env/sync.h"

namespace ebb {

class Offload {
 public:
  virtual ~Offload() = default;
  // Runs `work` on some other thread, then `then` on the loop. Jobs may run at the same time.
  virtual void run(Callback work, Callback then) = 0;
};

// The result of `work`, run elsewhere. What it touches must outlive it also when this task is destroyed: give
// it shared ownership.
template <class T>
Task<T> offload(Loop& loop, Offload& to, std::function<T()> work) {
  OneShot<T> shot(loop);
  auto result = std::make_shared<std::optional<T>>();
  to.run([work = std::move(work), result] { result->emplace(work()); },
         [result, done = shot.completer()] { done(std::move(**result)); });
  co_return co_await shot;
}

}  // namespace ebb
