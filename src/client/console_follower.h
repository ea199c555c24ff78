// Shows what a VM's console says, through moves, restarts and silences: each byte that is kept, once and in order.
#pragma once
#include "client/api_client.h"
#include "env/sync.h"

namespace ebb {

struct ConsoleWish {
  VmId vm;
  SessionKind kind = SessionKind::logs;
  bool follow = false;
  std::optional<std::uint32_t> tail_lines{};  // absent: all that is kept
};

class ConsoleFollower final {
 public:
  struct Ears {
    std::function<void(std::string_view bytes)> on_output;
    std::function<void(const std::string& sentence)> on_news;  // "vm-1 runs on worker-2 now ..."
  };
  // All of it outlives the follower.
  ConsoleFollower(Loop& loop, ApiClient& client, ConsoleWish wish, Ears ears)
      : loop_(loop), client_(client), wish_(std::move(wish)), ears_(std::move(ears)), connected_(loop) {}

  // Ends ok when all has been shown, or when the VM that is followed has stopped, ended or gone; unavailable when the control
  // plane has not answered for two minutes.
  Task<Status> run();
  // Waits a while for a session to type in, and for the worker to take it. Call it again when it has ended. unavailable: nobody
  // took it, or nobody knows whether.
  Task<Status> type(std::string bytes);

 private:
  Task<Result<SessionEnd>> watch(bool follow);
  void take(SessionEvent event);
  void arrive(const ConsolePoint& at);
  // Whether anything will come yet; says why not, and notes that the VM has moved on.
  Task<Result<bool>> goes_on();
  Task<void> leave_behind();
  Task<void> show_rest(WorkerId worker);
  Task<std::string> why_left();
  void say(std::string sentence);  // not twice in a row
  bool has_left() const { return end_ && end_->kind == SessionEndKind::left; }

  Loop& loop_;
  ApiClient& client_;
  ConsoleWish wish_;
  Ears ears_;
  std::optional<SessionId> session_;   // while there is one
  std::uint64_t typed_ = 0;            // number of what was typed there last
  std::optional<ConsolePoint> shown_;  // up to here
  bool is_all_shown_ = false;          // of that place: the VM is elsewhere now
  std::optional<Instant> moved_at_;  // seen that it is elsewhere, while not all of that place has been shown
  std::optional<SessionEnd> end_;    // of the session, as it was said
  std::string said_;                 // the last news
  Notify connected_;
};

}  // namespace ebb
