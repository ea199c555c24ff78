#include "scripts.h"

namespace ebb::fleet_sim {
namespace {

constexpr Duration step_limit = 15min;

Status play_drain(FleetSim& sim, DrainOptions options = {}) {
  EBB_TRY(drain, sim.start_drain(WorkerId("worker-1"), options));
  return sim.run_until([&] { return all_is_well(sim); }, step_limit);
}

// Of a small fleet, all moves are under way when they are undone.
Status play_cancelled_drain(FleetSim& sim) {
  DrainOptions options;
  options.parallel_max = options.per_target_max = 4;
  EBB_TRY(drain, sim.start_drain(WorkerId("worker-1"), options));
  auto is_frozen = [&] {
    return std::ranges::any_of(sim.fleet().migrations(),
                               [](auto& item) { return item.second.phase == Phase::freezing; });
  };
  EBB_CHECKED(sim.run_until(is_frozen, step_limit));
  EBB_TRY(cancelled, sim.ask("POST", "/v1/drains/" + drain.value + ":cancel"));
  return sim.run_until([&] { return all_is_well(sim); }, step_limit);
}

Status play_life(FleetSim& sim) {
  const VmId id("mayfly");
  auto until = [&](const std::function<bool(const Vm&)>& holds) {
    return sim.run_until([&] { return sim.fleet().find(id) && holds(*sim.fleet().find(id)); }, step_limit);
  };
  auto runs = [&](const Vm& vm) { return sim.why_not_running(vm).empty(); };
  EBB_CHECKED(sim.create_vm(id, Storage::object, DiskClass::remote));
  EBB_CHECKED(until(runs));
  EBB_TRY(stopped, sim.ask("POST", "/v1/vms/mayfly:stop"));
  EBB_CHECKED(until([](const Vm& vm) { return !vm.worker; }));
  EBB_TRY(started, sim.ask("POST", "/v1/vms/mayfly:start"));
  EBB_CHECKED(until(runs));
  // Asked again because its answer was lost, the removal may be done already.
  auto removed = sim.ask("DELETE", "/v1/vms/mayfly");
  if (!removed && removed.error().code != Code::not_found) return fail(std::move(removed).error());
  return sim.run_until([&] { return !sim.fleet().find(id) && all_is_well(sim); }, step_limit);
}

}  // namespace

FleetSimOptions fleet_for(Script script, std::uint64_t seed, FleetSimOptions::Workers kind) {
  FleetSimOptions options;
  options.seed = seed, options.kind = kind;
  switch (script) {
    case Script::drain:
    case Script::cancelled_drain:
      break;
    case Script::big_drain:
      options.workers = 3, options.vms = 60, options.slots = 64, options.all_on_first = true;
      options.stateless_every = 2;
      break;
    case Script::life_of_a_vm:
      options.workers = 2, options.vms = 2;
      break;
  }
  return options;
}

Status play_script(FleetSim& sim, Script script) {
  switch (script) {
    case Script::drain:
      return play_drain(sim);
    case Script::cancelled_drain:
      return play_cancelled_drain(sim);
    case Script::big_drain: {
      DrainOptions options;
      options.parallel_max = options.per_target_max = 20;
      return play_drain(sim, options);
    }
    case Script::life_of_a_vm:
      return play_life(sim);
  }
  return {};
}

bool all_is_well(FleetSim& sim) {
  const auto& fleet = sim.fleet();
  if (!fleet.open_migrations().empty() || !sim.records().effects.empty()) return false;
  for (const auto& [id, drain] : fleet.drains())
    if (!is_ended(drain.state)) return false;
  if (std::ranges::any_of(fleet.disks(), [](const auto& item) { return item.second.removal.has_value(); }))
    return false;
  return std::ranges::all_of(fleet.vms(), [&](const auto& item) {
    const auto& vm = item.second;
    return vm.desired == VmDesired::running ? sim.why_not_running(vm).empty()
                                            : vm.desired == VmDesired::stopped && !vm.worker;
  });
}

Points control_points(Script script) {
  if (script == Script::big_drain)
    return [](FleetSim& sim, const sim::CrashPoint& at) {
      const auto& moves = sim.fleet().migrations();
      return at.process.host() == "control" && at.kind.starts_with("commit") &&
             std::ranges::all_of(moves, [](auto& item) { return item.second.phase == Phase::reserving; });
    };
  const bool with_reports = script == Script::drain;
  return [with_reports](FleetSim&, const sim::CrashPoint& at) {
    if (at.process.host() != "control") return false;
    if (at.kind == "http.handle after")
      return !at.subject.starts_with("GET") && (with_reports || !at.subject.contains("/agent/"));
    return at.kind.starts_with("commit") || at.kind.starts_with("store.put") ||
           at.kind.starts_with("store.remove");
  };
}

std::vector<Kill> all_kills() {
  std::vector<Kill> kills;
  boost::mp11::mp_for_each<boost::describe::describe_enumerators<Phase>>([&](auto phase) {
    boost::mp11::mp_for_each<boost::describe::describe_enumerators<Victim>>([&](auto victim) {
      for (auto vm : {"vm-1", "vm-2", "vm-3"}) kills.push_back({phase.value, victim.value, VmId(vm)});
    });
  });
  return kills;
}

Script script_of(const Kill& kill) {
  const bool is_undone = kill.phase == Phase::aborting || kill.phase == Phase::aborted;
  return is_undone ? Script::cancelled_drain : Script::drain;
}

FleetSimOptions fleet_for(const Kill& kill, std::uint64_t seed, FleetSimOptions::Workers kind) {
  auto options = fleet_for(script_of(kill), seed, kind);
  // vm-1 has a disk of class remote, vm-2 none, vm-3 one of class local.
  options.workers = 3, options.vms = 3, options.stateless_every = 2;
  if (kill.victim == Victim::job) options.restart = Restart::never;
  return options;
}

bool is_at(const Kill& kill, FleetSim& sim, const sim::CrashPoint& at) {
  if (at.process.host() != "control" || at.kind != "commit after") return false;
  return std::ranges::any_of(sim.fleet().migrations(), [&](const auto& item) {
    return item.second.vm == kill.vm && item.second.phase == kill.phase;
  });
}

void carry_out(const Kill& kill, FleetSim& sim) {
  constexpr Duration reboot = 30s;
  const auto move = std::ranges::find_if(sim.fleet().migrations(), [&](const auto& item) {
    return item.second.vm == kill.vm && item.second.phase == kill.phase;
  });
  const auto& [source, target] = std::tie(move->second.source, move->second.target);
  sim.note("killed as {} enters {}: {}", kill.vm, json::name_of(kill.phase), json::name_of(kill.victim));
  switch (kill.victim) {
    case Victim::control:
      return sim.kill_control();
    case Victim::source_agent:
      return sim.worker(source).kill(Program::agent);
    case Victim::source_disk_daemon:
      return sim.worker(source).kill(Program::disk_daemon);
    case Victim::target_agent:
      return sim.worker(target).kill(Program::agent);
    case Victim::target_disk_daemon:
      return sim.worker(target).kill(Program::disk_daemon);
    case Victim::source_host:
      return sim.worker(source).power_cut(sim::PowerCut::keep_all, reboot);
    case Victim::target_host:
      return sim.worker(target).power_cut(sim::PowerCut::keep_all, reboot);
    case Victim::guest:
    case Victim::job:
      for (const auto& id : {source, target}) sim.worker(id).machines().end_guest(kill.vm, 0);
      return;
  }
}

}  // namespace ebb::fleet_sim
