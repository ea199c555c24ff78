#include "agent/port_session.h"

#include "base/base64.h"
#include "base/text.h"
#include "env/scope.h"

namespace ebb::agent {
namespace {

constexpr std::size_t piece_bytes = 64 * 1024, unsent_bytes_max = 256 * 1024;
constexpr Duration connect_limit = 10s;
// The operator's side has closed, of which the guest hears nothing: it has so long to close by itself.
constexpr Duration last_words_max = 10s;

}  // namespace

Task<Status> PortSession::run() {
  co_await line_.taken();
  auto connected = co_await with_timeout(line_.loop(), network_.connect(address_), connect_limit);
  if (!connected || !*connected) {
    auto why =
        connected ? connected->error().message : fmt::format("{} does not take a connection", address_);
    std::vector<SessionEvent> refusal{{.end = SessionEnd{SessionEndKind::unavailable, std::move(why)}}};
    co_return co_await line_.send(std::move(refusal));
  }
  auto stream = std::move(**connected);
  Scope scope(line_.loop());
  scope.spawn(write(stream.get()));
  scope.spawn(read(stream.get()));
  co_return co_await send();
}

Task<void> PortSession::write(Stream* stream) {
  for (;;) {
    const std::string bytes(co_await line_.typed());
    if (bytes.empty()) break;
    std::vector<ByteView> parts{as_bytes(bytes)};
    if (auto written = co_await stream->write_all(std::move(parts)); !written)
      break;  // read() hears of it too
    line_.pass_on(bytes.size());
  }
  input_ended_at_ = line_.loop().now();
  line_.news().poke();
}

// A read is never given up: what it had taken by then would be lost.
Task<void> PortSession::read(Stream* stream) {
  Bytes buffer(piece_bytes);
  while (!end_) {
    while (read_.size() >= unsent_bytes_max) co_await room_.wait();
    auto size = co_await stream->read_some(buffer);
    if (!size) {
      end_ = size.error().message;
    } else if (*size == 0) {
      end_ = "";
    } else {
      read_ += as_text(ByteView(buffer).first(*size));
    }
    line_.news().poke();
  }
}

Task<Status> PortSession::send() {
  for (;;) {
    std::vector<SessionEvent> events;
    auto bytes = std::exchange(read_, {});
    room_.notify_all();
    if (!bytes.empty()) events.push_back({.output = to_base64(bytes)});
    const bool is_late = input_ended_at_ && line_.loop().now() >= *input_ended_at_ + last_words_max;
    const bool is_last = bytes.empty() && (end_ || is_late);
    if (is_last && end_ == std::string()) {
      events.push_back({.end = SessionEnd{SessionEndKind::complete, ""}});
    } else if (is_last) {
      auto why = end_.value_or(fmt::format("the guest has not closed its side {} after the end of input",
                                           format_duration(last_words_max)));
      events.push_back({.end = SessionEnd{SessionEndKind::unavailable, std::move(why)}});
    }
    if (events.empty() && !line_.owes_a_word()) {
      co_await line_.news().wait_for(1s);
      continue;
    }
    auto sent = co_await line_.send(std::move(events));
    if (!sent || is_last) co_return sent;
  }
}

}  // namespace ebb::agent
