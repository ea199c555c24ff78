#include "sim_command.h"

#include <gtest/gtest.h>

#include "base/text.h"

namespace ebb::fleet_sim {
namespace {

// What a person does with a line that was printed: types it at the root of the tree.
Result<SimCommand> typed(const std::string& line) {
  auto words = split(line, ' ');
  if (words.size() < 3 || words[0] != "./dev" || words[1] != "sim")
    return fail(Code::invalid, "'{}' is no command of the tree", line);
  return read_command(std::span(words).subspan(2));
}

TEST(SimCommand, TheLineOfAFailingSeedPlaysThatSeedOfThatFleetAgain) {
  const SimCommand all{.seeds = 500, .first = 100, .sketched = true};
  auto again = typed(command_line(again_at_seed(all, 321)));
  ASSERT_TRUE(again) << again.error().message;
  EXPECT_EQ(*again, (SimCommand{.seeds = 1, .first = 321, .sketched = true, .verbose = true}));
  auto production = typed(command_line(again_at_seed({.seeds = 9}, 3)));
  ASSERT_TRUE(production) << production.error().message;
  EXPECT_EQ(*production, (SimCommand{.seeds = 1, .first = 3, .verbose = true}));
}

TEST(SimCommand, TheLineOfAFailingPointCrashesThereAgain) {
  const SimCommand all{.first = 4,
                       .slice = 2,
                       .slices = 7,
                       .script = Script::life_of_a_vm,
                       .crash_points = true,
                       .sketched = true};
  auto again = typed(command_line(again_at_point(all, 23)));
  ASSERT_TRUE(again) << again.error().message;
  EXPECT_EQ(
      *again,
      (SimCommand{
          .first = 4, .crash_point = 23, .script = Script::life_of_a_vm, .sketched = true, .verbose = true}));
}

TEST(SimCommand, TheLineOfAFailingKillKillsThatProgramAgain) {
  const Kill kill{Phase::moving_lease, Victim::target_disk_daemon, VmId("vm-3")};
  auto again = typed(command_line(again_with({.slice = 1, .slices = 3, .kills = true}, kill)));
  ASSERT_TRUE(again) << again.error().message;
  EXPECT_EQ(*again, (SimCommand{.kill = kill, .verbose = true}));
}

TEST(SimCommand, EveryCommandIsReadAsItWasWritten) {
  for (const SimCommand& command :
       {SimCommand{.seeds = 5, .first = 8}, SimCommand{.slice = 1, .slices = 3, .crash_points = true},
        SimCommand{.crash_point = 0, .sketched = true}}) {
    auto read = typed(command_line(command));
    ASSERT_TRUE(read) << read.error().message;
    EXPECT_EQ(*read, command) << command_line(command);
  }
}

TEST(SimCommand, WordsThatSayNothingAreRefused) {
  for (auto line : {"./dev sim --first 3", "./dev sim --seeds", "./dev sim --seeds x", "./dev sim --sedes 3",
                    "./dev sim --crash-points --slice 1/0", "./dev sim --crash-points --slice 1",
                    "./dev sim --crash-points --script none", "./dev sim --kill freezing/nobody/vm-1"})
    EXPECT_FALSE(typed(line)) << line;
}

}  // namespace
}  // namespace ebb::fleet_sim
