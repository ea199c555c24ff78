#include "platform/qemu/machine.h"

#include <charconv>
#include <csignal>
#include <fcntl.h>
#include <unistd.h>

#include "platform/qemu/qemu_command.h"

namespace ebb::qemu {
namespace {
constexpr Duration monitor_limit = 5s;
constexpr Duration continue_pause_first = 1s, continue_pause_max = 30s, power_button_period = 5s;

// What is no number means that something failed.
std::uint32_t parse_status(std::string_view text) {
  std::uint32_t status = 1;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), status);
  return error == std::errc() && end == text.data() + text.size() ? status : 1;
}

}  // namespace

Machine::Machine(AsioLoop& loop, Logger log, std::string folder, MachineRecord record, Settings settings)
    : loop_(loop),
      log_(std::move(log)),
      folder_(std::move(folder)),
      record_(std::move(record)),
      end_(load_end(folder_)),
      settings_(std::move(settings)),
      news_(loop),
      scope_(loop) {}

Machine::~Machine() { scope_.cancel(); }

void Machine::attach(ProcessId process) {
  auto pidfd = open_pidfd(process);
  if (!pidfd) return mark_exited("its process ended while nobody watched");
  pidfd_ = std::move(*pidfd);
  exit_ = std::make_unique<FdWatch>(loop_, fcntl(pidfd_.get(), F_DUPFD_CLOEXEC, 3));
  connect_sockets();
  scope_.spawn(watch_exit());
  if (record_.paused) {
    if (auto status = pause(); !status) log_.error("VM {}: {}", record_.spec.vm, status.error());
    return;
  }
  if (record_.ready) return enter(MachineState::ready, "");
  scope_.spawn(wait_without_word());
}

void Machine::connect_sockets() {
  // Machines of earlier agents have none.
  if (const auto agent = folder_ + "/agent.sock"; access(agent.c_str(), F_OK) == 0)
    guest_agent_ = "unix:" + agent;
  auto monitor = LineSocket::connect(loop_, folder_ + "/qmp.sock");
  auto control = LineSocket::connect(loop_, folder_ + "/control.sock");
  for (const auto* socket : {&monitor, &control}) {
    if (!*socket) log_.warning("VM {}: {}", record_.spec.vm, socket->error());
  }
  if (monitor) {
    monitor_ = std::move(*monitor);
    scope_.spawn(watch_monitor());
  }
  if (control) {
    control_ = std::move(*control);
    // A guest says `ready` by itself when it comes up; an adopted one has said it to somebody else.
    (void)control_->send("ping\n");
    scope_.spawn(watch_control());
  }
}

// Switches learn where its MAC addresses are from now on (QEMU sends RARP, again and again for a few seconds), and a guest that runs
// tells its neighbours by gratuitous ARP.
void Machine::announce() {
  if (record_.spec.interfaces && monitor_)
    (void)monitor_->send(
        R"({"execute":"announce-self","arguments":{"initial":50,"max":550,"rounds":10,"step":50}})"
        "\n");
}

void Machine::mark_exited(std::string why) { enter(MachineState::exited, std::move(why)); }

MachineStatus Machine::status() const {
  MachineStatus status{.vm = record_.spec.vm,
                       .epoch = record_.spec.epoch,
                       .state = state_,
                       .ports = record_.ports,
                       .accel = record_.accel,
                       .error = error_};
  status.is_held = record_.paused && !exited();
  status.guest_agent = guest_agent_;
  if (!exited()) return status;
  status.was_stopped = end_.stop_asked && !end_.named_status;
  status.exit_status = end_.named_status ? end_.named_status : end_.exit_status;
  status.last_words = last_guest_words(fmt::format("{}/{}", folder_, console_log_name));
  return status;
}

Task<bool> Machine::greeted() {
  while (!greeted_ && !exited()) co_await news_.wait();
  co_return greeted_;
}

