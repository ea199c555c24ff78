// The simulated world: the clock, the processes on their hosts, which hosts can talk to each other, and what
// went wrong. A process is everything that dies together: its loop goes silent and the objects it owns are
// destroyed.
#pragma once
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "base/log.h"
#include "sim/crash_points.h"
#include "sim/sim_loop.h"

namespace ebb::sim {

class SimWorld;

class SimProcess final {
 public:
  SimProcess(SimWorld& world, std::string host, std::string name);
  SimProcess(const SimProcess&) = delete;
  ~SimProcess();

  SimWorld& world() { return world_; }
  Loop& loop() { return loop_; }
  const std::string& host() const { return host_; }
  const std::string& name() const { return loop_.name(); }  // "worker-1/agent#2": host, program, incarnation
  bool is_alive() const { return !loop_.is_closed(); }
  bool is_paused() const { return loop_.is_paused(); }
  PausableLoop& pausable_loop() { return loop_; }

  // Keeps `object` until the process dies; destroyed in the reverse order.
  template <class T>
  T& own(std::unique_ptr<T> object) {
    T& reference = *object;
    objects_.push_back(std::shared_ptr<T>(std::move(object)));
    return reference;
  }
  template <class T, class... Args>
  T& make(Args&&... args) {
    return own(std::make_unique<T>(std::forward<Args>(args)...));
  }

  // kill -9: from here nothing of it runs. Its objects are destroyed at once, or - when called while a
  // process's code is on the stack - by the next event.
  void kill();
  void pause();   // SIGSTOP
  void resume();  // SIGCONT
  // Called after its objects are gone; not at the end of the world.
  void on_death(std::function<void()> callback);
  // For the simulated environment: code that passed a crash point goes no further when its process died of
  // it.
  Task<void> stop_here_if_dead();
  // Never ends.
  Task<void> hang();

 private:
  void reap();

  SimWorld& world_;
  std::string host_;
  PausableLoop loop_;
  std::vector<std::shared_ptr<void>> objects_;
  std::vector<std::function<void()>> on_death_;
  bool reaped_ = false;
};

// Which pairs of hosts can talk. A host always reaches itself.
class SimLinks final {
 public:
  void cut(const std::string& a, const std::string& b) { cut_.insert(std::minmax(a, b)); }
  void mend(const std::string& a, const std::string& b) {
    cut_.erase(std::minmax(a, b)), ++mends_[a], ++mends_[b];
  }
  void isolate(const std::string& host) { isolated_.insert(host); }
  void rejoin(const std::string& host) { isolated_.erase(host), ++mends_[host]; }
  void mend_all() { cut_.clear(), isolated_.clear(); }
  bool connected(const std::string& a, const std::string& b) const {
    return a == b || (!cut_.contains(std::minmax(a, b)) && !isolated_.contains(a) && !isolated_.contains(b));
  }

  // How often something was mended at this host: it may have been connected for a moment.
  std::uint64_t mends_at(const std::string& host) const {
    auto found = mends_.find(host);
    return found == mends_.end() ? 0 : found->second;
  }

 private:
  std::set<std::pair<std::string, std::string>> cut_;
  std::set<std::string> isolated_;
  std::map<std::string, std::uint64_t> mends_;
};

class SimWorld final {
 public:
  explicit SimWorld(SimLoopOptions options = {});
  SimWorld(const SimWorld&) = delete;
  ~SimWorld();

  SimLoop& loop() { return loop_; }
  const SimLoop& loop() const { return loop_; }
  CrashPoints& crash_points() { return crash_points_; }
  SimLinks& links() { return links_; }
  // For faults and latencies: apart from the loop's own, so that a test's draws do not move them.
  Random& fault_random() { return fault_random_; }
  // Uniform between half and one and a half times `typical`.
  Duration vary(Duration typical);

  // A new process; the world keeps it, also when it is dead.
  SimProcess& start_process(std::string host, std::string_view program);
  // All living processes of a host.
  std::vector<SimProcess*> processes_of(const std::string& host);

  // Something that must never happen, happened. The run goes on; the test looks here.
  void violation(std::string text);
  const std::vector<std::string>& violations() const { return violations_; }

  // Logs of simulated programs: part of the trace, shown to the loop's listener.
  Logger logger(std::string component);

 private:
  SimLoop loop_;
  CrashPoints crash_points_;
  SimLinks links_;
  Random fault_random_;
  std::shared_ptr<LogSink> log_sink_;
  std::map<std::string, std::uint32_t> incarnations_;
  std::vector<std::unique_ptr<SimProcess>> processes_;
  std::vector<std::string> violations_;
};

}  // namespace ebb::sim
