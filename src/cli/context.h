// What every command gets: the outside world, the client, how to print, and how to wait.
#pragma once
#include <functional>
#include <map>
#include <string>

#include "cli/keyboard.h"
#include "cli/screen.h"
#include "cli/table_view.h"
#include "client/api_client.h"
#include "env/disk_images.h"
#include "env/files.h"
#include "env/loop.h"
#include "env/object_store.h"
#include "env/stream.h"
#include "env/sync.h"

namespace ebb {

// Part of the CLI's interface, listed in `ebb --help`: numbers never change their meaning.
enum class Exit {
  ok = 0,
  failed = 1,
  usage = 2,    // wrong command line, or input that the control plane refuses
  blocked = 3,  // a plan that does not fit
  not_found = 4,
  unreachable = 5,  // no control plane, or one that cannot serve now
  conflict = 6,     // somebody changed it first, or it is in the way
  interrupted = 130,
};
Exit exit_of(const Error& error);

struct CliEnv {
  Loop& loop;
  Http& http;
  Files& files;
  Screen& screen;
  std::map<std::string, std::string>
      variables;  // of the process's environment: EBB_SERVER, EBB_TOKEN, NO_COLOR ...
  // A store by its URL, in this process; for `ebb pool check`.
  std::function<Task<Result<std::unique_ptr<ReclaimableStore>>>(std::string url)> open_pool = {};
  DiskImages* disk_images = nullptr;  // null: a disk is a raw file
  Keyboard* keyboard = nullptr;       // null: there is none
  Network* network = nullptr;         // null: there is none to listen on
};

enum class Format { text, json };

// What --json says of something that is gone.
struct Removed {
  std::string removed;  // "workers/worker-1"
};
BOOST_DESCRIBE_STRUCT(Removed, (), (removed))

struct Context {
  CliEnv env;
  ApiClient client;
  Format format = Format::text;
  std::string farewell;  // said when Ctrl-C ends the command: what goes on without us

  Screen& screen() const { return env.screen; }
  WallMs now() const { return env.loop.wall_now(); }
  Palette palette() const;
  // Redrawing in place makes sense: text, on a terminal that can move its cursor.
  bool is_live() const;

  // What is gone has no text: that is talk.
  void show_removed(std::string subject) const { show(Removed{std::move(subject)}, ""); }
  // The value as JSON, or the text that shows it.
  template <class T>
  void show(const T& value, std::string_view text) const {
    env.screen.out(format == Format::json ? json::to_pretty_text(json::write(value)) + "\n"
                                          : std::string(text));
  }
};

// A command, its arguments already bound; the context outlives the task.
using Command = std::function<Task<Result<Exit>>(Context&)>;

inline constexpr Duration poll_interval = 250ms;
// For so long a control plane that does not answer is waited for, once a command has begun to watch
// something.
inline constexpr Duration patience = 2min;

// Asks again while the control plane is unreachable. `on_silence` is called once, when it first does not
// answer. An `ask` that ran for a minute before it broke had an answer (a stream): patience begins anew.
template <class T>
Task<Result<T>> ask_patiently(Context& c, std::function<Task<Result<T>>()> ask,
                              std::function<void(const Error&)> on_silence) {
  std::optional<Instant> silent_since;
  while (true) {
    auto asked_at = c.env.loop.now();
    auto answer = co_await ask();
    if (answer || answer.error().code != Code::unavailable) co_return answer;
    auto now = c.env.loop.now();
    if (!silent_since) on_silence(answer.error());
    if (!silent_since || now - asked_at > 1min) silent_since = now;
    if (now - *silent_since >= patience) co_return answer;
    co_await sleep_for(c.env.loop, 4 * poll_interval);
  }
}

}  // namespace ebb
