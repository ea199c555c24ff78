#include "scripts.h"

namespace ebb::fleet_sim {
namespace {

constexpr Duration step_limit = 15min;

Status play_drain(FleetSim& sim) {
  EBB_TRY(drain, sim.start_drain(WorkerId("worker-1")));
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
  return std::ranges::all_of(fleet.vms(), [&](const auto& item) {
    const auto& vm = item.second;
    return vm.desired == VmDesired::running ? sim.why_not_running(vm).empty()
                                            : vm.desired == VmDesired::stopped && !vm.worker;
  });
}

Points control_points(Script script) {
  const bool with_reports = script == Script::drain;
  return [with_reports](FleetSim&, const sim::CrashPoint& at) {
    if (at.process.host() != "control") return false;
    if (at.kind == "http.handle after")
      return !at.subject.starts_with("GET") && (with_reports || !at.subject.contains("/agent/"));
    return at.kind.starts_with("commit") || at.kind.starts_with("store.put") ||
           at.kind.starts_with("store.remove");
  };
}

}  // namespace ebb::fleet_sim
