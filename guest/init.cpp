// Process 1 of the witness guest: brings the machine up, starts the witness, and then answers the host.
// On `ebb.control`: `ready` when the witness has its first number and again for each `ping`; `stop` ends the
// guest. On port 80: the state of the witness as JSON. One thread, one event loop; nothing in it waits for
// disk or host.
#include "init.h"

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <fcntl.h>
#include <map>
#include <netinet/in.h>
#include <new>
#include <string>
#include <string_view>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/reboot.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "boot.h"
#include "network.h"
#include "port.h"
#include "witness.h"

namespace ebb::guest {
namespace {

// booting --first number--> serving --stop--> stopping --witness ended--> (reboot)
//    |                         |                 ^
//    |                         +--its end, BAD--> broken --stop--+
//    +--------------------its end, BAD------------^
enum class Phase { booting, serving, broken, stopping };

// The control port. The host may be absent at any time; then reads give nothing and writes are kept.
class ControlPort final {
 public:
  explicit ControlPort(const std::string& path) : fd_(path.empty() ? -1 : open_port(path, O_RDWR)) {}

  int fd() const { return fd_; }

  // Calls `handle` with each whole line the host has sent.
  template <typename Handle>
  void read_lines(Handle handle) {
    char buffer[256];
    ssize_t size = 0;
    while ((size = read(fd_, buffer, sizeof buffer)) > 0) {
      for (const char c : std::string_view(buffer, static_cast<std::size_t>(size))) {
        if (c == '\n') {
          handle(std::string_view(line_));
          line_.clear();
        } else if (line_.size() < line_bytes_max) {
          line_.push_back(c);
        }
      }
    }
    if (size == 0) line_.clear();  // the host went away in mid-line
  }

  // An answer that the host has not taken is replaced by the next one: only the newest is true.
  void say(const char* line) {
    unsent_ = line;
    flush();
  }
  void flush() {
    if (!unsent_.empty() &&
        write(fd_, unsent_.data(), unsent_.size()) == static_cast<ssize_t>(unsent_.size())) {
      unsent_.clear();
    }
  }

