#include <gtest/gtest.h>

#include "drain/drain_planner.h"

namespace ebb::drain {
namespace {

struct World {
  Fleet fleet;
  Seen seen;
  Drain drain;

  World() {
    for (auto name : {"a", "b", "c"}) {
      Worker w;
      w.id = WorkerId(name), w.capacity = {8000, 8ull << 30};
      fleet.put(w);
      auto& at = seen.workers[w.id];
      at.heard = true, at.liveness = Liveness::ready;
      at.wanted_revision = at.report.wanted_revision = 1;
      at.report.disk_daemon_up = true;
    }
    drain.id = DrainId("drain-1"), drain.worker = WorkerId("a"), drain.state = DrainState::running;
    fleet.put(drain);
  }
  void vm(const char* id, const char* worker, bool disk = true) {
    Vm v;
    v.id = VmId(id), v.worker = WorkerId(worker), v.epoch = 1;
    if (disk) v.disk = DiskId(fmt::format("d-{}", id));
    fleet.put(v);
  }
  Migration& migration(const char* id, const char* vm, const char* to, Phase phase, bool by_drain = true) {
    static Migration m;
    m = Migration{};
    m.id = MigrationId(id), m.vm = VmId(vm), m.source = WorkerId("a"), m.target = WorkerId(to),
    m.phase = phase;
    if (by_drain) m.drain = drain.id;
    fleet.put(m);
    return m;
  }
};

TEST(MayBegin, CountsMovesOverAllDrainsTogether) {
  World w;
  for (auto id : {"v1", "v2", "v3", "v4"}) w.vm(id, "a");
  w.migration("mig-1", "v1", "b", Phase::starting);
  w.migration("mig-2", "v2", "c", Phase::reserving);
  w.migration("mig-3", "v3", "c", Phase::reserving);
  w.migration("mig-10", "v4", "c", Phase::reserving, false);
  EXPECT_EQ(may_begin(w.fleet), std::vector{MigrationId("mig-2")})
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
  EXPECT_EQ(may_begin(w.fleet), (std::vector{MigrationId("mig-1"), MigrationId("mig-3")}));
}

TEST(MayBegin, NothingBeforeEverythingIsReserved) {
  World w;
  w.drain.state = DrainState::reserving;
  w.fleet.put(w.drain);
  w.vm("v1", "a");
  w.migration("mig-1", "v1", "b", Phase::reserving);
  EXPECT_TRUE(may_begin(w.fleet).empty());
}

TEST(Done, EachSingleDebtKeepsADrainFromBeingDone) {
  World w;
  auto fresh = [&] {
    auto check = check_done(w.fleet, w.seen, w.drain);
    check.heads_checked = true;
    return check;
  };
  EXPECT_TRUE(is_done(w.drain, fresh()));
  EXPECT_FALSE(is_done(w.drain, check_done(w.fleet, w.seen, w.drain))) << "without a look into the store";
  auto& at = w.seen.workers[WorkerId("a")];
  for (auto member :
       {&AgentReport::machines, &AgentReport::exports, &AgentReport::leases, &AgentReport::unsent_logs}) {
    at.report.*member = 1;
    EXPECT_FALSE(is_done(w.drain, fresh()));
    EXPECT_FALSE(explain(w.fleet, w.seen, w.drain, fresh(), {}).empty()) << "and the debt is named";
    at.report.*member = 0;
  }
  at.wanted_revision = 2;
  EXPECT_FALSE(is_done(w.drain, fresh())) << "a report from before the last change proves nothing";
  at.wanted_revision = 1;
  at.liveness = Liveness::silent;
  EXPECT_FALSE(is_done(w.drain, fresh())) << "nor does an old one";
  at.liveness = Liveness::ready;
  auto attached = fresh();
  attached.heads_attached = 1;
  EXPECT_FALSE(is_done(w.drain, attached));
  w.vm("v1", "a");
  EXPECT_FALSE(is_done(w.drain, fresh()));
}

TEST(Rejected, ATargetIsAskedAgainAfterAWhile) {
  World w;
  w.vm("v1", "a");
  auto m = w.migration("mig-1", "v1", "b", Phase::aborted);
  m.rejected = {m.target}, m.last_error = "the store is away", m.history = {{Phase::aborted, 1000}};
  w.fleet.put(m);
  auto of = [&](WallMs now) { return rejected_targets(w.fleet, w.drain.id, m.vm, now); };
  ASSERT_EQ(of(1000 + rejected_for_ms - 1).count(m.target), 1u);
  EXPECT_TRUE(of(1000).at(m.target).contains("the store is away")) << of(1000).at(m.target);
  EXPECT_TRUE(of(1000).at(m.target).contains("is asked again at 1970-01-01T00:05:01"))
      << of(1000).at(m.target);
  EXPECT_TRUE(of(1000 + rejected_for_ms).empty());
}

TEST(Plan, NamesBlockersWithOwnerAndRemedy) {
  World w;
  w.vm("v1", "a"), w.vm("v2", "a", false);
  auto plan = make_plan(w.fleet, WorkerId("a"), {},
                        {{VmId("v1"), WorkerId("b"), ""}, {VmId("v2"), std::nullopt, "b: no memory"}}, {});
  ASSERT_EQ(plan.moves.size(), 1u);
  EXPECT_EQ(plan.moves[0].mechanism, Mechanism::pointer);
  EXPECT_GT(plan.moves[0].predicted_interruption_ms, 0u);
  ASSERT_EQ(plan.blockers.size(), 1u);
  EXPECT_EQ(plan.blockers[0].subject, "vms/v2");
  EXPECT_FALSE(plan.blockers[0].remedy.empty());
}

TEST(Eta, IsMeasuredFromThePhasesOfPastMoves) {
  World w;
  for (int i = 1; i <= 3; ++i) {
    auto m = w.migration(fmt::format("mig-{}", i).c_str(), "v1", "b", Phase::done);
    m.mechanism = Mechanism::pointer;
    WallMs t = 0;
    auto enter = [&](Phase phase, WallMs after) { m.history.push_back({phase, t += after}); };
    enter(Phase::preparing, 0), enter(Phase::freezing, 100 * i), enter(Phase::moving_lease, 20),
        enter(Phase::starting, 30);
    enter(Phase::releasing, 1000), enter(Phase::done, 5);
    w.fleet.put(m);
    EXPECT_EQ(interruption_ms(m), 1050u);
  }
  auto times = measure(w.fleet).of(Mechanism::pointer);
  EXPECT_EQ(times.preparing, 200u);
  EXPECT_EQ(times.interruption_ms(), 1050u);
}

TEST(Timeline, IsTheScheduleThatTheLimitsAllow) {
  DrainOptions options;
  options.parallel_max = 2, options.per_target_max = 2;
  std::vector<PlanMove> moves;
  for (int i = 0; i < 4; ++i)
    moves.push_back({VmId(fmt::format("v{}", i)), Mechanism::pointer, WorkerId("b"), 0, 100, 1000});
  EXPECT_EQ(timeline(moves, options).total_ms, 2000u);
  options.per_target_max = 1;
  EXPECT_EQ(timeline(moves, options).total_ms, 4000u);
}

}  // namespace
}  // namespace ebb::drain