Task<bool> Machine::stop(StopWish wish) {
  if (exited()) co_return !kill_sent_;
  if (shutdown_reason_.empty()) end_.stop_asked = true;  // else it is ending by itself
  save_end();  // whoever finds the machine ended must know that it was no end of its guest's own
  const auto began = loop_.now(), deadline = began + wish.grace;
  // A paused guest cannot answer; what is given no time is not asked.
  const bool may_ask = wish.grace > 0s && state_ != MachineState::paused;
  bool asked = may_ask && wish.ask_guest_agent &&
               co_await ask_guest_agent(wish.ask_guest_agent, began + wish.grace / 2);
  if (may_ask && !exited()) asked = ask_to_stop(wish.signal) || asked;
  // The power button means nothing to a boot loader: it is pressed again.
  const bool asks_again = may_ask && (record_.spec.firmware || wish.signal == StopSignal::power_button);
  while ((asked || asks_again) && !exited() && loop_.now() < deadline) {
    const bool is_news =
        co_await news_.wait_for(std::min<Duration>(deadline - loop_.now(), power_button_period));
    if (asks_again && !is_news) asked = ask_to_stop(wish.signal);
  }
  if (!exited()) {
    kill_sent_ = true;
    if (auto status = send_signal(pidfd_, SIGKILL); !status)
      log_.error("VM {}: {}", record_.spec.vm, status.error());
    while (!exited()) co_await news_.wait();
  }
  co_return !kill_sent_;
}

// Ends when the machine has, when its guest agent has not answered or has refused, or at `until`. Whether that has taken it.
Task<bool> Machine::ask_guest_agent(std::function<Task<Status>()> ask, Instant until) {
  auto asked = co_await with_timeout(loop_, ask(), until - loop_.now());
  while (asked && *asked && !exited() && loop_.now() < until)
    (void)co_await news_.wait_for(until - loop_.now());
  if (!exited())
    log_.warning("VM {} is asked to stop in the automatic way: its guest agent {}", record_.spec.vm,
                 !asked   ? "does not answer"
                 : *asked ? "has not powered it off"
                          : "did not: " + asked->error().message);
  co_return asked && *asked;
}

// A guest of ours listens on its control port, and what firmware has booted heeds the power button.
bool Machine::ask_to_stop(StopSignal signal) {
  const bool listens = !record_.spec.firmware || guest_spoke_;
  if (signal != StopSignal::power_button && listens) return control_ && control_->send("stop\n").has_value();
  return monitor_ && monitor_->send("{\"execute\":\"system_powerdown\"}\n").has_value();
}

// By signal and not by QEMU's monitor: its `stop` flushes the disks first and waits for requests under way,
// and a fenced machine must do neither.
Status Machine::pause() {
  if (exited()) return fail(Code::not_found, "VM '{}' is not running", record_.spec.vm);
  EBB_CHECKED(send_signal(pidfd_, SIGSTOP));
  record_.paused = true;
  save();
  enter(MachineState::paused, "paused by the agent");
  return {};
}

Status Machine::resume() {
  if (exited()) return fail(Code::not_found, "VM '{}' is not running", record_.spec.vm);
  if (!record_.paused) return {};
  record_.paused = false;
  save();
  EBB_CHECKED(send_signal(pidfd_, SIGCONT));
  enter(record_.ready ? MachineState::ready : MachineState::booting, "");
  return {};
}

// busy: QEMU does not answer, now or since an earlier command; nothing more is asked of it until it has. invalid: it refuses.
Task<Status> Machine::ask_monitor(json::Object command) {
  if (exited() || !monitor_ || !greeted_)
    co_return fail(Code::unavailable, "QEMU's monitor of VM '{}' is not there", record_.spec.vm);
  if (unanswered_ != 0)
    co_return fail(Code::busy, "QEMU's monitor of VM '{}' does not answer", record_.spec.vm);
  const auto id = asked_ + 1;
  command["id"] = id;
  EBB_CO_CHECKED(monitor_->send(json::to_text(command) + "\n"));
  unanswered_ = asked_ = id;
  const auto until = loop_.now() + monitor_limit;
  while (unanswered_ == id && !exited() && loop_.now() < until)
    (void)co_await news_.wait_for(until - loop_.now());
  if (unanswered_ == id)
    co_return fail(Code::busy, "QEMU's monitor of VM '{}' does not answer", record_.spec.vm);
  co_return answer_;
}

