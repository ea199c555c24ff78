#include "agent/health_checker.h"

#include <charconv>

#include "base/text.h"

namespace ebb::agent {
namespace {

constexpr Duration first_looks_every = 1s;  // of a guest that is coming up
constexpr Duration slack = 1s;  // for whoever has a limit of its own, and more to say than that it is over
constexpr std::size_t status_line_bytes_max = 1024;

// "HTTP/1.1 200 OK": RFC 9112, section 4.
Result<int> status_in(std::string_view line) {
  int status = 0;
  const auto space = line.find(' ');
  const bool is_http = line.starts_with("HTTP/1.") && space != std::string_view::npos;
  const auto rest = is_http ? line.substr(space + 1) : std::string_view();
  const auto [end, error] = std::from_chars(rest.data(), rest.data() + rest.size(), status);
  const bool is_whole = end == rest.data() + rest.size() || *end == ' ' || *end == '\r' || *end == '\n';
  if (error != std::errc() || !is_whole || status < 100 || status > 599)
    return fail(Code::unavailable, "what it answers is no HTTP");
  return status;
}

}  // namespace

HealthChecker::HealthChecker(Tools tools, HealthCheck check, std::string address,
                             std::optional<SeenHealth> before)
    : t_(std::move(tools)),
      check_(std::move(check)),
      address_(std::move(address)),
      seen_(std::move(before)),
      began_(t_.loop->now()),
      was_healthy_(seen_ && seen_->is_healthy),
      scope_(*t_.loop) {
  scope_.spawn(run());
}

Task<void> HealthChecker::run() {
  const Duration timeout = std::chrono::milliseconds(check_.timeout_ms),
                 interval = std::chrono::milliseconds(check_.interval_ms),
                 start_grace = std::chrono::milliseconds(check_.start_grace_ms);
  for (;;) {
    const bool has_own_limit = check_.kind == HealthKind::guest_agent;
    auto found = co_await with_timeout(*t_.loop, look(), has_own_limit ? 2 * timeout + slack : timeout);
    note(found ? std::move(*found)
               : fail(Code::unavailable, "no answer within {}", format_duration(timeout)));
    const bool is_coming_up = !was_healthy_ && t_.loop->now() - began_ < start_grace;
    co_await sleep_for(*t_.loop, is_coming_up ? std::min(interval, first_looks_every) : interval);
  }
}

void HealthChecker::note(Status status) {
  if (!status && status.error().code == Code::busy) return;  // it was not asked
  failures_ = status ? 0 : failures_ + 1;
  // One failure says nothing of a guest that was healthy; of one that never was, it says why.
  const bool is_healthy = status || (seen_ && seen_->is_healthy && failures_ < check_.failures_max);
  was_healthy_ = was_healthy_ || is_healthy;
  const auto error = status ? std::string() : status.error().message;
  const bool has_turned = !seen_ || seen_->is_healthy != is_healthy;
  if (!has_turned && seen_->error == error) return;
  seen_ = SeenHealth{is_healthy, has_turned ? t_.loop->wall_now() : seen_->since, error};
  t_.changed();
}

Task<Status> HealthChecker::look() {
  switch (check_.kind) {
    case HealthKind::tcp:
      co_return co_await ask_tcp();
    case HealthKind::http:
      co_return co_await ask_http();
    case HealthKind::guest_agent:
      co_return co_await t_.guest_agents->ping(address_, std::chrono::milliseconds(check_.timeout_ms));
  }
  co_return Status{};
}

// QEMU's user network takes a connection before the guest does, and closes it when nothing listens there: what is still open
// after a while was taken.
Task<Status> HealthChecker::ask_tcp() {
  EBB_CO_TRY(stream, co_await t_.network->connect(address_));
  Bytes byte(1);
  const auto patience = std::chrono::milliseconds(check_.timeout_ms) / 2;
  auto read = co_await with_timeout(*t_.loop, stream->read_some(byte), patience);
  const bool is_closed = read && (!*read || **read == 0);
  if (is_closed) co_return fail(Code::unavailable, "the connection is closed at once: nothing listens there");
  co_return Status{};
}

// No more of the answer is read than its first line: a guest may send anything, for ever.
Task<Status> HealthChecker::ask_http() {
  EBB_CO_TRY(stream, co_await t_.network->connect(address_));
  const auto path = check_.path.value_or("/");
  const auto request = fmt::format(
      "GET {} HTTP/1.0\r\nHost: {}\r\nUser-Agent: ebb\r\nConnection: close\r\n\r\n", path, address_);
  std::vector<ByteView> parts{as_bytes(request)};
  EBB_CO_CHECKED(co_await stream->write_all(std::move(parts)));
  std::string line;
  Bytes buffer(status_line_bytes_max);
  while (!line.contains('\n') && line.size() < status_line_bytes_max) {
    EBB_CO_TRY(size, co_await stream->read_some(buffer));
    if (size == 0) break;
    line += as_text(ByteView(buffer).first(size));
  }
  if (line.empty()) co_return fail(Code::unavailable, "it closes the connection without an answer");
  EBB_CO_TRY(status, status_in(line));
  if (status < 200 || status > 399)
    co_return fail(Code::unavailable, "GET {} is answered with {}", path, status);
  co_return Status{};
}

}  // namespace ebb::agent
