// Rule 13: a worker that hears neither of the control plane nor of its disks' HEADs pauses its guests in
// time.
#include "agent/isolation.h"
#include "agent/testing.h"

namespace ebb::agent::testing {
namespace {

class IsolationTest : public AgentTest {
 protected:
  void run_one(WantedVm wish) {
    start_agent();
    control_.want({std::move(wish)});
    ASSERT_TRUE(reaches("a", VmSeen::running, 5));
  }
  void cut_off() {
    control_.stop();
    daemon_.store_silent_since = world_.loop().now();
  }
  bool is_held() const {
    auto machines = machines_.list();
    return machines.size() == 1 && machines[0].is_held;
  }
  std::uint64_t written() const { return ledger_.durable(VmId("a")); }
};

TEST_F(IsolationTest, Rule13ACutOffGuestIsPausedInTimeAndRunsOnWhenTheControlPlaneAnswers) {
  run_one(vm("a", 5));
  cut_off();
  run_for(9s);
  EXPECT_FALSE(is_held());
  run_for(4s);  // before a new owner would serve, 15 s after its claim
  EXPECT_TRUE(is_held());
  auto then = written();
  run_for(5min);
  EXPECT_EQ(written(), then);
  control_.start();
  ASSERT_TRUE(run_until([&] { return !is_held() && written() > then; }, 15s));
  EXPECT_TRUE(reaches("a", VmSeen::running, 5));
  EXPECT_EQ(ledger_.runs().size(), 1u);
}

TEST_F(IsolationTest, AStoreThatStillNamesUsIsEnoughAndItsReturnToo) {
  run_one(vm("a", 5));
  control_.stop();
  run_for(10min);
  EXPECT_FALSE(is_held());
  daemon_.store_silent_since = world_.loop().now();
  ASSERT_TRUE(run_until([&] { return is_held(); }, 13s));
  daemon_.store_silent_since.reset();
  ASSERT_TRUE(run_until([&] { return !is_held(); }, 2s));
}

TEST_F(IsolationTest, ADiskDaemonThatDoesNotAnswerConfirmsNothing) {
  run_one(vm("a", 5));
  control_.stop();
  daemon_.stop();
  ASSERT_TRUE(run_until([&] { return is_held(); }, 14s));
  daemon_.start();
  ASSERT_TRUE(run_until([&] { return !is_held(); }, 10s));
}

TEST_F(IsolationTest, AControlPlaneThatAnswersIsEnough) {
  run_one(vm("a", 5));
  daemon_.store_silent_since = world_.loop().now();
  run_for(10min);
  EXPECT_FALSE(is_held());
}

TEST_F(IsolationTest, Rule13ARestartedAgentLeavesAHeldGuestHeldUntilItKnowsMore) {
  run_one(vm("a", 5));
  cut_off();
  ASSERT_TRUE(run_until([&] { return is_held(); }, 13s));
  auto then = written();
  restart_agent();
  run_for(1min);
  EXPECT_TRUE(is_held());
  EXPECT_EQ(written(), then);
  control_.start();
  ASSERT_TRUE(run_until([&] { return !is_held(); }, 15s));
}

TEST_F(IsolationTest, AnAgentThatIsStartedCutOffFindsOutInTime) {
  run_one(vm("a", 5));
  kill_agent();
  cut_off();
  run_for(1min);
  start_agent();
  run_for(8s);
  EXPECT_FALSE(is_held());
  ASSERT_TRUE(run_until([&] { return is_held(); }, 6s));
}

TEST_F(IsolationTest, AGuestThatCrashesWhileCutOffIsStartedWhenSomebodyAnswers) {
  run_one(vm("a", 5));
  cut_off();
  ASSERT_TRUE(run_until([&] { return is_held(); }, 13s));
  machines_.crash(VmId("a"));
  run_for(5min);
  EXPECT_EQ(machines_of("a"), 0u);
  control_.report = {};
  control_.start();
  ASSERT_TRUE(reaches("a", VmSeen::running, 5));
  EXPECT_EQ(ledger_.runs().size(), 2u);
}

// Its VM is somebody else's by now: not one more instruction.
TEST_F(IsolationTest, AHeldGuestThatIsNotWantedAnyMoreDoesNotRunOn) {
  run_one(vm("a", 5));
  cut_off();
  ASSERT_TRUE(run_until([&] { return is_held(); }, 13s));
  auto then = written();
  control_.want({});
  control_.start();
  ASSERT_TRUE(run_until([&] { return control_.sees_nothing(); }, 30s));
  EXPECT_EQ(written(), then);
  EXPECT_EQ(machines_of("a"), 0u);
}

TEST_F(IsolationTest, AHeldGuestThatIsStillOursStopsAsAnyOther) {
  run_one(vm("a", 5));
  cut_off();
  ASSERT_TRUE(run_until([&] { return is_held(); }, 13s));
  control_.want({vm("a", 5, Wanted::sealed)});
  control_.start();
  ASSERT_TRUE(reaches("a", VmSeen::sealed, 5));
  EXPECT_TRUE(control_.seen("a")->guest_stopped_itself);
}

TEST_F(IsolationTest, AGuestWithoutADiskOfItsOwnRunsOn) {
  auto stateless = vm("a", 5);
  stateless.disks[0].read_only = true;
  run_one(stateless);
  cut_off();
  run_for(10min);
  EXPECT_FALSE(is_held());
}

TEST_F(IsolationTest, APollThatHangsDoesNotKeepNewsAway) {
  run_one(vm("a", 5));
  control_.forget_polls();
  control_.want({});
  ASSERT_TRUE(run_until([&] { return control_.sees_nothing(); }, 5s));
}

}  // namespace
}  // namespace ebb::agent::testing
