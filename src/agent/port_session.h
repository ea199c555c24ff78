// A connection of an operator to a port of a VM here.
#pragma once
#include "agent/session_line.h"
#include "env/stream.h"

namespace ebb::agent {

class PortSession final {
 public:
  // `network` and `line` outlive it. `address` is where the port is forwarded from.
  PortSession(Network& network, SessionLine& line, std::string address)
      : network_(network), line_(line), address_(std::move(address)), room_(line.loop()) {}

  // Until either side has closed, and that is said; or the session is over.
  Task<Status> run();

 private:
  Task<void> write(Stream* stream);
  Task<void> read(Stream* stream);
  Task<Status> send();

  Network& network_;
  SessionLine& line_;
  std::string address_;
  std::string read_;                // of the guest, and not yet sent
  Notify room_;                     // in that
  std::optional<std::string> end_;  // why there will be no more of it; empty: it has closed
  std::optional<Instant> input_ended_at_;
};

}  // namespace ebb::agent
