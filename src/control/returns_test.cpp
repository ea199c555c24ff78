#include "control/testing/fleet3.h"

namespace ebb::control {
namespace {

// w1 has been drained, and is asked back.
struct Returns : ::testing::Test {
  Fleet3 w;
  std::string drain;

  Returns() {
    w.limits.returns.image = ImageId("guest");
    w.restart();
    w.tick(3);
    for (auto name : {"w2", "w3"})
      w.ask("POST", fmt::format("/v1/workers/{}:cordon", name), R"({"reason":"x"})");
    w.create_vm("a");
    EXPECT_TRUE(w.all_run({"a"}));
    for (auto name : {"w2", "w3"}) w.ask("POST", fmt::format("/v1/workers/{}:uncordon", name));
    drain = w.drain("w1");
    EXPECT_TRUE(w.tick_until([&] { return w.drain_view(drain).status == "done"; }));
    w.tick(2);
  }
  HttpResponse give_back() { return w.ask("POST", "/v1/workers/w1:return"); }
  WorkerView view() { return w.get<WorkerView>("/v1/workers/w1"); }
  bool is_held() { return !view().holds.empty(); }
  std::string test_vm() { return view().worker.returning.value_or(WorkerReturn()).vm.value; }
  bool fails() {
    return w.tick_until([&] {
      const auto last = view().worker.returning;
      return last && !last->error.empty();
    });
  }
  void reboot() {
    w.workers()["w1"].boot_id = "boot-2";
    Registration again;
    again.worker = WorkerId("w1"), again.boot_id = "boot-2", again.version = "test";
    again.capacity = {16'000, 2 * GiB}, again.pools = {PoolId("main")};
    EXPECT_EQ(w.ask("POST", "/v1/agent/register", json::write_text(again), "join-token-0").status, 200);
  }
  // With the test VM on it.
  void dies_for(Duration time) {
    EXPECT_EQ(give_back().status, 200);
    const auto test = test_vm();
    EXPECT_TRUE(w.tick_until([&] { return w.get<VmView>("/v1/vms/" + test).vm.epoch > 0; }));
    w.workers()["w1"].answers = false;
    w.sim().loop().run_for(time);
    w.tick(2);
  }
  bool is_drained_as_dead() {
    const auto second = w.drain("w1", R"(,"options":{"source_dead":true})");
    return w.tick_until([&] { return w.drain_view(second).status == "done"; }) &&
           w.tick_until([&] { return vms() == 1; });
  }
  bool has_started() {
    return w.tick_until(
        [&] { return view().worker.returning.value_or(WorkerReturn()).started_at.has_value(); });
  }
  std::string error() { return view().worker.returning.value_or(WorkerReturn()).error; }
  std::string why() { return w.ask("GET", "/v1/workers/w1:why").body; }
  std::size_t vms() { return w.get<Page<VmView>>("/v1/vms").items.size(); }
  std::size_t disks() { return w.get<Page<Disk>>("/v1/disks").items.size(); }
};

TEST_F(Returns, ATestVmRunsAndIsGoneBeforeTheWorkerTakesWorkAgain) {
  const auto disks_before = disks();
  ASSERT_EQ(give_back().status, 200);
  const auto test = test_vm();
  ASSERT_FALSE(test.empty());
  EXPECT_NE(why().find("test VM " + test + " starts there"), std::string::npos) << why();
  EXPECT_EQ(give_back().status, 200);
  EXPECT_EQ(test_vm(), test) << "asked for again it is the same";
  bool has_run = false;
  ASSERT_TRUE(w.tick_until([&] {
    const bool runs = w.workers()["w1"].vms[VmId(test)].state == VmSeen::running;
    has_run |= runs;
    if (runs) EXPECT_TRUE(is_held()) << "what tests it is still there";
    return !is_held();
  }));
  EXPECT_TRUE(has_run);
  EXPECT_FALSE(view().worker.returning);
  EXPECT_TRUE(view().schedulable);
  EXPECT_EQ(vms(), 1u);
  EXPECT_TRUE(w.tick_until([&] { return disks() == disks_before; })) << "its disk is not kept";
}

TEST_F(Returns, AWorkerThatCannotStartItStaysHeldAndSaysWhy) {
  ASSERT_EQ(give_back().status, 200);
  w.workers()["w1"].cannot_start.insert(VmId(test_vm()));
  ASSERT_TRUE(fails());
  EXPECT_TRUE(is_held());
  EXPECT_NE(error().find("no such kernel"), std::string::npos) << error();
  EXPECT_NE(why().find("its return failed: test VM"), std::string::npos) << why();
  EXPECT_TRUE(w.tick_until([&] { return vms() == 1; })) << "it is not left behind, and went nowhere else";
  EXPECT_TRUE(is_held());
  EXPECT_EQ(w.get<Page<MigrationView>>("/v1/migrations").items.size(), 1u) << "that of the drain";
  w.workers()["w1"].cannot_start.clear();
  ASSERT_EQ(give_back().status, 200);
  EXPECT_TRUE(w.tick_until([&] { return !is_held(); }));
  EXPECT_FALSE(view().worker.returning);
}

TEST_F(Returns, AGuestThatEndsIsNoProof) {
  ASSERT_EQ(give_back().status, 200);
  const VmId test(test_vm());
  ASSERT_TRUE(w.tick_until([&] { return w.get<VmView>("/v1/vms/" + test.value).vm.epoch > 0; }));
  w.workers()["w1"].ended[test] = w.get<VmView>("/v1/vms/" + test.value).vm.epoch;
  ASSERT_TRUE(fails());
  EXPECT_NE(error().find("its guest has ended"), std::string::npos) << error();
  EXPECT_TRUE(is_held());
}

TEST_F(Returns, EndWithTheirTimeIfNothingIsHeardOfTheVm) {
  ASSERT_EQ(give_back().status, 200);
  w.workers()["w1"].answers = false;
  w.sim().loop().run_for(6min);
  EXPECT_EQ(error(), fmt::format("after 5m00s: test VM {}: w1 does not answer", test_vm()));
  EXPECT_TRUE(is_held());
  w.workers()["w1"].answers = true;
  EXPECT_TRUE(w.tick_until([&] { return vms() == 1; }));
  EXPECT_TRUE(is_held());
}

TEST_F(Returns, ADrainThatBeginsEndsThem) {
  ASSERT_EQ(give_back().status, 200);
  const auto test = test_vm();
  ASSERT_TRUE(w.tick_until([&] { return w.is_running(test); }));
  const auto second = w.drain("w1");
  EXPECT_TRUE(w.tick_until([&] { return w.drain_view(second).status == "done"; }));
  EXPECT_TRUE(w.drain_view(second).migrations.empty()) << "the test VM goes; it does not move";
  EXPECT_TRUE(is_held());
  EXPECT_EQ(vms(), 1u);
}

TEST_F(Returns, AWorkerThatDiesMeanwhileIsDrainedAsDead) {
  dies_for(30s);
  EXPECT_EQ(error(), "") << "there is time yet";
  EXPECT_TRUE(is_drained_as_dead());
}

TEST_F(Returns, AWorkerThatDiesIsDrainedAsDeadAlsoWhenItsTimeIsOver) {
  dies_for(6min);
  EXPECT_NE(error(), "");
  EXPECT_TRUE(is_drained_as_dead());
}

TEST_F(Returns, AHostThatRebootsMeanwhileHasShownNothing) {
  ASSERT_EQ(give_back().status, 200);
  ASSERT_TRUE(has_started());
  reboot();
  EXPECT_TRUE(w.tick_until([&] { return vms() == 1; }));
  w.tick(20);
  EXPECT_TRUE(is_held());
  EXPECT_NE(error().find("rebooted"), std::string::npos) << error();
  ASSERT_EQ(give_back().status, 200);
  EXPECT_TRUE(w.tick_until([&] { return !is_held(); }));
}

TEST_F(Returns, AVmThatGotTheNameOfAnOldTestIsNobodysTest) {
  ASSERT_EQ(give_back().status, 200);
  const auto test = test_vm();
  w.workers()["w1"].cannot_start.insert(VmId(test));
  ASSERT_TRUE(fails());
  ASSERT_TRUE(w.tick_until([&] { return vms() == 1; }));
  w.create_vm(test);
  EXPECT_TRUE(w.all_run({test.c_str()}));
  w.tick(20);
  EXPECT_TRUE(w.is_running(test));
  w.workers()["w1"].cannot_start.clear();
  ASSERT_EQ(give_back().status, 200);
  EXPECT_NE(test_vm(), test);
  EXPECT_TRUE(w.tick_until([&] { return !is_held(); }));
  EXPECT_TRUE(w.is_running(test));
}

TEST_F(Returns, AControlPlaneThatWasAwayForLongJudgesNobodyUnheard) {
  ASSERT_EQ(give_back().status, 200);
  ASSERT_TRUE(has_started());
  w.restart(10min);
  w.sim().loop().run_for(2s);
  EXPECT_EQ(error(), "");
  EXPECT_TRUE(w.tick_until([&] { return !is_held(); }));
}

TEST_F(Returns, SurviveARestartOfTheControlPlane) {
  ASSERT_EQ(give_back().status, 200);
  const auto test = test_vm();
  w.restart();
  EXPECT_TRUE(w.tick_until([&] { return !is_held(); }));
  EXPECT_EQ(vms(), 1u);
}

TEST_F(Returns, ATestVmIsNotMovedByHand) {
  ASSERT_EQ(give_back().status, 200);
  const auto test = test_vm();
  ASSERT_TRUE(w.tick_until([&] { return w.get<VmView>("/v1/vms/" + test).vm.epoch > 0; }));
  EXPECT_EQ(w.ask("POST", "/v1/vms/" + test + ":migrate", "{}").status, 409);
}

TEST_F(Returns, WhereAVmRunsNoOtherIsNeeded) {
  EXPECT_EQ(w.ask("POST", "/v1/drains/" + drain + ":undo", "{}").status, 200);
  ASSERT_TRUE(w.tick_until([&] { return w.drain_view(drain).status == "undone"; }));
  ASSERT_EQ(w.worker_of("a"), "w1");
  reboot();
  EXPECT_EQ(give_back().status, 503) << "what was reported before says nothing of the host as it is now";
  w.tick(3);
  ASSERT_TRUE(is_held());
  EXPECT_EQ(give_back().status, 200);
  EXPECT_FALSE(is_held());
  EXPECT_EQ(vms(), 1u);
}

TEST_F(Returns, AClockThatIsWrongIsNamedAndRefused) {
  w.workers()["w1"].clock_ahead = 4s;
  w.tick();
  EXPECT_EQ(why().find("its clock"), std::string::npos) << "within what is borne";
  w.workers()["w1"].clock_ahead = -42s;
  w.tick();
  const auto refused = give_back();
  EXPECT_EQ(refused.status, 409);
  EXPECT_NE(refused.body.find("the clock of w1 is 42"), std::string::npos) << refused.body;
  EXPECT_NE(refused.body.find("behind the control plane's"), std::string::npos) << refused.body;
  EXPECT_NE(why().find("its clock is 42"), std::string::npos) << why();
  EXPECT_TRUE(is_held());
}

TEST_F(Returns, AnImageThatIsNotThereIsNamed) {
  w.limits.returns.image = ImageId("gone");
  w.restart();
  w.tick(3);
  const auto refused = give_back();
  EXPECT_EQ(refused.status, 409);
  EXPECT_NE(refused.body.find("'gone'"), std::string::npos) << refused.body;
  EXPECT_TRUE(is_held());
}

TEST_F(Returns, ATestVmThatDoesNotFitIsNoReasonToWait) {
  w.limits.returns.memory_bytes = 3 * GiB;
  w.restart();
  w.tick(3);
  const auto refused = give_back();
  EXPECT_EQ(refused.status, 409) << refused.body;
  EXPECT_NE(refused.body.find("there can be no test VM"), std::string::npos) << refused.body;
  EXPECT_EQ(vms(), 1u);
  EXPECT_TRUE(is_held());
  EXPECT_EQ(w.ask("POST", "/v1/workers/w1:return", R"({"untested":true})").status, 200);
  EXPECT_FALSE(is_held()) << "an operator's word is enough";
}

}  // namespace
}  // namespace ebb::control