Task<Status> Machine::resize_disk(std::size_t index, std::uint64_t bytes) {
  if (record_.spec.disks[index].bytes == bytes) co_return Status{};
  const auto node = disk_node(index);
  const json::Object resize{{"execute", "block_resize"},
                            {"arguments", {{"node-name", node}, {"size", bytes}}}};
  auto done = co_await ask_monitor(resize);
  if (!done && done.error().code == Code::invalid) {
    // QEMU learns a size as it connects, and connects when it has something to ask: an idle guest has not.
    const auto read = fmt::format("qemu-io {} \"read 0 512\"", node);
    EBB_CO_CHECKED(co_await ask_monitor(
        {{"execute", "human-monitor-command"}, {"arguments", {{"command-line", read}}}}));
    done = co_await ask_monitor(resize);
  }
  if (!done) co_return fail(Code::unavailable, "{}", done.error().message);
  record_.spec.disks[index].bytes = bytes;
  save();
  co_return Status{};
}

Result<std::size_t> Machine::type(std::string_view bytes) {
  if (exited()) return fail(Code::not_found, "VM '{}' is not running", record_.spec.vm);
  const auto path = fmt::format("{}/{}", folder_, console_in_name);
  UniqueFd pipe(open(path.c_str(), O_WRONLY | O_NONBLOCK | O_NOFOLLOW | O_CLOEXEC));
  if (!pipe && errno == ENOENT)
    return fail(Code::unavailable, "VM '{}' was started by an agent that let nobody type: restart the VM",
                record_.spec.vm);
  if (!pipe) return fail_os(errno, "open", path);
  const auto written = write(pipe.get(), bytes.data(), bytes.size());
  if (written < 0 && errno == EAGAIN) return 0;
  if (written < 0) return fail_os(errno, "write", path);
  return static_cast<std::size_t>(written);
}

void Machine::save() {
  if (auto status = save_record(folder_, record_); !status)
    log_.warning("VM {}: {}", record_.spec.vm, status.error());
}

void Machine::save_end() {
  if (auto status = qemu::save_end(folder_, end_); !status)
    log_.warning("VM {}: {}", record_.spec.vm, status.error());
}

Task<void> Machine::watch_exit() {
  if (co_await exit_->readable()) finish();
}

void Machine::finish() {
  // What QEMU and its guest said at their end may not have been read yet; it is all there.
  if (control_) {
    for (const auto& line : control_->take_lines()) on_control_line(line);
  }
  if (monitor_) {
    for (const auto& line : monitor_->take_lines()) on_monitor_line(line);
  }
  enter(MachineState::exited, exit_reason());
}

std::string Machine::exit_reason() const {
  if (end_.named_status && *end_.named_status > 0)
    return fmt::format("the guest ended with status {}", *end_.named_status);
  if (end_.stop_asked) return "";
  if (!shutdown_reason_.empty()) return fmt::format("the guest ended by itself ({})", shutdown_reason_);
  auto words = last_words(folder_ + "/qemu.log");
  return words.empty() ? "QEMU was killed" : fmt::format("QEMU ended: {}", words);
}

Task<void> Machine::watch_monitor() {
  while (!monitor_->ended() && co_await monitor_->readable()) {
    for (const auto& line : monitor_->take_lines()) on_monitor_line(line);
  }
}

Task<void> Machine::watch_control() {
  while (!control_->ended() && co_await control_->readable()) {
    for (const auto& line : control_->take_lines()) on_control_line(line);
  }
}

