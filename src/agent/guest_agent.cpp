#include "agent/guest_agent.h"

#include "base/base64.h"
#include "base/text.h"
#include "env/scope.h"

namespace ebb::agent {
namespace {

constexpr Duration answer_limit = 10s, output_limit = 60s, refusal_limit = 500ms;
constexpr Duration look_first = 50ms, look_max = 1s;
constexpr std::size_t output_bytes_max = 16 * MiB, answer_bytes_max = 64 * KiB, piece_bytes = 64 * KiB;
constexpr std::size_t words_max = 300;
constexpr int answers_max = 1000;  // to others, before ours
// The guest's parser drops whatever it had begun to read, and its answer to a delimited sync begins so.
constexpr char delimiter = '\xff';

std::string request_of(const std::string& name, json::Object arguments) {
  json::Object request{{"execute", name}};
  if (!arguments.empty()) request["arguments"] = std::move(arguments);
  return json::to_text(request) + "\n";
}

// What comes from a guest, a line at a time: it may be anything, for ever.
class Answers final {
 public:
  explicit Answers(Stream& stream) : stream_(stream), buffer_(piece_bytes) {}

  // Passes over everything up to the next one.
  Task<Status> skip_delimiter() {
    for (std::size_t skipped = 0;;) {
      if (const auto found = read_.find(delimiter, at_); found != std::string::npos) {
        at_ = found + 1;
        co_return Status{};
      }
      skipped += read_.size() - at_;
      if (skipped > skipped_bytes_max) co_return fail(no_guest_agent());
      at_ = read_.size();
      EBB_CO_CHECKED(co_await read());
    }
  }
  // The next line, without its end.
  Task<Result<std::string>> line(std::size_t bytes_max) {
    for (auto looked = at_;;) {
      if (const auto end = read_.find('\n', looked); end != std::string::npos) {
        auto line = read_.substr(at_, end - at_);
        at_ = end + 1;
        co_return line;
      }
      if (read_.size() - at_ > bytes_max)
        co_return fail(Code::unavailable, "the guest agent's answer is longer than {}",
                       format_size(bytes_max));
      const auto unread = read_.size() - at_;
      EBB_CO_CHECKED(co_await read());
      looked = at_ + unread;
    }
  }
  static Error no_guest_agent() {
    return {Code::unavailable, "what answers in the guest is no guest agent", {}};
  }

 private:
  static constexpr std::size_t skipped_bytes_max = 64 * MiB;

  Task<Status> read() {
    EBB_CO_TRY(size, co_await stream_.read_some(buffer_));
    if (size == 0) co_return fail(Code::unavailable, "the machine has closed its guest agent's port");
    read_.erase(0, std::exchange(at_, 0));
    read_ += as_text(ByteView(buffer_).first(size));
    co_return Status{};
  }

