#include "base/base64.h"
#include "cli/commands.h"
#include "env/scope.h"
#include "env/stream.h"

namespace ebb {
namespace {

constexpr std::size_t piece_bytes = 96 * 1024;
constexpr std::uint64_t read_step =
    256 * 1024;  // worth to be told: the control plane sends no more than 1 MiB ahead

// One connection of a local program, and the session that it has with the VM's port.
class Forwarded final {
 public:
  Forwarded(Context& c, SessionView view, Stream& local)
      : c_(c),
        view_(std::move(view)),
        local_(local),
        more_(c.env.loop),
        to_say_(c.env.loop),
        room_(c.env.loop) {}

  // Until one side has closed, and the other has had all of it.
  Task<Status> run() {
    OneShot<Status> first(c_.env.loop);
    Scope scope(c_.env.loop);
    scope.spawn(report(watch(), first.completer()));
    scope.spawn(report(write_local(), first.completer()));
    scope.spawn(report(send(), first.completer()));
    scope.spawn(read_local());
    co_return co_await first;
  }

 private:
  static Task<void> report(Task<Status> work, std::function<void(Status)> over) { over(co_await work); }

  Task<Status> watch() {
    auto ended = co_await c_.client.watch_session(c_.env.loop, view_,
                                                  [this](SessionEvent event) { take(std::move(event)); });
    if (!end_) {
      outcome_ = ended ? Status(fail(Code::unavailable, "the control plane has ended the session"))
                       : std::move(ended);
    } else if (end_->kind != SessionEndKind::complete) {
      outcome_ = fail(Code::unavailable, "{}", end_->text);
    }
    has_all_ = true;
    more_.poke();
    co_await sleep_for(c_.env.loop, 24h);  // write_local() has the last word: what has come is still written
    co_return Status{};
  }
  void take(SessionEvent event) {
    if (event.session) session_ = std::move(event.session), to_say_.poke();
    if (event.output) unwritten_ += from_base64(*event.output).value_or("");
    if (event.end) end_ = std::move(event.end);
    more_.poke();
  }

  Task<Status> write_local() {
    for (;;) {
      while (unwritten_.empty() && !has_all_) co_await more_.wait_for(1h);
      if (unwritten_.empty()) co_return outcome_;
      auto bytes = std::exchange(unwritten_, {});
      std::vector<ByteView> parts{as_bytes(bytes)};
      EBB_CO_CHECKED(co_await local_.write_all(std::move(parts)));
      written_ += bytes.size();
      to_say_.poke();
    }
  }

  Task<void> read_local() {
    Bytes buffer(piece_bytes);
    while (!has_read_all_) {
      while (unsent_.size() >= piece_bytes) co_await room_.wait();
      auto size = co_await local_.read_some(buffer);
      if (size) unsent_ += as_text(ByteView(buffer).first(*size));
      has_read_all_ = !size || *size == 0;
      to_say_.poke();
    }
  }

  // What the local program says, and how much it has taken; each again until it is known to have arrived.
  Task<Status> send() {
    std::uint64_t told = 0;
    bool has_said_end = false;
    for (SessionInput input;; ++input.sequence) {
      auto has_news = [&] {
        return session_ &&
               (!unsent_.empty() || (has_read_all_ && !has_said_end) || written_ >= told + read_step);
      };
      while (!has_news()) co_await to_say_.wait_for(1h);
      if (input.sequence == 0) input.sequence = 1;
      auto bytes = unsent_.substr(0, piece_bytes);
      unsent_.erase(0, bytes.size());
      room_.notify_all();
      input.input = to_base64(bytes);
      input.read = told = written_;
      if (has_read_all_ && unsent_.empty()) input.end = has_said_end = true;
      for (;;) {
        auto sent = co_await c_.client.type(*session_, input);
        if (sent) break;
        const bool is_full = sent.error().code == Code::busy;
        if (is_full) input.read = written_;
        if (sent.error().code == Code::not_found) co_await sleep_for(c_.env.loop, 24h);  // watch() says why
        if (!is_full && sent.error().code != Code::unavailable) co_return sent;
        co_await sleep_for(c_.env.loop, is_full ? 20ms : 500ms);
      }
    }
  }

  Context& c_;
  SessionView view_;
  Stream& local_;
  std::optional<SessionId> session_;
  std::optional<SessionEnd> end_;
  Status outcome_;
  std::string unwritten_, unsent_;  // to and from the local program
  std::uint64_t written_ = 0;
  bool has_all_ = false, has_read_all_ = false;  // of the guest's side, of the local one
  Poke more_, to_say_;
  Notify room_;
};

Task<void> forward(Context* c, SessionView view, std::unique_ptr<Stream> local) {
  const auto what = fmt::format("{}:{}", view.vm, view.port.value_or(""));
  Forwarded connection(*c, std::move(view), *local);
  if (auto ended = co_await connection.run(); !ended)
    c->screen().say(fmt::format("ebb: {}: {}", what, ended.error().message));
}

}  // namespace

Task<Result<Exit>> forward_ports(Context& c, ForwardOptions options) {
  if (!c.env.network) co_return fail(Code::invalid, "there is no network here to listen on");
  EBB_CO_TRY(view, co_await c.client.vm(options.vm));
  std::vector<std::unique_ptr<Listener>> listeners;
  std::vector<ForwardedPort> made;
  for (const auto& [local, name] : options.ports) {
    const auto& ports = view.vm.spec.ports;
    if (std::ranges::none_of(ports, [&](const Port& port) { return port.name == name; }))
      co_return fail(Code::not_found, "{} has no port '{}': 'ebb vms show {}' lists them", options.vm, name,
                     options.vm);
    SessionView session{.vm = options.vm, .kind = SessionKind::port, .port = name};
    auto listening = c.env.network->listen(
        fmt::format("{}:{}", options.address, local),
        [&c, session](std::unique_ptr<Stream> stream) { return forward(&c, session, std::move(stream)); });
    if (!listening) co_return fail(std::move(listening).error().within("cannot listen for connections"));
    made.push_back({options.vm.value, name, (*listening)->address()});
    listeners.push_back(std::move(*listening));
  }
  std::string text;
  for (const auto& port : made) text += fmt::format("{} -> {}:{}\n", port.address, port.vm, port.port);
  c.show(made, text);
  c.farewell = "ebb: nothing is forwarded any more";
  for (;;) co_await sleep_for(c.env.loop, 24h);
}

}  // namespace ebb
