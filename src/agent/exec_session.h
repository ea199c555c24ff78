// A program that an operator runs in a guest here, by its guest agent: that tells what it printed once it has ended.
#pragma once
#include "agent/guest_agent.h"
#include "agent/session_line.h"

namespace ebb::agent {

class ExecSession final {
 public:
  // `agents` and `line` outlive it.
  ExecSession(GuestAgents& agents, SessionLine& line, std::string address)
      : agents_(agents), line_(line), address_(std::move(address)) {}

  // Until the program has ended, and that is said; or the session is over.
  Task<Status> run();

 private:
  Task<Status> tell(Result<GuestProgramEnd> end);

  GuestAgents& agents_;
  SessionLine& line_;
  std::string address_;
};

}  // namespace ebb::agent
