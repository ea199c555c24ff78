// What an operator sees of a VM's console here, and types there.
#pragma once
#include "agent/session_line.h"
#include "env/hypervisor.h"

namespace ebb::agent {

class ConsoleSession final {
 public:
  // What it works with; everything outlives it.
  struct Tools {
    Hypervisor* hypervisor = nullptr;
    WorkerId worker;
    // The VM has a machine here under that epoch, or is to have one.
    std::function<bool(const VmId&, Epoch)> may_speak;
  };
  ConsoleSession(Tools tools, SessionLine& line) : t_(std::move(tools)), line_(line) {}

  // Until there will be no more, and that is said; or the session is over.
  Task<Status> show();
  // Until nothing more is typed.
  Task<void> type();

 private:
  std::optional<SessionEnd> end_of(const Result<ConsolePiece>& piece, bool may_speak);

  Tools t_;
  SessionLine& line_;
  std::optional<std::uint64_t> last_;  // who does not follow sees what was there at first, up to here
  std::string trouble_;                // with typing; to be told
};

}  // namespace ebb::agent
