#include "agent/exec_session.h"

#include "base/base64.h"
#include "env/scope.h"

namespace ebb::agent {
namespace {

constexpr std::size_t piece_bytes = 48 * 1024;

Task<void> report(Task<Result<GuestProgramEnd>> work, std::optional<Result<GuestProgramEnd>>* end,
                  Poke* news) {
  end->emplace(co_await work);
  news->poke();
}

SessionEvent output_event(std::string bytes) { return {.output = std::move(bytes)}; }
SessionEvent error_event(std::string bytes) { return {.error_output = std::move(bytes)}; }

}  // namespace

Task<Status> ExecSession::run() {
  co_await line_.taken();
  std::optional<Result<GuestProgramEnd>> end;
  Scope scope(line_.loop());
  scope.spawn(
      report(agents_.run(address_, line_.call().command.value_or(GuestCommand())), &end, &line_.news()));
  while (!end) {
    if (line_.owes_a_word()) EBB_CO_CHECKED(co_await line_.send({}));
    co_await line_.news().wait_for(1s);
  }
  co_return co_await tell(std::move(*end));
}

Task<Status> ExecSession::tell(Result<GuestProgramEnd> end) {
  if (!end) {
    std::vector<SessionEvent> last{{.end = SessionEnd{SessionEndKind::unavailable, end.error().message}}};
    co_return co_await line_.send(std::move(last));
  }
  struct Part {
    const std::string& bytes;
    SessionEvent (*event)(std::string);
  };
  for (const auto& part : {Part{end->output, output_event}, Part{end->error_output, error_event}}) {
    for (std::size_t at = 0; at < part.bytes.size(); at += piece_bytes) {
      std::vector<SessionEvent> events;
      events.push_back(part.event(to_base64(std::string_view(part.bytes).substr(at, piece_bytes))));
      EBB_CO_CHECKED(co_await line_.send(std::move(events)));
    }
  }
  SessionEnd ended{SessionEndKind::complete, "", end->status};
  if (end->is_cut) ended.text = "it printed more than the guest agent keeps: the rest is lost";
  std::vector<SessionEvent> last{{.end = std::move(ended)}};
  co_return co_await line_.send(std::move(last));
}

}  // namespace ebb::agent
