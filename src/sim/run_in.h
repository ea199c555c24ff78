// For tests: runs one task in a process and drives the world until it has ended.
#pragma once
#include "env/scope.h"
#include "sim/sim_world.h"

namespace ebb::sim {

// The task's value; nullopt if it did not end within `limit` (its process was killed, or it waits).
template <class T>
std::optional<T> run_in(SimProcess& process, Task<T> task, Duration limit = 10min) {
  auto result = std::make_shared<std::optional<T>>();
  Scope scope(process.loop());
  scope.spawn([](Task<T> body, std::shared_ptr<std::optional<T>> out) -> Task<void> {
    out->emplace(co_await std::move(body));
  }(std::move(task), result));
  (void)process.world().loop().run_until([&] { return result->has_value() || !process.is_alive(); }, limit);
  return std::move(*result);
}

// Runs a task of another process in that process and waits for its value; nullopt when it dies meanwhile. The
// way across a process boundary where there is no message: neither's frames are ever on the other's stack.
template <class T>
Task<std::optional<T>> call_across(SimProcess& from, SimProcess& to, Scope& scope_in_to, Task<T> task) {
  OneShot<std::optional<T>> shot(from.loop());
  struct Broken {
    explicit Broken(std::function<void(std::optional<T>)> report) : done(std::move(report)) {}
    Broken(const Broken&) = delete;
    ~Broken() { done(std::nullopt); }  // counts only if nothing was reported before
    std::function<void(std::optional<T>)> done;
  };
  if (!to.is_alive()) co_return std::nullopt;
  auto report = std::make_shared<Broken>(shot.completer());
  scope_in_to.spawn([](Task<T> body, std::shared_ptr<Broken> out) -> Task<void> {
    out->done(co_await std::move(body));
  }(std::move(task), std::move(report)));
  co_return co_await shot;
}

}  // namespace ebb::sim
