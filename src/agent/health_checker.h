// Asks a guest again and again whether it does its work.
#pragma once
#include "agent/guest_agent.h"
#include "env/scope.h"
#include "env/stream.h"
#include "model/agent_types.h"

namespace ebb::agent {

class HealthChecker final {
 public:
  // What it works with; everything outlives it.
  struct Tools {
    Loop* loop = nullptr;
    Network* network = nullptr;
    GuestAgents* guest_agents = nullptr;
    std::function<void()> changed;  // seen() is another
  };
  // `address`: where the port is forwarded from, or the guest's agent is reached. Checks until it is destroyed.
  // `before`: what such checks had found of the same guest.
  HealthChecker(Tools tools, HealthCheck check, std::string address, std::optional<SeenHealth> before);
  HealthChecker(const HealthChecker&) = delete;

  bool is_for(const HealthCheck& check, const std::string& address) const {
    return check == check_ && address == address_;
  }
  // Absent: not known yet.
  const std::optional<SeenHealth>& seen() const { return seen_; }

 private:
  Task<void> run();
  Task<Status> look();
  Task<Status> ask_tcp();
  Task<Status> ask_http();
  void note(Status status);

  Tools t_;
  const HealthCheck check_;
  const std::string address_;
  std::optional<SeenHealth> seen_;
  const Instant began_;
  bool was_healthy_;
  std::uint32_t failures_ = 0;  // in a row
  Scope scope_;                 // last: its task ends before what it uses
};

}  // namespace ebb::agent
