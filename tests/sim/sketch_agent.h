// An agent in a few lines, for fleets in which the control plane is the question: polls the wanted set, makes
// its machines so, one VM at a time each, and reports what it sees.
#pragma once
#include "env/http.h"
#include "env/hypervisor.h"
#include "model/agent_types.h"
#include "sim/sim_world.h"
#include "sketch_daemon.h"

namespace ebb::fleet_sim {

class SketchAgent final {
 public:
  struct Parts {
    sim::SimProcess& process;
    Http& http;
    Hypervisor& hypervisor;
    std::function<std::pair<sim::SimProcess*, SketchDaemon*>()>
        daemon;  // as it runs now; null while it does not
    std::string control, join_token;
    Registration registration;
  };
  explicit SketchAgent(Parts parts);

 private:
  using Machines = std::map<VmId, MachineStatus>;
  Task<void> run();
  Task<void> poll();
  Task<void> report_forever();
  Task<void> reconcile_forever();
  Task<void> look();
  Task<void> step(VmId vm);
  Task<void> make_running(WantedVm wanted);
  Task<void> make_gone(VmId vm, Epoch epoch, VmSeen end);
  Task<Result<DiskStatus>> open_disk(OpenDisk wish);
  Task<Status> release_disks(VmId vm, Epoch epoch);
  Task<Result<HttpResponse>> send(std::string method, std::string target, std::string body, Duration limit);
  AgentReport report();

  Parts parts_;
  Loop& loop_;
  std::optional<WantedSet> set_;
  std::uint64_t reconciled_revision_ = 0;
  std::map<VmId, SeenVm> seen_;
  std::map<VmId, std::vector<std::pair<DiskId, PoolId>>> disks_;  // writable ones that may be open here
  std::set<VmId> busy_;
  Machines machines_;
  DaemonStatus daemon_;
  bool is_daemon_up_ = false, has_looked_ = false;
  std::uint64_t sequence_ = 0;
  std::string run_id_;
  Poke poke_, report_poke_;
  Scope scope_;
};

}  // namespace ebb::fleet_sim