  Stream& stream_;
  Bytes buffer_;
  std::string read_;
  std::size_t at_ = 0;  // of what has been taken
};

// An answer as the guest gave it: it may be anything.
Result<json::Value> returned(std::string_view line) {
  auto value = json::parse(line);
  if (!value || !value->is_object()) return fail(Answers::no_guest_agent());
  auto& answer = value->get_object();
  if (auto* result = answer.if_contains("return")) return std::move(*result);
  const auto* error = answer.if_contains("error");
  const auto* words = error && error->is_object() ? error->get_object().if_contains("desc") : nullptr;
  auto said = words && words->is_string() ? without_controls(words->get_string()) : "an error without words";
  return fail(Code::invalid, "the guest agent says: {}", said.substr(0, words_max));
}

const json::Value* member(const json::Value& value, const char* name) {
  return value.is_object() ? value.get_object().if_contains(name) : nullptr;
}
std::optional<std::int64_t> number(const json::Value& value, const char* name) {
  const auto* found = member(value, name);
  return found && found->is_int64() ? std::optional(found->get_int64()) : std::nullopt;
}
bool flag(const json::Value& value, const char* name) {
  const auto* found = member(value, name);
  return found && found->is_bool() && found->get_bool();
}
Result<std::string> bytes(const json::Value& value, const char* name) {
  const auto* found = member(value, name);
  return found && found->is_string() ? from_base64(found->get_string()) : std::string();
}

Result<GuestProgramEnd> end_of(const json::Value& status) {
  GuestProgramEnd end;
  if (auto code = number(status, "exitcode"))
    end.status = static_cast<std::uint32_t>(*code);
  else
    end.status = 128 + static_cast<std::uint32_t>(number(status, "signal").value_or(0));
  EBB_TRY(output, bytes(status, "out-data"));
  EBB_TRY(error_output, bytes(status, "err-data"));
  end.output = std::move(output), end.error_output = std::move(error_output);
  end.is_cut = flag(status, "out-truncated") || flag(status, "err-truncated");
  return end;
}

}  // namespace

Task<Status> GuestAgents::ping(std::string address, Duration limit) {
  EBB_CO_TRY(answer, co_await call(std::move(address), {"guest-ping", {}, limit, answer_bytes_max}));
  (void)answer;
  co_return Status{};
}

Task<Status> GuestAgents::power_off(std::string address, Duration limit) {
  Question question{"guest-shutdown", json::Object{{"mode", "powerdown"}}, limit, answer_bytes_max, true};
  EBB_CO_TRY(answer, co_await call(std::move(address), std::move(question)));
  (void)answer;
  co_return Status{};
}

Task<Result<GuestProgramEnd>> GuestAgents::run(std::string address, GuestCommand command) {
  if (command.words.empty()) co_return fail_field("words", "there is no program to run");
  json::Array arguments;
  for (std::size_t i = 1; i < command.words.size(); ++i) arguments.emplace_back(command.words[i]);
  json::Object wish{{"path", command.words[0]}, {"arg", std::move(arguments)}, {"capture-output", true}};
  if (command.input) wish["input-data"] = *command.input;
  EBB_CO_TRY(started,
             co_await call(address, {"guest-exec", std::move(wish), answer_limit, answer_bytes_max}));
  const auto pid = number(started, "pid");
  if (!pid) co_return fail(Code::unavailable, "the guest agent does not say what it has started");
  for (auto pause = look_first;; pause = std::min<Duration>(pause * 3 / 2, look_max)) {
    co_await sleep_for(loop_, pause);
    EBB_CO_TRY(status, co_await call(address, {"guest-exec-status", json::Object{{"pid", *pid}}, output_limit,
                                               output_bytes_max}));
    if (flag(status, "exited")) co_return end_of(status);
  }
}

Task<Result<json::Value>> GuestAgents::call(std::string address, Question question) {
  if (address.empty())
    co_return fail(Code::unavailable, "its machine has no port for a guest agent: restart the VM");
  auto& turn = turns_[address];
  if (!turn) turn = std::make_shared<AsyncMutex>(loop_);
  // Machines come and go, and their addresses with them.
  struct Place {
    GuestAgents& self;
    const std::string& address;
    std::shared_ptr<AsyncMutex> turn;
    ~Place() {
      if (turn.use_count() == 2) self.turns_.erase(address);
    }
  } place{*this, address, turn};
  auto guard = co_await with_timeout(loop_, place.turn->lock(), question.limit);
  if (!guard) co_return fail(Code::busy, "its guest agent is at work for somebody else");
  const auto limit = question.limit;
  auto answer = co_await with_timeout(loop_, exchange(address, std::move(question)), limit);
  if (!answer)
    co_return fail(
        Code::unavailable,
        "no guest agent answers within {}: is qemu-guest-agent installed in the guest, and does it run?",
        format_duration(limit));
  co_return std::move(*answer);
}

// Each time anew: what an earlier exchange has left on the port is passed over until the guest answers our sync.
Task<Result<json::Value>> GuestAgents::exchange(std::string address, Question question) {
  EBB_CO_TRY(stream, co_await network_.connect(address));
  const auto sync = static_cast<std::int64_t>(++last_sync_);
  const auto words = delimiter + request_of("guest-sync-delimited", json::Object{{"id", sync}}) +
                     request_of(question.name, std::move(question.arguments));
  std::vector<ByteView> parts{as_bytes(words)};
  EBB_CO_CHECKED(co_await stream->write_all(std::move(parts)));
  Answers answers(*stream);
  for (int passed = 0;; ++passed) {
    if (passed == answers_max) co_return fail(Answers::no_guest_agent());
    EBB_CO_CHECKED(co_await answers.skip_delimiter());
    EBB_CO_TRY(line, co_await answers.line(answer_bytes_max));
    auto answer = returned(line);
    if (answer && answer->is_int64() && answer->get_int64() == sync) break;
  }
  if (question.is_answered_by_errors_alone) {
    auto error = co_await with_timeout(loop_, answers.line(question.bytes_max), refusal_limit);
    if (!error || !*error) co_return json::Value();  // silent, or gone
    co_return returned(**error);
  }
  EBB_CO_TRY(line, co_await answers.line(question.bytes_max));
  co_return returned(line);
}

}  // namespace ebb::agent
