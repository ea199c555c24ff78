// `ebb drain` and its kin: plan, live view, plain lines, Ctrl-C, a control plane that restarts.
#include "fake_world.h"
#include "golden.h"
#include "sample_fleet.h"

namespace ebb {
namespace {

using fake::refuse;
using fake::reply;

// A control plane whose drain goes through `steps`, one every `step_time` after it was started.
struct DrainTest : testing::Test {
  fake::World world;
  DrainPlan plan = sample::plan();
  std::vector<DrainView> steps{sample::drain(), sample::ended_drain()};
  Duration step_time = 2s;
  std::optional<Instant> started_at;
  int created_status = 201;
  std::size_t starts = 0;
  CreateDrain last_wish;
  std::set<std::string> request_ids;
  int changes_of_the_fleet = 0;  // so many plans are stale when they are to be applied

  DrainTest() {
    world.http.handler = [this](const HttpRequest& request) { return answer(request); };
  }
  DrainView current() {
    auto passed = started_at ? world.loop.now() - *started_at : 0s;
    return steps[std::min<std::size_t>(static_cast<std::size_t>(passed / step_time), steps.size() - 1)];
  }
  HttpResponse answer(const HttpRequest& request) {
    if (request.method == "GET" && request.target == "/v1/drains/D-1") return reply(current());
    if (request.method != "POST" || request.target != "/v1/drains") return refuse(404, "not_found", "what?");
    auto create = json::read_text<CreateDrain>(request.body).value();
    last_wish = create;
    if (create.workers != std::vector{WorkerId("worker-1")} && !create.selector)
      return refuse(404, "not_found", "there is no worker '" + create.workers.at(0).value + "'");
    if (create.validate_only) return reply(plan);
    EXPECT_EQ(create.state_hash, plan.state_hash) << "what was shown is what is started";
    if (changes_of_the_fleet > 0) {
      plan.state_hash = fmt::format("h{}", --changes_of_the_fleet), plan.moves.pop_back();
      return reply(ErrorBody{"conflict", "the fleet has changed: holds of worker-3: 0, now 1", "state_hash"},
                   409);
    }
    ++starts;
    request_ids.insert(create.request_id.value_or(""));
    if (!started_at) started_at = world.loop.now();
    return reply(current(), created_status);
  }
  std::string& data() { return world.screen.data; }
  std::string& talk() { return world.screen.talk; }
};

TEST_F(DrainTest, PlanFitsIsExit0AndChangesNothing) {
  EXPECT_EQ(world.ebb({"drain", "worker-1", "--plan"}), 0);
  expect_golden("plan.txt", data());
  EXPECT_EQ(starts, 0u);
}

TEST_F(DrainTest, ABlockedPlanIsExit3WithBlockersAndRemedies) {
  plan.blockers = {sample::blocker()};
  EXPECT_EQ(world.ebb({"drain", "worker-1", "--plan"}), 3);
  expect_golden("plan_blocked.txt", data());
  EXPECT_EQ(world.ebb({"drain", "worker-1", "--plan", "--json"}), 3);
  EXPECT_EQ(json::read_text<DrainPlan>(data()), plan);
  EXPECT_EQ(starts, 0u);
}

TEST_F(DrainTest, OfAnUnknownWorkerIsExit4) {
  EXPECT_EQ(world.ebb({"drain", "worker-9"}), 4);
  EXPECT_EQ(talk(), "ebb: there is no worker 'worker-9'\n");
}

TEST_F(DrainTest, TakesManyWorkersByNameOrByLabels) {
  EXPECT_EQ(world.ebb({"drain", "--rack", "r1", "--selector", "gen=old", "--plan"}), 0);
  EXPECT_EQ(last_wish.selector, (Labels{{"rack", "r1"}, {"gen", "old"}}));
  EXPECT_TRUE(last_wish.workers.empty());
  EXPECT_EQ(world.ebb({"drain", "worker-1", "worker-2", "--zone", "b", "--plan"}), 0);
  EXPECT_EQ(last_wish.workers, (std::vector{WorkerId("worker-1"), WorkerId("worker-2")}));
  EXPECT_EQ(last_wish.selector, (Labels{{"zone", "b"}}));
  EXPECT_EQ(world.ebb({"drain"}), 2);
  EXPECT_TRUE(talk().contains("name a worker, or --rack, --zone or --selector")) << talk();
  EXPECT_EQ(world.ebb({"drain", "--rack", "r1", "--rack", "r2"}), 2) << "a worker is in one rack";
  EXPECT_EQ(world.ebb({"drain", "--selector", "r1"}), 2);
}

TEST_F(DrainTest, APlanOfManyTellsWhereEachMoveComesFrom) {
  plan.workers = {WorkerId("worker-1"), WorkerId("worker-4")}, plan.selector = Labels{{"rack", "r1"}};
  plan.moves[1].source = WorkerId("worker-4");
  EXPECT_EQ(world.ebb({"drain", "--rack", "r1", "--plan"}), 0);
  expect_golden("plan_of_many.txt", data());
}

TEST_F(DrainTest, InAPipeItPrintsPlanLinesAndSummary) {
  EXPECT_EQ(world.ebb({"drain", "worker-1", "--reason", "new kernel"}), 0);
  expect_golden("drain_in_a_pipe.txt", data());
  EXPECT_EQ(talk(), "");
}

TEST_F(DrainTest, WithJsonTheDataIsTheEndedDrainAndTheLinesAreTalk) {
  EXPECT_EQ(world.ebb({"drain", "worker-1", "--json"}), 0);
  auto view = json::read_text<DrainView>(data());
  ASSERT_TRUE(view) << view.error().message;
  EXPECT_EQ(view->status, "done");
  EXPECT_NE(talk().find("web-1  moving_lease"), std::string::npos);
}

TEST_F(DrainTest, OnATerminalItRedrawsFourTimesASecondAndEndsWithTheSummary) {
  world.screen.data_is_terminal = true;
  world.screen.screen_size = {80, 24};
  world.variables["NO_COLOR"] = "1";
  EXPECT_EQ(world.ebb({"drain", "worker-1"}), 0);
  std::size_t frames = 0;
  for (auto at = data().find("drain D-1  worker-1"); at != std::string::npos;
       at = data().find("drain D-1  worker-1", at + 1))
    ++frames;
  EXPECT_GE(frames, 8u);
  EXPECT_LE(frames, 10u);
  EXPECT_EQ(data().find("\x1b[3"), std::string::npos)
      << "NO_COLOR: the cursor moves, but nothing is coloured";
  EXPECT_NE(data().find("\x1b[J"), std::string::npos);
  EXPECT_TRUE(data().ends_with("1.4 s at most\n"));
}

TEST_F(DrainTest, ADumbTerminalGetsPlainLines) {
  world.screen.data_is_terminal = true;
  world.variables["TERM"] = "dumb";
  EXPECT_EQ(world.ebb({"drain", "worker-1"}), 0);
  EXPECT_EQ(data().find('\x1b'), std::string::npos);
}

TEST_F(DrainTest, ACancelledOrFailedDrainIsExit1) {
  steps.back().drain.state = DrainState::cancelled;
  steps.back().status = "cancelled";
  EXPECT_EQ(world.ebb({"drain", "worker-1"}), 1);
  EXPECT_NE(data().find("drain D-1 of worker-1 cancelled"), std::string::npos);
}

TEST_F(DrainTest, ABlockedDrainIsWatchedOnAndSaysWhy) {
  steps = {sample::blocked_drain(), sample::drain(), sample::ended_drain()};
  EXPECT_EQ(world.ebb({"drain", "worker-1"}), 0);
  EXPECT_NE(data().find("blocked: vms/big: no worker fits"), std::string::npos);
}

TEST_F(DrainTest, FailBlockedEndsWithExit3AndLeavesTheDrain) {
  steps = {sample::blocked_drain()};
  EXPECT_EQ(world.ebb({"drain", "worker-1", "--fail-blocked"}), 3);
  EXPECT_NE(talk().find("drain D-1 is blocked and stays"), std::string::npos);
}

TEST_F(DrainTest, DetachPrintsTheIdAndEndsAtOnce) {
  EXPECT_EQ(world.ebb({"drain", "worker-1", "--detach"}), 0);
  EXPECT_TRUE(data().ends_with("\nD-1\n"));
  EXPECT_LT(world.loop.now().time_since_epoch(), 1s);
}

TEST_F(DrainTest, ASecondDrainOfTheSameWorkerFollowsTheFirst) {
  created_status = 200;
  EXPECT_EQ(world.ebb({"drain", "worker-1"}), 0);
  EXPECT_EQ(talk(), "worker-1 is being drained already: this is drain D-1\n");
}

TEST_F(DrainTest, CtrlCLeavesTheDrainOnTheServerAndSaysSo) {
  step_time = 1h;
  EXPECT_EQ(world.ebb({"drain", "worker-1"}, 3s), 130);
  EXPECT_EQ(talk(),
            "drain D-1 goes on; 'ebb drains show D-1 --watch' follows it, 'ebb cancel D-1' stops it\n");
  for (const auto& request : world.http.seen) EXPECT_EQ(request.target.find(":cancel"), std::string::npos);
}

TEST_F(DrainTest, CtrlCWhileTheDrainIsBeingAskedForSaysHowToFindOut) {
  EXPECT_EQ(world.ebb({"drain", "worker-1"}, 1500us), 130);
  EXPECT_NE(talk().find("'ebb drains' tells whether the drain of worker-1 has begun"), std::string::npos);
}

TEST_F(DrainTest, ARestartOfTheControlPlaneIsWaitedForAndTheDrainFollowedToItsEnd) {
  step_time = 60s;
  world.loop.call_at(world.loop.now() + 5s, [&] { world.http.reachable = false; });
  world.loop.call_at(world.loop.now() + 50s, [&] { world.http.reachable = true; });
  EXPECT_EQ(world.ebb({"drain", "worker-1"}), 0);
  EXPECT_EQ(std::count(talk().begin(), talk().end(), '\n'), 1) << talk();
  EXPECT_NE(talk().find("drain D-1 is kept by its records, trying on"), std::string::npos);
}

TEST_F(DrainTest, AnAnswerLostWhileStartingIsAskedForAgainUnderTheSameRequestId) {
  auto usual = world.http.handler;
  world.http.handler = [&, usual](const HttpRequest& request) {
    auto reply_lost = starts == 0 && request.body.find(R"("validate_only":false)") != std::string::npos;
    auto answered = usual(request);
    return reply_lost ? refuse(503, "unavailable", "restarting") : answered;
  };
  EXPECT_EQ(world.ebb({"drain", "worker-1"}), 0);
  EXPECT_EQ(starts, 2u);
  EXPECT_EQ(request_ids.size(), 1u);
}

TEST_F(DrainTest, APlanThatBecameStaleIsMadeAndShownAnew) {
  changes_of_the_fleet = 1;
  EXPECT_EQ(world.ebb({"drain", "worker-1"}), 0);
  EXPECT_EQ(starts, 1u);
  EXPECT_EQ(talk(), "ebb: the fleet has changed: holds of worker-3: 0, now 1; planning again\n");
  auto first = data().find("plan: "), second = data().find("plan: ", first + 1);
  EXPECT_NE(second, std::string::npos) << data();
}

TEST_F(DrainTest, AFleetThatChangesFasterThanItIsPlannedIsExit6AndNothingIsStarted) {
  changes_of_the_fleet = 100, plan.moves.resize(200);
  EXPECT_EQ(world.ebb({"drain", "worker-1", "--detach"}), 6);
  EXPECT_EQ(starts, 0u);
}

TEST_F(DrainTest, AControlPlaneThatStaysAwayIsExit5AfterAWhile) {
  step_time = 1h;
  world.loop.call_at(world.loop.now() + 5s, [&] { world.http.reachable = false; });
  EXPECT_EQ(world.ebb({"drain", "worker-1"}), 5);
  EXPECT_GE(world.loop.now().time_since_epoch(), patience);
  EXPECT_LT(world.loop.now().time_since_epoch(), patience + 1min);
}

TEST_F(DrainTest, ShowIsAPageAndWatchFollows) {
  started_at = world.loop.now();
  EXPECT_EQ(world.ebb({"drains", "show", "D-1"}), 0);
  EXPECT_TRUE(data().starts_with("drain D-1  worker-1  running  1 of 3 moved"));
  EXPECT_EQ(world.ebb({"drains", "show", "D-1", "--watch"}), 0);
  EXPECT_NE(data().find("drain D-1 of worker-1 done"), std::string::npos);
  EXPECT_EQ(world.ebb({"drains", "show", "D-2"}), 4);
}

}  // namespace
}  // namespace ebb
