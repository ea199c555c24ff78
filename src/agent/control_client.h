// What the agent says to the control plane. All connections go outwards.
#pragma once
#include "env/http.h"
#include "env/loop.h"
#include "model/agent_types.h"

namespace ebb::agent {

class ControlClient final {
 public:
  ControlClient(Http& http, std::string address, std::string join_token)
      : http_(http), address_(std::move(address)), join_token_(std::move(join_token)) {}

  Task<Status> send_registration(Registration registration);
  // nullopt: nothing changed since `revision` within `wait`. not_found: this worker must register.
  Task<Result<std::optional<WantedSet>>> wanted(WorkerId worker, std::uint64_t revision, Duration wait);
  Task<Result<ReportAnswer>> report(AgentReport report);

 private:
  Task<Result<HttpResponse>> ask(std::string method, std::string target, std::string body, Duration limit);
  Http& http_;
  std::string address_, join_token_;
};

}  // namespace ebb::agent
