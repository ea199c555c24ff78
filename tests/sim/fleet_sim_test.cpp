#include <gtest/gtest.h>

#include "scenario.h"

namespace ebb::fleet_sim {
namespace {

std::string text(const std::vector<std::string>& lines) {
  std::string all;
  for (auto& line : lines) all += "\n  " + line;
  return all;
}

TEST(FleetSim, ADrainWithoutTroublesMovesEverythingAndLosesNothing) {
  auto run = play_crash({.seed = 1}, control_points(), sim::CrashPoints::never);
  EXPECT_TRUE(run.result.ok()) << text(run.result.violations);
  EXPECT_GT(run.points, 50u);
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
    EXPECT_TRUE(run.ok()) << "ebb-sim --seeds 1 --first " << seed << " --verbose\n"
                          << run.summary << text(run.violations);
  }
}

// Every `stride`-th point at which the control plane can die during one drain.
void crash_control_everywhere(FleetSimOptions options, std::uint64_t first, std::uint64_t stride) {
  std::uint64_t played = 0;
  for (auto nth = first;; nth += stride) {
    auto run = play_crash(options, control_points(), nth);
    if (!run.fired) break;
    ++played;
    EXPECT_TRUE(run.result.ok()) << "ebb-sim --crash-point " << nth << " --verbose\n"
                                 << *run.fired << text(run.result.violations);
  }
  EXPECT_GT(played * stride, 50u);
}

TEST(FleetSim, ACrashOfTheControlPlaneAtAnyCommitOrEffectOrReplyOfADrainLosesNothing) {
  crash_control_everywhere({.seed = 1, .kind = FleetSimOptions::Workers::sketched}, 0, 1);
}

TEST(FleetSim, LikewiseOverRealAgentsAndDiskDaemons) { crash_control_everywhere({.seed = 1}, 3, 11); }

}  // namespace
}  // namespace ebb::fleet_sim
