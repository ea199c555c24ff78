#include "drain/pacing.h"

#include <fmt/ranges.h>

#include "base/text.h"

namespace ebb::drain {
namespace {

// In flight as far as the limits go: it loads source and target now.
bool is_moving(Phase p) {
  return p == Phase::preparing || p == Phase::freezing || p == Phase::moving_lease || p == Phase::starting ||
         p == Phase::aborting;
}

// Who is away at this moment.
class Presence {
 public:
  Presence(const Fleet& fleet, const Seen& seen, WallMs now) : fleet_(fleet), seen_(seen), now_(now) {}

  // It has said that it does not run, or does not do its work. An agent that has just started says less than that.
  bool is_down(const Vm& vm) const {
    if (!vm.worker) return true;
    const auto* said = seen_.is_ready(*vm.worker) ? seen_.find(*vm.worker, vm.id) : nullptr;
    if (!said || said->epoch != vm.epoch) return false;
    return said->state == VmSeen::failed || said->state == VmSeen::stopped || said->state == VmSeen::ended ||
           (said->health && !said->health->is_healthy);
  }
  // Nobody can say whether it runs, and nobody will by itself.
  bool is_lost(const Vm& vm) const { return vm.worker && seen_.is_silent(*vm.worker); }
  bool answers(const WorkerId& worker) const { return seen_.is_ready(worker); }
  bool is_moving(const Vm& vm) const {
    const auto* m = fleet_.open_migration_of(vm.id);
    return m && drain::is_moving(m->phase);
  }
  bool is_away(const Vm& vm, std::uint32_t healthy_ms) const {
    if (is_moving(vm) || is_down(vm) || is_lost(vm)) return true;
    const auto* at = seen_.find(*vm.worker);
    if (at && at->heard) {  // else the control plane has just started
      const auto* said = seen_.find(*vm.worker, vm.id);
      if (!said || said->epoch != vm.epoch || said->state != VmSeen::running) return true;
    }
    return healthy_ms > 0 && moved_at(vm.id) + healthy_ms > now_;
  }

 private:
  // When it was last seen running after a move; long ago: never.
  WallMs moved_at(const VmId& vm) const {
    WallMs latest = now_ - 10 * 24 * 3'600'000ll;
    for (const auto& id : fleet_.migrations_of(vm))
      for (const auto& entered : fleet_.at(id).history)
        if (entered.phase == Phase::releasing) latest = std::max(latest, entered.entered_at);
    return latest;
  }

  const Fleet& fleet_;
  const Seen& seen_;
  WallMs now_;
};

struct BudgetState {
  std::set<VmId> away;
  std::uint32_t away_max = 0;
};

BudgetState state_of(const Fleet& fleet, const Presence& presence, const Budget& budget) {
  BudgetState state;
  state.away_max = away_max(fleet, budget);
  for (const auto& id : fleet.vms_of(budget.id))
    if (presence.is_away(fleet.at(id), budget.healthy_ms)) state.away.insert(id);
  return state;
}

// One turn: what is under way, and what is let go on top of it. Words are for whoever asks why: there may be many thousand moves.
class Turn {
 public:
  Turn(const Fleet& fleet, const Seen& seen, const PaceLimits& limits, WallMs now, bool with_words)
      : fleet_(fleet),
        limits_(limits),
        now_(now),
        with_words_(with_words),
        presence_(fleet, seen, now),
        brake_(fleet, seen, limits.brake) {
    for (const auto& id : fleet.begun_migrations()) {
      const auto& m = fleet.at(id);
      if (is_moving(m.phase)) count(m);
    }
  }

  // No further move of that drain (none: one by hand) may begin from there.
  bool is_busy(const WorkerId& source, const DrainId& drain) const {
    const auto at = leaving_.find(source);
    return at != leaving_.end() && at->second >= options_of(fleet_.find(drain)).parallel_max;
  }
  // Why it may not begin; nullopt: it may, and counts from now on.
  std::optional<Reason> let(const Migration& m) {
    auto reason = why_not(m);
    if (!reason) {
      count(m);
      const auto* vm = fleet_.find(m.vm);
      for (const auto* budget : vm ? fleet_.budgets_of(*vm) : std::vector<const Budget*>())
        state(*budget).away.insert(m.vm);
    }
    return reason;
  }

