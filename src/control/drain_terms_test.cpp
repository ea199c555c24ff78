// What operators ask of a drain beyond its workers: when it begins, by when it ends, whom it waits for, and who may be taken for dead.
#include "control/testing/fleet3.h"

namespace ebb::control {
namespace {

struct Terms : ::testing::Test {
  Fleet3 w;

  std::string start(const std::string& more, int status = 201) {
    auto reply = w.ask("POST", "/v1/drains", fmt::format(R"({{"workers":["w1"]{}}})", more));
    EXPECT_EQ(reply.status, status) << reply.body;
    if (status >= 400) return json::read_text<ErrorBody>(reply.body)->message;
    return json::read_text<DrainView>(reply.body)->drain.id.value;
  }
  void only_on_w1(std::initializer_list<const char*> vms, std::optional<Restart> restart = {}) {
    for (auto name : {"w2", "w3"})
      w.ask("POST", fmt::format("/v1/workers/{}:cordon", name), R"({"reason":"x"})");
    for (auto name : vms) {
      CreateVm wish;
      wish.id = VmId(name), wish.spec.image = ImageId("guest"), wish.spec.restart = restart;
      wish.spec.labels = {{"app", "web"}};
      ASSERT_EQ(w.ask("POST", "/v1/vms", json::write_text(wish)).status, 201);
    }
    ASSERT_TRUE(w.all_run(vms));
    for (auto name : {"w2", "w3"}) w.ask("POST", fmt::format("/v1/workers/{}:uncordon", name));
  }
  DrainView view(const std::string& id) { return w.drain_view(id); }
  bool becomes(const std::string& id, const std::string& status) {
    return w.tick_until([&] { return view(id).status == status; });
  }
  std::string reasons(const std::string& id) {
    std::string text;
    for (const auto& reason : view(id).waiting_for) text += reason.text + " | " + reason.who + "\n";
    return text;
  }
  std::vector<std::string> holders(const char* worker) {
    std::vector<std::string> owners;
    for (const auto& hold : w.get<WorkerView>(fmt::format("/v1/workers/{}", worker)).holds)
      owners.push_back(hold.owner);
    return owners;
  }
  bool is_said(const std::string& id, std::string_view text) { return reasons(id).contains(text); }
};

TEST_F(Terms, ADrainThatBeginsLaterHoldsFromTheHorizonOnAndMovesAtItsTime) {
  only_on_w1({"a"});
  auto late = start(R"(,"begins_in_ms":172800000)");  // in two days, which is beyond the horizon
  EXPECT_EQ(view(late).status, "scheduled");
  w.tick(20);
  EXPECT_TRUE(holders("w1").empty());
  EXPECT_EQ(w.ask("POST", "/v1/drains/" + late + ":cancel").status, 200);
  auto soon = start(R"(,"begins_in_ms":20000,"reason":"disks")");
  w.tick(20);
  EXPECT_EQ(holders("w1"), std::vector{"drain:" + soon});
  EXPECT_TRUE(w.get<WorkerView>("/v1/workers/w1").holds[0].reason.starts_with("due at "));
  w.restart();
  w.tick(20);
  EXPECT_EQ(w.worker_of("a"), "w1") << "its time has not come";
  EXPECT_TRUE(is_said(soon, "it begins at "));
  ASSERT_TRUE(w.tick_until([&] { return view(soon).status == "done"; }, 800));
  EXPECT_NE(w.worker_of("a"), "w1");
}

TEST_F(Terms, NothingGoesToAWorkerThatIsDueToDrainAndTheRefusalSaysSo) {
  only_on_w1({"a"});
  w.ask("POST", "/v1/drains", R"({"workers":["w2"],"begins_in_ms":3600000})");
  w.ask("POST", "/v1/workers/w3:cordon", R"({"reason":"fans"})");
  w.tick(20);
  auto plan = json::read_text<DrainPlan>(
      w.ask("POST", "/v1/drains", R"({"workers":["w1"],"validate_only":true})").body);
  ASSERT_TRUE(plan);
  ASSERT_EQ(plan->blockers.size(), 1u);
  EXPECT_TRUE(plan->blockers[0].reason.contains("w2: held by drain:")) << plan->blockers[0].reason;
  EXPECT_TRUE(plan->blockers[0].reason.contains("(due at ")) << plan->blockers[0].reason;
}

TEST_F(Terms, AnUrgentDrainGoesBeforeOneThatIsDueAndTheWorkerStaysHeldForThat) {
  only_on_w1({"a"});
  auto due = start(R"(,"begins_in_ms":15000)");
  w.tick(20);
  auto urgent = start("");
  ASSERT_TRUE(becomes(urgent, "done"));
  EXPECT_EQ(w.ask("POST", "/v1/workers/w1:return").status, 200);
  EXPECT_EQ(holders("w1"), std::vector{"drain:" + due}) << "that is to come";
  EXPECT_TRUE(w.tick_until([&] { return view(due).status == "done"; }, 600));
}

TEST_F(Terms, ADrainThatIsDueWaitsForTheOneThatHasTheWorker) {
  w.workers()["w1"].exports = 1;  // so that it does not end
  auto first = start("");
  auto due = start(R"(,"begins_in_ms":1000)");
  w.tick(60);
  EXPECT_EQ(view(due).status, "scheduled");
  EXPECT_TRUE(is_said(due, "w1 is in " + first + ": it does not begin before that has ended"));
  w.workers()["w1"].exports = 0;
  EXPECT_TRUE(becomes(first, "done"));
  EXPECT_TRUE(becomes(due, "done"));
}

TEST_F(Terms, ADeadlineCountsFromWhenItHasBegun) {
  only_on_w1({"a"});
  w.workers()["w1"].exports = 1;
  auto first = start("");
  auto due = start(R"(,"begins_in_ms":500,"options":{"deadline_ms":4000,"at_deadline":"force"})");
  w.tick(150);  // 7.5 s
  w.workers()["w1"].exports = 0;
  ASSERT_TRUE(becomes(first, "done"));
  ASSERT_TRUE(w.tick_until([&] { return view(due).status != "scheduled"; }));
  w.tick(2);
  EXPECT_FALSE(view(due).drain.forced_at);
}

TEST_F(Terms, ADrainThatIsCalledOffLeavesTheHoldOfOneThatIsDone) {
  auto first = start("");
  ASSERT_TRUE(becomes(first, "done"));
  auto due = start(R"(,"begins_in_ms":3600000)");
  w.tick(20);
  EXPECT_EQ(holders("w1").size(), 2u);
  w.ask("POST", "/v1/drains/" + due + ":cancel");
  w.tick(20);
  EXPECT_EQ(holders("w1"), std::vector{"drain:" + first}) << "nobody has verified it";
}

TEST_F(Terms, AfterItsDeadlineADrainIsForcedIfThatWasAskedFor) {
  w.ask("POST", "/v1/budgets", R"({"id":"web","selector":{"app":"web"},"away_max":0})");
  only_on_w1({"a", "b"});
  auto patient = start(R"(,"options":{"partial":true,"deadline_ms":1000})");
  w.tick(60);
  EXPECT_TRUE(is_said(patient, "its deadline has passed: it goes on as before"));
  EXPECT_EQ(w.worker_of("a"), "w1");
  EXPECT_EQ(w.ask("POST", "/v1/drains/" + patient + ":cancel").status, 200);
  auto forced = start(R"(,"options":{"deadline_ms":3000,"at_deadline":"force"})");
  w.tick(20);
  EXPECT_EQ(view(forced).status, "blocked");
  ASSERT_TRUE(becomes(forced, "done"));
  EXPECT_TRUE(view(forced).drain.forced_at);
}

TEST_F(Terms, AForcedDrainGivesItsGuestsNoTimeToStopIn) {
  only_on_w1({"a"});
  const auto id = start(R"(,"options":{"deadline_ms":0,"at_deadline":"force"})");
  std::optional<std::uint32_t> grace;
  ASSERT_TRUE(w.tick_until([&] {
    for (const auto& wanted : w.workers()["w1"].wanted.vms)
      if (wanted.wanted == Wanted::sealed) grace = wanted.stop_grace_ms;
    return view(id).status == "done";
  }));
  EXPECT_EQ(grace, 0u);
}

TEST_F(Terms, VmsThatEndByThemselvesAreWaitedForAndNamed) {
  only_on_w1({"job"}, Restart::never);
  auto plan = json::read_text<DrainPlan>(
      w.ask("POST", "/v1/drains", R"({"workers":["w1"],"validate_only":true})").body);
  ASSERT_TRUE(plan);
  EXPECT_TRUE(plan->moves.empty() && plan->blockers.empty());
  EXPECT_EQ(plan->finishing, (std::vector<PlanFinish>{{VmId("job"), WorkerId("w1")}}));
  auto id = start("");
  w.tick(60);
  EXPECT_EQ(w.worker_of("job"), "w1");
  EXPECT_TRUE(is_said(id, "job is left to end by itself on w1")) << reasons(id);
  EXPECT_TRUE(is_said(id, "operator: ebb stop job"));
  EXPECT_FALSE(view(id).eta_ms) << "nobody knows";
  w.workers()["w1"].ended[VmId("job")] = w.get<VmView>("/v1/vms/job").vm.epoch;
  EXPECT_TRUE(becomes(id, "done"));
  EXPECT_TRUE(view(id).migrations.empty());
}

TEST_F(Terms, VmsThatDoNotEndInTimeAreMovedWhenTheDrainIsForced) {
  only_on_w1({"job"}, Restart::never);
  auto id = start(R"(,"options":{"deadline_ms":3000,"at_deadline":"force"})");
  w.tick(20);
  EXPECT_TRUE(is_said(id, ", until "));
  EXPECT_EQ(w.worker_of("job"), "w1");
  EXPECT_TRUE(becomes(id, "done"));
  EXPECT_NE(w.worker_of("job"), "w1");
}

TEST_F(Terms, WhoDoesNotWantToWaitMovesThemLikeOthers) {
  only_on_w1({"job"}, Restart::never);
  EXPECT_TRUE(becomes(start(R"(,"options":{"finish":false})"), "done"));
  EXPECT_NE(w.worker_of("job"), "w1");
}

TEST_F(Terms, ThatContradictThemselvesAreRefused) {
  EXPECT_TRUE(start(R"(,"options":{"at_deadline":"force"})", 400).contains("needs one"));
  EXPECT_TRUE(start(R"(,"options":{"deadline_ms":99999999999999})", 400).contains("a year"));
  EXPECT_TRUE(start(R"(,"options":{"many_dead":true})", 400).contains("declared dead"));
  EXPECT_TRUE(start(R"(,"begins_in_ms":99999999999999)", 400).contains("a year"));
  EXPECT_TRUE(holders("w1").empty());
}

// Most of the cell falls silent at once.
struct Brake : Terms {
  void silence(std::initializer_list<const char*> workers) {
    for (auto name : workers)
      w.workers()[name].answers = false, w.workers()[name].vms.clear();  // nothing runs there
    ASSERT_TRUE(w.tick_until(
        [&] {
          return w.get<WorkerView>(fmt::format("/v1/workers/{}", *workers.begin())).liveness ==
                 Liveness::silent;
        },
        400));
    ASSERT_TRUE(w.tick_until([&] { return w.control().owner().seen().has_listened; }, 600));
  }
};

TEST_F(Brake, NothingIsTakenFromADeadWorkerWhileManyAreSilent) {
  only_on_w1({"a"});
  w.ask("POST", "/v1/workers/w1:cordon", R"({"reason":"x"})"),
      w.ask("POST", "/v1/workers/w3:cordon", R"({"reason":"x"})");
  w.create_vm("b");
  ASSERT_TRUE(w.all_run({"b"}));
  for (auto name : {"w1", "w3"}) w.ask("POST", fmt::format("/v1/workers/{}:uncordon", name));
  silence({"w1", "w2"});
  auto plan = json::read_text<DrainPlan>(
      w.ask("POST", "/v1/drains", R"({"workers":["w1"],"validate_only":true,"options":{"source_dead":true}})")
          .body);
  ASSERT_TRUE(plan);
  ASSERT_EQ(plan->blockers.size(), 1u);
  EXPECT_EQ(
      plan->blockers[0].reason,
      "2 of 3 workers of the cell do not answer, and at most 1 may look dead at once: it may be the network");
  auto id = start(R"(,"options":{"source_dead":true,"partial":true})");
  w.tick(100);
  EXPECT_EQ(w.worker_of("a"), "w1");
  EXPECT_TRUE(is_said(id,
                      "it may be the network | operator: bring them back; or, if they are dead indeed, "
                      "ebb drain w1 --dead --many-dead"))
      << reasons(id);
  start(R"(,"options":{"source_dead":true,"partial":true,"many_dead":true})", 200);
  EXPECT_TRUE(w.tick_until([&] { return w.worker_of("a") == "w3" && w.is_running("a"); }));
}

TEST_F(Brake, HoldsAlsoWhatIsOnItsWayWhenOthersFallSilent) {
  only_on_w1({"a"});
  for (auto name : {"w1", "w3"})
    w.ask("POST", fmt::format("/v1/workers/{}:cordon", name), R"({"reason":"x"})");
  w.create_vm("b");
  ASSERT_TRUE(w.all_run({"b"}));
  for (auto name : {"w1", "w3"}) w.ask("POST", fmt::format("/v1/workers/{}:uncordon", name));
  silence({"w1"});
  w.workers()["w3"].trouble = "its clock is wrong";  // it prepares nothing
  w.ask("POST", "/v1/workers/w2:cordon", R"({"reason":"x"})");
  start(R"(,"options":{"source_dead":true})");
  const auto phase = [&] { return w.control().owner().fleet().migrations().begin()->second.phase; };
  ASSERT_TRUE(w.tick_until(
      [&] { return !w.control().owner().fleet().migrations().empty() && phase() == Phase::preparing; }));
  silence({"w2"});
  w.workers()["w3"].trouble.clear();
  w.tick(60);
  EXPECT_EQ(phase(), Phase::freezing) << "prepared, and no further";
  w.workers()["w2"].answers = true;
  EXPECT_TRUE(w.tick_until([&] { return w.worker_of("a") == "w3" && w.is_running("a"); }));
}

TEST_F(Brake, IsThereFromTheFirstMomentOfTheNextControlPlane) {
  only_on_w1({"a"});
  silence({"w1"});
  for (auto name : {"w2", "w3"})
    w.ask("POST", fmt::format("/v1/workers/{}:cordon", name), R"({"reason":"x"})");
  auto id = start(R"(,"options":{"source_dead":true,"partial":true})");
  w.tick(5);
  w.restart();
  for (auto name : {"w2", "w3"}) w.ask("POST", fmt::format("/v1/workers/{}:uncordon", name));
  w.tick(60);  // 3 s: nobody can tell yet who is silent
  EXPECT_EQ(w.worker_of("a"), "w1");
  EXPECT_TRUE(w.tick_until([&] { return w.worker_of("a") != "w1"; }, 1000)) << reasons(id);
}

TEST_F(Brake, GoesWhenTheOthersAreBackAndDoesNotMindOneDeadWorker) {
  only_on_w1({"a"});
  silence({"w1", "w2"});
  auto id = start(R"(,"options":{"source_dead":true})");
  EXPECT_TRUE(w.tick_until([&] { return w.worker_of("a") == "w3" && w.is_running("a"); }))
      << "w2 has nothing, so its silence tells nothing";
  EXPECT_TRUE(becomes(id, "done"));
}

}  // namespace
}  // namespace ebb::control
