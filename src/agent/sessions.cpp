#include "agent/sessions.h"

#include "agent/exec_session.h"
#include "agent/port_session.h"

namespace ebb::agent {
namespace {

constexpr std::size_t sessions_max = 256;

Task<void> report(Task<Status> work, std::function<void(Status)> over) { over(co_await work); }

}  // namespace

Task<Status> Sessions::follow() {
  auto on_call = [this](SessionCall call) { begin(std::move(call)); };
  co_return co_await t_.control->watch_sessions(t_.console.worker, on_call);
}

// The same call comes again when the stream of calls was broken before we had taken it.
void Sessions::begin(SessionCall call) {
  if (open_.insert(call.session).second) scope_.spawn(run(std::move(call)));
}

Task<void> Sessions::run(SessionCall call) {
  const auto id = call.session;
  SessionLine line(*t_.loop, *t_.control, std::move(call));
  OneShot<Status> first(*t_.loop);
  Scope scope(*t_.loop);
  scope.spawn(report(line.hear(), first.completer()));
  scope.spawn(report(show(&line), first.completer()));
  // An operator who goes is no news.
  if (auto ended = co_await first; !ended && ended.error().code != Code::not_found)
    t_.log.info("VM {}: a session of an operator broke: {}", line.call().vm, ended.error());
  open_.erase(id);
}

Task<Status> Sessions::refuse(SessionLine* line, std::string why) {
  co_await line->taken();
  std::vector<SessionEvent> refusal{{.end = SessionEnd{SessionEndKind::unavailable, std::move(why)}}};
  co_return co_await line->send(std::move(refusal));
}

Task<Status> Sessions::show(SessionLine* line) {
  const auto& call = line->call();
  if (open_.size() > sessions_max)
    co_return co_await refuse(line,
                              fmt::format("{} has {} sessions already", t_.console.worker, sessions_max));
  if (call.kind == SessionKind::port) {
    auto address = t_.address_of(call.vm, call.epoch, call.port.value_or(""));
    if (!address) co_return co_await refuse(line, address.error().message);
    PortSession port(*t_.network, *line, std::move(*address));
    co_return co_await port.run();
  }
  if (call.kind == SessionKind::exec) {
    auto address = co_await t_.guest_agent_of(call.vm, call.epoch);
    if (!address) co_return co_await refuse(line, address.error().message);
    ExecSession exec(*t_.guest_agents, *line, std::move(*address));
    co_return co_await exec.run();
  }
  ConsoleSession console(t_.console, *line);
  Scope scope(*t_.loop);
  scope.spawn(console.type());
  co_return co_await console.show();
}

}  // namespace ebb::agent
