#include "control/effects/effect_runner.h"

#include "base/text.h"
#include "control/loops/disk_loop.h"

namespace ebb::control {

EffectRunner::EffectRunner(Loop& loop, Owner& owner, Pools& pools, Logger log)
    : loop_(loop), owner_(owner), pools_(pools), log_(std::move(log)), poke_(loop) {
  owner_.on_commit([this](const Touched& touched) {
    if (touched.effects) poke_.poke();
  });
}

Task<void> EffectRunner::run() {
  Scope scope(loop_);
  while (true) co_await poke_.wait_for(start_what_may_run(scope));
}

// How long nothing else can begin by itself.
Duration EffectRunner::start_what_may_run(Scope& scope) {
  std::erase_if(failed_, [this](const auto& entry) { return !owner_.effects().contains(entry.first); });
  Duration idle = 5s;
  for (const auto& [key, effect] : owner_.effects()) {
    if (running_.size() >= at_a_time_max) break;
    if (effect.kind == EffectKind::empty_disk || running_.contains(key)) continue;  // the first is reclaim's
    if (auto failed = failed_.find(key); failed != failed_.end() && failed->second.again_at > loop_.now()) {
      idle = std::min(idle, failed->second.again_at - loop_.now());
      continue;
    }
    running_.insert(key);
    scope.spawn(carry_out(effect));
  }
  return idle;
}

Task<void> EffectRunner::carry_out(Effect effect) {
  auto done = co_await carry_out_once(effect);
  if (done)
    failed_.erase(effect.key);
  else
    note_failure(effect, done.error());
  running_.erase(effect.key);
  poke_.poke();
}

Task<Status> EffectRunner::carry_out_once(Effect effect) {
  auto status = co_await pools_.carry_out(effect);
  const bool is_final = !status && is_refused(effect, status.error());
  if (!status && !is_final) co_return status;
  auto recorded = co_await owner_.change<bool>([&](Batch& batch) -> Result<bool> {
    if (status) EBB_CHECKED(record_result(effect, batch));
    if (!status) record_refusal(effect, status.error(), batch);
    return true;
  });
  if (!recorded) co_return fail(recorded.error());
  co_return Status{};
}

void EffectRunner::note_failure(const Effect& effect, const Error& error) {
  auto& failed = failed_[effect.key];
  failed.disk = effect.disk, failed.why = error.message;
  failed.pause = failed.pause == 0s ? 200ms : std::min<Duration>(failed.pause * 2, 30s);
  failed.again_at =
      loop_.now() + failed.pause + Duration(static_cast<std::int64_t>(loop_.random().below(100'000'000)));
  log_.warning("{}: {}; trying again", effect.key, error);
}

Status EffectRunner::record_result(const Effect& effect, Batch& batch) const {
  batch.effect_done(effect.key);
  if (effect.kind == EffectKind::delete_disk)
    batch.effect({"empty_disk/" + effect.disk.value, EffectKind::empty_disk, effect.disk, effect.pool,
                  std::nullopt, 0, effect.disk_class});
  const auto* disk = owner_.fleet().find(effect.disk);
  if (!disk) return {};
  switch (effect.kind) {
    case EffectKind::create_disk:
      if (disk->state == DiskState::creating) {
        auto next = *disk;
        next.state = DiskState::ready;
        batch.put(next);
        batch.journal("disk.created", "disks/" + disk->id.value, "created in pool " + disk->pool.value);
      }
      return {};
    case EffectKind::delete_disk:
      batch.erase(*disk);
      batch.journal("disk.removed", "disks/" + disk->id.value,
                    "sealed and marked as deleted in pool " + disk->pool.value);
      return {};
    case EffectKind::snapshot_disk:
      record_snapshot(*disk, effect.request, batch);
      return {};
    case EffectKind::remove_snapshot: {
      auto next = *disk;
      std::erase_if(next.snapshots, [&](const DiskSnapshot& s) { return s.request == effect.request; });
      batch.put(next);
      batch.journal("snapshot.removed", "disks/" + disk->id.value, effect.snapshot);
      return {};
    }
    case EffectKind::restore_disk: {
      if (!disk->restore || disk->restore->request != effect.request) return {};
      auto next = *disk;
      next.restore.reset();
      next.snapshots.push_back(
          {effect.keep_as, effect.request, SnapshotState::ready, batch.now(), {}, effect.snapshot});
      batch.put(next);
      batch.journal("disk.restored", "disks/" + disk->id.value,
                    fmt::format("to '{}'; what it was is kept as '{}'", effect.snapshot, effect.keep_as));
      return {};
    }
    case EffectKind::grow_disk: {
      if (!disk->growth || disk->growth->request != effect.request) return {};
      auto next = *disk;
      next.growth.reset();
      next.size_bytes = effect.size_bytes;
      batch.put(next);
      batch.journal("disk.grown", "disks/" + disk->id.value, "to " + format_size(effect.size_bytes));
      return {};
    }
    case EffectKind::empty_disk:
      return {};
  }
  return {};
}

// Asked again it would be refused again; all else is tried until it succeeds. conflict: the disk is in use,
// or the name is.
bool EffectRunner::is_refused(const Effect& effect, const Error& error) {
  if (effect.kind != EffectKind::snapshot_disk && effect.kind != EffectKind::restore_disk &&
      effect.kind != EffectKind::grow_disk)
    return false;
  if (effect.kind == EffectKind::grow_disk && error.code == Code::conflict)
    return true;  // HEAD names somebody
  return error.code == Code::invalid || error.code == Code::not_found ||
         (error.code == Code::conflict && error.field == "name");
}

void EffectRunner::record_refusal(const Effect& effect, const Error& error, Batch& batch) const {
  batch.effect_done(effect.key);
  const auto* disk = owner_.fleet().find(effect.disk);
  if (!disk) return;
  if (effect.kind == EffectKind::snapshot_disk)
    return record_failed_snapshot(*disk, effect.request, error.message, batch);
  auto next = *disk;
  next.restore.reset(), next.growth.reset();
  batch.put(next);
  if (effect.kind == EffectKind::grow_disk)
    return batch.journal("disk.growth_failed", "disks/" + disk->id.value, error.message);
  batch.journal("disk.restore_failed", "disks/" + disk->id.value,
                fmt::format("to '{}': {}", effect.snapshot, error.message));
}

std::string EffectRunner::trouble(const DiskId& disk) const {
  for (const auto& [key, failed] : failed_)
    if (failed.disk == disk) return failed.why;
  return {};
}

}  // namespace ebb::control
