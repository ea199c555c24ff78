// Operators' sessions into VMs. The control plane only hands on: it tells the worker's agent of each session on a stream that
// the agent keeps open, and the agent opens the other half. Nothing of it is a record; a restart ends them all, and whoever
// watches asks again (ADR 20).
#pragma once
#include <deque>
#include <map>
#include <memory>

#include "env/http.h"
#include "env/sync.h"
#include "model/session_types.h"

namespace ebb::control {

struct SessionLimits {
  std::size_t sessions_max = 1000, ports_max = 500;  // ports: of the sessions that are connections
  std::uint64_t held_bytes_max =
      256 * 1024;  // of a session: output that waits here, and input that the agent has not passed on
  std::uint64_t unread_bytes_max =
      1024 * 1024;                    // of a port: sent to the operator's side and not yet taken there
  Duration held_max = 2s;             // a post, while the operator does not take what came before
  Duration silence_max = 15s;         // of the agent; it speaks at least every 5 s
  Duration comment_every = 5s;        // on the streams of a session, whatever else is said there
  Duration call_comment_every = 15s;  // on the streams of calls: there is one for each worker
};

class Sessions final {
 public:
  explicit Sessions(Loop& loop, SessionLimits limits = {}) : loop_(loop), limits_(limits) {}
  Sessions(const Sessions&) = delete;

  // busy: there are too many.
  Status check_room(SessionKind kind) const;
  // The operator's half: begins the session, and ends it with the task. `call` lacks the session's id.
  Task<void> show(WorkerId worker, SessionCall call, BodyWriter* out);
  // not_found: it is over. busy: what was typed before has not been passed on.
  Status type(const SessionId& id, const SessionInput& input);

  // The agent's half. The sessions of its worker that nobody has taken, as they begin:
  Task<void> tell(WorkerId worker, BodyWriter* out);
  // Takes the session, once, and gives what is typed until it is over. If this breaks off, the session ends: what was on its way
  // may be lost.
  Task<void> give_input(SessionId id, BodyWriter* out);
  // Held a while when the operator has not taken what came before, and then unavailable: to be sent again. not_found: the session
  // is over.
  Task<Status> take_output(SessionId id, SessionOutput output);

  std::size_t size() const { return sessions_.size(); }

 private:
  struct Session;
  std::shared_ptr<Session> find(const SessionId& id) const;
  Notify& calls_of(const WorkerId& worker);

  Loop& loop_;
  SessionLimits limits_;
  std::map<SessionId, std::shared_ptr<Session>> sessions_;
  std::map<WorkerId, std::unique_ptr<Notify>> calls_;  // to the streams of agents
};

}  // namespace ebb::control
