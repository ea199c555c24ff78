#include <gtest/gtest.h>

#include "disk_scenario.h"
#include "disk_stories.h"

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
  std::uint64_t cache_disk_hits = 0;
  for (auto seed = first; seed < first + seeds; ++seed) {
    auto run = play_seed({.seed = seed});
    EXPECT_TRUE(run.ok()) << "ebb-sim disk --seeds 1 --first " << seed << " --verbose\n"
                          << run.summary << text(run.violations);
    tenures += run.tenures, writes += run.writes, cache_disk_hits += run.cache_disk_hits;
  }
  EXPECT_GT(tenures, seeds * 5) << "too few changes of owner to prove anything";
  EXPECT_GT(writes, seeds * 500);
  EXPECT_GT(cache_disk_hits, seeds * 20) << "the caches on the workers' disks were hardly used";
}

TEST(DiskSim, EveryStoryOfUpToThreeStepsKeepsItsPromisesWithACrashAtEveryPoint) {
  auto all = play_all_stories(3);
  EXPECT_TRUE(all.violations.empty()) << text(all.violations);
  EXPECT_GT(all.crashes, 1000u);
  RecordProperty("stories", static_cast<int>(all.stories));
  fmt::print("{} stories, {} of them with a crash\n", all.stories, all.crashes);
}

}  // namespace
}  // namespace ebb::disk_sim