 private:
  static DrainOptions options_of(const Drain* drain) { return drain ? drain->options : DrainOptions{}; }
  void count(const Migration& m) {
    ++leaving_[m.source], ++entering_[m.target];
    for (const auto& [label, most] : limits_.label_moves_max)
      ++leaving_label_[label_of(m.source, label)], ++entering_label_[label_of(m.target, label)];
    const auto* vm = fleet_.find(m.vm);
    if (vm && vm->spec.tenant) tenant_moves_[*vm->spec.tenant].insert(m.vm);
  }
  // "rack r7"; empty: it has no such label.
  std::string label_of(const WorkerId& id, const std::string& label) const {
    const auto* worker = fleet_.find(id);
    const auto found = worker ? worker->labels.find(label) : Labels::const_iterator();
    return worker && found != worker->labels.end() ? label + " " + found->second : "";
  }
  BudgetState& state(const Budget& budget) {
    auto [at, is_new] = budgets_.try_emplace(budget.id);
    if (is_new) at->second = state_of(fleet_, presence_, budget);
    return at->second;
  }
  std::optional<Reason> why_not(const Migration& m) {
    if (const auto awaited = fleet_.awaited_by(m); !awaited.empty())
      return by_itself(
          m, [&] { return fmt::format("{} has to make room on {} first", awaited[0]->vm, m.target); });
    const auto* drain = m.drain ? fleet_.find(*m.drain) : nullptr;
    const auto options = options_of(drain);
    if (auto n = leaving_[m.source]; n >= options.parallel_max)
      return by_itself(m, [&] {
        return fmt::format("{} from {} under way", count_of(n, "move is", "moves are"), m.source);
      });
    if (auto n = entering_[m.target]; n >= options.per_target_max)
      return by_itself(m, [&] {
        return fmt::format("{} to {} under way", count_of(n, "move is", "moves are"), m.target);
      });
    for (const auto& [label, most] : limits_.label_moves_max) {
      if (auto at = label_of(m.source, label); !at.empty() && leaving_label_[at] >= most)
        return by_itself(m, [&] { return fmt::format("as many moves leave {} as may at once", at); });
      if (auto at = label_of(m.target, label); !at.empty() && entering_label_[at] >= most)
        return by_itself(m, [&] { return fmt::format("as many moves enter {} as may at once", at); });
    }
    const auto* vm = fleet_.find(m.vm);
    if (m.source_dead && !presence_.answers(m.source))
      return drain && !options.many_dead.value_or(false) ? braked(m, *drain) : std::nullopt;
    // One that was declared dead may be back, and run what it ran.
    if (!vm || presence_.is_down(*vm) || (drain && drain->forced_at && drain->is_of(m.source)))
      return std::nullopt;
    if (drain && !drain->is_of(m.target))
      if (auto why = why_not_again(*vm, limits_, now_); !why.empty())
        return Reason{
            fmt::format("{}: {}", m.vm, why), since(m),
            fmt::format("operator: ebb migrate {}, or a higher vm_max in [moves] of the control plane",
                        m.vm)};
    if (vm->spec.tenant) {
      const auto& moves = tenant_moves_[*vm->spec.tenant];
      if (moves.size() >= tenant_moves_max(limits_, fleet_.vms_of_tenant(*vm->spec.tenant)))
        return by_itself(m, [&] {
          return fmt::format("tenant {} may have no more moves at once: {} under way", *vm->spec.tenant,
                             names(moves));
        });
    }
    for (const auto* budget : fleet_.budgets_of(*vm)) {
      const auto& now = state(*budget);
      if (now.away.size() - now.away.count(m.vm) < now.away_max) continue;
      return with_words_ ? exhausted(m, *budget, now) : Reason{};
    }
    return std::nullopt;
  }
  Reason exhausted(const Migration& m, const Budget& budget, const BudgetState& now) const {
    if (auto why = why_impossible(fleet_, budget); !why.empty())
      return {fmt::format("{}: {}", m.vm, why), since(m),
              fmt::format("operator: change it with ebb budgets set {}", budget.id)};
    auto others = now.away;
    others.erase(m.vm);
    auto reason = by_itself(m, [&] {
      return fmt::format("budget {} lets {} of {} be away, and {}", budget.id, now.away_max,
                         count_of(fleet_.vms_of(budget.id).size(), "VM", "VMs"), names(others));
    });
    for (const auto& id : others) {
      const auto& other = fleet_.at(id);
      if (!presence_.is_moving(other) && (presence_.is_down(other) || presence_.is_lost(other)))
        reason.who = fmt::format("operator: ebb why {}", id);
    }
    return reason;
  }
  std::optional<Reason> braked(const Migration& m, const Drain& drain) {
    const auto why = brake_.why_not(m.source);
    if (why.empty()) return std::nullopt;
    return Reason{fmt::format("{}: {}", m.vm, why), since(m),
                  fmt::format("{}: {}", brake_.owner(), brake_.remedy(drain.workers))};
  }
  static std::string count_of(std::size_t count, std::string_view one, std::string_view many) {
    return fmt::format("{} {}", count, count == 1 ? one : many);
  }
  static std::string names(const std::set<VmId>& vms) {
    constexpr std::size_t shown_max = 3;
    std::vector<std::string> shown;
    for (const auto& id : vms)
      if (shown.size() < shown_max) shown.push_back(id.value);
    const auto more = vms.size() - shown.size();
    return fmt::format("{}{} {}", fmt::join(shown, ", "), more ? fmt::format(" and {} more", more) : "",
                       vms.size() == 1 ? "is" : "are");
  }
  static std::optional<WallMs> since(const Migration& m) {
    return m.history.empty() ? std::nullopt : std::optional(m.history.back().entered_at);
  }
  template <class Text>
  Reason by_itself(const Migration& m, Text text) const {
    if (!with_words_) return {};
    return {fmt::format("{}: {}", m.vm, text()), since(m), "nobody: it goes on by itself"};
  }

