#include "drain/pacing.h"

#include <gtest/gtest.h>

#include "drain/testing/world.h"

namespace ebb::drain {
namespace {

constexpr WallMs now = 1'000'000;

struct Pacing {
  std::set<MigrationId> may_begin;
  std::map<MigrationId, Reason> waits;
};

struct World : testing::World {
  PaceLimits limits;

  Pacing pace(WallMs at = now) const {
    return {may_begin(fleet, seen, limits, at), waits(fleet, seen, limits, at)};
  }
  // A VM that runs on `worker`, as that has said.
  Vm& running(const char* id, const char* worker, Labels labels = {}, const char* tenant = nullptr) {
    static Vm v;
    v = Vm{};
    v.id = VmId(id), v.worker = WorkerId(worker), v.epoch = 1, v.spec.labels = std::move(labels);
    if (tenant) v.spec.tenant = tenant;
    fleet.put(v);
    says(id, worker, VmSeen::running);
    return v;
  }
  void says(const char* id, const char* worker, VmSeen state) {
    auto& said = seen.workers[WorkerId(worker)].vms[VmId(id)];
    said.vm = VmId(id), said.epoch = 1, said.state = state;
  }
  void budget(std::optional<std::uint32_t> away_max, std::optional<std::uint32_t> present_min = {},
              std::uint32_t healthy_ms = 0) {
    fleet.put(Budget{BudgetId("web"), {{"app", "web"}}, away_max, present_min, healthy_ms, 0});
  }
  // Of v1 to vN, all with the budget's label, on a; each shall move to b or c.
  void web(int count, Phase phase = Phase::reserving) {
    for (int i = 1; i <= count; ++i) {
      auto id = fmt::format("v{}", i);
      running(id.c_str(), "a", {{"app", "web"}});
      migration(fmt::format("mig-{}", i).c_str(), id.c_str(), i % 2 ? "b" : "c", phase);
    }
    drain.options.parallel_max = 100, drain.options.per_target_max = 100;
    fleet.put(drain);
  }
  std::string why(const char* migration) const { return pace().waits.at(MigrationId(migration)).text; }
  BudgetView view() const { return view_of(fleet, seen, fleet.budgets().begin()->second, now); }
};

TEST(MayBegin, CountsMovesOverAllDrainsTogether) {
  World w;
  for (auto id : {"v1", "v2", "v3", "v4"}) w.vm(id, "a");
  w.migration("mig-1", "v1", "b", Phase::starting);
  w.migration("mig-2", "v2", "c", Phase::reserving);
  w.migration("mig-3", "v3", "c", Phase::reserving);
  w.migration("mig-10", "v4", "c", Phase::reserving, false);
  EXPECT_EQ(w.pace().may_begin, std::set{MigrationId("mig-2")})
      << "two at a time from one worker, whoever asked";
}

TEST(MayBegin, KeepsTheLimitOfEachTarget) {
  World w;
  w.drain.options.parallel_max = 9, w.drain.options.per_target_max = 1;
  w.fleet.put(w.drain);
  for (auto id : {"v1", "v2", "v3"}) w.vm(id, "a");
  w.migration("mig-1", "v1", "b", Phase::reserving);
  w.migration("mig-2", "v2", "b", Phase::reserving);
  w.migration("mig-3", "v3", "c", Phase::reserving);
  EXPECT_EQ(w.pace().may_begin, (std::set{MigrationId("mig-1"), MigrationId("mig-3")}));
}

TEST(MayBegin, NothingBeforeEverythingIsReserved) {
  World w;
  w.drain.state = DrainState::reserving;
  w.fleet.put(w.drain);
  w.vm("v1", "a");
  w.migration("mig-1", "v1", "b", Phase::reserving);
  EXPECT_TRUE(w.pace().may_begin.empty());
}

TEST(MayBegin, NothingOfADrainThatIsPaused) {
  World w;
  w.web(1);
  EXPECT_EQ(w.pace().may_begin.size(), 1u);
  w.drain.state = DrainState::paused;
  w.fleet.put(w.drain);
  EXPECT_TRUE(w.pace().may_begin.empty());
  EXPECT_EQ(w.pace().waits.at(MigrationId("mig-1")).who, "operator: ebb resume drain-1");
  w.migration("mig-2", "v1", "b", Phase::reserving, false);
  EXPECT_EQ(w.pace().may_begin, std::set{MigrationId("mig-2")}) << "an operator's own move goes on";
  w.running("v2", "b");
  auto homeless = w.migration("mig-3", "v2", "c", Phase::reserving);
  homeless.source = WorkerId("b");
  w.fleet.put(homeless);
  EXPECT_EQ(w.pace().may_begin.size(), 1u) << "one that makes room for others waits, too";
  w.says("v2", "b", VmSeen::failed);
  EXPECT_EQ(w.pace().may_begin.size(), 2u) << "but one that has left, and comes up nowhere yet, goes on";
}

TEST(Budgets, HoldOverAllMovesTogetherAndTellWhoIsAway) {
  World w;
  w.budget(2);
  w.web(3);
  w.running("other", "a");
  w.migration("mig-9", "other", "b", Phase::reserving);
  w.migration("mig-1", "v1", "b", Phase::starting, false);  // by an operator
  EXPECT_EQ(w.pace().may_begin, (std::set{MigrationId("mig-2"), MigrationId("mig-9")}));
  EXPECT_EQ(w.why("mig-3"), "v3: budget web lets 2 of 3 VMs be away, and v1, v2 are");
  EXPECT_EQ(w.pace().waits.at(MigrationId("mig-3")).who, "nobody: it goes on by itself");
  EXPECT_EQ(w.view().away, 1u);
  EXPECT_EQ(w.view().allowed, 1u);
}

TEST(Budgets, CountWhoeverDoesNotRunAndLetThoseGo) {
  World w;
  w.budget(1);
  w.web(3);
  w.says("v2", "a", VmSeen::failed);
  EXPECT_EQ(w.pace().may_begin, std::set{MigrationId("mig-2")}) << "it is down: moving it harms nobody";
  EXPECT_EQ(w.why("mig-1"), "v1: budget web lets 1 of 3 VMs be away, and v2 is");
  EXPECT_EQ(w.pace().waits.at(MigrationId("mig-1")).who, "operator: ebb why v2")
      << "it does not end by itself";
}

TEST(Budgets, OfAWorkerThatIsSilentHoldUntilItIsDeclaredDead) {
  World w;
  w.budget(1);
  w.web(3);
  w.seen.workers[WorkerId("a")].liveness = Liveness::silent, w.seen.has_listened = true;
  EXPECT_TRUE(w.pace().may_begin.empty()) << "they may run, and be back in a moment";
  EXPECT_EQ(w.pace().waits.at(MigrationId("mig-1")).who, "operator: ebb why v3");
  EXPECT_EQ(w.view().away, 3u);
  EXPECT_EQ(w.view().allowed, 0u);
  for (int i = 1; i <= 3; ++i) {
    auto m = w.fleet.migrations().at(MigrationId(fmt::format("mig-{}", i)));
    m.source_dead = true;
    w.fleet.put(m);
  }
  EXPECT_EQ(w.pace().may_begin.size(), 3u);
  w.seen.workers[WorkerId("a")].liveness = Liveness::ready;
  EXPECT_EQ(w.pace().may_begin.size(), 1u) << "it is back before it was emptied, and runs them";
}

TEST(Budgets, AreNotForgottenWhileAnAgentStarts) {
  World w;
  w.budget(1);
  w.web(3);
  for (auto id : {"v1", "v2", "v3"}) w.says(id, "a", VmSeen::starting);
  EXPECT_TRUE(w.pace().may_begin.empty()) << "its machines run on";
  w.seen.workers[WorkerId("a")].vms.clear();
  EXPECT_TRUE(w.pace().may_begin.empty());
}

TEST(Budgets, OfAControlPlaneThatHasJustStartedTakeNobodyForDown) {
  World w;
  w.budget(1);
  w.web(3);
  w.seen.workers.clear();
  EXPECT_EQ(w.pace().may_begin, std::set{MigrationId("mig-1")});
}

TEST(Budgets, KeepSoManyPresent) {
  World w;
  w.budget({}, 2);
  w.web(3);
  EXPECT_EQ(w.pace().may_begin.size(), 1u);
  w.budget(3, 1);
  EXPECT_EQ(w.pace().may_begin.size(), 2u) << "both rules hold";
  w.budget(1, 1);
  EXPECT_EQ(w.pace().may_begin.size(), 1u);
}

TEST(Budgets, CountAVmAsAwayUntilItHasRunForLongEnough) {
  World w;
  w.budget(1, {}, 30'000);
  w.web(2);
  auto moved = w.migration("mig-1", "v1", "b", Phase::done);
  moved.history = {
      {Phase::preparing, now - 60'000}, {Phase::releasing, now - 29'000}, {Phase::done, now - 28'000}};
  w.fleet.put(moved);
  w.running("v1", "b", {{"app", "web"}});
  EXPECT_TRUE(w.pace().may_begin.empty());
  moved.history[1].entered_at = now - 30'000;
  w.fleet.put(moved);
  EXPECT_EQ(w.pace().may_begin, std::set{MigrationId("mig-2")});
}

TEST(Budgets, ThatLetNobodyGoAreSaidToBeSo) {
  World w;
  w.budget(0);
  w.web(2);
  EXPECT_EQ(w.why("mig-1"), "v1: budget web lets no VM be away, ever");
  EXPECT_EQ(w.pace().waits.at(MigrationId("mig-1")).who, "operator: change it with ebb budgets set web");
  EXPECT_EQ(w.view().impossible, "budget web lets no VM be away, ever");
  w.budget({}, 2);
  EXPECT_EQ(w.view().impossible, "budget web wants 2 present, and it is about 2: none may ever leave");
  w.budget({}, 1);
  EXPECT_EQ(w.view().impossible, "");
}

TEST(Budgets, FollowTheLabelsOfVms) {
  World w;
  w.web(2);
  w.budget(1);  // made after the VMs
  EXPECT_EQ(w.view().vms, 2u);
  w.running("v2", "a", {{"app", "db"}});
  EXPECT_EQ(w.view().vms, 1u);
  w.running("v3", "b", {{"app", "web"}});
  EXPECT_EQ(w.view().vms, 2u);
  auto stopped = w.running("v3", "b", {{"app", "web"}});
  stopped.desired = VmDesired::stopped;
  w.fleet.put(stopped);
  EXPECT_EQ(w.view().vms, 1u) << "what shall not run is missed by nobody";
  w.fleet.erase({"vm", "v1"});
  EXPECT_EQ(w.view().vms, 0u);
}

TEST(Tenants, MoveAFewOfTheirVmsAtATime) {
  World w;
  w.web(3);
  for (auto id : {"v1", "v2", "v3"}) w.running(id, "a", {}, "acme");
  EXPECT_EQ(w.pace().may_begin, std::set{MigrationId("mig-1")});
  EXPECT_EQ(w.why("mig-2"), "v2: tenant acme may have no more moves at once: v1 is under way");
  for (int i = 0; i < 197; ++i) w.running(fmt::format("more-{}", i).c_str(), "b", {}, "acme");
  EXPECT_EQ(w.pace().may_begin.size(), 2u) << "one of a hundred";
  w.limits.tenant_moves_min = 3;
  EXPECT_EQ(w.pace().may_begin.size(), 3u);
}

TEST(Racks, TakeAndGiveSoManyAtATime) {
  World w;
  w.web(4);
  for (auto [name, rack] : {std::pair("a", "r1"), {"b", "r2"}, {"c", "r2"}}) {
    auto worker = w.fleet.workers().at(WorkerId(name));
    worker.labels["rack"] = rack;
    w.fleet.put(worker);
  }
  EXPECT_EQ(w.pace().may_begin.size(), 4u);
  w.limits.label_moves_max = {{"rack", 3}};
  EXPECT_EQ(w.pace().may_begin.size(), 3u);
  EXPECT_EQ(w.why("mig-4"), "v4: as many moves leave rack r1 as may at once");
  w.running("v9", "b");
  auto other = w.migration("mig-9", "v9", "c", Phase::starting, false);
  other.source = WorkerId("b");
  w.fleet.put(other);
  w.limits.label_moves_max = {{"rack", 1}};
  EXPECT_EQ(w.why("mig-1"), "v1: as many moves enter rack r2 as may at once");
}

TEST(Again, AVmIsMovedSoOftenInThirtyDays) {
  World w;
  constexpr WallMs day = 24 * 3'600'000, later = 100 * day;
  w.running("v1", "a");
  auto vm = w.fleet.vms().at(VmId("v1"));
  vm.drained_at = {later - 31 * day, later - 29 * day, later - day};
  w.fleet.put(vm);
  w.migration("mig-1", "v1", "b", Phase::reserving);
  const auto why = [&] {
    const auto pacing = w.pace(later);
    return pacing.waits.contains(MigrationId("mig-1")) ? pacing.waits.at(MigrationId("mig-1")).text : "";
  };
  EXPECT_EQ(why(), "") << "unless somebody sets a limit, any number";
  w.limits.vm_moves_max = 3;
  EXPECT_EQ(why(), "") << "the first of the three is forgotten";
  w.limits.vm_moves_max = 2;
  EXPECT_TRUE(why().starts_with(
      "v1: drains have moved it 2 times in 30 days, and may 2 times: again after 1970-04-12"))
      << why();
  w.says("v1", "a", VmSeen::failed);
  EXPECT_EQ(why(), "") << "it is down";
  w.says("v1", "a", VmSeen::running);
  w.drain.forced_at = later;
  w.fleet.put(w.drain);
  EXPECT_EQ(why(), "");
}

TEST(Forced, GoesBeyondBudgetsAndTenantsButNotBeyondWhatWorkersBear) {
  World w;
  w.budget(1);
  w.web(4);
  EXPECT_EQ(w.pace().may_begin.size(), 1u);
  w.drain.forced_at = now;
  w.fleet.put(w.drain);
  EXPECT_EQ(w.pace().may_begin.size(), 4u);
  w.drain.options.parallel_max = 3;
  w.fleet.put(w.drain);
  EXPECT_EQ(w.pace().may_begin.size(), 3u);
}

}  // namespace
}  // namespace ebb::drain
