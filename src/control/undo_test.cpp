#include "control/testing/fleet3.h"

namespace ebb::control {
namespace {

struct Undo : ::testing::Test {
  Fleet3 w;

  Undo() {
    for (auto name : {"w2", "w3"})
      w.ask("POST", fmt::format("/v1/workers/{}:cordon", name), R"({"reason":"x"})");
    for (auto name : {"a", "b", "c"}) w.create_vm(name);
    EXPECT_TRUE(w.all_run({"a", "b", "c"}));
    for (auto name : {"w2", "w3"}) w.ask("POST", fmt::format("/v1/workers/{}:uncordon", name));
  }
  DrainView view(const std::string& id) { return w.drain_view(id); }
  bool becomes(const std::string& id, const std::string& status) {
    return w.tick_until([&] { return view(id).status == status; });
  }
  HttpResponse post(const std::string& id, const char* verb, const char* body = "{}") {
    return w.ask("POST", fmt::format("/v1/drains/{}:{}", id, verb), body);
  }
  std::size_t at_home() {
    std::size_t count = 0;
    for (auto name : {"a", "b", "c"}) count += w.worker_of(name) == "w1" && w.is_running(name);
    return count;
  }
  DrainPlan plan(const std::string& id) {
    auto read = json::read_text<DrainPlan>(post(id, "undo", R"({"validate_only":true})").body);
    EXPECT_TRUE(read);
    return read.value_or(DrainPlan());
  }
};

TEST_F(Undo, OfADrainThatIsDoneBringsAllBackAndGivesTheWorkerBack) {
  auto id = w.drain("w1");
  ASSERT_TRUE(becomes(id, "done"));
  EXPECT_EQ(plan(id).moves.size(), 3u);
  EXPECT_TRUE(plan(id).blockers.empty());
  EXPECT_EQ(view(id).status, "done") << "a plan changes nothing";
  EXPECT_EQ(post(id, "undo").status, 200);
  EXPECT_EQ(post(id, "undo").status, 200) << "again is fine";
  ASSERT_TRUE(becomes(id, "undone"));
  EXPECT_EQ(at_home(), 3u);
  EXPECT_EQ(view(id).drain.end_reason, "3 VMs went back");
  EXPECT_TRUE(w.get<WorkerView>("/v1/workers/w1").holds.empty());
  EXPECT_EQ(post(id, "undo").status, 200);
  EXPECT_EQ(view(id).status, "undone");
}

TEST_F(Undo, OfADrainThatRunsTurnsWhatCanTurnAndBringsTheRestBack) {
  auto id = w.drain("w1", R"(,"options":{"parallel_max":1})");
  ASSERT_TRUE(w.tick_until([&] { return view(id).moved == 1 && view(id).remaining > 0; }));
  EXPECT_EQ(post(id, "undo").status, 200);
  ASSERT_TRUE(becomes(id, "undone"));
  EXPECT_EQ(at_home(), 3u);
  std::size_t turned = 0;
  for (const auto& m : view(id).migrations) turned += m.migration.phase == Phase::aborted;
  EXPECT_GT(turned, 0u);
}

TEST_F(Undo, IsResumedByTheNextControlPlane) {
  auto id = w.drain("w1");
  ASSERT_TRUE(becomes(id, "done"));
  post(id, "undo");
  w.tick(3);
  w.restart();
  ASSERT_TRUE(becomes(id, "undone"));
  EXPECT_EQ(at_home(), 3u);
}

TEST_F(Undo, SaysWhoCannotGoBackAndWhy) {
  auto id = w.drain("w1");
  ASSERT_TRUE(becomes(id, "done"));
  w.ask("POST", "/v1/vms/a:stop");
  const auto other = w.worker_of("b") == "w2" ? "w3" : "w2";
  w.ask("POST", "/v1/vms/b:migrate", fmt::format(R"({{"target":"{}"}})", other));
  ASSERT_TRUE(w.tick_until(
      [&] { return w.worker_of("b") == other && w.is_running("b") && w.worker_of("a") == "-"; }));
  w.tick(5);
  std::map<std::string, std::string> stays;
  for (const auto& blocker : plan(id).blockers) stays[blocker.subject] = blocker.reason;
  EXPECT_EQ(stays, (std::map<std::string, std::string>{
                       {"vms/a", "it shall not run any more: what is stopped is not moved"},
                       {"vms/b", fmt::format("it has gone on to {} since", other)}}));
  post(id, "undo");
  ASSERT_TRUE(becomes(id, "undone"));
  EXPECT_EQ(w.worker_of("c"), "w1");
  EXPECT_EQ(view(id).drain.end_reason,
            fmt::format("1 VM went back; a stays: it shall not run any more: what is stopped is not moved; "
                        "b stays: it has gone on to {} since",
                        other));
}

TEST_F(Undo, BringsNobodyToAWorkerThatSomebodyElseHolds) {
  auto id = w.drain("w1");
  ASSERT_TRUE(becomes(id, "done"));
  w.ask("POST", "/v1/workers/w1:cordon", R"({"reason":"no fans"})");
  ASSERT_EQ(plan(id).blockers.size(), 3u);
  EXPECT_TRUE(plan(id).blockers[0].reason.contains("held by operator (no fans)"))
      << plan(id).blockers[0].reason;
  post(id, "undo");
  ASSERT_TRUE(becomes(id, "undone"));
  EXPECT_EQ(at_home(), 0u);
}

TEST_F(Undo, IsRefusedWhileAnotherDrainHasTheWorkerAndForWhatHasNotBegun) {
  auto id = w.drain("w1");
  ASSERT_TRUE(becomes(id, "done"));
  w.ask("POST", "/v1/workers/w1:return");
  w.workers()["w1"].exports = 1;
  auto other = w.drain("w1");
  auto reply = post(id, "undo");
  EXPECT_EQ(reply.status, 409);
  EXPECT_TRUE(reply.body.contains("w1 is being drained by " + other)) << reply.body;
  auto due = json::read_text<DrainView>(
      w.ask("POST", "/v1/drains", R"({"workers":["w2"],"begins_in_ms":900000})").body);
  EXPECT_EQ(post(due->drain.id.value, "undo").status, 409);
  EXPECT_EQ(post("drain-999", "undo").status, 404);
}

TEST_F(Undo, ThatIsCancelledLeavesVmsWhereTheyAre) {
  auto id = w.drain("w1", R"(,"options":{"parallel_max":1})");
  ASSERT_TRUE(becomes(id, "done"));
  post(id, "undo");
  w.tick(2);
  EXPECT_EQ(post(id, "cancel").status, 200);
  ASSERT_TRUE(w.tick_until([&] { return w.control().owner().fleet().open_migrations().empty(); }));
  EXPECT_LT(at_home(), 3u);
  EXPECT_EQ(view(id).drain.end_reason, "its undo was cancelled by an operator");
  EXPECT_TRUE(w.all_run({"a", "b", "c"}));
}

TEST_F(Undo, ThatWasCancelledCanBeAskedForAgain) {
  auto id = w.drain("w1");
  ASSERT_TRUE(becomes(id, "done"));
  post(id, "undo");
  w.tick(1);
  post(id, "cancel");
  ASSERT_TRUE(w.tick_until([&] { return w.control().owner().fleet().open_migrations().empty(); }));
  EXPECT_EQ(post(id, "undo").status, 200);
  ASSERT_TRUE(becomes(id, "undone"));
  EXPECT_EQ(at_home(), 3u) << view(id).drain.end_reason;
}

TEST_F(Undo, EndsAlthoughAVmDoesNotComeUpAtHome) {
  auto id = w.drain("w1");
  ASSERT_TRUE(becomes(id, "done"));
  w.workers()["w1"].cannot_start.insert(VmId("b"));
  post(id, "undo");
  ASSERT_TRUE(becomes(id, "undone"));
  EXPECT_EQ(at_home(), 2u);
  ASSERT_TRUE(w.tick_until([&] { return w.worker_of("b") != "w1" && w.is_running("b"); }));
  EXPECT_LT(w.control().owner().fleet().migrations().size(), 20u) << "it does not go to and fro";
}

TEST_F(Undo, OfAForcedDrainIsNotForced) {
  auto id = w.drain("w1", R"(,"options":{"deadline_ms":0,"at_deadline":"force"})");
  ASSERT_TRUE(becomes(id, "done"));
  ASSERT_TRUE(view(id).drain.forced_at);
  post(id, "undo");
  std::set<std::uint32_t> graces;
  ASSERT_TRUE(w.tick_until([&] {
    for (auto name : {"w2", "w3"})
      for (const auto& wanted : w.workers()[name].wanted.vms)
        if (wanted.wanted == Wanted::sealed) graces.insert(wanted.stop_grace_ms);
    return view(id).status == "undone";
  }));
  EXPECT_EQ(graces, std::set{VmSpec().stop_grace_ms});
}

TEST_F(Undo, IsNoDrainThatSomebodyElseCouldHaveAskedFor) {
  auto id = w.drain("w1");
  ASSERT_TRUE(becomes(id, "done"));
  post(id, "undo");
  auto reply = w.ask("POST", "/v1/drains", R"({"workers":["w1"]})");
  EXPECT_EQ(reply.status, 409);
  EXPECT_TRUE(reply.body.contains(id + " is being undone")) << reply.body;
}

TEST_F(Undo, WaitsForWhomSomebodyElseIsMoving) {
  auto id = w.drain("w1");
  ASSERT_TRUE(becomes(id, "done"));
  const auto other = w.worker_of("b") == "w2" ? "w3" : "w2";
  w.workers()[other].trouble = "its clock is wrong";
  w.ask("POST", "/v1/vms/b:migrate", fmt::format(R"({{"target":"{}"}})", other));
  post(id, "undo");
  w.tick(60);
  EXPECT_EQ(view(id).status, "undoing");
  w.workers()[other].trouble.clear();
  ASSERT_TRUE(becomes(id, "undone"));
  EXPECT_TRUE(view(id).drain.end_reason.contains("b stays: it has gone on to")) << view(id).drain.end_reason;
}

TEST_F(Undo, MovesAreCountedOfEachVm) {
  auto id = w.drain("w1");
  ASSERT_TRUE(becomes(id, "done"));
  post(id, "undo");
  ASSERT_TRUE(becomes(id, "undone"));
  EXPECT_EQ(w.get<VmView>("/v1/vms/a").vm.drained_at->size(), 1u) << "coming back counts for nothing";
}

}  // namespace
}  // namespace ebb::control
