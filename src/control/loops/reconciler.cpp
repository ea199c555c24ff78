#include "control/loops/reconciler.h"

#include "control/loops/disk_loop.h"
#include "control/loops/migration_loop.h"
#include "control/loops/rescue_loop.h"

namespace ebb::control {

Reconciler::Reconciler(Loop& loop, Owner& owner, Pools& pools, Limits limits, Logger log)
    : loop_(loop), owner_(owner), pools_(pools), limits_(limits), log_(std::move(log)), poke_(loop) {
  owner_.on_commit([this](const Touched&) { poke_.poke(); });
}

Task<void> Reconciler::run() {
  began_ = loop_.now();  // from here on agents are answered
  auto look_again = began_;
  while (true) {
    // Looks at the whole fleet, which take a tenth of our time at most, however often something changes.
    if (const auto looked_at = loop_.now(); looked_at >= look_again) {
      co_await update_liveness();
      co_await expire_holds();
      look_again = loop_.now() + 9 * (loop_.now() - looked_at);
    }
    while (co_await turn()) {
    }
    co_await poke_.wait_for(1s);
  }
}

Task<bool> Reconciler::decide(std::function<void(Batch&)> decision) {
  auto changed = co_await owner_.change_if(std::move(decision));
  if (!changed) {
    log_.error("a decision could not be stored: {}", changed.error());
    co_await sleep_for(loop_, 1s);
    co_return false;
  }
  co_return *changed;
}

// The order matters: a migration that ends because its target gave up must have its successor before its
// drain is judged.
Task<bool> Reconciler::turn() {
  const auto& fleet = owner_.fleet();
  const auto& seen = owner_.seen();
  // A move may end because its VM has.
  bool changed = co_await decide([&](Batch& b) { end_vms(fleet, seen, b); });
  changed |= co_await decide([&](Batch& b) {
    auto pacing = drain::pace(fleet, seen, limits_.pace, b.now());
    step_migrations(fleet, seen, limits_.pace.brake, pacing, b);
    waits_ = std::move(pacing.waits);
  });
  changed |= co_await decide([&](Batch& b) { replace_failing_vms(fleet, seen, b); });
  changed |= co_await decide([&](Batch& b) { retire_vms(fleet, seen, limits_.disk_retention, b); });
  changed |= co_await decide([&](Batch& b) { place_vms(fleet, seen, b, unplaced_); });
  changed |= co_await decide([&](Batch& b) { step_returns(fleet, seen, limits_.returns, b); });
  changed |= co_await decide([&](Batch& b) { step_snapshots(fleet, seen, owner_.effects(), b); });
  changed |=
      co_await decide([&](Batch& b) { expire_removed_disks(fleet, b.now(), limits_.disk_retention, b); });
  changed |= co_await decide([&](Batch& b) { step_rescues(fleet, seen, b); });
  changed |= co_await step_drains();
  changed |= co_await decide([&](Batch& b) { forget_old_migrations(fleet, b); });
  co_return changed;
}

Task<bool> Reconciler::step_drains() {
  std::vector<DrainId> active;
  for (const auto& [id, drain] : owner_.fleet().drains()) {
    if (!is_ended(drain.state)) active.push_back(id);
  }
  std::erase_if(drains_, [&](const auto& item) {
    return std::find(active.begin(), active.end(), item.first) == active.end();
  });
  bool changed = false;
  for (const auto& id : active) {
    co_await confirm_heads(id);
    // One that reserves goes on until it has all, or cannot: two that took turns might each keep from the other what it lacks.
    for (bool goes_on = true; goes_on;) {
      goes_on = co_await decide([this, id](Batch& batch) {
        const auto* drain = owner_.fleet().find(id);
        if (drain) step_drain(owner_.fleet(), owner_.seen(), limits_.pace, *drain, drains_[id], batch);
      });
      changed |= goes_on;
      const auto* drain = owner_.fleet().find(id);
      goes_on = goes_on && drain && drain->state == DrainState::reserving;
    }
  }
  co_return changed;
}

// "No disk lease held" is asked of the store itself, once everything else says that the worker is empty.
Task<void> Reconciler::confirm_heads(DrainId id) {
  auto& fresh = drains_[id];
  fresh.heads_checked = false;
  const auto* drain = owner_.fleet().find(id);
  if (!drain || drain->state != DrainState::running) co_return;
  const auto owns = [this](const WorkerId& worker) { return !owner_.fleet().vms_owned_by(worker).empty(); };
  if (std::ranges::any_of(drain->workers, owns)) co_return;
  auto check = done_check(owner_.fleet(), owner_.seen(), *drain, fresh);
  check.heads_checked = true, check.heads_attached = 0;
  if (!drain::is_done(owner_.fleet(), owner_.seen(), *drain, check)) co_return;
  const auto workers = drain->workers;
  std::uint32_t attached = 0;
  const auto disks = disks_to_confirm(owner_.fleet(), *drain);
  constexpr std::size_t at_a_time = 32;
  for (std::size_t at = 0; at < disks.size(); at += at_a_time) {
    std::vector<Task<Result<DiskOwner>>> asked;
    for (std::size_t i = at; i < std::min(disks.size(), at + at_a_time); ++i)
      if (const auto* disk = owner_.fleet().find(disks[i]))
        asked.push_back(pools_.owner_of(disk->pool, disk->id));
    for (auto& owner : co_await when_all(loop_, std::move(asked))) {
      if (!owner && owner.error().code == Code::not_found) continue;
      if (!owner) {
        log_.warning("{}: who owns its disks is not known: {}", id, owner.error());
        co_return;  // asked again next turn
      }
      if (owner->attached && std::ranges::binary_search(workers, WorkerId(owner->owner))) ++attached;
    }
  }
  auto& progress = drains_[id];
  progress.heads_checked = true, progress.heads_attached = attached;
}

Task<void> Reconciler::update_liveness() {
  // An agent that could not be answered asks again within this time.
  constexpr Duration agents_pause_max = 15s;
  owner_.seen().has_listened = loop_.now() - began_ >= limits_.liveness.silent + agents_pause_max;
  std::vector<std::pair<WorkerId, Liveness>> transitions;
  for (auto& [id, at] : owner_.seen().workers) {
    if (!at.heard) continue;
    auto quiet = loop_.now() - at.heard_at;
    auto liveness = quiet < limits_.liveness.silent    ? Liveness::ready
                    : quiet < limits_.liveness.suspect ? Liveness::silent
                                                       : Liveness::suspect;
    at.liveness = liveness;
    if (std::exchange(told_[id], liveness) != liveness) transitions.emplace_back(id, liveness);
  }
  if (transitions.empty()) co_return;
  co_await decide([transitions](Batch& batch) {
    for (const auto& [id, liveness] : transitions) {
      if (batch.is_full()) return;
      batch.journal("worker.liveness", "workers/" + id.value,
                    fmt::format("{} is {}", id, json::name_of(liveness)));
    }
  });
}

// Also those of cancelled drains that its commit had no room for.
Task<void> Reconciler::expire_holds() {
  const auto now = loop_.wall_now();
  co_await decide([&](Batch& batch) {
    for (const auto& [id, hold] : owner_.fleet().holds()) {
      if (batch.is_full()) return;
      const auto* drain = drain_of(owner_.fleet(), hold);
      if (drain && drain->state == DrainState::cancelled) batch.erase(hold);
      if (!hold.expires_at || *hold.expires_at > now) continue;
      batch.erase(hold);
      batch.journal("hold.expired", "workers/" + hold.worker.value,
                    fmt::format("the hold of {} expired", hold.owner));
    }
  });
}

}  // namespace ebb::control