  const Fleet& fleet_;
  const PaceLimits& limits_;
  WallMs now_;
  bool with_words_;
  Presence presence_;
  Brake brake_;
  std::map<WorkerId, std::uint32_t> leaving_, entering_;
  std::map<std::string, std::uint32_t> leaving_label_, entering_label_;
  std::map<std::string, std::set<VmId>> tenant_moves_;
  std::map<BudgetId, BudgetState> budgets_;
};

}  // namespace

bool is_down(const Fleet& fleet, const Seen& seen, const Vm& vm) {
  return Presence(fleet, seen, 0).is_down(vm);
}

std::uint32_t tenant_moves_max(const PaceLimits& limits, std::uint32_t vms_of_tenant) {
  return std::max(limits.tenant_moves_min, vms_of_tenant * limits.tenant_moves_percent / 100);
}

std::string why_not_again(const Vm& vm, const PaceLimits& limits, WallMs now) {
  if (limits.vm_moves_max == 0 || !vm.drained_at) return "";
  const auto lately =
      std::ranges::count_if(*vm.drained_at, [&](WallMs at) { return at + moves_counted_ms > now; });
  if (static_cast<std::uint32_t>(lately) < limits.vm_moves_max) return "";
  const auto& first = (*vm.drained_at)[vm.drained_at->size() - static_cast<std::size_t>(lately)];
  return fmt::format("drains have moved it {} times in 30 days, and may {} times: again after {}", lately,
                     limits.vm_moves_max, format_time(first + moves_counted_ms));
}

namespace {

// Why its drain lets it wait, or that it does not: nothing. nullopt: it is not its time.
std::optional<Reason> why_paused(const Fleet& fleet, const Seen& seen, const Migration& m) {
  const auto* drain = m.drain ? fleet.find(*m.drain) : nullptr;
  if (!m.drain || (drain && (drain->state == DrainState::running || drain->state == DrainState::undoing)))
    return Reason{};
  if (!drain || drain->state != DrainState::paused) return std::nullopt;
  // One that has left the workers of its drain, and comes up nowhere yet, is not held back.
  const auto* vm = fleet.find(m.vm);
  if (!drain->is_of(m.source) && !(vm && !is_down(fleet, seen, *vm))) return Reason{};
  return Reason{fmt::format("{}: {} is paused", m.vm, drain->id), std::nullopt,
                fmt::format("operator: ebb resume {}", drain->id)};
}

}  // namespace

std::set<MigrationId> may_begin(const Fleet& fleet, const Seen& seen, const PaceLimits& limits, WallMs now) {
  Turn turn(fleet, seen, limits, now, false);
  std::vector<const Migration*> waiting;
  for (const auto& [key, moves] : fleet.waiting_migrations()) {
    if (turn.is_busy(key.first, key.second)) continue;  // as most are, when much is under way
    for (const auto& id : moves) waiting.push_back(&fleet.at(id));
  }
  std::ranges::sort(waiting, [](auto* a, auto* b) { return minted_before(a->id.value, b->id.value); });
  std::set<MigrationId> found;
  for (const auto* m : waiting)
    if (auto paused = why_paused(fleet, seen, *m); paused && paused->text.empty() && !turn.let(*m))
      found.insert(m->id);
  return found;
}

std::map<MigrationId, Reason> waits(const Fleet& fleet, const Seen& seen, const PaceLimits& limits,
                                    WallMs now) {
  Turn turn(fleet, seen, limits, now, true);
  std::map<MigrationId, Reason> found;
  for (const auto& id : fleet.open_migrations()) {
    const auto& m = fleet.at(id);
    if (m.phase != Phase::reserving) continue;
    auto reason = why_paused(fleet, seen, m);
    if (reason && reason->text.empty()) reason = turn.let(m);
    if (reason) found[id] = std::move(*reason);
  }
  return found;
}

std::uint32_t away_max(const Fleet& fleet, const Budget& budget) {
  const auto vms = static_cast<std::uint32_t>(fleet.vms_of(budget.id).size());
  auto max = budget.away_max.value_or(vms);
  if (budget.present_min) max = std::min(max, vms - std::min(vms, *budget.present_min));
  return max;
}

std::string why_impossible(const Fleet& fleet, const Budget& budget) {
  const auto vms = fleet.vms_of(budget.id).size();
  if (vms == 0 || away_max(fleet, budget) > 0) return "";
  if (budget.away_max == 0u) return fmt::format("budget {} lets no VM be away, ever", budget.id);
  return fmt::format("budget {} wants {} present, and it is about {}: none may ever leave", budget.id,
                     *budget.present_min, vms);
}

BudgetView view_of(const Fleet& fleet, const Seen& seen, const Budget& budget, WallMs now) {
  const auto state = state_of(fleet, Presence(fleet, seen, now), budget);
  const auto away = static_cast<std::uint32_t>(state.away.size());
  return {budget, static_cast<std::uint32_t>(fleet.vms_of(budget.id).size()), away,
          state.away_max - std::min(state.away_max, away), why_impossible(fleet, budget)};
}

}  // namespace ebb::drain
