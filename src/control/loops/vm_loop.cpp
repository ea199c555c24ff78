#include "control/loops/vm_loop.h"

#include "base/text.h"
#include "control/loops/candidates.h"
#include "control/loops/disk_loop.h"
#include "drain/drain_planner.h"
#include "migration/migration_step.h"

namespace ebb::control {
namespace {

bool is_ready_to_place(const Fleet& fleet, const Vm& vm) {
  if (vm.desired != VmDesired::running || vm.worker || fleet.open_migration_of(vm.id)) return false;
  return std::ranges::all_of(fleet.disks_of(vm), &Disk::is_usable);
}

// The agent has seen the newest wanted set, and nothing of the VM is left there.
bool has_left(const Seen& seen, const WorkerId& worker, const VmId& vm) {
  const auto* at = seen.find(worker);
  if (!at || !at->is_current()) return false;
  const auto* said = seen.find(worker, vm);
  return !said || said->state == VmSeen::absent;
}

void remove_vm(const Fleet& fleet, const Vm& vm, Duration disk_retention, Batch& batch) {
  if (vm.disk) {
    const auto* disk = fleet.find(*vm.disk);
    if (disk && disk->state != DiskState::deleting)
      remove_disk(*disk, vm.test_of ? Duration() : disk_retention, batch);
  }
  for (const auto* disk : fleet.disks_of(vm))
    if (disk->id != vm.disk) detach_disk(*disk, batch);
  batch.erase(vm);
  batch.journal("vm.removed", "vms/" + vm.id.value, "removed");
}

const Migration* last_migration_of(const Fleet& fleet, const VmId& vm) {
  const auto& moves = fleet.migrations_of(vm);
  return moves.empty() ? nullptr : fleet.find(*moves.rbegin());
}

// A guest that comes up nowhere must not tour the fleet: so many moves in so long a time.
constexpr std::size_t failing_moves_max = 3;
constexpr WallMs failing_moves_period_ms = 600'000;

// Of a VM that does not come up: how often it was moved for that, and the workers that could not start it.
struct FailedLately {
  std::size_t moves = 0;
  std::set<WorkerId> workers;
};
FailedLately failed_lately(const Fleet& fleet, const VmId& vm, WallMs now) {
  FailedLately found;
  for (const auto& id : fleet.migrations_of(vm)) {
    const auto& m = fleet.at(id);
    const bool is_recent = !m.history.empty() && now - m.history.front().entered_at < failing_moves_period_ms;
    if (!is_recent || m.drain || !m.was_failing.value_or(false)) continue;
    ++found.moves;
    found.workers.insert(m.source);
    found.workers.insert(m.rejected.begin(), m.rejected.end());
  }
  return found;
}

}  // namespace

bool is_failing(const Seen& seen, const Vm& vm) {
  const auto* said = vm.worker ? seen.find(*vm.worker, vm.id) : nullptr;
  return said && said->epoch == vm.epoch && said->state != VmSeen::running &&
         said->failures >= migration::boot_attempts_max;
}

Migration begin_migration(Batch& batch, const Vm& vm, const WorkerId& target, MigrationReason reason) {
  Migration m;
  m.id = MigrationId(batch.mint_id("mig"));
  m.vm = vm.id, m.source = *vm.worker, m.target = target, m.source_epoch = vm.epoch;
  m.mechanism = drain::mechanism_for(vm);
  m.drain = std::move(reason.drain), m.source_dead = reason.source_dead;
  if (reason.was_failing) m.was_failing = true;
  if (!reason.after.empty()) m.after = std::move(reason.after);
  m.history.push_back({Phase::reserving, batch.now()});
  batch.put(m);
  batch.journal("migration.created", "migrations/" + m.id.value,
                fmt::format("{} from {} to {} by {}", m.vm, m.source, m.target, json::name_of(m.mechanism)));
  return m;
}

void place_vms(const Fleet& fleet, const Seen& seen, Batch& batch, Unplaced& unplaced) {
  std::vector<placement::Request> requests;
  for (const auto& id : fleet.unplaced_vms()) {
    const auto& vm = fleet.at(id);
    if (!vm.test_of && is_ready_to_place(fleet, vm)) requests.push_back(request_for(fleet, vm, {}));
  }
  unplaced.clear();
  if (requests.empty()) return;
  for (const auto& choice : placement::place(candidates(fleet, seen), std::move(requests))) {
    if (!choice.worker) {
      unplaced[choice.vm] = placement::describe(choice.refusals);
      continue;
    }
    if (batch.is_full()) continue;
    auto vm = *fleet.find(choice.vm);
    vm.worker = choice.worker, vm.epoch = batch.mint_epoch();
    vm.start_failures = 0, vm.last_error.clear(), vm.stopped_on.reset();
    batch.put(vm);
    batch.journal("vm.placed", "vms/" + vm.id.value,
                  fmt::format("placed on {} (epoch {})", *vm.worker, vm.epoch));
  }
}

void retire_vms(const Fleet& fleet, const Seen& seen, Duration disk_retention, Batch& batch) {
  for (const auto& id : fleet.retiring_vms()) {
    if (batch.is_full()) return;
    const auto& vm = fleet.at(id);
    // One that was started again after an end that its worker knows of is let go there first.
    const bool begins_anew = vm.desired == VmDesired::running && vm.started_after_end == vm.epoch;
    if ((vm.desired == VmDesired::running && !begins_anew) || fleet.open_migration_of(id)) continue;
    if (!vm.worker) {
      if (vm.desired == VmDesired::absent) remove_vm(fleet, vm, disk_retention, batch);
      continue;
    }
    const auto* said = seen.find(*vm.worker, id);
    const bool stopped = said && said->state == VmSeen::stopped && said->epoch == vm.epoch &&
                         !said->disk_open && !said->machine;
    if (vm.desired == VmDesired::absent ? !has_left(seen, *vm.worker, id) : !stopped) continue;
    auto next = vm;
    next.stopped_on = std::exchange(next.worker, std::nullopt);
    next.started_after_end.reset();
    batch.put(next);
    batch.journal("vm.stopped", "vms/" + id.value, fmt::format("stopped on {}", *vm.worker));
  }
}

void end_vms(const Fleet& fleet, const Seen& seen, Batch& batch) {
  for (const auto& [id, worker] : seen.notable) {
    if (batch.is_full()) return;
    const auto* found = fleet.find(id);
    if (!found || found->desired != VmDesired::running || found->worker != worker) continue;
    const auto& vm = *found;
    const auto* said = seen.find(worker, id);
    if (!said || !said->end || said->epoch != vm.epoch || vm.started_after_end == vm.epoch) continue;
    auto next = vm;
    next.desired = VmDesired::stopped;
    next.ended = EndedVm{*vm.worker, batch.now(), *said->end};
    batch.put(next);
    batch.journal("vm.ended", "vms/" + id.value,
                  fmt::format("ended by itself on {}: {}", *vm.worker, said->end->text));
  }
}

void replace_failing_vms(const Fleet& fleet, const Seen& seen, Batch& batch) {
  for (const auto& [id, worker] : seen.notable) {
    if (batch.is_full()) return;
    const auto* found = fleet.find(id);
    if (!found || found->desired != VmDesired::running || found->worker != worker ||
        found->test_of == worker || fleet.open_migration_of(id))
      continue;
    const auto& vm = *found;
    const auto* said = seen.find(worker, id);
    if (!said || said->state != VmSeen::failed || said->epoch != vm.epoch ||
        said->failures < migration::boot_attempts_max)
      continue;
    const auto why = first_line(said->error);
    std::map<WorkerId, std::string> excluded{{*vm.worker, fmt::format("could not start it ({})", why)}};
    const auto lately = failed_lately(fleet, id, batch.now());
    if (lately.moves >= failing_moves_max) continue;
    for (const auto& other : lately.workers) excluded.emplace(other, "could not start it a short time ago");
    // If a drain brought it here, the drain stays responsible until it runs somewhere; unless it did not before.
    const auto* last = last_migration_of(fleet, id);
    const auto* drain = last && last->drain ? fleet.find(*last->drain) : nullptr;
    if (drain) excluded.merge(drain::rejected_targets(fleet, drain->id, id, batch.now()));
    auto choices = placement::place(candidates(fleet, seen), {request_for(fleet, vm, std::move(excluded))});
    if (!choices[0].worker) continue;
    // One that is being undone wants it at home, where it may not come up.
    const bool active = drain && !is_ended(drain->state) && drain->state != DrainState::undoing &&
                        !last->was_failing.value_or(false);
    begin_migration(batch, vm, *choices[0].worker,
                    {.drain = active ? std::optional(drain->id) : std::nullopt, .was_failing = !active});
    batch.journal("vm.placed_anew", "vms/" + id.value,
                  fmt::format("{} could not keep it up {} times ({}): it goes to {}", *vm.worker,
                              said->failures, why, *choices[0].worker));
    return;  // the next one sees this one's reservation
  }
}

}  // namespace ebb::control
