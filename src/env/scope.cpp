#include "env/scope.h"

namespace ebb {

void Scope::spawn(Task<void> task) {
  auto self = children_.emplace(children_.end());
  self->body = run(std::move(task), self);
  loop_.post([alive = std::weak_ptr(alive_), self] {
    if (auto scope_lives = alive.lock(); scope_lives && *scope_lives) self->body.start();
  });
}

Task<void> Scope::run(Task<void> body, Children::iterator self) {
  co_await body;
  // This frame cannot destroy itself while it runs: the loop does, right after.
  loop_.post([this, alive = std::weak_ptr(alive_), self] {
    auto scope_lives = alive.lock();
    if (!scope_lives || !*scope_lives) return;
    children_.erase(self);
    ended_.notify_all();
  });
}

Task<void> Scope::join() {
  while (!children_.empty()) co_await ended_.wait();
}

void Scope::cancel() {
  *alive_ = false;
  alive_ = std::make_shared<bool>(true);
  auto ending = std::move(children_);
  children_.clear();
  ending.clear();
  ended_.notify_all();
}

}  // namespace ebb