 private:
  static constexpr std::size_t line_bytes_max = 64;
  int fd_;
  std::string line_;
  std::string unsent_;
};

struct Launch {
  pid_t pid = -1;
  Status* status = nullptr;
  int changed_fd = -1;
};

// `records` empty: without a disk. Forked and not executed anew: under emulation, code that has run once is
// fast.
Launch start_witness(const std::string& records) {
  Launch launch;
  void* page = mmap(nullptr, sizeof(Status), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  launch.status = new (page) Status;
  launch.changed_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
  WitnessOptions options{.records = records, .report = "", .tag = disk_serial()};
  options.store = kernel_option("witness.store", "");
  options.pause_ms = std::strtol(kernel_option("witness.pause_ms", "10").c_str(), nullptr, 10);
  launch.pid = fork();
  if (launch.pid == 0) _exit(run_witness(options, *launch.status, launch.changed_fd));
  return launch;
}

// QEMU's guest agent, if the RAM disk has one: programs that the host asks for are its children.
constexpr const char* agent = "/usr/sbin/qemu-ga";
void start_guest_agent(const std::string& port) {
  if (port.empty()) return;
  if (fork() != 0) return;
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  setenv("PATH", "/usr/sbin:/bin", 1);
  execl(agent, agent, "-m", "virtio-serial", "-p", port.c_str(), "-t", "/run", static_cast<char*>(nullptr));
  complain("start the guest agent");
  _exit(1);
}

class Init final {
 public:
  Init() : epoll_fd_(epoll_create1(EPOLL_CLOEXEC)) {
    sigset_t child;
    sigemptyset(&child);
    sigaddset(&child, SIGCHLD);
    sigprocmask(SIG_BLOCK, &child, nullptr);
    child_fd_ = signalfd(-1, &child, SFD_NONBLOCK | SFD_CLOEXEC);
  }

  void boot();
  [[noreturn]] void serve();

 private:
  void watch(int fd, std::uint32_t events);
  void listen_http();
  void on_state_changed();
  void on_child_ended();
  void on_control_line(std::string_view line);
  void on_console();
  void on_http_client();
  void on_http_request(int fd);
  std::string status_json() const;
  void answer_ping();
  void stop();
  [[noreturn]] void power_off();

  int epoll_fd_;
  int child_fd_ = -1;
  int http_fd_ = -1;
  Phase phase_ = Phase::booting;
  std::string fault_;
  Launch witness_;
  ControlPort control_{""};
  std::map<int, std::string> requests_;  // of HTTP clients that have not sent all of it
};

void Init::boot() {
  mount_system();
  load_bus();
  const bool has_serial = has_device(VirtioDevice::serial);
  const bool has_network = has_device(VirtioDevice::network);
  // Serial first: its ports are named by a conversation with the host that goes on while the disk is mounted.
  if (has_serial) load_driver(VirtioDevice::serial);
  if (has_device(VirtioDevice::disk)) load_driver(VirtioDevice::disk);
  const DiskState disk = mount_disk(fault_);
  if (disk == DiskState::failed) {
    phase_ = Phase::broken;
    std::fprintf(stderr, "init: %s\n", fault_.c_str());
  } else {
    witness_ = start_witness(disk == DiskState::mounted ? "/data/records" : "");
  }
  tell_seed();
  if (has_network) {
    load_driver(VirtioDevice::network);
    start_network();
    listen_http();
  }
  constexpr int port_wait_ms_max = 2000;
  if (has_serial) control_ = ControlPort(wait_for_port("ebb.control", port_wait_ms_max));
  if (has_serial && access(agent, X_OK) == 0)
    start_guest_agent(wait_for_port("org.qemu.guest_agent.0", port_wait_ms_max));
}

void Init::watch(int fd, std::uint32_t events) {
  epoll_event event{};
  event.events = events;
  event.data.fd = fd;
  if (fd >= 0 && epoll_ctl(epoll_fd_, EPOLL_CTL_ADD, fd, &event) != 0) complain("watch");
}

void Init::serve() {
  watch(child_fd_, EPOLLIN);
  watch(witness_.changed_fd, EPOLLIN);
  watch(http_fd_, EPOLLIN);
  // A port without a host is "hung up" all the time; edges wake us only when the host comes, goes or speaks.
  watch(control_.fd(), EPOLLIN | EPOLLOUT | EPOLLET);
  watch(STDIN_FILENO, EPOLLIN);
  if (phase_ == Phase::broken) answer_ping();
  for (;;) {
    epoll_event event{};
    if (epoll_wait(epoll_fd_, &event, 1, -1) < 1) continue;
    const int fd = event.data.fd;
    if (fd == child_fd_)
      on_child_ended();
    else if (fd == witness_.changed_fd)
      on_state_changed();
    else if (fd == http_fd_)
      on_http_client();
    else if (fd == control_.fd()) {
      control_.flush();
      control_.read_lines([this](std::string_view line) { on_control_line(line); });
    } else if (fd == STDIN_FILENO) {
      on_console();
    } else {
      on_http_request(fd);
    }
  }
}

void Init::on_state_changed() {
  std::uint64_t times = 0;
  if (read(witness_.changed_fd, &times, sizeof times) < 0 || phase_ == Phase::stopping) return;
  const bool is_first = phase_ == Phase::booting;
  phase_ = witness_.status->state == WitnessState::bad ? Phase::broken : Phase::serving;
  if (is_first && phase_ == Phase::serving)
    std::printf("init: boot %llu serves\n", static_cast<unsigned long long>(witness_.status->boot.load())),
        std::fflush(stdout);
  answer_ping();
}

void Init::on_child_ended() {
  signalfd_siginfo info{};
  if (read(child_fd_, &info, sizeof info) < 0) return;
  bool witness_ended = false;
  while (const pid_t pid = waitpid(-1, nullptr, WNOHANG)) {
    if (pid < 0) break;
    witness_ended = witness_ended || pid == witness_.pid;
  }
  if (!witness_ended) return;
  witness_.pid = -1;
  if (phase_ == Phase::stopping) power_off();
  phase_ = Phase::broken;
  fault_ = "the witness ended";
  answer_ping();
}

void Init::on_control_line(std::string_view line) {
  if (line == "ping") answer_ping();
  if (line == "stop") stop();
}

// A line at a time, as a terminal gives it.
void Init::on_console() {
  char buffer[512];
  const ssize_t size = read(STDIN_FILENO, buffer, sizeof buffer);
  if (size <= 0) {
    epoll_ctl(epoll_fd_, EPOLL_CTL_DEL, STDIN_FILENO, nullptr);
    return;
  }
  std::string_view line(buffer, static_cast<std::size_t>(size));
  while (line.ends_with('\n')) line.remove_suffix(1);
  constexpr std::string_view count = "count ";
  if (line.starts_with(count)) {
    const long last = std::strtol(std::string(line.substr(count.size())).c_str(), nullptr, 10);
    for (long i = 1; i <= last; ++i) std::printf("init: %ld of %ld\n", i, last);
    std::printf("init: counted to %ld\n", last);
  } else {
    std::printf("init: read '%.*s'\n", static_cast<int>(line.size()), line.data());
  }
  std::fflush(stdout);
}

void Init::answer_ping() {
  switch (phase_) {
    case Phase::booting:
      return;  // `ready` follows by itself
    case Phase::serving:
      return control_.say("ready\n");
    case Phase::broken:
      return control_.say("bad\n");
    case Phase::stopping:
      return control_.say("stopping\n");
  }
}

void Init::stop() {
  if (phase_ == Phase::stopping) return;
  phase_ = Phase::stopping;
  std::printf("init: stops\n");
  std::fflush(stdout);
  if (witness_.pid < 0) power_off();
  kill(witness_.pid, SIGTERM);
}

void Init::power_off() {
  unmount_disk();
  sync();
  stop_network();
  // A reset, which a QEMU with -no-reboot takes as its end.
  reboot(RB_AUTOBOOT);
  for (;;) pause();
}

void Init::listen_http() {
  http_fd_ = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(80);
  if (bind(http_fd_, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0 ||
      listen(http_fd_, 16) != 0) {
    complain("listen on port 80");
  }
}

void Init::on_http_client() {
  constexpr std::size_t clients_max = 64;
  const int fd = accept4(http_fd_, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
  if (fd < 0) return;
  if (requests_.size() == clients_max) {  // those who asked for nothing so far make room
    for (const auto& [silent_fd, request] : requests_) close(silent_fd);
    requests_.clear();
  }
  requests_[fd] = "";
  watch(fd, EPOLLIN);
}

// Whatever is asked for, the answer is the status. `/exit/N` ends the guest with the status N.
void Init::on_http_request(int fd) {
  constexpr std::size_t request_bytes_max = 8192;
  char buffer[2048];
  const ssize_t size = read(fd, buffer, sizeof buffer);
  if (size < 0 && errno == EAGAIN) return;
  std::string& request = requests_[fd];
  if (size > 0) request.append(buffer, static_cast<std::size_t>(size));
  const bool complete = request.find("\r\n\r\n") != std::string::npos;
  if (size > 0 && !complete && request.size() < request_bytes_max) return;
  if (complete) {
    constexpr std::string_view exit_path = "GET /exit/";
    if (request.starts_with(exit_path)) {
      control_.say(("exit " +
                    request.substr(exit_path.size(), request.find(' ', exit_path.size()) - exit_path.size()) +
                    "\n")
                       .c_str());
      stop();
    }
    const std::string body = status_json();
    const std::string answer = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: " +
                               std::to_string(body.size()) + "\r\nConnection: close\r\n\r\n" + body;
    if (send(fd, answer.data(), answer.size(), MSG_NOSIGNAL) < 0) complain("answer");
  }
  requests_.erase(fd);
  close(fd);
}

std::string Init::status_json() const {
  const Status* status = witness_.status;
  const char* state = phase_ == Phase::stopping ? "stopping" : status ? state_name(status->state) : "bad";
  return std::string("{\"state\":\"") + state +
         "\",\"boot\":" + std::to_string(status ? status->boot.load() : 0) +
         ",\"last\":" + std::to_string(status ? status->last.load() : 0) + "}\n";
}

}  // namespace

void run_init() {
  Init init;
  init.boot();
  init.serve();
}

}  // namespace ebb::guest
