#include <gtest/gtest.h>

#include "drain/drain_planner.h"
#include "drain/loss_explain.h"
#include "drain/testing/world.h"

namespace ebb::drain {
namespace {
using testing::World;

TEST(Done, EachSingleDebtKeepsADrainFromBeingDone) {
  World w;
  auto fresh = [&] {
    auto check = check_done(w.fleet, w.seen, w.drain);
    check.heads_checked = true;
    return check;
  };
  EXPECT_TRUE(is_done(w.fleet, w.seen, w.drain, fresh()));
  EXPECT_FALSE(is_done(w.fleet, w.seen, w.drain, check_done(w.fleet, w.seen, w.drain)))
      << "without a look into the store";
  auto& at = w.seen.workers[WorkerId("a")];
  for (auto member :
       {&AgentReport::machines, &AgentReport::exports, &AgentReport::leases, &AgentReport::unsent_logs}) {
    at.report.*member = 1;
    EXPECT_FALSE(is_done(w.fleet, w.seen, w.drain, fresh()));
    EXPECT_FALSE(explain(w.fleet, w.seen, w.drain, fresh(), {}, 0).empty()) << "and the debt is named";
    at.report.*member = 0;
  }
  at.wanted_revision = 2;
  EXPECT_FALSE(is_done(w.fleet, w.seen, w.drain, fresh()))
      << "a report from before the last change proves nothing";
  at.wanted_revision = 1;
  at.liveness = Liveness::silent;
  EXPECT_FALSE(is_done(w.fleet, w.seen, w.drain, fresh())) << "nor does an old one";
  at.liveness = Liveness::ready;
  auto attached = fresh();
  attached.heads_attached = 1;
  EXPECT_FALSE(is_done(w.fleet, w.seen, w.drain, attached));
  w.vm("v1", "a");
  EXPECT_FALSE(is_done(w.fleet, w.seen, w.drain, fresh()));
}

// It may run what it is told while the drain waits for something else: the log that it came back with, written into a new disk.
TEST(Done, OfAWorkerThatWasDeclaredDeadAsksItOnceItIsBack) {
  World w;
  w.drain.options.source_dead = true;
  auto& at = w.seen.workers[WorkerId("a")];
  auto is_done_now = [&] {
    auto check = check_done(w.fleet, w.seen, w.drain);
    check.heads_checked = true;
    if (!is_done(w.fleet, w.seen, w.drain, check))
      EXPECT_FALSE(explain(w.fleet, w.seen, w.drain, check, {}, 0).empty());
    return is_done(w.fleet, w.seen, w.drain, check);
  };
  at.report.leases = 1;
  EXPECT_FALSE(is_done_now());
  at.liveness = Liveness::silent;
  EXPECT_TRUE(is_done_now()) << "nobody can be asked";
  // The control plane was started anew, and has heard of nobody yet.
  at = {};
  EXPECT_FALSE(is_done_now());
  w.seen.has_listened = true;
  EXPECT_TRUE(is_done_now());
}

TEST(Done, AVmThatRunsNowhereIsWaitedForUnlessItRanNowhereBefore) {
  World w;
  w.vm("v1", "b");
  auto m = w.migration("mig-1", "v1", "b", Phase::done);
  m.drain = w.drain.id, m.rejected = {m.target};
  auto vm = *w.fleet.find(m.vm);
  m.target_epoch = vm.epoch;
  w.fleet.put(m);
  EXPECT_EQ(check_done(w.fleet, w.seen, w.drain).not_running, 1u);
  m.was_failing = true;
  w.fleet.put(m);
  EXPECT_EQ(check_done(w.fleet, w.seen, w.drain).not_running, 0u);
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
  auto plan = make_plan(w.fleet, {WorkerId("a")},
                        {{VmId("v1"), WorkerId("b"), ""}, {VmId("v2"), std::nullopt, "b: no memory"}}, {});
  ASSERT_EQ(plan.moves.size(), 1u);
  EXPECT_EQ(plan.moves[0].mechanism, Mechanism::pointer);
  EXPECT_GT(plan.moves[0].predicted_interruption_ms, 0u);
  ASSERT_EQ(plan.blockers.size(), 1u);
  EXPECT_EQ(plan.blockers[0].subject, "vms/v2");
  EXPECT_FALSE(plan.blockers[0].remedy.empty());
}

TEST(Done, OfManyWorkersOnlyWhenEachIsEmpty) {
  World w;
  w.drain.workers = {WorkerId("a"), WorkerId("b")};
  w.fleet.put(w.drain);
  auto check = [&] {
    auto all = check_done(w.fleet, w.seen, w.drain);
    all.heads_checked = true;
    return all;
  };
  EXPECT_TRUE(is_done(w.fleet, w.seen, w.drain, check()));
  w.seen.workers[WorkerId("b")].report.machines = 2;
  EXPECT_FALSE(is_done(w.fleet, w.seen, w.drain, check()));
  EXPECT_EQ(check().machines, 2u);
  EXPECT_EQ(explain(w.fleet, w.seen, w.drain, check(), {}, 0).at(0).text, "b still has 2 VM processes");
  EXPECT_TRUE(is_empty(w.drain, check_done(w.fleet, w.seen, WorkerId("a"))));
  // Of those that were declared dead one is silent, and the other one is back: that one is asked.
  w.drain.options.source_dead = true;
  w.seen.workers[WorkerId("a")].liveness = Liveness::silent;
  EXPECT_FALSE(is_done(w.fleet, w.seen, w.drain, check()));
  w.seen.workers[WorkerId("b")].report.machines = 0;
  EXPECT_TRUE(is_done(w.fleet, w.seen, w.drain, check()));
  auto attached = check();
  attached.heads_attached = 1;
  EXPECT_FALSE(is_done(w.fleet, w.seen, w.drain, attached));
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

// A VM "v" with a disk of class local; its worker "a" is silent.
struct DeadWorld : World {
  DeadWorld() {
    vm("v", "a");
    disk(DiskClass::local);
    at_a().liveness = Liveness::suspect, at_a().heard_at_wall = 1'000;
    at_a().report.unsent = {{DiskId("d-v"), 3 << 20, 1'200, {64 << 20, 5'000}}};
  }
  WorkerSeen& at_a() { return seen.workers[WorkerId("a")]; }
  void disk(DiskClass disk_class) {
    Disk d;
    d.id = DiskId("d-v"), d.disk_class = disk_class;
    fleet.put(d);
  }
  void move_to_b() {
    auto m = migration("mig-1", "v", "b", Phase::done);
    m.source_dead = true;
    fleet.put(m);
    vm("v", "b");
  }
  void a_is_back() {
    at_a().liveness = Liveness::ready;
    at_a().report.unsent.clear();
  }
  std::vector<DiskLoss> losses() const { return losses_at(fleet, seen, WorkerId("a")); }
};

TEST(Loss, OfADeadWorkerIsABoundWithWhatItLastSaid) {
  DeadWorld w;
  for (bool is_moved : {false, true}) {
    if (is_moved) w.move_to_b();
    auto losses = w.losses();
    ASSERT_EQ(losses.size(), 1u);
    EXPECT_EQ(losses[0].bound, (LossBound{64 << 20, 5'000}));
    EXPECT_EQ(losses[0].unsent_bytes, 3u << 20);
    EXPECT_EQ(losses[0].unsent_age_ms, 1'200u);
    EXPECT_EQ(losses[0].said_at, 1'000);
    EXPECT_FALSE(losses[0].records_lost);
    EXPECT_EQ(
        losses[0].text,
        "disk d-v of v, of class local, loses its last writes with a: at most 64 MiB, none of them older "
        "than 5.0 s; it last said, at 1970-01-01T00:00:01Z, that 3 MiB were not in the store, the oldest for "
        "1.2 s");
    EXPECT_EQ(losses_of(w.fleet, w.seen, w.fleet.vms().at(VmId("v"))), losses);
  }
}

TEST(Loss, OfAWorkerThatHasSaidNothingIsTheAnnouncedBound) {
  DeadWorld w;
  w.at_a() = {};
  auto losses = w.losses();
  ASSERT_EQ(losses.size(), 1u);
  EXPECT_EQ(losses[0].bound, LossBound{});
  EXPECT_FALSE(losses[0].unsent_bytes || losses[0].said_at);
  EXPECT_TRUE(losses[0].text.contains("at most 1 GiB, none of them older than 1m00s; it has said nothing"))
      << losses[0].text;
}

TEST(Loss, OfClassRemoteIsNone) {
  DeadWorld w;
  w.disk(DiskClass::remote);
  EXPECT_TRUE(w.losses().empty());
  w.move_to_b();
  w.a_is_back();
  EXPECT_TRUE(w.losses().empty());
}

TEST(Loss, OfAWorkerThatAnswersIsNone) {
  DeadWorld w;
  w.at_a().liveness = Liveness::ready;
  EXPECT_TRUE(w.losses().empty());
  EXPECT_TRUE(losses_of(w.fleet, w.seen, w.fleet.vms().at(VmId("v"))).empty());
}

TEST(Loss, IsKnownExactlyOnceTheWorkerIsBackAndItsLogsHaveBeenRead) {
  DeadWorld w;
  w.move_to_b();
  w.a_is_back();
  w.at_a().report.unsent_logs = 2, w.at_a().report.unread_logs = {DiskId("d-v")};
  ASSERT_EQ(w.losses().size(), 1u);
  EXPECT_TRUE(w.losses()[0].bound && !w.losses()[0].records_lost)
      << "a log lies there, and nobody has read it";
  EXPECT_TRUE(w.losses()[0].text.ends_with("it is back, and its logs have not all been read"))
      << w.losses()[0].text;

  w.at_a().report.unread_logs.clear();
  w.at_a().report.orphan_logs = {{DiskId("d-v"), 3, 12'288, ""}, {DiskId("other"), 9, 9, ""}};
  auto loss = w.losses().at(0);
  EXPECT_FALSE(loss.bound);
  EXPECT_EQ(loss.records_lost, 3u);
  EXPECT_EQ(loss.bytes_lost, 12'288u);
  EXPECT_EQ(loss.text, "a is back, and its log holds what disk d-v of v lacks: 3 records, 12 KiB");
  EXPECT_EQ(explain(loss).who, "operator: the log is kept on a");
  EXPECT_EQ(losses_of(w.fleet, w.seen, w.fleet.vms().at(VmId("v"))), std::vector{loss});

  w.at_a().report.orphan_logs[0].error = "damaged";
  EXPECT_TRUE(w.losses().at(0).text.ends_with("cannot be read to its end: damaged"));
  EXPECT_TRUE(w.losses().at(0).bound) << "what was read of it is the least";
  EXPECT_EQ(explain(w.losses().at(0)).who, "operator: the log is kept on a");

  w.at_a().report.orphan_logs.clear();
  EXPECT_EQ(w.at_a().report.unsent_logs, 2u) << "of disks that it writes now";
  EXPECT_EQ(w.losses().at(0).records_lost, 0u);
  EXPECT_TRUE(w.losses().at(0).text.ends_with("nothing was lost")) << w.losses().at(0).text;
  EXPECT_TRUE(losses_of(w.fleet, w.seen, w.fleet.vms().at(VmId("v"))).empty()) << "no news of the VM";
}

TEST(Loss, OfADiskThatCameBackToItsWorkerIsOnlyWhatAnOldLogHolds) {
  DeadWorld w;
  w.move_to_b();
  w.vm("v", "a");
  w.at_a().liveness = Liveness::ready, w.at_a().report.unsent_logs = 1;
  EXPECT_TRUE(w.losses().empty()) << "it writes the disk now: that is no loss";
  w.at_a().report.orphan_logs = {{DiskId("d-v"), 3, 12'288, ""}};
  EXPECT_EQ(w.losses().at(0).records_lost, 3u);
}

TEST(Loss, LogsThatKeepADrainFromBeingDoneAreNamedWithWhatTheyHold) {
  World w;
  auto& report = w.seen.workers[WorkerId("a")].report;
  report.unsent_logs = 1, report.orphan_logs = {{DiskId("d-v"), 1, 4'096, ""}};
  auto tell = [&] { return explain(w.fleet, w.seen, w.drain, check_done(w.fleet, w.seen, w.drain), {}, 0); };
  EXPECT_EQ(tell().at(0).text, "a still has 1 write-ahead log with records that the store lacks");
  EXPECT_EQ(
      tell().at(1).text,
      "its log of disk d-v holds what others went on without: 1 record, 4 KiB; no snapshot stands where it "
      "was cut");
  EXPECT_TRUE(tell().at(1).who.starts_with("operator: ")) << tell().at(1).who;

  Disk kept;
  kept.id = DiskId("d-v-lost-1"), kept.origin = DiskOrigin{DiskId("d-v"), "cut-2"};
  kept.rescue = LogRescue{WorkerId("a"), "log", 1, 3, 1, 4'096, RescueState::writing, {}};
  w.fleet.put(kept);
  report.orphan_logs[0].log_id = "log";
  report.rescues = {{kept.id, 3, false, {}, "the store does not answer"}};
  EXPECT_TRUE(
      tell().at(1).text.ends_with("it is being written into disk d-v-lost-1: the store does not answer"))
      << tell().at(1).text;
  EXPECT_EQ(tell().at(1).who, "nobody: it goes on by itself");
}

TEST(Loss, WhatALogHeldIsToldAlsoOnceItIsKeptElsewhere) {
  DeadWorld w;
  w.move_to_b();
  w.a_is_back();
  Disk kept;
  kept.id = DiskId("d-v-lost-1"), kept.origin = DiskOrigin{DiskId("d-v"), "cut-2"};
  kept.rescue = LogRescue{WorkerId("a"), "log", 1, 3, 3, 12'288, RescueState::written, {}};
  w.fleet.put(kept);
  auto loss = w.losses().at(0);
  EXPECT_EQ(loss.records_lost, 3u);
  EXPECT_EQ(loss.kept_in, kept.id);
  EXPECT_EQ(loss.text,
            "a is back, and its log held what disk d-v of v lacks: 3 records, 12 KiB; it is kept as disk "
            "d-v-lost-1");
  EXPECT_TRUE(explain(loss).who.ends_with("ebb disks rm d-v-lost-1")) << explain(loss).who;
  EXPECT_EQ(losses_of(w.fleet, w.seen, w.fleet.vms().at(VmId("v"))), std::vector{loss});

  w.at_a().report.orphan_logs = {{DiskId("d-v"), 9, 36'864, "", "another log", 4}};
  EXPECT_EQ(w.losses().at(0).records_lost, 9u) << "what is lost now comes before what was";
  EXPECT_FALSE(w.losses().at(0).kept_in);
  w.at_a().report.orphan_logs.clear(), w.at_a().report.unread_logs = {DiskId("d-v")};
  EXPECT_TRUE(w.losses().at(0).bound) << "and what nobody has read yet";
}

}  // namespace
}  // namespace ebb::drain
