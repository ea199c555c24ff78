#include "control/loops/return_loop.h"

#include "base/text.h"
#include "control/limits.h"
#include "control/loops/candidates.h"
#include "control/loops/drain_loop.h"
#include "migration/migration_step.h"

namespace ebb::control {
namespace {

// Why its test VM will not start any more, or not yet; both empty: it runs.
struct Verdict {
  std::string failed{}, waits{};
};

// At its worker, whatever holds that: it is what the holds wait for.
Verdict place_test(const Fleet& fleet, const Worker& worker, const Vm& vm, Batch& batch) {
  if (!std::ranges::all_of(fleet.disks_of(vm), &Disk::is_usable)) return {.waits = "its disk is being made"};
  const auto choice =
      placement::place({{&worker, fleet.used_on(worker.id), {}}}, {request_for(fleet, vm, {})}).at(0);
  if (!choice.worker) return {.failed = placement::describe(choice.refusals)};
  auto placed = vm;
  placed.worker = worker.id, placed.epoch = batch.mint_epoch();
  placed.stopped_on.reset();
  batch.put(placed);
  batch.journal("vm.placed", "vms/" + vm.id.value,
                fmt::format("placed on {} (epoch {}), to test it", worker.id, placed.epoch));
  return {.waits = "it is being started"};
}

Verdict judge_test(const Fleet& fleet, const Seen& seen, const Worker& worker, Batch& batch) {
  const auto* vm = fleet.test_vm_of(worker);
  if (!vm) return {.failed = "it was removed"};
  if (vm->ended) return {.failed = "its guest has ended: " + vm->ended->end.text};
  if (vm->desired != VmDesired::running) return {.failed = "it was stopped"};
  if (!seen.is_ready(worker.id)) return {.waits = fmt::format("{} does not answer", worker.id)};
  if (!vm->worker) return place_test(fleet, worker, *vm, batch);
  const auto* said = seen.find(worker.id, vm->id);
  if (!said || said->epoch != vm->epoch)
    return {.waits = fmt::format("{} has not begun to start it", worker.id)};
  if (said->state == VmSeen::running) return {};
  if (said->state == VmSeen::failed && said->failures >= migration::boot_attempts_max)
    return {.failed = first_line(said->error)};
  return {.waits = said->error.empty() ? "its guest has not said that it is up" : first_line(said->error)};
}

void remove_test(const Vm& vm, Batch& batch) {
  auto next = vm;
  next.desired = VmDesired::absent;
  batch.put(next);
  batch.journal("vm.desired", "vms/" + vm.id.value, "shall be absent: it was a test");
}

// A test VM that no return is about any more. One whose worker is silent stays until that is heard of again, or it was taken over as
// others are when they are declared dead: nothing there could confirm that it is gone.
void clear_away(const Fleet& fleet, const Seen& seen, const Vm& vm, Batch& batch) {
  const auto* worker = fleet.find(*vm.test_of);
  if (worker && worker->is_returning() && worker->returning->vm == vm.id) return;
  if (vm.desired == VmDesired::absent || fleet.open_migration_of(vm.id)) return;
  if (vm.worker == vm.test_of && !seen.is_ready(*vm.worker)) return;
  remove_test(vm, batch);
}

void give_up(const Worker& worker, std::string why, Batch& batch) {
  auto next = worker;
  next.returning->error = shortened(std::move(why));
  batch.put(next);
  batch.journal("worker.return_failed", "workers/" + worker.id.value,
                fmt::format("does not return: {}", next.returning->error));
}

void step_return(const Fleet& fleet, const Seen& seen, const ReturnLimits& limits, const Worker& worker,
                 Batch& batch) {
  const auto& trial = *worker.returning;
  if (const auto* drain = fleet.active_drain_of(worker.id))
    return give_up(worker,
                   fmt::format("{} {} it", drain->id,
                               drain->state == DrainState::undoing ? "is undone, and gives back" : "drains"),
                   batch);
  // Who has just begun to listen has heard of nobody.
  const bool is_late =
      seen.has_listened && batch.now() - trial.began_at > static_cast<WallMs>(to_ms(limits.timeout));
  const auto late = [&](std::string_view what) {
    if (is_late) give_up(worker, fmt::format("after {}: {}", format_duration(limits.timeout), what), batch);
  };
  const auto* vm = fleet.test_vm_of(worker);
  if (!trial.started_at) {
    const auto verdict = judge_test(fleet, seen, worker, batch);
    if (!verdict.failed.empty())
      return give_up(worker, fmt::format("test VM {}: {}", trial.vm, verdict.failed), batch);
    if (!verdict.waits.empty()) return late(fmt::format("test VM {}: {}", trial.vm, verdict.waits));
    auto next = worker;
    next.returning->started_at = batch.now();
    batch.put(next);
    return remove_test(*vm, batch);
  }
  if (vm) return late(fmt::format("test VM {} ran, and does not go away", trial.vm));
  if (auto status = check_can_return(fleet, seen, worker.id, limits); !status)
    return late(status.error().message);
  auto next = worker;
  const auto took = std::chrono::milliseconds(*trial.started_at - trial.began_at);
  next.returning.reset();
  batch.put(next);
  batch.journal("worker.returned", "workers/" + worker.id.value,
                fmt::format("verified: test VM {} was up after {}", trial.vm, format_duration(took)));
  release_holds(fleet, worker.id, batch);
}

}  // namespace

std::optional<std::string> clock_trouble(const WorkerSeen& worker, Duration most) {
  if (!worker.clock_ahead_ms) return std::nullopt;
  const auto off = std::chrono::milliseconds(std::abs(*worker.clock_ahead_ms));
  if (off <= most) return std::nullopt;
  return fmt::format("{} {}", format_duration(off), *worker.clock_ahead_ms > 0 ? "ahead of" : "behind");
}

Status check_can_return(const Fleet& fleet, const Seen& seen, const WorkerId& worker,
                        const ReturnLimits& limits) {
  const auto* at = seen.find(worker);
  if (!at || at->liveness != Liveness::ready)
    return fail(Code::conflict, "{} does not answer: its agent must report before it can take work", worker);
  if (!at->report.disk_daemon_up)
    return fail(Code::conflict,
                "the disk daemon of {} does not answer its agent: start ebb-diskd there first", worker);
  const auto* record = fleet.find(worker);
  if (record && record->boot_id != at->report.boot_id)
    return fail(Code::busy, "{} has rebooted, and has not reported since: try again in a moment", worker);
  if (!at->is_current())
    return fail(Code::busy, "{} has not yet confirmed the newest wanted set: try again in a moment", worker);
  if (const auto off = clock_trouble(*at, limits.clock))
    return fail(Code::conflict, "the clock of {} is {} the control plane's: set it, by NTP on both", worker,
                *off);
  return {};
}

bool runs_some_vm(const Fleet& fleet, const Seen& seen, const WorkerId& worker) {
  return std::ranges::any_of(fleet.vms_owned_by(worker), [&](const VmId& id) {
    const auto& vm = fleet.at(id);
    const auto* said = seen.find(worker, id);
    return !vm.test_of && vm.desired == VmDesired::running && said && said->state == VmSeen::running &&
           said->epoch == vm.epoch;
  });
}

std::vector<const Hold*> holds_to_release(const Fleet& fleet, const WorkerId& worker) {
  auto holds = fleet.holds_on(worker);
  std::erase_if(holds, [&](const Hold* hold) {
    const auto* drain = drain_of(fleet, *hold);
    return hold->owner == "operator" || (drain && !is_ended(drain->state));
  });
  return holds;
}

void release_holds(const Fleet& fleet, const WorkerId& worker, Batch& batch) {
  for (const auto* hold : holds_to_release(fleet, worker)) {
    batch.erase(*hold);
    batch.journal("worker.returned", "workers/" + worker.value,
                  fmt::format("verified, hold of {} released", hold->owner));
  }
}

void step_returns(const Fleet& fleet, const Seen& seen, const ReturnLimits& limits, Batch& batch) {
  for (const auto& id : fleet.test_vms()) {
    if (batch.is_full()) return;
    clear_away(fleet, seen, fleet.at(id), batch);
  }
  for (const auto& id : fleet.returning_workers()) {
    if (batch.is_full()) return;
    step_return(fleet, seen, limits, fleet.at(id), batch);
  }
}

}  // namespace ebb::control
