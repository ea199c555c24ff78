// Brings operators what they want to see of VMs here. The control plane says who watches on a stream that we keep open (ADR 20).
#pragma once
#include <set>

#include "agent/console_session.h"
#include "agent/guest_agent.h"
#include "base/log.h"
#include "env/scope.h"
#include "env/stream.h"

namespace ebb::agent {

class Sessions final {
 public:
  // What it works with; everything outlives it.
  struct Tools {
    Loop* loop = nullptr;
    Network* network = nullptr;
    ControlClient* control = nullptr;
    ConsoleSession::Tools console;
    // Where a port of a VM's machine is forwarded from.
    std::function<Result<std::string>(const VmId&, Epoch, const std::string& port)> address_of;
    GuestAgents* guest_agents = nullptr;
    std::function<Task<Result<std::string>>(VmId, Epoch)> guest_agent_of;  // where it is reached
    Logger log;
  };
  explicit Sessions(Tools tools) : t_(std::move(tools)), scope_(*t_.loop) {}
  Sessions(const Sessions&) = delete;
  ~Sessions() { scope_.cancel(); }

  // Takes calls until their stream ends. Sessions that have begun go on.
  Task<Status> follow();

 private:
  void begin(SessionCall call);
  Task<void> run(SessionCall call);
  Task<Status> show(SessionLine* line);
  Task<Status> refuse(SessionLine* line, std::string why);

  Tools t_;
  std::set<SessionId> open_;
  Scope scope_;  // last: its tasks end before what they use
};

}  // namespace ebb::agent
