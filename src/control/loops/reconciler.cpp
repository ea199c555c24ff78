#include "control/loops/reconciler.h"

#include "control/loops/disk_loop.h"
#include "control/loops/migration_loop.h"
#include "control/loops/rescue_loop.h"

namespace ebb::control {
namespace {

// With more moves than this, what many turns would look at in vain is looked at together.
constexpr std::size_t few_moves = 1000;

// From the beginning of one turn to the next.
Duration turn_takes_at_least(const Fleet& fleet) {
  const auto moves = fleet.open_migrations().size();
  return moves > few_moves ? Duration(std::chrono::microseconds(moves)) : Duration();
}

}  // namespace

Reconciler::Reconciler(Loop& loop, Owner& owner, Pools& pools, Limits limits, Logger log)
    : loop_(loop), owner_(owner), pools_(pools), limits_(limits), log_(std::move(log)), poke_(loop) {
  owner_.on_commit([this](const Touched&) { poke_.poke(); });
}

Task<void> Reconciler::run() {
  began_ = look_again_ = loop_.now();  // from here on agents are answered
  while (true) {
    const auto began = loop_.now();
    co_await look_around();
    if (!co_await turn()) co_await poke_.wait_for(1s);
    const auto pause = began + turn_takes_at_least(owner_.fleet()) - loop_.now();
    if (pause > Duration()) co_await sleep_for(loop_, pause);
  }
}

// Looks at the whole fleet, which take a tenth of our time at most, however often something changes.
Task<void> Reconciler::look_around() {
  const auto began = loop_.now();
  if (began < look_again_) co_return;
  co_await update_liveness();
  co_await expire_holds();
  co_await decide([&](Batch& b) { forget_old_migrations(owner_.fleet(), b); });
  looks_at_waiting_ = true;
  look_again_ = loop_.now() + std::max<Duration>(9 * (loop_.now() - began), 100ms);
}

Task<bool> Reconciler::decide(std::function<void(Batch&)> decision) {
  auto changed = co_await owner_.change_if(std::move(decision));
  if (!changed) {
    log_.error("a decision could not be stored: {}", changed.error());
    for (auto& [id, progress] : drains_) progress.plan.reset();  // what of it is reserved is not known
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
  changed |= co_await step_moves();
  changed |= co_await decide([&](Batch& b) { replace_failing_vms(fleet, seen, b); });
  changed |= co_await decide([&](Batch& b) { retire_vms(fleet, seen, limits_.disk_retention, b); });
  changed |= co_await decide([&](Batch& b) { place_vms(fleet, seen, b, unplaced_); });
  changed |= co_await decide([&](Batch& b) { step_returns(fleet, seen, limits_.returns, b); });
  changed |= co_await decide([&](Batch& b) { step_snapshots(fleet, seen, owner_.effects(), b); });
  changed |=
      co_await decide([&](Batch& b) { expire_removed_disks(fleet, b.now(), limits_.disk_retention, b); });
  changed |= co_await decide([&](Batch& b) { step_rescues(fleet, seen, b); });
  changed |= co_await step_drains();
  co_return changed;
}

// Who may begin is decided once for several commits, and anew when somebody else has decided something in between.
Task<bool> Reconciler::step_moves() {
  constexpr int commits_max = 200;  // others wait
  const auto& fleet = owner_.fleet();
  const auto may_begin = [&](WallMs now) {
    return drain::may_begin(fleet, owner_.seen(), limits_.pace, now);
  };
  std::optional<std::uint64_t> expected;
  bool changed = false;
  for (int i = 0; i < commits_max; ++i) {
    const bool decided = co_await decide([&](Batch& batch) {
      if (!round_ || round_->is_over()) {
        const bool are_few = fleet.open_migrations().size() - fleet.begun_migrations().size() <= few_moves;
        round_ =
            begin_round(fleet, may_begin(batch.now()), are_few || std::exchange(looks_at_waiting_, false));
      } else if (owner_.revision() != expected) {
        round_->may_begin = may_begin(batch.now());
      }
      step_migrations(fleet, owner_.seen(), limits_.pace.brake, *round_, batch);
      expected = owner_.revision() + 1;
    });
    changed |= decided;
    if (!decided || round_->is_over()) break;
  }
  co_return changed;
}

const std::map<MigrationId, Reason>& Reconciler::waits() const {
  constexpr Duration stale_after = 1s;
  if (!waits_ || waits_->revision != owner_.revision() || loop_.now() >= waits_->at + stale_after)
    waits_ = Waits{owner_.revision(), loop_.now(),
                   drain::waits(owner_.fleet(), owner_.seen(), limits_.pace, loop_.wall_now())};
  return waits_->reasons;
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
  auto told = told_.begin();  // goes along with them
  for (auto& [id, at] : owner_.seen().workers) {
    if (!at.heard) continue;
    while (told != told_.end() && told->first < id) ++told;
    if (told == told_.end() || told->first != id) told = told_.emplace_hint(told, id, Liveness::never_seen);
    auto quiet = loop_.now() - at.heard_at;
    auto liveness = quiet < limits_.liveness.silent    ? Liveness::ready
                    : quiet < limits_.liveness.suspect ? Liveness::silent
                                                       : Liveness::suspect;
    at.liveness = liveness;
    if (std::exchange(told->second, liveness) != liveness) transitions.emplace_back(id, liveness);
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
