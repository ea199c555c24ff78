#include "base/base64.h"
#include "base/text.h"
#include "cli/commands.h"
#include "cli/visible_text.h"

namespace ebb {
namespace {

constexpr std::size_t input_bytes_max = 96 * 1024;
// As `docker exec` has it: other statuses are the program's.
constexpr auto not_run = static_cast<Exit>(125);

// What --json says once the program has ended.
struct ExecEnd {
  std::uint32_t status = 0;
  std::string output, error_output;  // in base64: they may be anything
};
BOOST_DESCRIBE_STRUCT(ExecEnd, (), (status, output, error_output))

Task<Result<std::string>> read_input(Context& c) {
  if (!c.env.keyboard) co_return fail(Code::invalid, "there is no standard input here");
  std::string input;
  for (;;) {
    EBB_CO_TRY(bytes, co_await c.env.keyboard->read());
    if (bytes.empty()) co_return input;
    input += bytes;
    if (input.size() > input_bytes_max)
      co_return fail(Code::invalid,
                     "the standard input has more than {}: 'ebb port-forward' and ssh carry more",
                     format_size(input_bytes_max));
  }
}

// What a guest prints must not command an operator's terminal.
class Printed final {
 public:
  Printed(Screen& screen, Output to, bool raw)
      : screen_(screen), to_(to), is_shown_(screen.is_terminal(to) && !raw) {}
  void take(std::string_view bytes) {
    screen_.write(to_, is_shown_ ? visible_.feed(bytes) : std::string(bytes));
  }
  void finish() {
    if (is_shown_) screen_.write(to_, visible_.finish());
  }

 private:
  Screen& screen_;
  Output to_;
  bool is_shown_;
  VisibleText visible_;
};

Task<Result<SessionEnd>> run_program(Context& c, SessionView view,
                                     std::function<void(const SessionEvent&)> on_event) {
  std::optional<SessionEnd> end;
  auto take = [&](SessionEvent event) {
    on_event(event);
    if (event.end) end = std::move(event.end);
  };
  auto watched = co_await c.client.watch_session(c.env.loop, std::move(view), take);
  if (end && end->status) co_return *end;
  if (end) co_return fail(Code::unavailable, "{}", end->text);
  if (!watched) co_return fail(std::move(watched).error());
  co_return fail(Code::unavailable,
                 "the control plane has ended the session: whether the program goes on is not known");
}

Task<Result<Exit>> run_and_show(Context& c, ExecOptions options) {
  SessionView view{.vm = options.vm, .kind = SessionKind::exec, .command = GuestCommand{options.words}};
  if (options.reads_input) {
    EBB_CO_TRY(input, co_await read_input(c));
    view.command->input = to_base64(input);
  }
  const bool is_json = c.format == Format::json;
  ExecEnd all;
  Printed output(c.screen(), Output::data, options.raw), error_output(c.screen(), Output::talk, options.raw);
  c.farewell = "ebb: the program goes on in the guest; what it prints is lost";
  auto on_event = [&](const SessionEvent& event) {
    auto bytes = from_base64(event.output.value_or("")).value_or("");
    auto error_bytes = from_base64(event.error_output.value_or("")).value_or("");
    if (is_json) return all.output += bytes, all.error_output += error_bytes, void();
    if (!bytes.empty()) output.take(bytes);
    if (!error_bytes.empty()) error_output.take(error_bytes);
  };
  EBB_CO_TRY(end, co_await run_program(c, std::move(view), on_event));
  output.finish(), error_output.finish();
  if (!end.text.empty()) c.screen().say("ebb: " + end.text);
  if (is_json) c.show(ExecEnd{*end.status, to_base64(all.output), to_base64(all.error_output)}, "");
  co_return static_cast<Exit>(std::min<std::uint32_t>(*end.status, 255));
}

}  // namespace

Task<Result<Exit>> run_in_guest(Context& c, ExecOptions options) {
  auto exit = co_await run_and_show(c, std::move(options));
  if (exit) co_return exit;
  c.screen().say("ebb: " + exit.error().message);
  co_return not_run;
}

}  // namespace ebb
