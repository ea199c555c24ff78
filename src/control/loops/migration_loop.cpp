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

std::optional<Event> next_event(const Fleet& fleet, const Seen& seen, const Migration& m,
                                const std::set<MigrationId>& may_begin) {
  const auto* drain = m.drain ? fleet.find(*m.drain) : nullptr;
  const bool cancelled = drain && drain->state == DrainState::cancelled;
  if (cancelled && !is_past_no_return(m.phase) && m.phase != Phase::aborting) {
    return Event{EventKind::cancel, fmt::format("{} was cancelled", drain->id), 0};
  }
  const auto* vm = fleet.find(m.vm);
  if (vm && vm->desired != VmDesired::running && !is_past_no_return(m.phase) && m.phase != Phase::aborting)
    return Event{EventKind::cancel, fmt::format("{} shall not run any more", m.vm), 0};
  // A target that is held since it was chosen takes nothing more: the VM is placed anew.
  const bool may_take = fleet.holds_on(m.target).empty();
  if (!may_take && (m.phase == Phase::reserving || m.phase == Phase::preparing)) {
    return Event{EventKind::target_lost, m.target.value + " takes nothing any more: it is held", 0};
  }
  if (m.phase == Phase::reserving) {
    // After a restart of the control plane nobody has been heard of yet: that is no reason to choose anew.
    const auto* target = seen.find(m.target);
    if (target && target->heard && target->liveness != Liveness::ready)
      return Event{EventKind::target_lost, m.target.value + " does not answer", 0};
    return may_begin.contains(m.id) ? std::optional(Event{}) : std::nullopt;
  }
  return vm ? migration::observe(m, *vm, seen) : std::nullopt;
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
    batch.put(vm);
    if (next.source_dead) want_cut(fleet, batch, next);
  }
  return {};
}

void step_migrations(const Fleet& fleet, const Seen& seen, const drain::Pacing& pacing, Batch& batch) {
  const std::set<MigrationId> may_begin(pacing.may_begin.begin(), pacing.may_begin.end());
  for (const auto& id : fleet.open_migrations()) {
    if (batch.is_full()) return;
    const auto& m = fleet.migrations().at(id);
    auto event = next_event(fleet, seen, m, may_begin);
    // A refusal here means that the world shows something that should not be: it is not acted upon, and
    // explained.
    if (event) (void)apply_event(fleet, batch, m, std::move(*event));
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
    if (is_ended(m.phase) && (!drain || is_ended(drain->state)) && !is_asked_for) ended.push_back(&m);
  }
  std::sort(ended.begin(), ended.end(),
            [](auto* a, auto* b) { return minted_before(a->id.value, b->id.value); });
  auto excess = fleet.migrations().size() - ended_migrations_max;
  for (std::size_t i = 0; i < std::min(excess, ended.size()) && !batch.is_full(); ++i) batch.erase(*ended[i]);
}

}  // namespace ebb::control
