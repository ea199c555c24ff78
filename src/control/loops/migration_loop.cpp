#include "control/loops/migration_loop.h"

#include "control/limits.h"
#include "drain/drain_planner.h"

namespace ebb::control {
namespace {

using migration::Event;
using migration::EventKind;

std::string phase_text(const Migration& m) {
  auto text = fmt::format("{}: {} ({} -> {})", m.vm, json::name_of(m.phase), m.source, m.target);
  if (m.phase == Phase::aborting || m.phase == Phase::aborted) text += ": " + m.last_error;
  if (auto ms = drain::interruption_ms(m); ms && m.phase == Phase::done)
    text += fmt::format(", interrupted for {} ms", *ms);
  return text;
}

// Why the drain that began it does not want it any more; empty: it does.
std::string why_unwanted(const Drain& drain, const Migration& m) {
  if (drain.state == DrainState::cancelled) return fmt::format("{} was cancelled", drain.id);
  if (drain.state == DrainState::undoing && !drain.is_of(m.target))
    return fmt::format("{} is being undone", drain.id);
  return "";
}

// A drain takes over what it has, and may: not too many others are silent with it.
bool is_declared_dead(const Fleet& fleet, const Seen& seen, const WorkerId& worker, drain::Brake& brake) {
  const auto* drain = fleet.active_drain_of(worker);
  return drain && drain->options.source_dead && drain->state != DrainState::undoing &&
         !seen.is_ready(worker) &&
         (drain->options.many_dead.value_or(false) || brake.why_not(worker).empty());
}

std::optional<Event> next_event(const Fleet& fleet, const Seen& seen, const Migration& m,
                                const std::set<MigrationId>& may_begin, drain::Brake& brake) {
  const auto* drain = m.drain ? fleet.find(*m.drain) : nullptr;
  if (drain && !is_past_no_return(m.phase) && m.phase != Phase::aborting)
    if (auto why = why_unwanted(*drain, m); !why.empty()) return Event{EventKind::cancel, std::move(why), 0};
  const auto* vm = fleet.find(m.vm);
  if (vm && vm->desired != VmDesired::running && !is_past_no_return(m.phase) && m.phase != Phase::aborting)
    return Event{EventKind::cancel, fmt::format("{} shall not run any more", m.vm), 0};
  // A target that is held since it was chosen takes nothing more: the VM is placed anew.
  const bool may_take = fleet.holds_on(m.target).empty();
  if (!may_take && (m.phase == Phase::reserving || m.phase == Phase::preparing)) {
    return Event{EventKind::target_lost, m.target.value + " takes nothing any more: it is held", 0};
  }
  if (m.phase == Phase::reserving) {
    for (const auto& id : m.after.value_or(std::vector<MigrationId>()))
      if (const auto* room = fleet.find(id); room && room->phase == Phase::aborted)
        return Event{EventKind::target_lost,
                     fmt::format("no room was made on {}: {} stays", m.target, room->vm), 0};
    // After a restart of the control plane nobody has been heard of yet: that is no reason to choose anew.
    const auto* target = seen.find(m.target);
    if (target && target->heard && target->liveness != Liveness::ready)
      return Event{EventKind::target_lost, m.target.value + " does not answer", 0};
    return may_begin.contains(m.id) ? std::optional(Event{}) : std::nullopt;
  }
  auto event = vm ? migration::observe(m, *vm, seen) : std::nullopt;
  if (!event && is_past_no_return(m.phase)) {
    if (m.phase != Phase::releasing && is_declared_dead(fleet, seen, m.target, brake))
      return Event{EventKind::target_dead, fmt::format("{} was declared dead", m.target), 0};
    if (m.phase == Phase::releasing && is_declared_dead(fleet, seen, m.source, brake))
      return Event{EventKind::source_empty, {}, 0};
  }
  // So many have fallen silent since that this one may not be dead at all.
  if (event && event->kind == EventKind::source_dead && drain && !drain->options.many_dead.value_or(false) &&
      !brake.why_not(m.source).empty())
    return std::nullopt;
  return event;
}

void note_drained(Vm& vm, WallMs now) {
  auto times = vm.drained_at.value_or(std::vector<WallMs>());
  std::erase_if(times, [&](WallMs at) { return at + moves_counted_ms <= now; });
  if (times.size() < drained_times_max) times.push_back(now);
  vm.drained_at = std::move(times);
}

// Whoever takes a disk from an owner that has not said that it stopped keeps what it found there: that owner's log may hold more.
void want_cut(const Fleet& fleet, Batch& batch, const Migration& m) {
  const auto* vm = fleet.find(m.vm);
  if (!vm) return;
  for (const auto* disk : fleet.disks_of(*vm)) {
    if (disk->snapshots.size() >= snapshots_max) continue;
    auto next = *disk;
    const auto request = batch.mint_id("cut");
    auto name = fmt::format("cut-{}", m.target_epoch);
    next.snapshots.push_back({disk->find_snapshot(name) ? name + "-" + request : name,
                              request,
                              SnapshotState::wanted,
                              batch.now(),
                              {},
                              {},
                              EndedTurn{m.source, m.source_epoch, m.vm}});
    batch.put(next);
  }
}

}  // namespace

Status apply_event(const Fleet& fleet, Batch& batch, const Migration& m, Event event) {
  const bool publishes = event.kind == EventKind::source_sealed || event.kind == EventKind::source_dead;
  if (publishes) event.new_epoch = batch.mint_epoch();
  auto result = migration::step(m, event, batch.now());
  if (result.outcome == migration::Outcome::refused) {
    return fail(Code::conflict, "{} cannot be changed: {}", m.id, result.why);
  }
  if (result.outcome == migration::Outcome::ignored) return {};
  const auto& next = result.next;
  batch.put(next);
  if (next.phase != m.phase) batch.journal("migration.phase", "migrations/" + m.id.value, phase_text(next));
  if (!is_past_no_return(m.phase) && is_past_no_return(next.phase)) {
    auto vm = *fleet.find(m.vm);
    vm.worker = next.target, vm.epoch = next.target_epoch;
    vm.start_failures = 0, vm.last_error.clear();
    const auto* drain = m.drain ? fleet.find(*m.drain) : nullptr;
    if (drain && !drain->is_of(m.target) && !next.source_dead && !m.was_failing.value_or(false))
      note_drained(vm, batch.now());
    batch.put(vm);
    if (next.source_dead) want_cut(fleet, batch, next);
  }
  return {};
}

MovesRound begin_round(const Fleet& fleet, std::set<MigrationId> may_begin, bool with_waiting) {
  MovesRound round;
  const auto& all = fleet.open_migrations();
  const auto& begun = fleet.begun_migrations();
  if (with_waiting) {
    round.moves.assign(all.begin(), all.end());
  } else {
    round.moves.assign(begun.begin(), begun.end());
    round.moves.insert(round.moves.end(), may_begin.begin(), may_begin.end());
  }
  round.may_begin = std::move(may_begin);
  return round;
}

void step_migrations(const Fleet& fleet, const Seen& seen, const drain::BrakeLimits& limits,
                     MovesRound& round, Batch& batch) {
  drain::Brake brake(fleet, seen, limits);
  for (; !round.is_over(); ++round.next) {
    if (batch.is_full()) return;
    const auto* m = fleet.find(round.moves[round.next]);
    auto event =
        m && !is_ended(m->phase) ? next_event(fleet, seen, *m, round.may_begin, brake) : std::nullopt;
    // A refusal here means that the world shows something that should not be: it is not acted upon, and
    // explained.
    if (event) (void)apply_event(fleet, batch, *m, std::move(*event));
  }
}

void forget_old_migrations(const Fleet& fleet, Batch& batch) {
  if (fleet.migrations().size() <= ended_migrations_max) return;
  std::uint32_t healthy_ms = 0;  // so long budgets ask when a VM has moved
  for (const auto& [id, budget] : fleet.budgets()) healthy_ms = std::max(healthy_ms, budget.healthy_ms);
  std::vector<const Migration*> ended;
  for (const auto& [id, m] : fleet.migrations()) {
    const auto* drain = m.drain ? fleet.find(*m.drain) : nullptr;
    const bool is_asked_for = healthy_ms > 0 && m.history.back().entered_at + healthy_ms > batch.now();
    const bool may_be_undone =
        drain && (!is_ended(drain->state) || drain->ended_at.value_or(0) + undo_kept_ms > batch.now());
    if (is_ended(m.phase) && !may_be_undone && !is_asked_for) ended.push_back(&m);
  }
  std::sort(ended.begin(), ended.end(),
            [](auto* a, auto* b) { return minted_before(a->id.value, b->id.value); });
  auto excess = fleet.migrations().size() - ended_migrations_max;
  for (std::size_t i = 0; i < std::min(excess, ended.size()) && !batch.is_full(); ++i) batch.erase(*ended[i]);
}

}  // namespace ebb::control
