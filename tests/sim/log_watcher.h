// An operator who follows a VM's logs all the time (ebb logs -f), held against what its guests printed: each stay of the VM on a
// worker is shown from its first line on, without a gap or a repeat, and the stays in their order.
#pragma once
#include "client/console_follower.h"
#include "fleet_sim.h"

namespace ebb::fleet_sim {

class LogWatcher final {
 public:
  LogWatcher(FleetSim& sim, VmId vm);
  LogWatcher(const LogWatcher&) = delete;
  ~LogWatcher();

  // What has been shown is true. `is_whole`: and it is all that was printed, of all stays but the one that goes on.
  void check(bool is_whole = false);
  // The stay that goes on is being shown.
  bool is_at_home() const;
  std::size_t stays() const;
  const std::vector<std::string>& news() const { return news_; }

 private:
  struct Stay {
    WorkerId worker;
    Epoch epoch = 0;
    std::string text;
  };
  Task<void> watch(sim::SimProcess* process);
  static std::vector<Stay> stays_of(const std::string& shown);

  FleetSim& sim_;
  VmId vm_;
  sim::SimProcess& process_;
  std::vector<std::string> runs_;  // what each run of the command showed
  std::vector<std::string> news_;
};

}  // namespace ebb::fleet_sim
