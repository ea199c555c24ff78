// The owner of all records: the one place where they change.
//
// A decision is a pure function of the fleet that fills a Batch; decisions run one at a time, each followed
// by one commit. Only after the commit does memory change and do replies and effects go out.
#pragma once
#include <deque>
#include <functional>

#include "base/log.h"
#include "control/batch.h"
#include "env/scope.h"

namespace ebb::control {

// Which workers' wanted sets a change may have altered, and whether it brought effects.
struct Touched {
  std::set<WorkerId> workers;
  bool effects = false;
};

class Owner {
 public:
  Owner(Loop& loop, RecordStore& store, Logger log);

  // Must succeed before anything else. Names the record that cannot be read, if one cannot.
  Task<Status> load();

  const Fleet& fleet() const { return fleet_; }
  Seen& seen() { return seen_; }
  const Seen& seen() const { return seen_; }
  std::uint64_t revision() const { return revision_; }
  // Decided and not yet known to be carried out.
  const std::map<std::string, Effect>& effects() const { return effects_; }
  // False after a failure that only a restart can clear; says why.
  const std::optional<Error>& broken() const { return broken_; }

  // Runs `decide` when its turn comes. A commit that has begun is finished even if the caller is destroyed.
  // An error from it, or from the commit, means that nothing has changed (unavailable: that the outcome is
  // unknown).
  template <class T>
  Task<Result<T>> change(std::function<Result<T>(Batch&)> decide) {
    auto turn = co_await mutex_.lock();
    if (broken_) co_return fail(*broken_);
    Batch batch(fleet_, loop_.wall_now());
    auto answer = decide(batch);
    if (!answer || batch.empty()) co_return answer;
    EBB_CO_CHECKED(co_await run_in(loop_, scope_, commit(std::move(turn), std::move(batch))));
    co_return answer;
  }
  // Of decisions about different things, as many as have come together share one commit, and its wait for the disk. Such a decision
  // reads and writes only what is about the thing that `about` names, fails before it has added anything, and owns what it
  // touches: it is carried out even if the caller is destroyed.
  Task<Status> change_together(std::string about, std::function<Status(Batch&)> decide);
  // For loops: true if something was changed.
  Task<Result<bool>> change_if(std::function<void(Batch&)> decide);

  Task<Result<std::vector<JournalEntry>>> journal(std::uint64_t since, std::size_t limit);

  // Called after each commit, on the loop.
  void on_commit(std::function<void(const Touched&)> callback) { callbacks_.push_back(std::move(callback)); }
  Notify& committed() { return committed_; }
  std::uint64_t commits() const { return commits_; }

 private:
  struct Waiting {
    std::string about;
    std::function<Status(Batch&)> decide;
    std::function<void(Status)> answer;
  };
  Task<void> commit_together();
  // Those that can be one commit, decided.
  std::vector<std::pair<Waiting, Status>> decide_together(Batch& batch);
  Task<Status> commit(AsyncMutex::Guard turn, Batch batch);
  Task<Status> reload();
  Status take(const StoreSnapshot& snapshot);
  Touched apply(const Batch& batch);

  Loop& loop_;
  RecordStore& store_;
  Logger log_;
  AsyncMutex mutex_;
  Fleet fleet_;
  Seen seen_;
  std::map<std::string, Effect> effects_;
  std::uint64_t revision_ = 0, commits_ = 0;
  std::optional<Error> broken_;
  std::deque<Waiting> waiting_;
  bool commits_together_ = false;
  std::vector<std::function<void(const Touched&)>> callbacks_;
  Notify committed_;
  Scope scope_;
};

}  // namespace ebb::control
