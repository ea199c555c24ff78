#include "platform/qemu/console_log.h"

#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <unistd.h>

#include "platform/qemu/log_rotation.h"
#include "platform/test_folder.h"

namespace ebb::qemu {
namespace {
namespace fs = std::filesystem;

// A machine's folder, in which a guest writes as QEMU does, and the archive.
struct ConsoleLogTest : ::testing::Test {
  ConsoleLogTest() {
    fs::create_directories(machine);
    fs::create_directories(archive);
  }
  void say(const std::string& text) {
    std::ofstream(machine + "/console.log", std::ios::app | std::ios::binary) << text;
  }
  void rotate(std::uint64_t bytes_max) { ASSERT_TRUE(rotate_log(machine + "/console.log", bytes_max)); }
  void put_away(std::uint64_t epoch, WallMs now) {
    ASSERT_TRUE(archive_logs(machine, archive, archive_name(VmId("vm"), epoch, now), 8));
  }
  std::string read(ConsoleFrom from, std::size_t bytes_max = 1000) {
    auto piece = read_console_log(machine, from, bytes_max);
    return piece ? fmt::format("{}:{}", piece->position, piece->bytes)
                 : fmt::format("{}", to_string(piece.error().code));
  }

  TestFolder folder;
  const std::string machine = folder / "machine", archive = folder / "logs";
};

TEST_F(ConsoleLogTest, IsReadFromAnyPositionInPieces) {
  EXPECT_EQ(read({}), "not_found");
  say("0123456789");
  EXPECT_EQ(read({}), "0:0123456789");
  EXPECT_EQ(read({.position = 4}, 3), "4:456");
  EXPECT_EQ(read({.position = 10}), "10:");
  say("abc");
  EXPECT_EQ(read({.position = 10}), "10:abc");
}

TEST_F(ConsoleLogTest, PositionsGoOnThroughRotationsAndWhatIsGoneIsSkipped) {
  say("0123456789");
  rotate(4);  // 6789 stays, as the older file
  EXPECT_EQ(read({}), "6:6789");
  EXPECT_EQ(read({.position = 8}), "8:89");
  EXPECT_EQ(read({.position = 10}), "10:");
  say("abcdef");
  EXPECT_EQ(read({.position = 8}), "8:89") << "a piece does not reach over the end of a file";
  EXPECT_EQ(read({.position = 10}), "10:abcdef");
  rotate(4);
  EXPECT_EQ(read({.position = 8}), "12:cdef");
  say("x");
  EXPECT_EQ(read({.position = 16}), "16:x");
  EXPECT_EQ(read({.position = 99}), "16:x") << "nobody was shown that much of this log";
}

TEST_F(ConsoleLogTest, TheLastLinesAreFoundAcrossFiles) {
  say("one\ntwo\nthree\n");
  rotate(12);
  say("four\nfi");
  EXPECT_EQ(read({.lines = 0}), "21:");
  EXPECT_EQ(read({.lines = 1}), "19:fi");
  EXPECT_EQ(read({.lines = 2}), "14:four\nfi");
  EXPECT_EQ(read({.lines = 3}), "8:three\n");
  EXPECT_EQ(read({.lines = 4}), "4:two\nthree\n");
  EXPECT_EQ(read({.lines = 99}), "2:e\ntwo\nthree\n") << "all that is kept";
  say("ve\n");
  EXPECT_EQ(read({.lines = 1}), "19:five\n");
  say(std::string(200'000, 'x') + "\nlast\n");
  EXPECT_EQ(read({.lines = 1}), fmt::format("{}:last\n", 24 + 200'001));
  EXPECT_TRUE(read({.lines = 2}).starts_with("24:xxx"));
}

TEST_F(ConsoleLogTest, AMachineStartedAgainUnderItsEpochGoesOnWithTheLog) {
  auto bring_back = [&](std::uint64_t epoch) {
    return bring_console_back(archive, VmId("vm"), epoch, 0, machine, {});
  };
  say("first run, rotated");
  rotate(7);
  say(" and ended\n");
  put_away(5, 1000);
  EXPECT_EQ(read({}), "not_found");
  EXPECT_EQ(bring_back(6), false) << "another epoch";
  EXPECT_EQ(bring_console_back(archive, VmId("v"), 5, 0, machine, {}), false);
  ASSERT_EQ(bring_back(5), true);
  say("second run\n");
  EXPECT_EQ(read({.position = 11}), "11:rotated");
  EXPECT_EQ(read({.position = 18}),
            "18: and ended\n\r\n[ebb: started again, 1970-01-01T00:00:00Z]\r\nsecond run\n");
  put_away(5, 2000);
  auto kept = find_archived_console(archive, VmId("vm"), 5);
  ASSERT_TRUE(kept);
  EXPECT_TRUE(kept->ends_with("/vm.5.2000")) << *kept;
  EXPECT_TRUE(read_console_log(*kept, {.lines = 1}, 100)->bytes == "second run\n");
  EXPECT_FALSE(find_archived_console(archive, VmId("vm"), 4));
}

TEST_F(ConsoleLogTest, OfSeveralTheLatestCounts) {
  for (WallMs at : {999, 1000, 20}) {
    say(fmt::format("run at {}\n", at));
    put_away(5, at);
  }
  EXPECT_TRUE(find_archived_console(archive, VmId("vm"), 5)->ends_with("/vm.5.1000"));
}

}  // namespace
}  // namespace ebb::qemu
