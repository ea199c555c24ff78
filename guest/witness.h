// The witness proper: what writes records and reports them. Runs in a process of its own.
#pragma once
#include <atomic>
#include <cstdint>
#include <string>

namespace ebb::guest {

struct WitnessOptions {
  std::string records;     // the file; empty: count in memory
  std::string report;      // a file to append reports to; empty: the port ebb.witness
  std::string store = {};  // "sqlite": the file is a database; empty: a plain file
  std::string tag;
  long pause_ms = 10;
  std::uint64_t stop_after = 0;  // records of this run; 0: until SIGTERM
};

enum class WitnessState : std::uint32_t { starting, writing, counting, full, bad };

inline const char* state_name(WitnessState state) {
  switch (state) {
    case WitnessState::starting:
      return "starting";
    case WitnessState::writing:
      return "writing";
    case WitnessState::counting:
      return "counting";
    case WitnessState::full:
      return "full";
    case WitnessState::bad:
      return "bad";
  }
  return "?";
}

// Lives in memory shared with init, which answers from it also while the witness waits for its disk.
struct Status {
  std::atomic<std::uint64_t> last{0};
  std::atomic<std::uint32_t> boot{0};
  std::atomic<WitnessState> state{WitnessState::starting};
};

// Writes until SIGTERM. `changed_fd`: an eventfd signalled when the state changes, or -1. Returns the exit
// code.
int run_witness(const WitnessOptions& options, Status& status, int changed_fd);

}  // namespace ebb::guest
