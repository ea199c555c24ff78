// Disks that the daemon has and that no wish names.
#include "agent/testing.h"

namespace ebb::agent::testing {
namespace {

struct StrayDisksTest : AgentTest {
  static WantedVm with_data(Epoch epoch) {
    auto wish = vm("a", epoch);
    wish.disks.push_back({DiskId("data"), PoolId("pool"), MiB, DiskClass::local, false, false, {}, {}});
    return wish;
  }
  bool is_told_unread() const {
    return std::ranges::find(control_.report.unread_logs, DiskId("data")) !=
           control_.report.unread_logs.end();
  }
};

// Nobody says that nothing of it is left here before that is so.
TEST_F(StrayDisksTest, ADiskThatWasTakenFromAVmMeanwhileIsToldSealedAndClosed) {
  start_agent();
  control_.want({with_data(5)});
  ASSERT_TRUE(reaches("a", VmSeen::running, 5));
  control_.want({vm("a", 6)});
  bool was_told = false;
  ASSERT_TRUE(run_until([&] {
    was_told = was_told || is_told_unread();
    return !daemon_.disks.contains("data");
  }));
  EXPECT_TRUE(was_told);
  EXPECT_EQ(count_calls("seal data"), 1u);
  ASSERT_TRUE(reaches("a", VmSeen::running, 6));
  ASSERT_TRUE(run_until([&] { return !is_told_unread() && control_.report.exports == 1; }));
  EXPECT_TRUE(daemon_.is("disk-a", DiskSeen::open)) << "its own stays";
}

TEST_F(StrayDisksTest, WhatAnEarlierRunHasLeftIsClosedOnceItIsKnownThatNobodyWantsIt) {
  start_agent();
  control_.want({with_data(5)});
  ASSERT_TRUE(reaches("a", VmSeen::running, 5));
  kill_agent();
  control_.want({vm("b", 7)});
  control_.stop();
  start_agent();
  run_for(1min);
  EXPECT_TRUE(daemon_.is("data", DiskSeen::open)) << "it may be wanted";
  control_.start();
  ASSERT_TRUE(reaches("b", VmSeen::running, 7));
  ASSERT_TRUE(run_until([&] { return daemon_.disks.size() == 1; }));
  EXPECT_TRUE(daemon_.is("disk-b", DiskSeen::open));
}

TEST_F(StrayDisksTest, ADaemonThatCannotSealIsAskedAgain) {
  start_agent();
  control_.want({with_data(5)});
  ASSERT_TRUE(reaches("a", VmSeen::running, 5));
  daemon_.is_slow = true;
  control_.want({vm("a", 6)});
  ASSERT_TRUE(run_until([&] { return !daemon_.disks.contains("data"); }));
  EXPECT_GE(count_calls("seal data"), 2u);
}

}  // namespace
}  // namespace ebb::agent::testing
