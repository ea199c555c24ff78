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

// Other ones at each commit; `ebb-sim disk --stories N` plays all.
std::uint64_t slice_of_commit() {
  if (const auto* asked = std::getenv("EBB_SLICE")) return std::strtoull(asked, nullptr, 10);
  std::unique_ptr<FILE, int (*)(FILE*)> git(popen("git rev-parse --short=7 HEAD 2>&1", "r"), pclose);
  std::array<char, 16> hash{};
  return git && fgets(hash.data(), hash.size(), git.get()) ? std::strtoull(hash.data(), nullptr, 16) : 0;
}

TEST(DiskSim, TheSameSeedTwiceEndsInTheSameState) {
  auto first = play_seed({.seed = 5}), second = play_seed({.seed = 5}), other = play_seed({.seed = 6});
  EXPECT_EQ(first.state_hash, second.state_hash);
  EXPECT_EQ(first.events, second.events);
  EXPECT_NE(first.state_hash, other.state_hash);
}

TEST(DiskSim, WhateverBreaksADiskHoldsAPrefixAndNothingPromisedIsLost) {
  constexpr std::uint64_t first = 61, seeds = 60;
  RunCounts all;
  for (auto seed = first; seed < first + seeds; ++seed) {
    auto run = play_seed({.seed = seed});
    EXPECT_TRUE(run.ok()) << "ebb-sim disk --seeds 1 --first " << seed << " --verbose\n"
                          << run.summary << text(run.violations);
    all.add(run.counts);
  }
  EXPECT_GT(all.tenures, seeds * 5) << "too few changes of owner to prove anything";
  EXPECT_GT(all.writes, seeds * 500);
  EXPECT_GT(all.cache_disk_hits, seeds * 20) << "the caches on the workers' disks were hardly used";
  EXPECT_GT(all.lost_writes, seeds) << "class local never lost what it may lose";
  EXPECT_GT(all.cleaned, seeds * 10);
  EXPECT_GT(all.reclaimed, seeds * 50);
  EXPECT_GT(all.offline_checks, seeds * 3);
  EXPECT_GT(all.snapshots, seeds * 3);
  EXPECT_GT(all.snapshots_removed, seeds / 2);
  EXPECT_GT(all.restores, seeds / 4);
  EXPECT_GT(all.forks, seeds / 2);
  EXPECT_GT(all.rescues, seeds / 10) << "too few logs of returning hosts became disks";
  EXPECT_GT(all.zombies[DiskSeen::open], seeds / 10) << "too few pauses met a take-over";
  EXPECT_GT(all.zombies[DiskSeen::opening], 0u);
  EXPECT_GT(all.zombies[DiskSeen::sealing] + all.zombies[DiskSeen::sealed], 0u);
  EXPECT_GT(all.zombies[DiskSeen::standby], 0u);
}

// A segment of its last write stands in the store, and it was fenced before it heard of that.
TEST(DiskSim, AFencedOwnersLogCountsAsUnsentOnlyUntilTheStoreIsKnownToHaveIt) {
  Story story{{Step::snapshot, Step::elsewhere, Step::grow}, DiskClass::remote, Start::fresh};
  for (story.crash_at = 0; story.crash_at < 30; ++story.crash_at) {
    const auto played = play_story(story);
    EXPECT_TRUE(played.violations.empty()) << story.text() << text(played.violations);
  }
}

TEST(DiskSim, EveryStoryOfUpToThreeStepsKeepsItsPromisesWithACrashAtEveryPoint) {
  StoriesPlan plan{.length_max = 3, .slices = 149};
  plan.slice = slice_of_commit() % plan.slices;
  SCOPED_TRACE(fmt::format("again: EBB_SLICE={}", plan.slice));
  auto all = play_all_stories(plan);
  EXPECT_TRUE(all.violations.empty()) << text(all.violations);
  EXPECT_GT(all.crashes, 500u);
  RecordProperty("stories", static_cast<int>(all.stories));
  fmt::print("slice {} of {}: {} stories, {} of them with a crash\n", plan.slice, plan.slices, all.stories,
             all.crashes);
}

}  // namespace
}  // namespace ebb::disk_sim
