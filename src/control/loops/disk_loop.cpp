#include "control/loops/disk_loop.h"

#include "base/text.h"
#include "control/limits.h"

namespace ebb::control {
namespace {

// At most one record changes a turn: the next one sees it.
void hear_agent(const Seen& seen, const Disk& disk, const Vm& vm, const Effects& effects, Batch& batch) {
  const auto* said = vm.worker ? seen.find(*vm.worker, vm.id) : nullptr;
  for (const auto& snapshot : disk.snapshots) {
    if (snapshot.state != SnapshotState::wanted) continue;
    auto key = snapshot_effect_key(disk.id, snapshot.request);
    if (effects.contains(key)) batch.effect_done(key);
    if (!said) continue;
    for (const auto& told : said->snapshots) {
      if (told.disk != disk.id || told.request != snapshot.request) continue;
      if (told.made_at > 0) return record_snapshot(disk, told.request, batch);
      if (!told.error.empty()) return record_failed_snapshot(disk, told.request, told.error, batch);
    }
  }
}

}  // namespace

void step_snapshots(const Fleet& fleet, const Seen& seen, const Effects& effects, Batch& batch) {
  for (const auto& id : fleet.disks_with_work()) {
    if (batch.is_full()) return;
    const auto& disk = fleet.at(id);
    if (disk.state != DiskState::ready || disk.snapshots.empty()) continue;
    const auto* vm = disk.vm ? fleet.find(*disk.vm) : nullptr;
    if (vm && (vm->worker || fleet.open_migration_of(vm->id))) {
      hear_agent(seen, disk, *vm, effects, batch);
      continue;
    }
    for (const auto& snapshot : disk.snapshots) {
      auto key = snapshot_effect_key(id, snapshot.request);
      if (snapshot.state != SnapshotState::wanted || snapshot.cut_of || effects.contains(key)) continue;
      Effect effect{
          key, EffectKind::snapshot_disk, id, disk.pool, std::nullopt, disk.size_bytes, disk.disk_class};
      effect.snapshot = snapshot.name, effect.request = snapshot.request;
      batch.effect(std::move(effect));
    }
  }
}

void record_snapshot(const Disk& disk, const std::string& request, Batch& batch) {
  auto next = disk;
  for (auto& snapshot : next.snapshots) {
    if (snapshot.request != request || snapshot.state != SnapshotState::wanted) continue;
    snapshot.state = SnapshotState::ready, snapshot.created_at = batch.now();
    batch.put(next);
    batch.journal("snapshot.taken", "disks/" + disk.id.value, snapshot.name);
    return;
  }
}

void record_failed_snapshot(const Disk& disk, const std::string& request, const std::string& error,
                            Batch& batch) {
  auto next = disk;
  for (auto& snapshot : next.snapshots) {
    if (snapshot.request != request || snapshot.state != SnapshotState::wanted) continue;
    snapshot.state = SnapshotState::failed, snapshot.error = shortened(error);
    batch.put(next);
    batch.journal("snapshot.failed", "disks/" + disk.id.value,
                  fmt::format("{}: {}", snapshot.name, snapshot.error));
    return;
  }
}

Status check_stopped(const Fleet& fleet, const Vm& vm) {
  if (!vm.worker && vm.desired == VmDesired::stopped && !fleet.open_migration_of(vm.id)) return {};
  return fail(Code::conflict, "VM '{}' is not stopped: ebb stop {} --wait", vm.id, vm.id);
}

Status check_settled(const Disk& disk) {
  if (disk.state != DiskState::ready)
    return fail(Code::conflict, "disk '{}' is {}", disk.id, json::name_of(disk.state));
  if (disk.removal)
    return fail(Code::conflict, "disk '{0}' is removed: ebb disks keep {0} brings it back", disk.id);
  if (disk.restore)
    return fail(Code::conflict, "disk '{}' is being restored to '{}'", disk.id, disk.restore->snapshot);
  if (disk.growth)
    return fail(Code::conflict, "disk '{}' grows to {}: wait for it", disk.id,
                format_size(disk.growth->size_bytes));
  if (disk.rescue && disk.rescue->state != RescueState::written)
    return fail(Code::conflict, "disk '{}' is not what the log of {} holds: ebb why disks/{}", disk.id,
                disk.rescue->worker, disk.id);
  return {};
}

Status check_idle(const Fleet& fleet, const Disk& disk) {
  EBB_CHECKED(check_settled(disk));
  const auto* vm = disk.vm ? fleet.find(*disk.vm) : nullptr;
  return vm ? check_stopped(fleet, *vm) : Status{};
}

void detach_disk(const Disk& disk, Batch& batch) {
  auto next = disk;
  next.vm.reset();
  batch.put(next);
  batch.journal("disk.detached", "disks/" + disk.id.value,
                fmt::format("from VM {}", disk.vm.value_or(VmId())));
}

void begin_disk_removal(const Disk& disk, Batch& batch) {
  auto next = disk;
  next.state = DiskState::deleting, next.vm.reset();
  batch.put(next);
  batch.effect({"delete_disk/" + disk.id.value, EffectKind::delete_disk, disk.id, disk.pool, std::nullopt,
                disk.size_bytes, disk.disk_class});
  batch.effect_done("create_disk/" + disk.id.value);
}

void remove_disk(const Disk& disk, Duration retention, Batch& batch) {
  if (retention == 0s || disk.state == DiskState::creating) return begin_disk_removal(disk, batch);
  auto next = disk;
  next.removal = DiskRemoval{batch.now(), disk.vm};
  next.vm.reset(), next.name.reset();
  batch.put(next);
  batch.journal(
      "disk.removal", "disks/" + disk.id.value,
      fmt::format("{}its data is kept until {}", disk.vm ? fmt::format("with VM {}; ", *disk.vm) : "",
                  format_time(batch.now() + to_ms(retention))));
}

void expire_removed_disks(const Fleet& fleet, WallMs now, Duration retention, Batch& batch) {
  for (const auto& id : fleet.disks_with_work()) {
    if (batch.is_full()) return;
    const auto& disk = fleet.at(id);
    const bool is_over = disk.removal && now >= disk.removal->at + to_ms(retention);
    if (is_over && disk.state == DiskState::ready && fleet.forks_of(id).empty())
      begin_disk_removal(disk, batch);
  }
}

void begin_removal(const Disk& disk, const DiskSnapshot& snapshot, Batch& batch) {
  auto next = disk;
  for (auto& s : next.snapshots)
    if (s.request == snapshot.request) s.state = SnapshotState::removing, s.error.clear();
  batch.put(next);
  batch.effect_done(snapshot_effect_key(disk.id, snapshot.request));
  Effect effect{"remove_snapshot/" + disk.id.value + "/" + snapshot.request,
                EffectKind::remove_snapshot,
                disk.id,
                disk.pool,
                std::nullopt,
                disk.size_bytes,
                disk.disk_class};
  effect.snapshot = snapshot.name, effect.request = snapshot.request;
  batch.effect(std::move(effect));
  batch.journal("snapshot.removing", "disks/" + disk.id.value, snapshot.name);
}

}  // namespace ebb::control
