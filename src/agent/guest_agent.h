// QEMU's guest agent, where a guest runs one: JSON in lines on a serial port of its machine.
// Protocol: https://www.qemu.org/docs/master/interop/qemu-ga-ref.html
#pragma once
#include <map>

#include "base/json.h"
#include "env/stream.h"
#include "env/sync.h"
#include "model/session_types.h"

namespace ebb::agent {

// How a program in a guest ended.
struct GuestProgramEnd {
  std::uint32_t status = 0;  // of one that a signal ended: 128 and that
  std::string output, error_output;
  bool is_cut = false;  // it printed more than the guest agent keeps (16 MiB of each)
};

class GuestAgents final {
 public:
  // Both outlive it.
  GuestAgents(Loop& loop, Network& network)
      : loop_(loop), network_(network), last_sync_(loop.random().below(1ull << 62)) {}
  GuestAgents(const GuestAgents&) = delete;

  // Addresses are as in MachineStatus. unavailable: nobody answers within the limit, or what answers speaks another language;
  // busy: somebody else has been asking all that time.
  Task<Status> ping(std::string address, Duration limit);
  // Asks the guest to power itself off. A guest agent does not say that it will: this ends when it has read the question and
  // has not refused at once. invalid: it says that it will not.
  Task<Status> power_off(std::string address, Duration limit);
  // Until the program has ended; the guest goes on with it when nobody waits any more. invalid: the guest does not start it.
  Task<Result<GuestProgramEnd>> run(std::string address, GuestCommand command);

 private:
  struct Question {
    std::string name;
    json::Object arguments;
    Duration limit;  // to get the turn, and then again to answer
    std::size_t bytes_max;
    bool is_answered_by_errors_alone = false;
  };
  // What stands under "return". busy: somebody else has the turn.
  Task<Result<json::Value>> call(std::string address, Question question);
  Task<Result<json::Value>> exchange(std::string address, Question question);

  Loop& loop_;
  Network& network_;
  std::map<std::string, std::shared_ptr<AsyncMutex>> turns_;  // by address: a port has one reader
  std::uint64_t last_sync_;  // no number that an earlier process may be owed an answer to
};

}  // namespace ebb::agent
