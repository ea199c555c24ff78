#include "base/base64.h"
#include "cli/commands.h"
#include "cli/visible_text.h"
#include "client/console_follower.h"
#include "env/scope.h"

namespace ebb {
namespace {

constexpr char detach_key = '\x1d';  // Ctrl-], as in telnet and virsh
constexpr std::uint32_t lines_before = 10;

std::string news_line(const std::string& sentence) { return fmt::format("--- ebb: {} ---", sentence); }

// While it lives, the terminal is raw.
class RawKeys final {
 public:
  explicit RawKeys(Keyboard& keyboard) : keyboard_(keyboard), status_(keyboard.set_raw(true)) {}
  RawKeys(const RawKeys&) = delete;
  ~RawKeys() { (void)keyboard_.set_raw(false); }
  const Status& status() const { return status_; }

 private:
  Keyboard& keyboard_;
  Status status_;
};

// Keys on their way: the detach key is heeded at once, whatever has not been delivered yet.
class Keys final {
 public:
  Keys(Loop& loop, Keyboard& keyboard) : loop_(loop), keyboard_(keyboard), more_(loop), sent_(loop) {}

  // Until the detach key. The end of a file of keys ends nothing.
  Task<Status> read() {
    for (;;) {
      EBB_CO_TRY(typed, co_await keyboard_.read());
      const auto end = keyboard_.is_terminal() ? typed.find(detach_key) : std::string::npos;
      unsent_ += typed.substr(0, end);
      more_.poke();
      if (end != std::string::npos || (typed.empty() && keyboard_.is_terminal())) break;
      if (typed.empty()) co_await sleep_for(loop_, 24h * 365);
      while (unsent_.size() > unsent_bytes_max && !keyboard_.is_terminal()) co_await sent_.wait();
    }
    const auto until = loop_.now() + last_keys_max;
    while ((!unsent_.empty() || is_sending_) && loop_.now() < until)
      co_await sent_.wait_for(until - loop_.now());
    co_return Status{};
  }
  // What cannot be delivered is said, and the operator types on.
  Task<Status> send(ConsoleFollower* follower, std::function<void(std::string)> say) {
    for (;;) {
      while (unsent_.empty()) co_await more_.wait_for(1h);
      is_sending_ = true;
      auto bytes = unsent_.substr(0, piece_bytes);
      unsent_.erase(0, bytes.size());
      if (auto done = co_await follower->type(std::move(bytes)); !done) say(done.error().message);
      is_sending_ = false;
      sent_.notify_all();
    }
  }

 private:
  static constexpr std::size_t piece_bytes = 16 * 1024, unsent_bytes_max = 64 * 1024;
  static constexpr Duration last_keys_max = 1s;

  Loop& loop_;
  Keyboard& keyboard_;
  std::string unsent_;
  bool is_sending_ = false;
  Poke more_;
  Notify sent_;
};

Task<void> end_with(Task<Status> work, std::function<void(Status)> over) { over(co_await work); }

// One event a line, as the API says them.
void tell(Context& c, const SessionEvent& event) { c.screen().out(json::write_text(event) + "\n"); }

}  // namespace

Task<Result<Exit>> show_logs(Context& c, LogsOptions options) {
  const bool is_json = c.format == Format::json;
  const bool is_read = c.screen().is_terminal(Output::data) && !options.raw;
  VisibleText visible;
  ConsoleFollower::Ears ears;
  ears.on_output = [&c, &visible, is_json, is_read](std::string_view bytes) {
    if (is_json) return tell(c, {.output = to_base64(bytes)});
    c.screen().out(is_read ? visible.feed(bytes) : std::string(bytes));
  };
  ears.on_news = [&c, &visible, is_json](const std::string& sentence) {
    c.screen().out(visible.finish());
    if (is_json) return tell(c, {.notice = sentence});
    c.screen().say(news_line(sentence));
  };
  ConsoleFollower follower(c.env.loop, c.client,
                           {options.vm, SessionKind::logs, options.follow, options.tail}, std::move(ears));
  auto ended = co_await follower.run();
  c.screen().out(visible.finish());
  EBB_CO_CHECKED(std::move(ended));
  co_return Exit::ok;
}

Task<Result<Exit>> attach_console(Context& c, VmId id) {
  auto* keyboard = c.env.keyboard;
  if (!keyboard) co_return fail(Code::invalid, "there is nothing here to type on");
  if (c.format == Format::json)
    co_return fail(Code::invalid, "a console has no JSON: 'ebb logs {} --json'", id);
  const bool is_terminal = keyboard->is_terminal();
  // In raw mode the end of a line moves the cursor down only.
  const std::string line_end = is_terminal ? "\r\n" : "\n";
  auto say = [&c, line_end](const std::string& sentence) {
    c.screen().write(Output::talk, line_end + news_line(sentence) + line_end);
  };
  ConsoleFollower follower(c.env.loop, c.client, {id, SessionKind::console, true, lines_before},
                           {[&c](std::string_view bytes) { c.screen().out(bytes); }, say});
  std::optional<RawKeys> raw;
  if (is_terminal) {
    raw.emplace(*keyboard);
    EBB_CO_CHECKED(raw->status());
    say(fmt::format("the console of {}; Ctrl-] leaves it", id));
  }
  Keys keys(c.env.loop, *keyboard);
  OneShot<Status> first(c.env.loop);
  std::function<void(Status)> over = first.completer();
  Scope scope(c.env.loop);
  scope.spawn(end_with(follower.run(), over));
  scope.spawn(end_with(keys.read(), over));
  scope.spawn(end_with(keys.send(&follower, say), over));
  EBB_CO_CHECKED(co_await first);
  co_return Exit::ok;
}

}  // namespace ebb
