// Processes that are nobody's children: started detached, found again after a restart, watched and killed by
// pidfd. A process is named by its pid and its start time, so that a reused pid is never taken for it.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <sys/types.h>
#include <vector>

#include "platform/os_error.h"

namespace ebb::qemu {

struct ProcessId {
  pid_t pid = 0;
  std::uint64_t start_ticks = 0;  // field 22 of /proc/PID/stat: clock ticks since boot
  bool operator==(const ProcessId&) const = default;
};

// A line of /proc/PID/stat. The name in it may hold spaces and parentheses.
std::optional<ProcessId> parse_process_stat(std::string_view line);

// A zombie does not.
bool is_running(const ProcessId& process);

// not_found if it is gone.
Result<UniqueFd> open_pidfd(const ProcessId& process);
Status send_signal(const UniqueFd& pidfd, int signal);

struct RunAs {
  uid_t uid = 0;
  gid_t gid = 0;
  std::vector<gid_t> groups;
};
// The user to drop to; nullopt if this process is not root and stays who it is.
Result<std::optional<RunAs>> find_run_as(const std::string& user);

struct SpawnRequest {
  std::vector<std::string> argv;  // argv[0] is the program's path
  std::string folder;             // becomes its working folder
  std::vector<int> pass_fds;      // it finds them at 3, 4, ...; it inherits nothing else
  std::string output;             // file in `folder`, appended to by its stdout and stderr
  std::string record;             // file in `folder`: its /proc/self/stat, written before it can do harm
  std::vector<std::string> must_be_readable;  // by the user it runs as
  std::optional<RunAs> run_as;
  std::uint64_t file_bytes_max = 0;  // RLIMIT_FSIZE
};

// Ends when the program runs. The child has a session of its own and belongs to init. Whoever finds no
// `record` after this process died knows that nothing was started.
Result<ProcessId> spawn_detached(const SpawnRequest& request);

// An absolute path as it is, a bare name by PATH.
Result<std::string> find_program(const std::string& name);

}  // namespace ebb::qemu
