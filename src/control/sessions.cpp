#include "control/sessions.h"

#include <set>

#include "base/base64.h"
#include "base/text.h"
#include "env/event_stream.h"

namespace ebb::control {
namespace {

struct Queued {
  std::string event;        // as it is sent
  std::uint64_t bytes = 0;  // of a port's output in it
};

Error over() { return {Code::not_found, "the session is over", {}}; }

// Of base64.
std::uint64_t bytes_in(std::string_view text) {
  const std::size_t padding = text.ends_with("==") ? 2 : text.ends_with('=') ? 1 : 0;
  return text.size() / 4 * 3 - std::min(text.size() / 4 * 3, padding);
}

// Writes to a stream, and a comment whenever it was quiet for so long.
class Lively final {
 public:
  Lively(Loop& loop, BodyWriter& out, Duration every)
      : loop_(loop), out_(out), every_(every), wrote_at_(loop.now()) {}
  Task<bool> write(std::string text) {
    auto written = co_await out_.write(std::move(text));
    wrote_at_ = loop_.now();
    co_return written.has_value();
  }
  // False when the reader has gone.
  Task<bool> wait(Notify* news) {
    const auto due = wrote_at_ + every_;
    if (loop_.now() < due) co_await news->wait_for(due - loop_.now());
    if (loop_.now() < due) co_return true;
    co_return co_await write(std::string(still_here));
  }

 private:
  Loop& loop_;
  BodyWriter& out_;
  Duration every_;
  Instant wrote_at_;
};

}  // namespace

struct Sessions::Session {
  Session(Loop& loop, WorkerId w, SessionCall c)
      : worker(std::move(w)), call(std::move(c)), heard_at(loop.now()), changed(loop) {}

  void add_output(const SessionEvent& event) {
    const auto bytes = event.output ? bytes_in(*event.output) : 0;
    output.push_back({event_of(json::write_text(event)), bytes});
    output_bytes += output.back().event.size();
  }
  void end(SessionEndKind kind, std::string text) {
    if (std::exchange(has_ended, true)) return;
    add_output({.end = SessionEnd{kind, std::move(text)}});
    changed.notify_all();
  }

