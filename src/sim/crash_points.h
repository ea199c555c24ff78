// Places where a process may be made to die: the simulated files, store and network pass one at each step
// that matters, and a test arms the n-th of those it cares about. Counting first and then arming each in turn
// makes crash tests exhaustive.
#pragma once
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

namespace ebb::sim {

class SimProcess;

struct CrashPoint {
  std::string_view kind;  // "file.sync before", "file.sync after", "store.put before", "store.put after" ...
  std::string_view subject;  // path, key, address
  SimProcess& process;       // who is at it
};

class CrashPoints final {
 public:
  using Filter = std::function<bool(const CrashPoint&)>;
  using Action = std::function<void(const CrashPoint&)>;

  // `action` runs when `filter` holds for the `nth` time (0 is the first). The default action kills the
  // process.
  void arm(Filter filter, std::uint64_t nth, Action action = {});
  void disarm() { filter_ = {}, fired_.reset(); }
  // How often the armed (or counting) filter held so far.
  std::uint64_t count() const { return count_; }
  // Where the action ran: "file.sync before /x by worker-1/diskd".
  const std::optional<std::string>& fired() const { return fired_; }

  // Called by the simulated environment, with the process's own code on the stack.
  void pass(SimProcess& process, std::string_view kind, std::string_view subject);

  static Filter of_kind(std::string prefix);
  static constexpr std::uint64_t never = ~std::uint64_t{0};  // as `nth`: only count

 private:
  Filter filter_;
  Action action_;
  std::uint64_t nth_ = never, count_ = 0;
  std::optional<std::string> fired_;
};

}  // namespace ebb::sim
