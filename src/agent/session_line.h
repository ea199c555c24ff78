// The agent's half of one session: what is typed comes on a stream whose end is the session's end; what there is to see is posted.
#pragma once
#include "agent/control_client.h"
#include "env/sync.h"

namespace ebb::agent {

class SessionLine final {
 public:
  // `control` outlives it.
  SessionLine(Loop& loop, ControlClient& control, SessionCall call)
      : loop_(loop),
        control_(control),
        call_(std::move(call)),
        taken_(loop),
        typed_more_(loop),
        news_(loop),
        spoke_at_(loop.now()) {}
  SessionLine(const SessionLine&) = delete;

  const SessionCall& call() const { return call_; }
  Loop& loop() const { return loop_; }

  // Takes the session, and what is typed until it is over.
  Task<Status> hear();
  // Ends when the session is ours: before that nothing may be sent.
  Task<void> taken();

  // What has been typed and not been passed on, once there is some; empty when nothing will follow. One waits at a time.
  Task<std::string_view> typed();
  // So many bytes of that have been passed on; the control plane holds back what does not fit.
  void pass_on(std::size_t bytes);

  // With the next number, again and again until it is taken. not_found: the session is over.
  Task<Status> send(std::vector<SessionEvent> events);
  // There is something to say even without events.
  bool owes_a_word() const;
  // May be used by whoever sends, to wait for what others have to say; poked when input has been passed on.
  Poke& news() { return news_; }

  static constexpr Duration word_every = 5s;

 private:
  Loop& loop_;
  ControlClient& control_;
  const SessionCall call_;
  bool is_taken_ = false;
  Notify taken_;
  std::string input_;
  bool input_ended_ = false;
  Poke typed_more_, news_;
  std::uint64_t sequence_ = 0, passed_ = 0, told_passed_ = 0;
  Instant spoke_at_;
};

}  // namespace ebb::agent
