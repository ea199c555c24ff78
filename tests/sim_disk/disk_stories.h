// Every short story of a small disk, with a crash at every point of its last step: what the random scenario
// may miss.
#pragma once
#include "disk_fleet.h"

namespace ebb::disk_sim {

enum class Step {
  write_a,
  write_b,  // overlaps a
  trim,     // overlaps both; every other one is zeroes that are written
  flush,
  restart,    // kill -9, and the same worker again
  elsewhere,  // its worker is gone, and another one takes over; then it comes back
  move,       // sealed, and opened elsewhere
  snapshot,   // by its owner
  restore,    // to the newest snapshot, or the first: sealed, restored, and opened again
  reclaim,
  grow,  // by a few blocks, of which the last two are written
  fork,  // of the newest snapshot, or the first; what it is stays, whatever becomes of the disk
};
inline constexpr std::size_t step_kinds = 12;

// What a story begins with.
enum class Start {
  fresh,  // an empty disk
  aged,   // checkpoints after each segment, half-dead objects, a snapshot
};

// After a crash in the last step.
enum class Recovery { same_worker, other_worker, power_cut };

struct Story {
  std::vector<Step> steps;
  DiskClass disk_class = DiskClass::remote;
  Start start = Start::fresh;
  std::uint64_t crash_at = sim::CrashPoints::never;  // point of the last step
  Recovery recovery = Recovery::same_worker;
  std::string text() const;
};

struct StoryResult {
  std::uint64_t points = 0;  // that the last step passed
  bool has_crashed = false;
  std::vector<std::string> violations;
};
StoryResult play_story(const Story& story);

struct StoriesResult {
  std::uint64_t stories = 0, crashes = 0;
  std::vector<std::string> violations;  // of the first few that failed
};
// All sequences of up to `length_max` steps, from both starts and in both classes, each with a crash at each
// point of its last step and each way to recover from it. Of all sequences one in `slices` is played.
struct StoriesPlan {
  std::size_t length_max = 3;
  std::uint64_t slices = 1, slice = 0;
};
StoriesResult play_all_stories(StoriesPlan plan);

}  // namespace ebb::disk_sim