void Machine::on_monitor_line(const std::string& line) {
  auto value = json::parse(line);
  if (!value || !value->is_object()) return;
  const auto& message = value->get_object();
  if (const auto* id = message.if_contains("id"); id && id->is_number()) {
    on_answer(id->to_number<std::uint64_t>(), message);
  } else if (message.contains("QMP")) {
    (void)monitor_->send("{\"execute\":\"qmp_capabilities\"}\n{\"execute\":\"query-status\"}\n");
  } else if (const auto* event = message.if_contains("event"); event && event->is_string()) {
    const auto* data = message.if_contains("data");
    on_event(event->get_string(), data && data->is_object() ? data->get_object() : json::Object{});
  } else if (const auto* answer = message.if_contains("return"); answer && answer->is_object()) {
    const auto* status = answer->get_object().if_contains("status");
    // Commands are answered only once the machine is complete; the greeting comes before that.
    if (status && !std::exchange(greeted_, true)) announce(), news_.notify_all();
    if (status && status->is_string() && status->get_string() == "io-error")
      on_io_stop("a disk answered with an error");
  } else if (const auto* error = message.if_contains("error")) {
    log_.warning("VM {}: QEMU's monitor: {}", record_.spec.vm, json::to_text(*error));
  }
}

void Machine::on_answer(std::uint64_t id, const json::Object& message) {
  if (id != unanswered_) return;
  unanswered_ = 0;
  const auto* error = message.if_contains("error");
  const auto* text = error && error->is_object() ? error->get_object().if_contains("desc") : nullptr;
  answer_ = Status{};
  if (error)
    answer_ = fail(Code::invalid, "QEMU: {}",
                   text && text->is_string() ? std::string_view(text->get_string()) : "an error");
  news_.notify_all();
}

void Machine::on_event(std::string_view name, const json::Object& data) {
  auto text = [&](const char* key) {
    const auto* value = data.if_contains(key);
    return value && value->is_string() ? std::string(value->get_string()) : std::string();
  };
  if (name == "SHUTDOWN") {
    shutdown_reason_ = text("reason");
    // One that has powered itself off ended well, unless it said otherwise.
    if (shutdown_reason_ == "guest-shutdown") end_.exit_status = 0, save_end();
  } else if (name == "RESET" && end_.named_status && !exited()) {
    end_.named_status.reset();  // said before it began anew
    save_end();
  } else if (name == "BLOCK_IO_ERROR") {
    log_.error("VM {}: disk {}: {} failed: {}", record_.spec.vm, text("node-name"), text("operation"),
               text("reason"));
    if (text("action") == "stop") on_io_stop(fmt::format("disk {}: {}", text("operation"), text("reason")));
  } else if (name == "RESUME" && state_ == MachineState::paused) {
    enter(record_.ready ? MachineState::ready : MachineState::booting, "");
  }
}

void Machine::on_io_stop(std::string why) {
  enter(MachineState::paused, std::move(why));
  if (std::exchange(continuing_, true)) return;
  // A disk that holds again by the next error has not recovered: wait longer each time.
  continue_pause_ = std::clamp(continue_pause_ * 2, continue_pause_first, continue_pause_max);
  scope_.spawn(continue_later());
}

Task<void> Machine::continue_later() {
  co_await sleep_for(loop_, continue_pause_);
  continuing_ = false;
  if (!exited() && monitor_) (void)monitor_->send("{\"execute\":\"cont\"}\n");
}

void Machine::on_control_line(const std::string& line) {
  guest_spoke_ = guest_spoke_ || line == "ready" || line == "bad" || line == "stopping";
  if (line == "ready") become_ready();
  if (line.starts_with("exit ")) {
    end_.named_status = parse_status(std::string_view(line).substr(5));
    save_end();
  }
  if (line == "bad" && !exited()) enter(state_, "the guest reports a fault");
}

void Machine::become_ready() {
  if (state_ != MachineState::booting && !(state_ == MachineState::ready && !error_.empty())) return;
  if (!std::exchange(record_.ready, true)) {
    // Only so that a restarted agent need not wait for the guest's answer.
    if (auto status = save_record(folder_, record_); !status)
      log_.warning("VM {}: {}", record_.spec.vm, status.error());
  }
  announce();
  enter(MachineState::ready, "");
}

Task<void> Machine::wait_without_word() {
  co_await sleep_for(loop_, settings_.ready_without_word);
  if (!guest_spoke_) become_ready();
}

void Machine::enter(MachineState state, std::string error) {
  if (exited() || (state == state_ && error == error_)) return;
  state_ = state;
  error_ = std::move(error);
  news_.notify_all();
  settings_.changed();
}

}  // namespace ebb::qemu
