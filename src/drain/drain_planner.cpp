#include "drain/drain_planner.h"

#include "base/checksum.h"
#include "base/text.h"

namespace ebb::drain {
namespace {

// In flight as far as the limits go: it loads source and target now.
bool is_moving(Phase p) {
  return p == Phase::preparing || p == Phase::freezing || p == Phase::moving_lease || p == Phase::starting ||
         p == Phase::aborting;
}

}  // namespace

Mechanism mechanism_for(const Vm& vm) {
  return vm.disk || vm.data_disks ? Mechanism::pointer : Mechanism::restart;
}

std::vector<VmId> to_place(const Fleet& fleet, const WorkerId& worker) {
  std::vector<VmId> ids;
  for (const auto& id : fleet.vms_owned_by(worker)) {
    if (fleet.vms().at(id).desired == VmDesired::running && !fleet.open_migration_of(id)) ids.push_back(id);
  }
  return ids;
}

std::map<WorkerId, std::string> rejected_targets(const Fleet& fleet, const DrainId& drain, const VmId& vm,
                                                 WallMs now) {
  std::map<WorkerId, std::string> rejected;
  for (const auto& [id, m] : fleet.migrations()) {
    if (m.vm != vm || m.drain != drain || m.rejected.empty()) continue;
    auto again_at = m.history.back().entered_at + rejected_for_ms;
    if (again_at <= now) continue;
    for (const auto& target : m.rejected)
      rejected[target] =
          fmt::format("could not start it ({}); is asked again at {}", m.last_error, format_time(again_at));
  }
  return rejected;
}

Timeline timeline(const std::vector<PlanMove>& moves, const DrainOptions& options) {
  // Each slot is free from a moment on; a move takes the first slot, and waits for its target to have room.
  std::vector<std::uint32_t> slots(std::max(1u, options.parallel_max), 0);
  std::map<WorkerId, std::vector<std::uint32_t>> busy_until;
  Timeline result;
  for (const auto& move : moves) {
    auto slot = std::min_element(slots.begin(), slots.end());
    auto& target = busy_until[move.target];
    target.resize(std::max(1u, options.per_target_max), 0);
    auto room = std::min_element(target.begin(), target.end());
    auto end = std::max(*slot, *room) + move.predicted_total_ms;
    *slot = *room = end;
    if (end >= result.total_ms) {
      result.total_ms = end;
      result.critical_path =
          fmt::format("{} moves, {} at a time and {} into one worker; {} to {} ends last", moves.size(),
                      options.parallel_max, options.per_target_max, move.vm, move.target);
    }
  }
  return result;
}

DrainPlan make_plan(const Fleet& fleet, const WorkerId& worker, const DrainOptions& options,
                    const std::vector<Placed>& placed, const Eta& eta) {
  DrainPlan plan;
  plan.worker = worker;
  for (const auto& p : placed) {
    const auto* vm = fleet.find(p.vm);
    if (!vm) continue;
    if (!p.target) {
      plan.blockers.push_back(
          {"vms/" + p.vm.value, "no worker can take it: " + p.why_not, "operator",
           "add a worker, release a hold, stop a VM, or drain with --partial to move the others"});
      continue;
    }
    auto mechanism = mechanism_for(*vm);
    const auto& times = eta.of(mechanism);
    plan.moves.push_back({p.vm, mechanism, *p.target, static_cast<std::uint32_t>(plan.moves.size() + 1),
                          times.interruption_ms(), times.total_ms()});
  }
  auto line = timeline(plan.moves, options);
  plan.eta_ms = line.total_ms;
  plan.critical_path = line.critical_path;
  return plan;
}

StateFacts state_facts(const Fleet& fleet, const Seen& seen, const WorkerId& worker) {
  StateFacts facts;
  auto of_each_worker = [&](const WorkerId& id, const Worker& w) {
    const auto used = fleet.used_on(id);
    std::string pools, networks;
    for (const auto& pool : w.pools) pools += (pools.empty() ? "" : ", ") + pool.value;
    for (const auto& network : w.networks.value_or(std::vector<NetworkId>()))
      networks += (networks.empty() ? "" : ", ") + network.value;
    facts[fmt::format("holds of {}", id)] = fmt::format("{}", fleet.holds_on(id).size());
    facts[fmt::format("whether {} answers", id)] = seen.is_ready(id) ? "yes" : "no";
    facts[fmt::format("memory taken on {}", id)] =
        fmt::format("{} of {} bytes", used.memory_bytes, w.capacity.memory_bytes);
    facts[fmt::format("cores taken on {}", id)] =
        fmt::format("{} of {} thousandths", used.cpu_millis, w.capacity.cpu_millis);
    facts[fmt::format("pools of {}", id)] = pools;
    facts[fmt::format("networks of {}", id)] = networks;
  };
  for (const auto& [id, w] : fleet.workers()) of_each_worker(id, w);
  for (const auto& id : fleet.vms_owned_by(worker)) {
    const auto& vm = fleet.vms().at(id);
    const auto* m = fleet.open_migration_of(id);
    facts[fmt::format("{} on {}", id, worker)] =
        fmt::format("shall be {}, epoch {}{}", json::name_of(vm.desired), vm.epoch,
                    m ? fmt::format(", moving to {}", m->target) : "");
  }
  return facts;
}

std::string hash_of(const StateFacts& facts) {
  std::string text;
  for (const auto& [name, value] : facts) text += name + "=" + value + "\n";
  return fmt::format("{:08x}{:08x}", crc32c(as_bytes(text)), crc32c(as_bytes(text), 0x9e3779b9));
}

std::vector<std::string> differences(const StateFacts& then, const StateFacts& now) {
  std::vector<std::string> found;
  for (const auto& [name, value] : then) {
    auto at = now.find(name);
    if (at == now.end())
      found.push_back(fmt::format("{}: {}, now gone", name, value));
    else if (at->second != value)
      found.push_back(fmt::format("{}: {}, now {}", name, value, at->second));
  }
  for (const auto& [name, value] : now) {
    if (!then.contains(name)) found.push_back(fmt::format("{}: new, {}", name, value));
  }
  return found;
}

std::vector<MigrationId> may_begin(const Fleet& fleet) {
  std::map<WorkerId, std::uint32_t> leaving, entering;
  std::vector<const Migration*> waiting;
  for (const auto& id : fleet.open_migrations()) {
    const auto& m = fleet.migrations().at(id);
    if (is_moving(m.phase)) ++leaving[m.source], ++entering[m.target];
    if (m.phase != Phase::reserving) continue;
    const auto* drain = m.drain ? fleet.find(*m.drain) : nullptr;
    if (!m.drain || (drain && drain->state == DrainState::running)) waiting.push_back(&m);
  }
  std::sort(waiting.begin(), waiting.end(),
            [](auto* a, auto* b) { return minted_before(a->id.value, b->id.value); });
  std::vector<MigrationId> may;
  for (const auto* m : waiting) {
    const auto* drain = m->drain ? fleet.find(*m->drain) : nullptr;
    const DrainOptions options = drain ? drain->options : DrainOptions{};
    if (leaving[m->source] >= options.parallel_max || entering[m->target] >= options.per_target_max) continue;
    ++leaving[m->source], ++entering[m->target];
    may.push_back(m->id);
  }
  return may;
}

DoneCheck check_done(const Fleet& fleet, const Seen& seen, const Drain& drain) {
  DoneCheck check;
  check.vms_owned = static_cast<std::uint32_t>(fleet.vms_owned_by(drain.worker).size());
  check.migrations_open = static_cast<std::uint32_t>(fleet.open_migrations_at(drain.worker).size());
  for (const auto& id : fleet.open_migrations()) {
    const auto& m = fleet.migrations().at(id);
    // A VM that its first target could not boot is on its way to a second one, and still this drain's
    // business.
    if (m.drain == drain.id && m.source != drain.worker && m.target != drain.worker) ++check.migrations_open;
  }
  // Nor is a VM off the drain's hands that its target gave up on and that runs nowhere yet.
  for (const auto& [id, m] : fleet.migrations()) {
    if (m.drain != drain.id || m.phase != Phase::done || m.rejected.empty() ||
        fleet.open_migration_of(m.vm) || m.was_failing.value_or(false))
      continue;
    const auto* vm = fleet.find(m.vm);
    if (!vm || vm->desired != VmDesired::running || vm->worker != m.target || vm->epoch != m.target_epoch)
      continue;
    const auto* said = seen.find(m.target, m.vm);
    if (!said || said->state != VmSeen::running) ++check.not_running;
  }
  check.is_silent = seen.is_silent(drain.worker);
  if (const auto* worker = seen.find(drain.worker)) {
    const auto& report = worker->report;
    check.machines = report.machines, check.exports = report.exports, check.leases = report.leases;
    check.unsent_logs = report.unsent_logs;
    check.report_fresh = worker->is_current() && report.disk_daemon_up && worker->liveness == Liveness::ready;
  }
  return check;
}

bool is_done(const Drain& drain, const DoneCheck& check) {
  if (!check.heads_checked) return false;
  // One that was declared dead and is back runs what it is told, like any other.
  if (drain.options.source_dead && check.is_silent)
    return check.vms_owned + check.migrations_open + check.not_running + check.heads_attached == 0;
  return check.report_fresh && check.all_zero();
}

}  // namespace ebb::drain
