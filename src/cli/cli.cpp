#include "cli/cli.h"

#include "cli/command_line.h"
#include "env/scope.h"

namespace ebb {
namespace {

int report(Screen& screen, const Result<Exit>& result) {
  if (result) return static_cast<int>(*result);
  screen.say("ebb: " + result.error().message);
  return static_cast<int>(exit_of(result.error()));
}

std::string trimmed(std::string_view text) {
  auto first = text.find_first_not_of(" \t\r\n");
  if (first == std::string_view::npos) return "";
  return std::string(text.substr(first, text.find_last_not_of(" \t\r\n") - first + 1));
}

}  // namespace

Task<Result<std::string>> Cli::find_token(std::string token_file) {
  auto variable = [&](const char* name) {
    return env_.variables.contains(name) ? env_.variables.at(name) : "";
  };
  if (token_file.empty() && !variable("EBB_TOKEN").empty()) co_return trimmed(variable("EBB_TOKEN"));
  if (token_file.empty()) token_file = variable("EBB_TOKEN_FILE");
  if (token_file.empty()) co_return "";
  auto bytes = co_await env_.files.read_all(token_file);
  if (!bytes) {
    co_return fail(Error{Code::invalid, fmt::format("cannot read the token file: {}", bytes.error().message),
                         "token-file"});
  }
  auto token = trimmed(as_text(*bytes));
  if (token.empty()) co_return fail_field("token-file", "the token file {} is empty", token_file);
  co_return token;
}

Task<int> Cli::run(std::vector<std::string> args) {
  auto parsed = parse_command_line(std::move(args));
  if (!parsed.run) {
    env_.screen.write(parsed.exit == Exit::ok ? Output::data : Output::talk, parsed.text);
    co_return static_cast<int>(parsed.exit);
  }
  auto token = co_await find_token(parsed.token_file);
  if (!token) co_return report(env_.screen, fail(token.error()));

  ClientOptions options;
  options.token = *token;
  if (!parsed.server.empty()) {
    options.address = parsed.server;
  } else if (env_.variables.contains("EBB_SERVER")) {
    options.address = env_.variables.at("EBB_SERVER");
  }
  if (options.address.starts_with("http://")) options.address.erase(0, 7);
  while (options.address.ends_with('/')) options.address.pop_back();
  Context context{env_, ApiClient(env_.http, options), parsed.format, {}};

  OneShot<int> ended(env_.loop);
  on_interrupt_ = [this, &context, done = ended.completer()] {
    env_.screen.say(context.farewell.empty() ? "ebb: interrupted" : context.farewell);
    done(static_cast<int>(Exit::interrupted));
  };
  // Last, so that destroying this frame ends the command before what it uses.
  Scope scope(env_.loop);
  scope.spawn([](Context* c, Command command, std::function<void(int)> done) -> Task<void> {
    auto result = co_await command(*c);
    done(report(c->screen(), result));
  }(&context, parsed.run, ended.completer()));
  auto code = co_await ended;
  on_interrupt_ = nullptr;
  co_return code;
}

void Cli::interrupt() {
  if (auto act = std::exchange(on_interrupt_, nullptr)) act();
}

}  // namespace ebb
