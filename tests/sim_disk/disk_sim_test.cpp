#include <gtest/gtest.h>

#include "disk_scenario.h"

namespace ebb::disk_sim {
namespace {

std::string text(const std::vector<std::string>& lines) {
  std::string all;
  for (auto& line : lines) all += "\n  " + line;
  return all;
}

TEST(DiskSim, TheSameSeedTwiceEndsInTheSameState) {
  auto first = play_seed({.seed = 5}), second = play_seed({.seed = 5}), other = play_seed({.seed = 6});
  EXPECT_EQ(first.state_hash, second.state_hash);
  EXPECT_EQ(first.events, second.events);
  EXPECT_NE(first.state_hash, other.state_hash);
}

TEST(DiskSim, WhateverBreaksADiskHoldsAPrefixAndNothingPromisedIsLost) {
  constexpr std::uint64_t first = 61, seeds = 60;
  std::size_t tenures = 0, writes = 0;
  for (auto seed = first; seed < first + seeds; ++seed) {
    auto run = play_seed({.seed = seed});
    EXPECT_TRUE(run.ok()) << "ebb-sim disk --seeds 1 --first " << seed << " --verbose\n"
                          << run.summary << text(run.violations);
    tenures += run.tenures, writes += run.writes;
  }
  EXPECT_GT(tenures, seeds * 5) << "too few changes of owner to prove anything";
  EXPECT_GT(writes, seeds * 500);
}

}  // namespace
}  // namespace ebb::disk_sim
