#include "control/loops/rescue_loop.h"

#include "control/limits.h"
#include "control/loops/disk_loop.h"
#include "drain/loss_explain.h"

namespace ebb::control {
namespace {

// Where a log of that turn was cut: by the end of it, or of a later one there that never came to write. (Whether it is there, the
// disk engine proves.)
const DiskSnapshot* cut_of(const Disk& disk, const EndedTurn& turn) {
  const DiskSnapshot* first = nullptr;
  for (const auto& snapshot : disk.snapshots) {
    const auto& cut = snapshot.cut_of;
    if (!cut || cut->worker != turn.worker || cut->epoch < turn.epoch ||
        snapshot.state != SnapshotState::ready)
      continue;
    if (!first || cut->epoch < first->cut_of->epoch) first = &snapshot;
  }
  return first;
}

// True if it did, for a log that is whole, and that nobody has begun to keep.
bool begin_rescue(const Fleet& fleet, const WorkerId& worker, const OrphanLog& log, Batch& batch) {
  const auto* disk = fleet.find(log.disk);
  const auto* vm = disk && disk->vm ? fleet.find(*disk->vm) : nullptr;
  const bool stays = disk && disk->state == DiskState::ready && !(vm && vm->desired == VmDesired::absent);
  const auto* cut = stays ? cut_of(*disk, {worker, log.epoch}) : nullptr;
  if (!log.error.empty() || !cut || drain::rescue_of(fleet, worker, log)) return false;
  const auto epoch = batch.mint_epoch();
  Disk kept;
  kept.id = DiskId(fmt::format("{}-lost-{}", disk->id, epoch));
  if (!is_valid_name(kept.id.value)) kept.id = DiskId(batch.mint_id("lost"));
  kept.pool = disk->pool, kept.size_bytes = disk->size_bytes, kept.disk_class = disk->disk_class;
  kept.created_at = batch.now(), kept.origin = DiskOrigin{disk->id, cut->name};
  kept.rescue =
      LogRescue{worker, log.log_id, log.epoch, epoch, log.records, log.bytes, RescueState::writing, {}};
  batch.put(kept);
  Effect effect{"create_disk/" + kept.id.value,
                EffectKind::create_disk,
                kept.id,
                kept.pool,
                disk->id,
                kept.size_bytes,
                kept.disk_class};
  effect.snapshot = cut->name;
  batch.effect(std::move(effect));
  batch.journal(
      "rescue.begun", "disks/" + kept.id.value,
      fmt::format("{} holds {} records of disk {} that others went on without: they go into this one", worker,
                  log.records, disk->id));
  return true;
}

// `error` is empty: all of it is written.
void end_rescue(const Disk& disk, const std::string& error, Batch& batch) {
  auto next = disk;
  next.rescue->state = error.empty() ? RescueState::written : RescueState::failed;
  next.rescue->error = shortened(error);
  batch.put(next);
  batch.journal(error.empty() ? "rescue.written" : "rescue.failed", "disks/" + disk.id.value,
                error.empty() ? fmt::format("{} has written all {} records of its log", disk.rescue->worker,
                                            disk.rescue->records)
                              : next.rescue->error);
}

void hear_rescue(const Fleet& fleet, const WorkerId& worker, const SeenRescue& said, Batch& batch) {
  const auto* disk = fleet.find(said.into);
  if (!disk || !disk->rescue || disk->rescue->state != RescueState::writing) return;
  if (disk->rescue->worker != worker || disk->rescue->epoch != said.epoch) return;
  if (said.written || !said.error.empty()) end_rescue(*disk, said.written ? "" : said.error, batch);
}

// Whether all is known of what the worker's logs hold of this disk, and it is nothing.
bool has_nothing_of(const Seen& seen, const EndedTurn& turn, const Disk& disk) {
  const auto* at = seen.find(turn.worker);
  if (!at || at->liveness != Liveness::ready || !at->heard || !at->report.disk_daemon_up) return false;
  const auto& report = at->report;
  if (std::ranges::find(report.unread_logs, disk.id) != report.unread_logs.end()) return false;
  if (std::ranges::find(report.orphan_logs, disk.id, &OrphanLog::disk) != report.orphan_logs.end())
    return false;
  // Whoever has the disk by now: it is that turn's VM whose machine may be left there.
  const auto& vm = turn.vm ? turn.vm : disk.vm;
  const auto* said = vm ? seen.find(turn.worker, *vm) : nullptr;
  // Under a newer epoch it has read its logs only when the guest runs.
  const bool is_newer = said && said->epoch > turn.epoch && said->state == VmSeen::running;
  return !said || is_newer || !(said->disk_open || said->machine);
}

void drop_cuts(const Fleet& fleet, const Seen& seen, const Disk& disk, Batch& batch) {
  for (const auto& snapshot : disk.snapshots) {
    if (!snapshot.cut_of || snapshot.state == SnapshotState::removing) continue;
    const auto& turn = *snapshot.cut_of;
    if (fleet.find(turn.worker) && !has_nothing_of(seen, turn, disk)) continue;
    if (fork_of(fleet, {disk.id, snapshot.name})) continue;
    return begin_removal(disk, snapshot, batch);  // the next one sees this one's change
  }
}

}  // namespace

const Disk* fork_of(const Fleet& fleet, const DiskOrigin& origin) {
  for (const auto& id : fleet.forks_of(origin.disk))
    if (const auto* fork = fleet.find(id); fork->origin == origin) return fork;
  return nullptr;
}

void step_rescues(const Fleet& fleet, const Seen& seen, Batch& batch) {
  for (const auto& [worker, at] : seen.workers) {
    if (at.liveness != Liveness::ready || !at.heard) continue;
    for (const auto& said : at.report.rescues)
      if (!batch.is_full()) hear_rescue(fleet, worker, said, batch);
    for (const auto& log : at.report.orphan_logs)
      if (!batch.is_full() && begin_rescue(fleet, worker, log, batch)) return;
  }
  for (const auto& id : fleet.disks_with_work()) {
    if (batch.is_full()) return;
    const auto& disk = fleet.at(id);
    if (disk.rescue && disk.rescue->state == RescueState::writing && !fleet.find(disk.rescue->worker))
      end_rescue(
          disk,
          fmt::format("{} was removed from the fleet: what its log held may be here in whole, or in part",
                      disk.rescue->worker),
          batch);
    else if (!disk.snapshots.empty())
      drop_cuts(fleet, seen, disk, batch);
  }
}

}  // namespace ebb::control
