// What the agent says to the control plane. All connections go outwards.
#pragma once
#include "env/http.h"
#include "env/loop.h"
#include "model/agent_types.h"
#include "model/session_types.h"

namespace ebb::agent {

class ControlClient final {
 public:
  ControlClient(Loop& loop, Http& http, std::string address, std::string join_token)
      : loop_(loop), http_(http), address_(std::move(address)), join_token_(std::move(join_token)) {}

  Task<Status> send_registration(Registration registration);
  // nullopt: nothing changed since `revision` within `wait`. not_found: this worker must register.
  Task<Result<std::optional<WantedSet>>> wanted(WorkerId worker, std::uint64_t revision, Duration wait);
  Task<Result<ReportAnswer>> report(AgentReport report);

  // Streams: each ends ok when the control plane ends it. What the callbacks refer to outlives the task.
  Task<Status> watch_sessions(WorkerId worker, std::function<void(SessionCall)> on_call);
  Task<Status> watch_input(SessionId session, std::function<void(SessionInput)> on_input);
  // Waits while whoever watches is slow. not_found: the session is over.
  Task<Status> send_output(SessionId session, SessionOutput output);

 private:
  template <class T>
  Task<Status> watch(std::string target, Duration silence, std::function<void(T)> on_event);
  HttpRequest request_of(std::string method, std::string target, std::string body) const;
  Task<Result<HttpResponse>> ask(std::string method, std::string target, std::string body, Duration limit);
  Loop& loop_;
  Http& http_;
  std::string address_, join_token_;
};

}  // namespace ebb::agent
