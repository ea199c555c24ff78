#include "scenario.h"

#include "base/text.h"
#include "troubles.h"

namespace ebb::fleet_sim {
namespace {

constexpr Duration act_one = 2min, act_two_limit = 15min;

bool all_is_well(FleetSim& sim) {
  if (!sim.fleet().open_migrations().empty()) return false;
  for (const auto& [id, drain] : sim.fleet().drains())
    if (!is_ended(drain.state)) return false;
  return std::ranges::all_of(sim.fleet().vms(), [&](auto& item) {
    return item.second.desired != VmDesired::running || sim.why_not_running(item.second).empty();
  });
}

RunResult finish(FleetSim& sim, std::string summary) {
  sim.heal();
  // What is not well by the limit is named by the checkers; a livelock is not. The operator gives back what
  // came back.
  for (const auto end = sim.now() + act_two_limit; sim.now() < end && !all_is_well(sim);) {
    auto status = sim.run_until([&] { return all_is_well(sim); }, 20s);
    if (!status && status.error().code == Code::internal) {
      sim.violation("{}", status.error().message);
      break;
    }
    for (auto& worker : sim.workers()) {
      const auto& id = worker->id();
      if (!sim.fleet().holds_on(id).empty() && !sim.fleet().active_drain_of(id))
        (void)sim.ask("POST", "/v1/workers/" + id.value + ":return");
    }
  }
  (void)sim.run_for(10s);
  // A request of the operator that was repeated late may have begun something new.
  (void)sim.run_until([&] { return all_is_well(sim); }, 1min);
  sim.check_end();
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

// The operator's part of act one: drains, some of them cancelled, and single moves.
void play_operator(FleetSim& sim, Random& random) {
  auto worker = [&] { return sim.workers()[random.below(sim.workers().size())]->id(); };
  const auto act = random.below(10);
  if (act < 4) {
    std::size_t drains = 0;
    for (const auto& [id, drain] : sim.fleet().drains()) drains += !is_ended(drain.state);
    if (drains < 2) (void)sim.start_drain(worker());
  } else if (act < 5) {
    for (const auto& [id, drain] : sim.fleet().drains())
      if (!is_ended(drain.state)) {
        (void)sim.ask("POST", "/v1/drains/" + id.value + ":cancel");
        break;
      }
  } else if (act < 7) {
    (void)sim.ask("POST", "/v1/workers/" + worker().value + ":return");
  } else if (act < 9) {
    auto vm = fmt::format("vm-{}", 1 + random.below(sim.options().vms));
    (void)sim.ask("POST", "/v1/vms/" + vm + ":migrate", "{}");
  }
}

}  // namespace

RunResult play_seed(FleetSimOptions options) {
  FleetSim sim(options);
  Random random(sim::fnv1a("scenario", options.seed));
  if (auto status = sim.set_up(); !status) return failed(sim, status.error());
  std::vector<std::unique_ptr<Trouble>> troubles;
  std::string names;
  for (auto& trouble : all_troubles()) {
    if (!random.chance(0.35)) continue;
    names += (names.empty() ? "" : "+") + std::string(trouble->name());
    troubles.push_back(std::move(trouble));
  }
  sim.note("act one: {}", names);
  for (auto& trouble : troubles) trouble->begin(sim, random);
  const auto end = sim.now() + act_one;
  (void)sim.start_drain(WorkerId("worker-1"));
  while (sim.now() < end) {
    if (!troubles.empty()) troubles[random.below(troubles.size())]->strike(sim, random);
    if (random.chance(0.3)) play_operator(sim, random);
    if (auto status = sim.run_for(std::chrono::milliseconds(500 + random.below(8'000))); !status) {
      sim.violation("{}", status.error().message);
      break;
    }
  }
  return finish(sim, names.empty() ? "no troubles" : names);
}

CrashRun play_crash(FleetSimOptions options, sim::CrashPoints::Filter filter, std::uint64_t nth) {
  FleetSim sim(options);
  CrashRun run;
  if (auto status = sim.set_up(); !status) {
    run.result = failed(sim, status.error());
    return run;
  }
  sim.world().crash_points().arm(std::move(filter), nth);
  auto drain = sim.start_drain(WorkerId("worker-1"));
  if (!drain) sim.violation("the drain was not accepted: {}", drain.error());
  auto status =
      sim.run_until([&] { return !sim.fleet().drains().empty() && all_is_well(sim); }, act_two_limit);
  if (!status) sim.violation("{}", status.error().message);
  run.points = sim.world().crash_points().count();
  run.fired = sim.world().crash_points().fired();
  run.result = finish(sim, "crash at " + run.fired.value_or("no point"));
  return run;
}

sim::CrashPoints::Filter control_points() {
  return [](const sim::CrashPoint& at) {
    if (at.process.host() != "control") return false;
    return at.kind.starts_with("commit") || at.kind.starts_with("store.put") ||
           (at.kind == "http.handle after" && !at.subject.starts_with("GET"));
  };
}

}  // namespace ebb::fleet_sim
