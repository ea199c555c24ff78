// One machine of this worker: its process, QEMU's monitor and the guest's control port, and what they say.
// A machine is found in its folder as well after a restart of the agent as right after its start.
#pragma once
#include <functional>

#include "base/log.h"
#include "env/scope.h"
#include "platform/qemu/line_socket.h"
#include "platform/qemu/machine_record.h"
#include "platform/qemu/process.h"

namespace ebb::qemu {

class Machine final {
 public:
  struct Settings {
    Duration ready_without_word =
        30s;  // a guest that never speaks on its control port counts as ready after this
    std::function<void()> changed;
  };
  Machine(AsioLoop& loop, Logger log, std::string folder, MachineRecord record, Settings settings);
  Machine(const Machine&) = delete;
  ~Machine();

  // Begins to watch the process; one that is gone makes the machine `exited`.
  void attach(ProcessId process);
  // There is no process to find.
  void mark_exited(std::string why);

  MachineStatus status() const;
  bool exited() const { return state_ == MachineState::exited; }
  const MachineSpec& spec() const { return record_.spec; }
  const std::string& folder() const { return folder_; }

  // Ends when QEMU's monitor has answered (true) or the process is gone (false).
  Task<bool> greeted();
  // As Hypervisor::stop.
  Task<bool> stop(StopWish wish);
  Status pause();
  Status resume();
  // As Hypervisor::resize_disk, of the disk with that index in its spec.
  Task<Status> resize_disk(std::size_t index, std::uint64_t bytes);
  // As Hypervisor::type_at_console.
  Result<std::size_t> type(std::string_view bytes);

 private:
  Task<bool> ask_guest_agent(std::function<Task<Status>()> ask, Instant until);
  bool ask_to_stop(StopSignal signal);
  void announce();
  Task<Status> ask_monitor(json::Object command);
  Task<void> watch_exit();
  Task<void> watch_monitor();
  Task<void> watch_control();
  Task<void> wait_without_word();
  Task<void> continue_later();
  void connect_sockets();
  void on_monitor_line(const std::string& line);
  void on_answer(std::uint64_t id, const json::Object& message);
  void on_event(std::string_view name, const json::Object& data);
  void on_io_stop(std::string why);
  void on_control_line(const std::string& line);
  void become_ready();
  void save();
  void finish();
  void enter(MachineState state, std::string error);
  std::string exit_reason() const;
  void save_end();

  AsioLoop& loop_;
  Logger log_;
  const std::string folder_;
  MachineRecord record_;
  MachineEnd end_;
  Settings settings_;

  MachineState state_ = MachineState::booting;
  std::string error_;
  std::string guest_agent_;      // as in MachineStatus
  std::string shutdown_reason_;  // of QEMU's SHUTDOWN event
  std::uint64_t asked_ = 0,
                unanswered_ =
                    0;  // commands of ask_monitor(): the last one, and if QEMU still owes its answer
  Status answer_;
  bool greeted_ = false;
  bool guest_spoke_ = false;
  bool kill_sent_ = false;
  bool continuing_ = false;  // a `cont` after an I/O error is under way
  Duration continue_pause_{};

  UniqueFd pidfd_;  // for signals; exit_ watches a copy
  std::unique_ptr<FdWatch> exit_;
  std::unique_ptr<LineSocket> monitor_, control_;
  Notify news_;  // greeted or exited
  Scope scope_;  // last: its tasks end before what they use
};

}  // namespace ebb::qemu