  const WorkerId worker;
  const SessionCall call;
  bool is_taken = false;  // by an agent
  std::deque<Queued> output;
  std::uint64_t output_bytes = 0;                // waiting here
  std::uint64_t sent_bytes = 0, read_bytes = 0;  // of a port's output: to the operator, and taken there
  std::deque<std::string> input;                 // events, as they are sent
  std::uint64_t typed_bytes = 0, passed_bytes = 0;
  std::uint64_t last_input = 0, last_output = 0;  // their numbers
  bool has_ended = false;                         // its last event is in `output`, or was
  bool is_over = false;                           // the operator has gone
  Instant heard_at;
  Notify changed;
};

std::shared_ptr<Sessions::Session> Sessions::find(const SessionId& id) const {
  auto found = sessions_.find(id);
  return found == sessions_.end() ? nullptr : found->second;
}

Notify& Sessions::calls_of(const WorkerId& worker) {
  auto& calls = calls_[worker];
  if (!calls) calls = std::make_unique<Notify>(loop_);
  return *calls;
}

Status Sessions::check_room(SessionKind kind) const {
  const auto ports = std::ranges::count_if(
      sessions_, [](const auto& item) { return item.second->call.kind == SessionKind::port; });
  const bool is_full = sessions_.size() >= limits_.sessions_max;
  if (!is_full && (kind != SessionKind::port || static_cast<std::size_t>(ports) < limits_.ports_max))
    return {};
  return fail(
      Code::busy,
      "{} sessions are open, {} of them connections to ports: no more may be; try again when some have ended",
      sessions_.size(), ports);
}

// ---- the operator's half

Task<void> Sessions::show(WorkerId worker, SessionCall call, BodyWriter* out) {
  call.session = SessionId(loop_.random().token(24));  // whoever knows it may type
  auto session = std::make_shared<Session>(loop_, worker, std::move(call));
  const auto id = session->call.session;
  struct Place {
    Sessions* self;
    std::shared_ptr<Session> session;
    ~Place() {
      session->is_over = true;
      self->sessions_.erase(session->call.session);
      session->changed.notify_all();
    }
  } place{this, session};
  sessions_[id] = session;
  calls_of(worker).notify_all();
  Lively stream(loop_, *out, limits_.comment_every);
  if (!co_await stream.write(event_of(json::write_text(SessionEvent{.session = id})))) co_return;
  for (;;) {
    auto has_window = [&] {
      return session->has_ended || session->sent_bytes - session->read_bytes < limits_.unread_bytes_max;
    };
    while (!session->output.empty() && has_window()) {
      auto next = std::move(session->output.front());
      session->output.pop_front();
      session->output_bytes -= next.event.size();
      if (session->call.kind == SessionKind::port) session->sent_bytes += next.bytes;
      session->changed.notify_all();
      if (!co_await stream.write(std::move(next.event))) co_return;
    }
    if (session->has_ended && session->output.empty()) co_return;
    if (!session->has_ended && loop_.now() >= session->heard_at + limits_.silence_max) {
      session->end(SessionEndKind::unavailable,
                   fmt::format("{} has said nothing for {}: does its agent run? 'ebb workers show {}'",
                               worker, format_duration(limits_.silence_max), worker));
      continue;
    }
    if (!co_await stream.wait(&session->changed)) co_return;
  }
}

Status Sessions::type(const SessionId& id, const SessionInput& input) {
  auto session = find(id);
  if (!session || session->has_ended) return fail(over());
  if (session->call.kind == SessionKind::logs || session->call.kind == SessionKind::exec)
    return fail(Code::invalid, "nothing can be typed in such a session");
  // Whatever becomes of the input: who waits for room in one direction must not close the other.
  if (input.read) {
    session->read_bytes = std::clamp(*input.read, session->read_bytes, session->sent_bytes);
    session->changed.notify_all();
  }
  const auto bytes = bytes_in(input.input);
  if (bytes > limits_.held_bytes_max)
    return fail(Code::invalid, "at most {} at a time", format_size(limits_.held_bytes_max));
  if (input.sequence <= session->last_input) return {};  // sent again: its answer was lost
  if (input.sequence != session->last_input + 1)
    return fail(Code::invalid, "number {} was sent after number {}: what is between is missing",
                input.sequence, session->last_input);
  if (bytes > 0 && session->typed_bytes + bytes > session->passed_bytes + limits_.held_bytes_max)
    return fail(Code::busy, "{} has not passed on what was typed before", session->worker);
  session->last_input = input.sequence;
  session->typed_bytes += bytes;
  if (bytes > 0 || input.end) session->input.push_back(event_of(json::write_text(input)));
  session->changed.notify_all();
  return {};
}

// ---- the agent's half

Task<void> Sessions::tell(WorkerId worker, BodyWriter* out) {
  std::set<SessionId> told;
  auto& calls = calls_of(worker);
  Lively stream(loop_, *out, limits_.call_comment_every);
  for (;;) {
    std::string text;
    std::erase_if(told, [&](const SessionId& id) { return !sessions_.contains(id); });
    for (const auto& [id, session] : sessions_) {
      const bool is_free = session->worker == worker && !session->is_taken && !session->has_ended;
      if (is_free && told.insert(id).second) text += event_of(json::write_text(session->call));
    }
    // After a write more may have begun.
    const bool goes_on = text.empty() ? co_await stream.wait(&calls) : co_await stream.write(std::move(text));
    if (!goes_on) co_return;
  }
}

Task<void> Sessions::give_input(SessionId id, BodyWriter* out) {
  auto session = find(id);
  if (!session || session->has_ended) co_return;
  struct Taken {
    std::shared_ptr<Session> session;
    ~Taken() {
      if (!session->is_over)
        session->end(SessionEndKind::unavailable,
                     fmt::format("the agent of {} has broken off", session->worker));
    }
  } taken{session};
  if (std::exchange(session->is_taken, true))
    co_return;  // by another: nobody knows what that one has passed on
  session->heard_at = loop_.now();
  Lively stream(loop_, *out, limits_.comment_every);
  if (!co_await stream.write(event_of(json::write_text(SessionInput())))) co_return;  // it is yours
  while (!session->is_over) {
    if (session->input.empty()) {
      if (!co_await stream.wait(&session->changed)) co_return;
      continue;
    }
    auto event = std::move(session->input.front());
    session->input.pop_front();
    if (!co_await stream.write(std::move(event))) co_return;
  }
}

Task<Status> Sessions::take_output(SessionId id, SessionOutput output) {
  auto session = find(id);
  if (session) session->passed_bytes = std::clamp(output.passed, session->passed_bytes, session->typed_bytes);
  const auto held_since = loop_.now();
  while (session && !session->is_over && session->output_bytes > limits_.held_bytes_max) {
    session->heard_at = loop_.now();  // it is the operator who is slow
    // Sent again, it says anew how much input has been passed on.
    if (loop_.now() >= held_since + limits_.held_max)
      co_return fail(Code::unavailable, "the operator has not taken what came before: send it again");
    co_await session->changed.wait_for(limits_.held_max);
  }
  if (!session || session->is_over) co_return fail(over());
  session->heard_at = loop_.now();
  if (output.sequence <= session->last_output) co_return Status{};  // sent again: its answer was lost
  session->last_output = output.sequence;
  for (auto& event : output.events) {
    if (session->has_ended) break;
    event.session.reset();  // which it is, only we say
    session->has_ended = event.end.has_value();
    session->add_output(event);
  }
  session->changed.notify_all();
  co_return Status{};
}

}  // namespace ebb::control
