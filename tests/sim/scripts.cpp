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

bool any_is_in(FleetSim& sim, Phase phase) {
  return std::ranges::any_of(sim.fleet().migrations(),
                             [&](auto& item) { return item.second.phase == phase; });
}

Status end_well(FleetSim& sim) {
  return sim.run_until([&] { return all_is_well(sim); }, step_limit);
}

Status set_budget(FleetSim& sim, std::uint32_t away_max) {
  PutBudget wish{BudgetId("all"), {}};
  wish.away_max = away_max;
  EBB_TRY(made, sim.ask("POST", "/v1/budgets", json::write_text(wish)));
  return {};
}

Status tell(FleetSim& sim, const DrainId& drain, std::string_view verb) {
  EBB_TRY(told, sim.ask("POST", fmt::format("/v1/drains/{}:{}", drain, verb), "{}"));
  return {};
}

Status play_drain_of_two(FleetSim& sim) {
  EBB_TRY(drain, sim.start_drain(std::vector{WorkerId("worker-1"), WorkerId("worker-2")}));
  return end_well(sim);
}

Status play_budgeted_drain(FleetSim& sim) {
  EBB_CHECKED(set_budget(sim, 1));
  return play_drain(sim);
}

Status play_paused_drain(FleetSim& sim) {
  EBB_TRY(drain, sim.start_drain(WorkerId("worker-1")));
  EBB_CHECKED(sim.run_until([&] { return any_is_in(sim, Phase::freezing); }, step_limit));
  EBB_CHECKED(tell(sim, drain, "pause"));
  EBB_CHECKED(sim.run_for(10s));
  EBB_CHECKED(tell(sim, drain, "resume"));
  return end_well(sim);
}

// The second half of it is under way then.
Status play_undone_drain(FleetSim& sim) {
  EBB_TRY(drain, sim.start_drain(WorkerId("worker-1")));
  EBB_CHECKED(sim.run_until([&] { return any_is_in(sim, Phase::done); }, step_limit));
  EBB_CHECKED(tell(sim, drain, "undo"));
  return end_well(sim);
}

Status play_redirected_drain(FleetSim& sim) {
  EBB_TRY(drain, sim.start_drain(WorkerId("worker-1")));
  EBB_CHECKED(sim.run_until([&] { return any_is_in(sim, Phase::preparing); }, step_limit));
  WorkerId target;
  for (const auto& [id, m] : sim.fleet().migrations())
    if (m.phase == Phase::preparing) target = m.target;
  if (target.empty()) return fail(Code::conflict, "nothing is being prepared any more");
  EBB_TRY(second, sim.start_drain(target));
  return end_well(sim);
}

Status play_forced_drain(FleetSim& sim) {
  EBB_CHECKED(set_budget(sim, 0));
  DrainOptions options;
  options.deadline_ms = 5'000, options.at_deadline = AtDeadline::force;
  return play_drain(sim, options);
}

Status play_scheduled_drain(FleetSim& sim) {
  CreateDrain wish;
  wish.workers = {WorkerId("worker-1")}, wish.begins_in_ms = 5'000, wish.request_id = "scheduled";
  EBB_TRY(drain, sim.ask("POST", "/v1/drains", json::write_text(wish)));
  return end_well(sim);
}

// Of worker-2 and worker-3, each half full of small VMs, one has to take a VM of three quarters of a worker.
Status play_roomy_drain(FleetSim& sim) {
  for (const auto& [vm, target] :
       {std::pair("vm-1", "worker-2"), {"vm-2", "worker-2"}, {"vm-3", "worker-3"}, {"vm-4", "worker-3"}}) {
    MigrateVm wish;
    wish.target = WorkerId(target);
    // A control plane that has just started takes nobody for a target that it has not heard of.
    const auto has_begun = [&] {
      return sim.ask("POST", fmt::format("/v1/vms/{}:migrate", vm), json::write_text(wish)).has_value();
    };
    for (int tries = 0; !has_begun(); ++tries) {
      if (tries == 10) return fail(Code::conflict, "{} does not go to {}", vm, target);
      EBB_CHECKED(sim.run_for(2s));
    }
  }
  EBB_CHECKED(end_well(sim));
  CreateVm giant;
  giant.id = VmId("giant"), giant.spec.image = sim.fleet().vms().begin()->second.spec.image;
  giant.spec.memory_bytes = 3 * footprint(VmSpec{}).memory_bytes - machine_overhead_bytes;
  EBB_TRY(made, sim.ask("POST", "/v1/vms", json::write_text(giant)));
  EBB_CHECKED(end_well(sim));
  return play_drain(sim);
}

Status play_returned_drain(FleetSim& sim) {
  EBB_CHECKED(play_drain(sim));
  const WorkerId id("worker-1");
  // One that has not reconciled with the newest set, or was not heard of since a restart of the control plane, is to be asked for again.
  const auto has_begun = [&] { return sim.ask("POST", "/v1/workers/" + id.value + ":return").has_value(); };
  for (int tries = 0; !has_begun(); ++tries) {
    if (tries == 10) return fail(Code::conflict, "{} is not taken back", id);
    EBB_CHECKED(sim.run_for(2s));
  }
  EBB_CHECKED(end_well(sim));
  if (const auto& last = sim.fleet().workers().at(id).returning)
    return fail(Code::conflict, "{} does not return: {}", id, last->error);
  if (!sim.fleet().holds_on(id).empty()) return fail(Code::conflict, "{} is still held", id);
  return {};
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
    case Script::drain_of_two:
    case Script::budgeted_drain:
    case Script::paused_drain:
    case Script::undone_drain:
    case Script::redirected_drain:
    case Script::forced_drain:
    case Script::scheduled_drain:
    case Script::returned_drain:
      options.workers = 4, options.vms = 8;
      break;
    case Script::roomy_drain:
      options.workers = 3, options.vms = 4, options.slots = 4, options.all_on_first = true;
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
    case Script::drain_of_two:
      return play_drain_of_two(sim);
    case Script::budgeted_drain:
      return play_budgeted_drain(sim);
    case Script::paused_drain:
      return play_paused_drain(sim);
    case Script::undone_drain:
      return play_undone_drain(sim);
    case Script::redirected_drain:
      return play_redirected_drain(sim);
    case Script::forced_drain:
      return play_forced_drain(sim);
    case Script::scheduled_drain:
      return play_scheduled_drain(sim);
    case Script::roomy_drain:
      return play_roomy_drain(sim);
    case Script::returned_drain:
      return play_returned_drain(sim);
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
  if (std::ranges::any_of(fleet.workers(), [](const auto& item) { return item.second.is_returning(); }))
    return false;
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
