#include "migration/migration_step.h"

#include "base/text.h"

namespace ebb::migration {
namespace {

StepResult ignored(const Migration& m, std::string why) { return {Outcome::ignored, m, std::move(why)}; }
StepResult refused(const Migration& m, std::string why) { return {Outcome::refused, m, std::move(why)}; }

StepResult enter(Migration next, Phase phase, WallMs now) {
  next.phase = phase;
  next.history.push_back({phase, now});
  return {Outcome::applied, std::move(next), {}};
}

StepResult abort_with(Migration next, const std::string& why, WallMs now) {
  next.last_error = why;
  return enter(std::move(next), Phase::aborting, now);
}

// `=>`: publishes the new epoch. From here on the VM only goes forward.
StepResult pass_no_return(Migration next, const Event& event, WallMs now) {
  CHECK(event.new_epoch > next.source_epoch);
  next.target_epoch = event.new_epoch;
  next.source_dead = event.kind == EventKind::source_dead;
  next.attempts = 0;  // those of preparing; from here on failed boots are counted
  return enter(std::move(next), Phase::moving_lease, now);
}

StepResult before_no_return(const Migration& m, const Event& event, WallMs now) {
  switch (event.kind) {
    case EventKind::begin:
      return m.phase == Phase::reserving ? enter(m, Phase::preparing, now)
                                         : ignored(m, "it has begun already");
    case EventKind::standby_ready:
      return m.phase == Phase::preparing ? enter(m, Phase::freezing, now) : ignored(m, "not being prepared");
    case EventKind::source_sealed:
      return m.phase == Phase::freezing ? pass_no_return(m, event, now) : ignored(m, "not being frozen");
    case EventKind::source_dead:
      return m.phase == Phase::freezing ? pass_no_return(m, event, now)
                                        : ignored(m, "the target is not prepared yet");
    case EventKind::start_failed: {
      auto next = m;
      next.last_error = event.why;
      if (m.phase == Phase::preparing && ++next.attempts < boot_attempts_max)
        return {Outcome::applied, std::move(next), {}};
      next.rejected.push_back(m.target);
      return abort_with(std::move(next), event.why, now);
    }
    case EventKind::target_lost:
    case EventKind::cancel:
      return abort_with(m, event.why, now);
    case EventKind::lease_taken:
    case EventKind::guest_healthy:
    case EventKind::source_empty:
      return refused(m, "the new epoch has not been published: the target may own nothing");
    case EventKind::target_dead:
      return ignored(m, "the target owns nothing yet");
    case EventKind::source_running:
      return ignored(m, "it is not being undone");
  }
  return refused(m, "unknown event");
}

StepResult after_no_return(const Migration& m, const Event& event, WallMs now) {
  switch (event.kind) {
    case EventKind::lease_taken:
      return m.phase == Phase::moving_lease ? enter(m, Phase::starting, now)
                                            : ignored(m, "the lease has moved already");
    case EventKind::guest_healthy:
      if (m.phase == Phase::moving_lease || m.phase == Phase::starting)
        return enter(m, Phase::releasing, now);
      return ignored(m, "the guest was healthy already");
    case EventKind::source_empty:
      return m.phase == Phase::releasing ? enter(m, Phase::done, now)
                                         : ignored(m, "the guest is not healthy yet");
    case EventKind::start_failed: {
      if (m.phase == Phase::releasing) return ignored(m, "the guest was healthy already");
      auto next = m;
      next.last_error = event.why;
      if (++next.attempts < boot_attempts_max) return {Outcome::applied, std::move(next), {}};
      // The VM is the target's now, though it does not boot there: it is for the caller to place it anew.
      next.rejected.push_back(m.target);
      return enter(std::move(next), Phase::releasing, now);
    }
    case EventKind::target_dead: {
      if (m.phase == Phase::releasing) return ignored(m, "only the source is waited for");
      auto next = m;
      next.last_error = event.why;
      next.rejected.push_back(m.target);
      return enter(std::move(next), Phase::releasing, now);
    }
    case EventKind::cancel:
      return refused(m, "it is past the point of no return: the VM goes forward to " + m.target.value);
    case EventKind::target_lost:
      return ignored(m, "past the point of no return an unknown result is asked for, never undone");
    case EventKind::begin:
    case EventKind::standby_ready:
    case EventKind::source_sealed:
    case EventKind::source_dead:
    case EventKind::source_running:
      return ignored(m, "it is past that");
  }
  return refused(m, "unknown event");
}

StepResult while_aborting(const Migration& m, const Event& event, WallMs now) {
  if (event.kind == EventKind::source_running) return enter(m, Phase::aborted, now);
  if (event.kind == EventKind::lease_taken || event.kind == EventKind::guest_healthy) {
    return refused(m, "it is being undone: the target may own nothing");
  }
  return ignored(m, "it is being undone");
}

bool is_gone(const SeenVm* seen) { return !seen || seen->state == VmSeen::absent; }
bool holds_nothing(const SeenVm* seen) { return is_gone(seen) || (!seen->machine && !seen->disk_open); }

}  // namespace

StepResult step(const Migration& m, const Event& event, WallMs now) {
  switch (m.phase) {
    case Phase::reserving:
    case Phase::preparing:
    case Phase::freezing:
      return before_no_return(m, event, now);
    case Phase::moving_lease:
    case Phase::starting:
    case Phase::releasing:
      return after_no_return(m, event, now);
    case Phase::aborting:
      return while_aborting(m, event, now);
    case Phase::done:
    case Phase::aborted:
      return ignored(m, "it has ended");
  }
  return refused(m, "unknown phase");
}

std::optional<Event> observe(const Migration& m, const Vm& vm, const Seen& seen) {
  const auto* source = seen.find(m.source, m.vm);
  const auto* target = seen.find(m.target, m.vm);
  const auto* source_worker = seen.find(m.source);
  const auto* target_worker = seen.find(m.target);
  const bool target_silent = target_worker && target_worker->liveness == Liveness::suspect;
  switch (m.phase) {
    case Phase::reserving:
      break;
    case Phase::preparing:
      if (target && target->state == VmSeen::failed && target->failures > m.attempts)
        return Event{EventKind::start_failed, first_line(target->error), 0};
      if (target && target->state == VmSeen::standby) return Event{EventKind::standby_ready, {}, 0};
      if (target_silent) return Event{EventKind::target_lost, m.target.value + " does not answer", 0};
      break;
    case Phase::freezing:
      // Its guest has ended by itself: the VM is stopped here, and the move cancelled.
      if (source && source->end && source->epoch == m.source_epoch && vm.started_after_end != m.source_epoch)
        break;
      // Declared dead, but it answers again: then it can still seal, and nothing need be lost.
      if (m.source_dead && !seen.is_ready(m.source)) return Event{EventKind::source_dead, {}, 0};
      if (target_silent) return Event{EventKind::target_lost, m.target.value + " does not answer", 0};
      // Sealed under the epoch it was given, by an agent that has seen that it shall be sealed.
      if (source && source->state == VmSeen::sealed && source->epoch == m.source_epoch &&
          holds_nothing(source)) {
        return Event{EventKind::source_sealed, {}, 0};
      }
      break;
    case Phase::moving_lease:
    case Phase::starting:
      if (vm.desired != VmDesired::running)
        return Event{EventKind::guest_healthy, {}, 0};  // it has ended there
      if (!target || target->epoch != m.target_epoch) break;
      if (target->state == VmSeen::running || target->end) return Event{EventKind::guest_healthy, {}, 0};
      if (target->state == VmSeen::failed && target->failures > m.attempts)
        return Event{EventKind::start_failed, first_line(target->error), 0};
      if (m.phase == Phase::moving_lease && (target->disk_open || target->machine))
        return Event{EventKind::lease_taken, {}, 0};
      break;
    case Phase::releasing:
      if (m.source_dead) return Event{EventKind::source_empty, {}, 0};
      if (source_worker && source_worker->is_current() && is_gone(source))
        return Event{EventKind::source_empty, {}, 0};
      break;
    case Phase::aborting: {
      // As well as it was before.
      const bool is_tried = source && (source->state == VmSeen::running || source->state == VmSeen::failed);
      const bool back = m.source_dead || vm.desired != VmDesired::running || m.was_failing.value_or(false) ||
                        vm.started_after_end == m.source_epoch ||
                        (is_tried && source->epoch == m.source_epoch);
      const bool target_clean =
          (target_worker && target_worker->is_current() && is_gone(target)) || target_silent;
      if (back && target_clean) return Event{EventKind::source_running, {}, 0};
      break;
    }
    case Phase::done:
    case Phase::aborted:
      break;
  }
  return std::nullopt;
}

Wanted wanted_of_source(const Migration& m, VmDesired desired) {
  const Wanted at_home = desired == VmDesired::running ? Wanted::running : Wanted::stopped;
  switch (m.phase) {
    case Phase::reserving:
    case Phase::preparing:
    case Phase::aborting:
      return at_home;
    case Phase::freezing:
      return Wanted::sealed;
    case Phase::moving_lease:
    case Phase::starting:
    case Phase::releasing:
    case Phase::done:
      return Wanted::absent;
    case Phase::aborted:
      return at_home;
  }
  return at_home;
}

Wanted wanted_of_target(const Migration& m, VmDesired desired) {
  const Wanted at_home = desired == VmDesired::running ? Wanted::running : Wanted::stopped;
  switch (m.phase) {
    case Phase::preparing:
    case Phase::freezing:
      return Wanted::standby;
    case Phase::moving_lease:
    case Phase::starting:
    case Phase::releasing:
    case Phase::done:
      return at_home;
    case Phase::reserving:
    case Phase::aborting:
    case Phase::aborted:
      return Wanted::absent;
  }
  return Wanted::absent;
}

}  // namespace ebb::migration
