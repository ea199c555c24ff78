#include "client/console_follower.h"

#include "base/base64.h"
#include "base/text.h"

namespace ebb {
namespace {

constexpr Duration look_again = 500ms;
constexpr Duration patience = 2min;
constexpr Duration typing_patience = 10s, type_again_after = 50ms;
// For so long the worker that a VM has left is asked for the rest of what it said there.
constexpr Duration patience_with_the_past = 30s;

// What may be otherwise in a moment: no answer, no place yet, no room.
bool may_pass(Code code) { return code == Code::unavailable || code == Code::conflict || code == Code::busy; }

}  // namespace

Task<Status> ConsoleFollower::run() {
  auto heard_at = loop_.now();
  for (;;) {
    auto end = co_await watch(wish_.follow);
    if (std::exchange(session_, std::nullopt)) heard_at = loop_.now();
    if (end && end->kind == SessionEndKind::complete) {
      if (!end->text.empty()) say(end->text);
      co_return Status{};
    }
    if (!end && (!wish_.follow || !may_pass(end.error().code))) {
      if (!shown_ || end.error().code != Code::not_found) co_return fail(std::move(end).error());
    }
    if (!wish_.follow) co_return fail(end ? Error{Code::unavailable, end->text, {}} : end.error());
    if (!end || end->kind == SessionEndKind::unavailable) say(end ? end->text : end.error().message);
    auto more = co_await goes_on();
    if (more && !*more) {
      if (!end && !shown_) co_return fail(std::move(end).error());
      co_return Status{};
    }
    if (more) heard_at = loop_.now();
    if (loop_.now() >= heard_at + patience) co_return fail(std::move(more).error());
    co_await sleep_for(loop_, look_again);
  }
}

Task<Status> ConsoleFollower::type(std::string bytes) {
  const auto give_up_at = loop_.now() + typing_patience;
  while (!session_ && loop_.now() < give_up_at) co_await connected_.wait_for(give_up_at - loop_.now());
  if (!session_)
    co_return fail(Code::unavailable, "nobody takes what is typed: the console is not connected");
  const auto id = *session_;
  SessionInput input{.sequence = ++typed_, .input = to_base64(bytes)};
  while (session_ == id) {
    auto sent = co_await client_.type(id, input);
    if (sent) co_return sent;
    const bool is_full = sent.error().code == Code::busy;
    if (!is_full && sent.error().code != Code::unavailable) break;
    co_await sleep_for(loop_, is_full ? type_again_after : look_again);
  }
  co_return fail(Code::unavailable, "what was typed may be lost: the console's connection broke");
}

// One session, from where the last one ended.
Task<Result<SessionEnd>> ConsoleFollower::watch(bool follow) {
  end_.reset();
  SessionView view{.vm = wish_.vm, .kind = wish_.kind, .follow = follow};
  if (!shown_) view.tail_lines = wish_.tail_lines;
  if (!is_all_shown_) view.from = shown_;
  auto ended = co_await client_.watch_session(loop_, std::move(view),
                                              [this](SessionEvent event) { take(std::move(event)); });
  if (end_) co_return *end_;
  if (!ended) co_return fail(std::move(ended).error());
  co_return fail(Code::unavailable, "the control plane has ended the session");
}

void ConsoleFollower::take(SessionEvent event) {
  if (event.session) session_ = std::move(event.session), typed_ = 0, connected_.notify_all();
  if (event.at) arrive(*event.at);
  if (event.output && shown_) {
    auto bytes = from_base64(*event.output).value_or("");
    shown_->position += bytes.size();
    ears_.on_output(bytes);
  }
  if (event.notice) ears_.on_news(*event.notice);
  if (event.end) end_ = std::move(event.end);
}

void ConsoleFollower::arrive(const ConsolePoint& at) {
  if (shown_ && shown_->worker != at.worker) {
    say(fmt::format("{} runs on {} now", wish_.vm, at.worker));
  } else if (shown_ && shown_->epoch != at.epoch) {
    say(fmt::format("{} was placed on {} anew", wish_.vm, at.worker));
  } else if (shown_ && shown_->position < at.position) {
    say(fmt::format("{} of what {} said meanwhile are not kept any more",
                    format_size(at.position - shown_->position), wish_.vm));
  } else if (shown_ && !said_.empty()) {
    say("connected again");
  }
  said_.clear();
  shown_ = at, is_all_shown_ = false;
}

Task<Result<bool>> ConsoleFollower::goes_on() {
  auto view = co_await client_.vm(wish_.vm);
  if (!view && view.error().code == Code::not_found) {
    say(fmt::format("{} is gone", wish_.vm));
    co_return false;
  }
  if (!view) co_return fail(std::move(view).error());
  const auto& vm = view->vm;
  const bool is_elsewhere =
      vm.worker && shown_ && (*vm.worker != shown_->worker || vm.epoch != shown_->epoch);
  if (!is_elsewhere) moved_at_.reset();
  if (vm.desired == VmDesired::running || vm.worker) {
    if (is_elsewhere && !is_all_shown_) co_await leave_behind();
    co_return true;
  }
  // A session that broke off has not shown the last of it; and it may have run elsewhere since.
  std::optional<WorkerId> last_home;
  if (vm.ended) last_home = vm.ended->worker;
  if (!vm.ended && wish_.kind == SessionKind::logs) last_home = vm.stopped_on;
  const bool ended_elsewhere =
      last_home && shown_ && (*last_home != shown_->worker || vm.epoch != shown_->epoch);
  if (shown_ && !has_left()) co_await show_rest(shown_->worker);
  if (ended_elsewhere) {
    say(co_await why_left());
    is_all_shown_ = true;
    co_await show_rest(*last_home);
  }
  say(vm.ended ? fmt::format("{} has ended: {}", vm.id, vm.ended->end.text)
               : fmt::format("{} is stopped", vm.id));
  co_return false;
}

// Of what it said there, once and without waiting for more.
Task<void> ConsoleFollower::show_rest(WorkerId worker) {
  auto rest = co_await watch(false);
  session_.reset();
  if (!rest || rest->kind != SessionEndKind::complete)
    say(fmt::format("what {} said last on {} is not shown: it does not answer", wish_.vm, worker));
}

// The VM is elsewhere: on with what it says there, once all of what it said here has been shown, or cannot be had.
Task<void> ConsoleFollower::leave_behind() {
  if (!moved_at_) moved_at_ = loop_.now();
  const bool is_given_up = !has_left() && loop_.now() >= *moved_at_ + patience_with_the_past;
  if (!has_left() && !is_given_up) co_return;
  auto why = co_await why_left();
  if (is_given_up)
    why += fmt::format("; what it said last there is not shown: {} does not answer", shown_->worker);
  say(std::move(why));
  is_all_shown_ = true;
  moved_at_.reset();
}

// The move that ended its stay where it was shown.
Task<std::string> ConsoleFollower::why_left() {
  auto moves = co_await client_.migrations({.vm = wish_.vm, .drain = {}});
  auto text = fmt::format("{} has left {}", wish_.vm, shown_->worker);
  if (!moves) co_return text;
  for (const auto& view : *moves) {
    const auto& move = view.migration;
    if (move.source != shown_->worker || move.source_epoch != shown_->epoch) continue;
    co_return move.drain ? fmt::format("{}: {} drains it", text, *move.drain)
                         : fmt::format("{}: moved by an operator ({})", text, move.id);
  }
  co_return text;
}

void ConsoleFollower::say(std::string sentence) {
  if (sentence == said_) return;
  said_ = std::move(sentence);
  ears_.on_news(said_);
}

}  // namespace ebb
