#include <gtest/gtest.h>

#include "log_watcher.h"
#include "scenario.h"
#include "sim_command.h"

namespace ebb::fleet_sim {
namespace {

using Workers = FleetSimOptions::Workers;

std::string text(const std::vector<std::string>& lines) {
  std::string all;
  for (auto& line : lines) all += "\n  " + line;
  return all;
}

TEST(FleetSim, ADrainWithoutTroublesMovesEverythingAndLosesNothing) {
  auto run = play_crash(fleet_for(Script::drain, 1, Workers::production), {.nth = sim::CrashPoints::never});
  EXPECT_TRUE(run.result.ok()) << text(run.result.violations);
  EXPECT_GT(run.points, 50u);
}

TEST(FleetSim, WhoFollowsTheLogsOfAVmSeesAllOfThemThroughADrainAndIsToldOfIt) {
  for (std::uint64_t seed = 1; seed <= 3; ++seed) {
    FleetSim sim(fleet_for(Script::drain, seed, Workers::production));
    ASSERT_TRUE(sim.set_up());
    const auto& vms = sim.fleet().vms();
    auto there =
        std::ranges::find_if(vms, [](auto& item) { return item.second.worker == WorkerId("worker-1"); });
    ASSERT_NE(there, vms.end());
    LogWatcher watcher(sim, there->first);
    ASSERT_TRUE(sim.run_for(20s));
    EXPECT_EQ(watcher.stays(), 1u);
    auto drain = sim.start_drain(WorkerId("worker-1"));
    ASSERT_TRUE(drain);
    ASSERT_TRUE(sim.run_until([&] { return all_is_well(sim); }, 5min));
    ASSERT_TRUE(sim.run_for(20s));
    EXPECT_EQ(watcher.stays(), 2u);
    EXPECT_TRUE(watcher.is_at_home());
    watcher.check(true);
    ASSERT_EQ(watcher.news().size(), 2u) << text(watcher.news());
    EXPECT_TRUE(watcher.news()[0].ends_with(fmt::format("has left worker-1: {} drains it", *drain)))
        << watcher.news()[0];
    EXPECT_TRUE(watcher.news()[1].contains(" runs on worker-")) << watcher.news()[1];
    EXPECT_EQ(sim.violations(), std::vector<std::string>());
  }
}

TEST(FleetSim, TheSameSeedTwiceEndsInTheSameState) {
  auto first = play_seed({.seed = 5}), second = play_seed({.seed = 5}), other = play_seed({.seed = 6});
  EXPECT_EQ(first.state_hash, second.state_hash);
  EXPECT_EQ(first.events, second.events);
  EXPECT_NE(first.state_hash, other.state_hash);
}

TEST(FleetSim, NothingIsLostWhateverBreaksAndEverythingEndsOnceHealed) {
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    auto run = play_seed({.seed = seed});
    EXPECT_TRUE(run.ok()) << command_line(again_at_seed({}, seed)) << "\n"
                          << run.summary << text(run.violations);
  }
}

// Every `stride`-th point at which the control plane can die during one script; where it did.
std::vector<std::string> crash_control_everywhere(Script script, Workers kind, std::uint64_t first,
                                                  std::uint64_t stride) {
  std::vector<std::string> fired;
  for (auto nth = first;; nth += stride) {
    auto run = play_crash(fleet_for(script, 1, kind), {.script = script, .nth = nth});
    if (!run.fired) break;
    fired.push_back(*run.fired);
    SimCommand command{.script = script, .sketched = kind == Workers::sketched};
    EXPECT_TRUE(run.result.ok()) << command_line(again_at_point(command, nth)) << "\n"
                                 << *run.fired << text(run.result.violations);
    if (!run.result.ok()) break;  // the next ones would say the same
  }
  return fired;
}

bool has(const std::vector<std::string>& fired, std::string_view kind) {
  return std::ranges::any_of(fired, [&](auto& point) { return point.starts_with(kind); });
}

TEST(FleetSim, ACrashOfTheControlPlaneAtAnyCommitOrReplyOfADrainLosesNothing) {
  auto fired = crash_control_everywhere(Script::drain, Workers::sketched, 0, 1);
  EXPECT_GT(fired.size(), 50u);
  EXPECT_TRUE(has(fired, "commit before") && has(fired, "commit after") && has(fired, "http.handle after"));
}

TEST(FleetSim, LikewiseOverRealAgentsAndDiskDaemons) {
  EXPECT_GT(crash_control_everywhere(Script::drain, Workers::production, 3, 11).size(), 5u);
}

TEST(FleetSim, ACrashOfTheControlPlaneAtAnyCommitOrEffectOrReplyInTheLifeOfAVmLosesNothing) {
  auto fired = crash_control_everywhere(Script::life_of_a_vm, Workers::production, 0, 1);
  for (auto kind : {"commit before", "commit after", "store.put before", "store.put after",
                    "store.remove before", "store.remove after"})
    EXPECT_TRUE(has(fired, kind)) << kind;
}

// A third of the points of each; ebb-sim --crash-points plays all.
TEST(FleetSim, ACrashOfTheControlPlaneInAnyKindOfDrainLosesNothingAndTheDrainEnds) {
  constexpr std::uint64_t stride = 3;
  for (auto script : {Script::drain_of_two, Script::budgeted_drain, Script::paused_drain,
                      Script::undone_drain, Script::redirected_drain, Script::forced_drain,
                      Script::scheduled_drain, Script::roomy_drain, Script::returned_drain}) {
    const auto first = static_cast<std::uint64_t>(script) % stride;
    EXPECT_GT(crash_control_everywhere(script, Workers::sketched, first, stride).size(), 10u)
        << json::name_of(script);
  }
}

TEST(FleetSim, ACrashBetweenTheReservationsOfABigDrainTouchesNothingBeforeTheLast) {
  auto fired = crash_control_everywhere(Script::big_drain, Workers::sketched, 0, 1);
  // Before and after each: the drain itself, forty destinations, the other twenty.
  EXPECT_GE(fired.size(), 6u);
}

TEST(FleetSim, TheDeathOfAnyProgramHostOrGuestInEachPhaseOfAMoveLosesNothing) {
  // Each pair of phase and victim, with one of the three kinds of VMs in turn; ebb-sim --kills plays all.
  const auto kills = all_kills();
  ASSERT_EQ(kills.size(), 9u * 9u * 3u);
  for (std::size_t pair = 0; pair < kills.size() / 3; ++pair) {
    const auto& kill = kills[3 * pair + pair % 3];
    auto run = play_kill(fleet_for(kill, 1, Workers::production), kill);
    EXPECT_TRUE(run.fired && run.result.ok()) << command_line(again_with({}, kill)) << "\n"
                                              << run.result.summary << text(run.result.violations);
  }
}

}  // namespace
}  // namespace ebb::fleet_sim
