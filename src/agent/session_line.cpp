#include "agent/session_line.h"

#include "base/base64.h"

namespace ebb::agent {
namespace {

constexpr Duration retry_after = 100ms;
constexpr std::size_t input_bytes_max = 1024 * 1024;  // four times what the control plane lets through
constexpr std::uint64_t passed_step = 32 * 1024;      // worth a word of its own

}  // namespace

Task<Status> SessionLine::hear() {
  auto on_input = [this](SessionInput input) {
    is_taken_ = true;
    taken_.notify_all();
    input_ += from_base64(input.input).value_or("");
    input_ended_ = input_ended_ || input.end.value_or(false) || input_.size() > input_bytes_max;
    typed_more_.poke();
  };
  co_return co_await control_.watch_input(call_.session, on_input);
}

Task<void> SessionLine::taken() {
  while (!is_taken_) co_await taken_.wait();
}

Task<std::string_view> SessionLine::typed() {
  while (input_.empty() && !input_ended_) co_await typed_more_.wait_for(1h);
  co_return std::string_view(input_);
}

void SessionLine::pass_on(std::size_t bytes) {
  input_.erase(0, bytes);
  passed_ += bytes;
  news_.poke();
}

bool SessionLine::owes_a_word() const {
  return loop_.now() >= spoke_at_ + word_every || passed_ >= told_passed_ + passed_step ||
         (passed_ > told_passed_ && input_.empty());
}

// Whether the control plane is still there, hear() knows.
Task<Status> SessionLine::send(std::vector<SessionEvent> events) {
  SessionOutput output{++sequence_, std::move(events), passed_};
  for (;;) {
    output.passed = told_passed_ = passed_;
    auto sent = co_await control_.send_output(call_.session, output);
    spoke_at_ = loop_.now();
    if (sent || sent.error().code != Code::unavailable) co_return sent;
    co_await sleep_for(loop_, retry_after);
  }
}

}  // namespace ebb::agent
