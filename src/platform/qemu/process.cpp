#include "platform/qemu/process.h"

#include <charconv>
#include <csignal>
#include <cstdlib>
#include <fcntl.h>
#include <grp.h>
#include <linux/close_range.h>
#include <pwd.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/text.h"
#include "platform/qemu/machine_record.h"

namespace ebb::qemu {

std::optional<ProcessId> parse_process_stat(std::string_view line) {
  auto name_end = line.rfind(')');
  if (name_end == std::string_view::npos || name_end + 2 > line.size()) return std::nullopt;
  auto number = [](std::string_view text) {
    std::uint64_t value = 0;
    std::from_chars(text.data(), text.data() + text.size(), value);
    return value;
  };
  // After the name follow the state (field 3) and on; the start time is field 22.
  auto fields = split(line.substr(name_end + 2), ' ');
  if (fields.size() < 20) return std::nullopt;
  ProcessId id{static_cast<pid_t>(number(line)), number(fields[19])};
  if (id.pid <= 0 || id.start_ticks == 0) return std::nullopt;
  return id;
}

bool is_running(const ProcessId& process) {
  auto line = read_small_file(fmt::format("/proc/{}/stat", process.pid));
  if (!line || parse_process_stat(*line) != process) return false;
  char state = (*line)[line->rfind(')') + 2];
  return state != 'Z' && state != 'X';
}

Result<UniqueFd> open_pidfd(const ProcessId& process) {
  UniqueFd fd(static_cast<int>(syscall(SYS_pidfd_open, process.pid, 0)));
  if (!fd && errno != ESRCH) return fail_os(errno, "watch process", std::to_string(process.pid));
  // Asked after opening: from here on the descriptor names this process, whatever becomes of the number.
  if (!fd || !is_running(process)) {
    return fail(Code::not_found, "process {} is gone", process.pid);
  }
  return fd;
}

Status send_signal(const UniqueFd& pidfd, int signal) {
  if (syscall(SYS_pidfd_send_signal, pidfd.get(), signal, nullptr, 0) != 0 && errno != ESRCH) {
    return fail_os(errno, "signal", "a machine's process");
  }
  return {};
}

Result<std::optional<RunAs>> find_run_as(const std::string& user) {
  if (geteuid() != 0) return std::nullopt;
  const passwd* entry = getpwnam(user.c_str());
  if (!entry) return fail(Code::invalid, "there is no user '{}' for virtual machines to run as", user);
  RunAs run_as{entry->pw_uid, entry->pw_gid, {}};
  int count = 64;
  run_as.groups.resize(static_cast<std::size_t>(count));
  if (getgrouplist(user.c_str(), entry->pw_gid, run_as.groups.data(), &count) < 0) count = 0;
  run_as.groups.resize(static_cast<std::size_t>(count));
  // KVM is given to a group by the system's device rules; a machine needs it and nothing else of that group.
  struct stat kvm{};
  if (stat("/dev/kvm", &kvm) == 0 && (kvm.st_mode & 0060) == 0060 && kvm.st_gid != 0)
    run_as.groups.push_back(kvm.st_gid);
  return run_as;
}

Result<std::string> find_program(const std::string& name) {
  if (name.find('/') != std::string::npos) {
    if (access(name.c_str(), X_OK) != 0) return fail_os(errno, "run", name);
    return name;
  }
  const char* path = std::getenv("PATH");
  for (auto folder : split(path ? path : "/usr/bin:/bin", ':')) {
    auto candidate = fmt::format("{}/{}", folder, name);
    if (access(candidate.c_str(), X_OK) == 0) return candidate;
  }
  return fail(Code::not_found, "{} is not installed: no such program on PATH", name);
}

namespace {

// What the child says on the pipe before the program runs; the pipe closes by itself when it does.
enum class Stage : int { alive, setup, user, read, exec };
struct Word {
  Stage stage;
  int number;  // alive: the pid; otherwise errno
  int index;   // read: which file
};

// Everything the child needs, made before the fork: between fork and exec only system calls are allowed.
struct Prepared {
  std::vector<char*> argv;
  std::vector<const char*> readable;
  std::vector<UniqueFd> fds;  // high copies, out of the way of 3, 4, ...
  UniqueFd folder, output, record, input, report;
};

constexpr int high_fd = 200;

Result<UniqueFd> moved_high(int fd, std::string_view what) {
  UniqueFd high(fcntl(fd, F_DUPFD_CLOEXEC, high_fd));
  if (!high) return fail_os(errno, "duplicate", what);
  return high;
}

Result<UniqueFd> opened_high(int folder, const std::string& path, int flags) {
  UniqueFd low(openat(folder, path.c_str(), flags | O_CLOEXEC, 0600));
  if (!low) return fail_os(errno, "open", path);
  return moved_high(low.get(), path);
}

void say(int fd, Stage stage, int number, int index = 0) {
  Word word{stage, number, index};
  if (write(fd, &word, sizeof word) != sizeof word) _exit(126);
}
[[noreturn]] void give_up(int fd, Stage stage, int index = 0) {
  say(fd, stage, errno, index);
  _exit(126);
}

void record_self(int fd, int report) {
  char line[1024];
  int self = open("/proc/self/stat", O_RDONLY | O_CLOEXEC);
  auto size = read(self, line, sizeof line);
  if (size <= 0 || write(fd, line, static_cast<std::size_t>(size)) != size) give_up(report, Stage::setup);
}

void become(const RunAs& run_as, int report) {
  if (setgroups(run_as.groups.size(), run_as.groups.data()) != 0 || setgid(run_as.gid) != 0 ||
      setuid(run_as.uid) != 0) {
    give_up(report, Stage::user);
  }
}

[[noreturn]] void run_child(const SpawnRequest& request, const Prepared& p) {
  int report = p.report.get();
  // The record comes before anything is closed: while it may still appear, locks that our creator held are
  // held by us.
  record_self(p.record.get(), report);
  say(report, Stage::alive, getpid());
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  signal(SIGXFSZ, SIG_IGN);  // a full log is a failed write, not a dead machine
  umask(077);
  rlimit files{request.file_bytes_max, request.file_bytes_max}, no_core{0, 0};
  if (fchdir(p.folder.get()) != 0 || setrlimit(RLIMIT_FSIZE, &files) != 0 ||
      setrlimit(RLIMIT_CORE, &no_core) != 0) {
    give_up(report, Stage::setup);
  }
  if (request.run_as) become(*request.run_as, report);
  for (std::size_t i = 0; i < p.readable.size(); ++i) {
    if (access(p.readable[i], R_OK) != 0) give_up(report, Stage::read, static_cast<int>(i));
  }
  bool placed = dup2(p.input.get(), 0) == 0 && dup2(p.output.get(), 1) == 1 && dup2(p.output.get(), 2) == 2;
  for (std::size_t i = 0; i < p.fds.size(); ++i) {
    int wanted = 3 + static_cast<int>(i);
    placed = placed && dup2(p.fds[i].get(), wanted) == wanted;
  }
  auto first_unwanted = static_cast<unsigned>(3 + p.fds.size());
  if (!placed || syscall(SYS_close_range, first_unwanted, ~0U, CLOSE_RANGE_CLOEXEC) != 0)
    give_up(report, Stage::setup);
  execv(p.argv[0], p.argv.data());
  give_up(report, Stage::exec);
}

Result<Prepared> prepare(const SpawnRequest& request, UniqueFd report) {
  Prepared p;
  p.report = std::move(report);
  for (const auto& arg : request.argv) p.argv.push_back(const_cast<char*>(arg.c_str()));
  p.argv.push_back(nullptr);
  for (const auto& path : request.must_be_readable) p.readable.push_back(path.c_str());
  for (int fd : request.pass_fds) {
    EBB_TRY(high, moved_high(fd, "a socket"));
    p.fds.push_back(std::move(high));
  }
  EBB_TRY(folder, opened_high(AT_FDCWD, request.folder, O_RDONLY | O_DIRECTORY));
  EBB_TRY(output, opened_high(folder.get(), request.output, O_WRONLY | O_CREAT | O_APPEND));
  EBB_TRY(record, opened_high(folder.get(), request.record, O_WRONLY | O_CREAT | O_TRUNC));
  EBB_TRY(input, opened_high(AT_FDCWD, "/dev/null", O_RDONLY));
  p.folder = std::move(folder), p.output = std::move(output), p.record = std::move(record),
  p.input = std::move(input);
  return p;
}

std::unexpected<Error> explain(const SpawnRequest& request, const Word& word) {
  switch (word.stage) {
    case Stage::alive:
      break;
    case Stage::setup:
      return fail_os(word.number, "start", request.argv[0]);
    case Stage::user:
      return fail_os(word.number, "change the user for", request.argv[0]);
    case Stage::read: {
      const auto& path = request.must_be_readable[static_cast<std::size_t>(word.index)];
      auto error = os_error(word.number, "read", path);
      if (word.number == EACCES && request.run_as) {
        error.message += fmt::format("; virtual machines run as user {}, who must be able to read it",
                                     request.run_as->uid);
      }
      return fail(std::move(error));
    }
    case Stage::exec:
      return fail_os(word.number, "run", request.argv[0]);
  }
  return fail(Code::internal, "unknown word from a starting process");
}

}  // namespace

Result<ProcessId> spawn_detached(const SpawnRequest& request) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return fail_os(errno, "make", "a pipe");
  UniqueFd from_child(ends[0]), low(ends[1]);
  EBB_TRY(report, moved_high(low.get(), "a pipe"));
  low.reset();
  EBB_TRY(prepared, prepare(request, std::move(report)));

  pid_t middle = fork();
  if (middle < 0) return fail_os(errno, "fork for", request.argv[0]);
  if (middle == 0) {
    // The one in between makes the session and dies, so that the program is init's child and leads no
    // session.
    if (setsid() < 0) give_up(prepared.report.get(), Stage::setup);
    pid_t child = fork();
    if (child < 0) give_up(prepared.report.get(), Stage::setup);
    if (child > 0) _exit(0);
    run_child(request, prepared);
  }
  prepared.report.reset();
  while (waitpid(middle, nullptr, 0) < 0 && errno == EINTR) {
  }

  Word word{};
  bool alive = false;
  for (;;) {
    auto size = read(from_child.get(), &word, sizeof word);
    if (size < 0 && errno == EINTR) continue;
    if (size != sizeof word) break;
    if (word.stage != Stage::alive) return explain(request, word);
    alive = true;
  }
  if (!alive)
    return fail(Code::unavailable, "{} could not be started: its process died at once", request.argv[0]);
  EBB_TRY(line, read_small_file(fmt::format("{}/{}", request.folder, request.record)));
  auto id = parse_process_stat(line);
  if (!id) return fail(Code::internal, "the record of a started process is unreadable: {}", line);
  return *id;
}

}  // namespace ebb::qemu
