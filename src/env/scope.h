// Scope: where background work lives. Nothing is detached: the scope's owner either waits for it (join) or,
// by destroying the scope, ends it wherever it is suspended.
#pragma once
#include <list>
#include <memory>

#include "env/sync.h"

namespace ebb {

class Scope {
 public:
  explicit Scope(Loop& loop) : loop_(loop), ended_(loop) {}
  Scope(const Scope&) = delete;
  ~Scope() { cancel(); }

  // Starts `task` from the loop (not at once), and keeps it until it ends.
  void spawn(Task<void> task);
  // Waits until everything spawned has ended.
  Task<void> join();
  // Ends everything now, by destroying it. Must not be called from a task of this scope.
  void cancel();
  std::size_t size() const { return children_.size(); }

 private:
  struct Child {
    Task<void> body;
  };
  using Children = std::list<Child>;
  Task<void> run(Task<void> body, Children::iterator self);

  Loop& loop_;
  Notify ended_;
  Children children_;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

// The result of `task`, or nullopt when `limit` passed first (the task is then destroyed).
template <class T>
Task<std::optional<T>> with_timeout(Loop& loop, Task<T> task, Duration limit) {
  OneShot<std::optional<T>> first(loop);
  auto done = first.completer();
  Scope scope(loop);
  scope.spawn([](Task<T> body, decltype(done) report) -> Task<void> { report(co_await body); }(
                                                          std::move(task), done));
  auto timer = loop.call_at(loop.now() + limit, [done] { done(std::nullopt); });
  auto result = co_await first;
  loop.cancel(timer);
  co_return result;
}

// Runs `task` in `scope` and waits for it: should the waiting side be destroyed (an HTTP handler whose client
// has gone), the work goes on to its end. It must therefore own what it touches, or touch what outlives the
// scope.
template <class T>
Task<T> run_in(Loop& loop, Scope& scope, Task<T> task) {
  OneShot<T> shot(loop);
  auto done = shot.completer();
  scope.spawn([](Task<T> body, decltype(done) report) -> Task<void> { report(co_await body); }(
                                                          std::move(task), done));
  co_return co_await shot;
}

// Runs all tasks at the same time; ends when all have ended.
template <class T>
Task<std::vector<T>> when_all(Loop& loop, std::vector<Task<T>> tasks) {
  std::vector<std::optional<T>> results(tasks.size());
  Scope scope(loop);
  for (std::size_t i = 0; i < tasks.size(); ++i) {
    scope.spawn([](Task<T> body, std::optional<T>* out) -> Task<void> { out->emplace(co_await body); }(
                                                            std::move(tasks[i]), &results[i]));
  }
  co_await scope.join();
  std::vector<T> values;
  values.reserve(results.size());
  for (auto& result : results) values.push_back(std::move(*result));
  co_return values;
}

}  // namespace ebb
