#include "agent/console_session.h"

#include "base/base64.h"

namespace ebb::agent {
namespace {

constexpr std::size_t piece_bytes = 48 * 1024;
constexpr Duration look_every_console = 30ms, look_every_logs = 200ms;
constexpr Duration type_again_after = 50ms;

}  // namespace

// Why there is no more, if there will not be.
std::optional<SessionEnd> ConsoleSession::end_of(const Result<ConsolePiece>& piece, bool may_speak) {
  const auto& call = line_.call();
  if (piece && !last_) last_ = piece->log_end;
  if (piece && !call.follow && piece->position + piece->bytes.size() >= *last_)
    return SessionEnd{SessionEndKind::complete, ""};
  if (piece && !piece->bytes.empty()) return std::nullopt;
  auto why = piece ? std::string() : piece.error().message;
  if (!piece && piece.error().code != Code::not_found)
    return SessionEnd{SessionEndKind::unavailable, std::move(why)};
  if (!call.follow) return SessionEnd{SessionEndKind::complete, std::move(why)};
  if (!may_speak) return SessionEnd{SessionEndKind::left, std::move(why)};
  return std::nullopt;
}

Task<Status> ConsoleSession::show() {
  co_await line_.taken();
  const auto& call = line_.call();
  const auto pause = call.kind == SessionKind::console ? look_every_console : look_every_logs;
  ConsoleFrom from{call.position, call.tail_lines};
  std::optional<std::uint64_t> shown;  // up to here
  for (;;) {
    // In this order: when a machine has gone, all that it said is there.
    const bool may_speak = t_.may_speak(call.vm, call.epoch);
    auto piece = co_await t_.hypervisor->read_console(call.vm, call.epoch, from, piece_bytes);
    std::vector<SessionEvent> events;
    if (piece) {
      if (shown != piece->position)
        events.push_back({.at = ConsolePoint{t_.worker, call.epoch, piece->position}});
      if (!piece->bytes.empty()) events.push_back({.output = to_base64(piece->bytes)});
      shown = piece->position + piece->bytes.size();
      from = {shown, std::nullopt};
    }
    if (!trouble_.empty()) events.push_back({.notice = std::exchange(trouble_, {})});
    auto end = end_of(piece, may_speak);
    if (end) events.push_back({.end = end});
    if (!events.empty() || line_.owes_a_word()) {
      auto sent = co_await line_.send(std::move(events));
      if (!sent || end) co_return sent;
    }
    if (!piece || piece->bytes.empty()) co_await sleep_for(line_.loop(), pause);
  }
}

Task<void> ConsoleSession::type() {
  const auto& call = line_.call();
  for (;;) {
    std::string bytes(co_await line_.typed());
    if (bytes.empty()) co_return;
    auto taken = t_.may_speak(call.vm, call.epoch)
                     ? co_await t_.hypervisor->type_at_console(call.vm, bytes)
                     : Result<std::size_t>(fail(Code::unavailable, "{} has left {}", call.vm, t_.worker));
    if (!taken) trouble_ = fmt::format("what was typed is lost: {}", taken.error().message);
    line_.pass_on(taken.value_or(bytes.size()));
    if (taken == std::size_t{0}) co_await sleep_for(line_.loop(), type_again_after);
  }
}

}  // namespace ebb::agent
