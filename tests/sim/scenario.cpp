#include "scenario.h"

#include "base/text.h"
#include "log_watcher.h"
#include "operator_acts.h"
#include "troubles.h"

namespace ebb::fleet_sim {
namespace {

constexpr Duration act_one = 2min, act_two_limit = 15min;

// A run is over with its first violation: what comes after it may go on for ever.
bool is_broken(const FleetSim& sim) { return !sim.violations().empty(); }

// Guests that are left to end by themselves do not.
void stop_what_does_not_finish(FleetSim& sim) {
  std::vector<VmId> vms;
  for (const auto& [id, drain] : sim.fleet().drains())
    if (drain.state == DrainState::running && drain.options.finish.value_or(true))
      for (const auto& worker : drain.workers)
        for (const auto& vm : sim.fleet().vms_owned_by(worker))
          if (sim.fleet().vms().at(vm).spec.restart == Restart::never) vms.push_back(vm);
  for (const auto& vm : vms) (void)sim.ask("POST", "/v1/vms/" + vm.value + ":stop");
}

// What is not well by the limit is named by the checkers; a livelock is not. The operator gives back what came
// back.
void play_act_two(FleetSim& sim) {
  sim.heal();
  auto is_over = [&] { return all_is_well(sim) || is_broken(sim); };
  for (const auto end = sim.now() + act_two_limit; sim.now() < end && !is_over();) {
    auto status = sim.run_until(is_over, 20s);
    if (!status && status.error().code == Code::internal) {
      sim.violation("{}", status.error().message);
      break;
    }
    const auto drains = sim.fleet().drains();
    for (const auto& [id, drain] : drains)
      if (drain.state == DrainState::paused) (void)sim.ask("POST", "/v1/drains/" + id.value + ":resume");
    stop_what_does_not_finish(sim);
    for (auto& worker : sim.workers()) {
      const auto& id = worker->id();
      if (sim.fleet().holds_on(id).empty()) continue;
      (void)sim.ask("POST", "/v1/workers/" + id.value + ":uncordon");
      if (!sim.fleet().active_drain_of(id)) (void)sim.ask("POST", "/v1/workers/" + id.value + ":return");
    }
  }
  if (is_broken(sim)) return;
  (void)sim.run_for(10s);
  // A request of the operator that was repeated late may have begun something new.
  (void)sim.run_until(is_over, 1min);
  if (!is_broken(sim)) sim.check_end();
}

RunResult finish(FleetSim& sim, std::string summary) {
  if (!is_broken(sim)) play_act_two(sim);
  RunResult result;
  result.violations = sim.violations();
  result.state_hash = sim.state_hash();
  result.events = sim.world().loop().events();
  std::size_t moves = 0;
  for (const auto& [id, m] : sim.fleet().migrations()) moves += m.phase == Phase::done;
  result.summary = fmt::format("{}; {} moves, {} boots, {} virtual", summary, moves,
                               sim.ledger().runs().size(), format_duration(sim.now().time_since_epoch()));
  return result;
}

RunResult failed(FleetSim& sim, const Error& error) {
  RunResult result;
  result.violations = sim.violations();
  result.violations.push_back("set-up: " + error.message);
  return result;
}

// A script of which one program does not see the end.
CrashRun play(FleetSim& sim, Script script, const std::function<void(sim::CrashPoints&)>& arm,
              std::string what) {
  CrashRun run;
  if (auto status = sim.set_up(); !status) {
    run.result = failed(sim, status.error());
    return run;
  }
  auto& points = sim.world().crash_points();
  arm(points);
  if (auto status = play_script(sim, script); !status)
    sim.violation("the operator's part: {}", status.error().message);
  run.points = points.count();
  run.fired = points.fired();
  run.result = finish(sim, fmt::format("{} at {}", what, run.fired.value_or("no point")));
  return run;
}

}  // namespace

RunResult play_seed(FleetSimOptions options) {
  FleetSim sim(options);
  Random random(sim::fnv1a("scenario", options.seed));
  if (auto status = sim.set_up(); !status) return failed(sim, status.error());
  std::vector<std::unique_ptr<Trouble>> troubles;
  Operator human;
  std::string names;
  for (auto& trouble : all_troubles()) {
    if (!random.chance(0.35)) continue;
    names += (names.empty() ? "" : "+") + std::string(trouble->name());
    troubles.push_back(std::move(trouble));
  }
  // Another operator follows the logs of one VM through all of it.
  std::optional<LogWatcher> watcher;
  if (options.kind == FleetSimOptions::Workers::production)
    watcher.emplace(sim, VmId(fmt::format("vm-{}", 1 + random.below(options.vms))));
  sim.note("act one: {}", names);
  for (auto& trouble : troubles) trouble->begin(sim, random);
  const auto end = sim.now() + act_one;
  (void)sim.start_drain(WorkerId("worker-1"));
  while (sim.now() < end && !is_broken(sim)) {
    if (!troubles.empty()) troubles[random.below(troubles.size())]->strike(sim, random);
    if (random.chance(0.3)) human.act(sim, random);
    const auto pause = std::chrono::milliseconds(500 + random.below(8'000));
    auto status = sim.run_until([&] { return is_broken(sim); }, pause);
    if (!status && status.error().code == Code::internal) sim.violation("{}", status.error().message);
  }
  auto result = finish(sim, names.empty() ? "no troubles" : names);
  if (watcher && result.ok()) {
    const bool is_at_home = sim.run_until([&] { return watcher->is_at_home(); }, 2min).has_value();
    watcher->check();
    if (!is_at_home) sim.violation("whoever follows the logs has lost sight of the VM");
    result.violations = sim.violations();
  }
  return result;
}

CrashRun play_crash(FleetSimOptions options, const CrashPlan& plan) {
  FleetSim sim(options);
  auto holds = control_points(plan.script);
  return play(
      sim, plan.script,
      [&](sim::CrashPoints& points) {
        points.arm([&](const sim::CrashPoint& at) { return holds(sim, at); }, plan.nth);
      },
      "crash");
}

CrashRun play_kill(FleetSimOptions options, const Kill& kill) {
  FleetSim sim(options);
  return play(
      sim, script_of(kill),
      [&](sim::CrashPoints& points) {
        points.arm([&](const sim::CrashPoint& at) { return is_at(kill, sim, at); }, 0,
                   [&](const sim::CrashPoint&) { carry_out(kill, sim); });
      },
      fmt::format("death of {} as {} enters {}", json::name_of(kill.victim), kill.vm,
                  json::name_of(kill.phase)));
}

}  // namespace ebb::fleet_sim
