#include "control/effects/effect_runner.h"

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
  while (true) {
    for (const auto& [key, effect] : owner_.effects()) {
      if (running_.size() >= at_a_time_max) break;
      if (effect.kind == EffectKind::empty_disk) continue;  // reclaim's
      if (!running_.insert(key).second) continue;
      scope.spawn(carry_out(effect));
    }
    co_await poke_.wait_for(5s);
  }
}

Task<void> EffectRunner::carry_out(Effect effect) {
  Duration pause = 200ms;
  // A withdrawn effect (its VM was removed meanwhile) is no longer in the outbox.
  while (owner_.effects().contains(effect.key)) {
    auto status = co_await pools_.carry_out(effect);
    if (status) {
      auto recorded = co_await owner_.change<bool>([this, effect](Batch& batch) -> Result<bool> {
        EBB_CHECKED(record_result(effect, batch));
        return true;
      });
      if (recorded) break;
      status = fail(recorded.error());
    } else if (is_refused(effect, status.error())) {
      auto recorded = co_await owner_.change<bool>([this, effect, error = status.error()](Batch& batch) -> Result<bool> {
        record_refusal(effect, error, batch);
        return true;
      });
      if (recorded) break;
    }
    troubles_[effect.disk] = status.error().message;
    log_.warning("{}: {}; trying again", effect.key, status.error());
    co_await sleep_for(loop_, pause + Duration(static_cast<std::int64_t>(loop_.random().below(100'000'000))));
    pause = std::min<Duration>(pause * 2, 30s);
  }
  troubles_.erase(effect.disk);
  running_.erase(effect.key);
  poke_.poke();
}

Status EffectRunner::record_result(const Effect& effect, Batch& batch) const {
  batch.effect_done(effect.key);
  if (effect.kind == EffectKind::delete_disk)
    batch.effect({"empty_disk/" + effect.disk.value, EffectKind::empty_disk, effect.disk, effect.pool, std::nullopt, 0, effect.disk_class});
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
      batch.journal("disk.removed", "disks/" + disk->id.value, "sealed and marked as deleted in pool " + disk->pool.value);
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
      next.snapshots.push_back({effect.keep_as, effect.request, SnapshotState::ready, batch.now(), {}, effect.snapshot});
      batch.put(next);
      batch.journal("disk.restored", "disks/" + disk->id.value,
                    fmt::format("to '{}'; what it was is kept as '{}'", effect.snapshot, effect.keep_as));
      return {};
    }
    case EffectKind::empty_disk: return {};
  }
  return {};
}

// Asked again it would be refused again; all else is tried until it succeeds. conflict: the disk is in use, or the name is.
bool EffectRunner::is_refused(const Effect& effect, const Error& error) {
  if (effect.kind != EffectKind::snapshot_disk && effect.kind != EffectKind::restore_disk) return false;
  return error.code == Code::invalid || error.code == Code::not_found || (error.code == Code::conflict && error.field == "name");
}

void EffectRunner::record_refusal(const Effect& effect, const Error& error, Batch& batch) const {
  batch.effect_done(effect.key);
  const auto* disk = owner_.fleet().find(effect.disk);
  if (!disk) return;
  if (effect.kind == EffectKind::snapshot_disk) return record_failed_snapshot(*disk, effect.request, error.message, batch);
  auto next = *disk;
  next.restore.reset();
  batch.put(next);
  batch.journal("disk.restore_failed", "disks/" + disk->id.value, fmt::format("to '{}': {}", effect.snapshot, error.message));
}

std::string EffectRunner::trouble(const DiskId& disk) const {
  auto found = troubles_.find(disk);
  return found == troubles_.end() ? std::string() : found->second;
}

}  // namespace ebb::control
