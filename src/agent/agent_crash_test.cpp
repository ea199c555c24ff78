// The agent is destroyed at each step of its work and made anew: it ends where it was to go, with one
// machine.
#include "agent/testing.h"

namespace ebb::agent::testing {
namespace {

// One run with a crash after `place` events of the world.
class World final : public AgentTest {
 public:
  explicit World(std::uint64_t seed) : AgentTest({.seed = seed}) {}
  void TestBody() override {}

  // Each returns whether the crash came after the goal had been reached.
  bool crash_during_start(int place) {
    start_agent();
    control_.want({vm("a", 5)});
    bool all = step_until([&] { return control_.sees("a", VmSeen::running, 5); }, place);
    restart_agent();
    EXPECT_TRUE(
        run_until([&] { return control_.sees("a", VmSeen::running, 5) && control_.report.machines == 1; }));
    EXPECT_EQ(machines_of("a"), 1u);
    EXPECT_TRUE(daemon_.is("disk-a", DiskSeen::open));
    EXPECT_EQ(ledger_.running(VmId("a")).size(), 1u);
    return all;
  }

  bool crash_during_seal(int place) {
    start_agent();
    daemon_.is_slow = true;
    control_.want({vm("a", 5)});
    EXPECT_TRUE(reaches("a", VmSeen::running, 5));
    control_.want({vm("a", 5, Wanted::sealed)});
    bool all = step_until([&] { return control_.sees("a", VmSeen::sealed, 5); }, place);
    restart_agent();
    control_.report = {};
    EXPECT_TRUE(reaches("a", VmSeen::sealed, 5));
    EXPECT_EQ(machines_of("a"), 0u);
    EXPECT_TRUE(daemon_.is("disk-a", DiskSeen::sealed));
    EXPECT_EQ(ledger_.runs().size(), 1u);
    control_.want({});
    EXPECT_TRUE(run_until([&] { return control_.sees_nothing() && control_.report.leases == 0; }));
    EXPECT_TRUE(daemon_.disks.empty());
    return all;
  }

  bool crash_during_leave(int place) {
    start_agent();
    control_.want({vm("a", 5)});
    EXPECT_TRUE(reaches("a", VmSeen::running, 5));
    control_.want({});
    bool all = step_until([&] { return control_.sees_nothing(); }, place);
    restart_agent();
    control_.report = {};
    EXPECT_TRUE(run_until([&] { return control_.sees_nothing() && control_.report.sequence > 0; }));
    EXPECT_EQ(machines_of("a"), 0u);
    EXPECT_TRUE(daemon_.disks.empty());
    EXPECT_GE(count_calls("seal disk-a"), 1u);
    return all;
  }

 private:
  bool step_until(const std::function<bool()>& done, int events) {
    for (int i = 0; i < events && !done(); ++i) {
      if (!world_.loop().step()) break;
    }
    return done();
  }
};

// The crash moves on by one event until it comes after the end.
void crash_everywhere(bool (World::*run)(int)) {
  for (std::uint64_t seed = 1; seed <= 5; ++seed) {
    bool is_after_end = false;
    int place = 0;
    for (; !is_after_end; ++place) {
      ASSERT_LT(place, 2000) << "the work does not end";
      SCOPED_TRACE(fmt::format("seed {}, crash after event {}", seed, place));
      World world(seed);
      is_after_end = (world.*run)(place);
      if (::testing::Test::HasFailure()) return;
    }
    EXPECT_GT(place, 50) << "too few places: is the work done at all?";
  }
}

TEST(AgentCrash, AStartThatIsCutOffAnywhereEndsWithOneRunningMachine) {
  crash_everywhere(&World::crash_during_start);
}
TEST(AgentCrash, ASealThatIsCutOffAnywhereEndsSealed) { crash_everywhere(&World::crash_during_seal); }
TEST(AgentCrash, ALeaveThatIsCutOffAnywhereEndsWithNothingLeft) {
  crash_everywhere(&World::crash_during_leave);
}

}  // namespace
}  // namespace ebb::agent::testing
