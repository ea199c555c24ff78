#include "control/loops/reclaimer.h"

namespace ebb::control {
namespace {
constexpr Duration pause_between_disks = 10ms;
constexpr int turns = 6;                   // in a period
constexpr std::uint64_t busy_objects = 4;  // of up to 16 MiB, at one time
}  // namespace

Reclaimer::Reclaimer(Loop& loop, Owner& owner, Pools& pools, Duration period, Logger log)
    : loop_(loop), owner_(owner), pools_(pools), period_(period), log_(std::move(log)) {}

Task<void> Reclaimer::run() {
  for (int turn = 1;; turn = turn % turns + 1) {
    co_await sleep_for(loop_, period_ / turns);
    if (turn < turns) {
      co_await look_at_disks(false);
      continue;
    }
    std::vector<Effect> deleted;
    for (const auto& [key, effect] : owner_.effects())
      if (effect.kind == EffectKind::empty_disk) deleted.push_back(effect);
    for (auto& effect : deleted) co_await empty(std::move(effect));
    co_await look_at_disks(true);
  }
}

Task<void> Reclaimer::look_at_disks(bool all) {
  std::vector<std::pair<DiskId, PoolId>> disks;
  for (const auto& [id, disk] : owner_.fleet().disks())
    if (disk.state == DiskState::ready && (all || busy_.contains(id))) disks.emplace_back(id, disk.pool);
  if (all) busy_.clear();
  for (auto& [disk, pool] : disks) {
    co_await look_at(std::move(disk), std::move(pool));
    co_await sleep_for(loop_, pause_between_disks);
  }
}

Task<void> Reclaimer::look_at(DiskId disk, PoolId pool) {
  auto removed = co_await pools_.reclaim(pool, disk);
  if (removed) objects_removed_ += *removed;
  if (removed && *removed >= busy_objects)
    busy_.insert(disk);
  else
    busy_.erase(disk);
  const bool is_gone = !removed && removed.error().code == Code::not_found;  // removed a moment ago
  note(pool, disk, removed || is_gone ? nullptr : &removed.error());
}

Task<void> Reclaimer::empty(Effect effect) {
  auto done = co_await pools_.carry_out(effect);
  note(effect.pool, effect.disk, done ? nullptr : &done.error());
  if (!done) co_return;
  auto recorded = co_await owner_.change<bool>([effect](Batch& batch) -> Result<bool> {
    batch.effect_done(effect.key);
    return true;
  });
  if (!recorded) log_.warning("{}: {}", effect.key, recorded.error());
}

// Once for each new trouble: a store that refuses removals refuses each of them.
void Reclaimer::note(const PoolId& pool, const DiskId& disk, const Error* error) {
  if (!error) {
    if (troubles_.erase(pool) > 0) log_.info("pool {}: space is given back again", pool);
    return;
  }
  auto [it, is_new] = troubles_.try_emplace(pool);
  it->second = fmt::format("{}: {}", disk, error->message);
  if (is_new) log_.warning("pool {}: space cannot be given back: {}", pool, it->second);
}

}  // namespace ebb::control
