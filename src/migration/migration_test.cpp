#include <gtest/gtest.h>

#include "migration/migration_step.h"

namespace ebb::migration {
namespace {

constexpr std::array all_phases{Phase::reserving,    Phase::preparing, Phase::freezing,
                                Phase::moving_lease, Phase::starting,  Phase::releasing,
                                Phase::done,         Phase::aborting,  Phase::aborted};
constexpr std::array all_events{EventKind::begin,        EventKind::standby_ready, EventKind::source_sealed,
                                EventKind::source_dead,  EventKind::lease_taken,   EventKind::guest_healthy,
                                EventKind::source_empty, EventKind::start_failed,  EventKind::target_lost,
                                EventKind::target_dead,  EventKind::cancel,        EventKind::source_running};

Migration at(Phase phase) {
  Migration m;
  m.id = MigrationId("mig-1"), m.vm = VmId("vm-1"), m.source = WorkerId("a"), m.target = WorkerId("b");
  m.source_epoch = 5, m.target_epoch = is_past_no_return(phase) ? 6 : 0;
  m.phase = phase;
  return m;
}

TEST(Migration, EveryPairOfPhaseAndEventKeepsTheRules) {
  for (auto phase : all_phases) {
    for (auto kind : all_events) {
      auto before = at(phase);
      auto result = step(before, Event{kind, "because", 9}, 1000);
      SCOPED_TRACE(fmt::format("{} + {} -> {}", json::name_of(phase), json::name_of(kind),
                               json::name_of(result.next.phase)));
      if (result.outcome != Outcome::applied) {
        EXPECT_EQ(result.next, before) << "what is not applied changes nothing";
        EXPECT_FALSE(result.why.empty());
        continue;
      }
      EXPECT_FALSE(is_ended(phase)) << "what has ended stays ended";
      if (is_past_no_return(phase))
        EXPECT_TRUE(is_past_no_return(result.next.phase)) << "never back over the point of no return";
      if (!is_past_no_return(phase) && is_past_no_return(result.next.phase)) {
        EXPECT_EQ(phase, Phase::freezing) << "only a frozen source may be passed over";
        EXPECT_TRUE(kind == EventKind::source_sealed || kind == EventKind::source_dead);
        EXPECT_EQ(result.next.target_epoch, 9u);
      }
      EXPECT_GE(result.next.target_epoch, before.target_epoch) << "epochs never go back";
      if (result.next.phase != phase) EXPECT_EQ(result.next.history.back().entered_at, 1000);
    }
  }
}

TEST(Migration, ATargetThatIsDeclaredDeadEndsTheMoveOnceItOwnsTheVm) {
  for (auto phase : {Phase::moving_lease, Phase::starting}) {
    const auto result = step(at(phase), {EventKind::target_dead, "b was declared dead", 0}, 1);
    EXPECT_EQ(result.next.phase, Phase::releasing);
    EXPECT_EQ(result.next.rejected, std::vector{WorkerId("b")});
    EXPECT_EQ(result.next.last_error, "b was declared dead");
  }
  for (auto phase : {Phase::reserving, Phase::preparing, Phase::freezing, Phase::releasing, Phase::aborting})
    EXPECT_EQ(step(at(phase), {EventKind::target_dead, "x", 0}, 1).outcome, Outcome::ignored);
}

TEST(Migration, CancelIsAppliedBeforeTheNewEpochAndRefusedAfter) {
  for (auto phase : {Phase::reserving, Phase::preparing, Phase::freezing}) {
    EXPECT_EQ(step(at(phase), {EventKind::cancel, "x", 0}, 1).next.phase, Phase::aborting);
  }
  for (auto phase : {Phase::moving_lease, Phase::starting, Phase::releasing}) {
    EXPECT_EQ(step(at(phase), {EventKind::cancel, "x", 0}, 1).outcome, Outcome::refused);
  }
}

TEST(Migration, ThreeFailedBootsRejectTheTarget) {
  auto m = at(Phase::starting);
  for (int i = 0; i < 2; ++i) {
    m = step(m, {EventKind::start_failed, "no kernel", 0}, 1).next;
    EXPECT_EQ(m.phase, Phase::starting);
  }
  m = step(m, {EventKind::start_failed, "no kernel", 0}, 1).next;
  EXPECT_EQ(m.phase, Phase::releasing);
  EXPECT_EQ(m.rejected, std::vector{WorkerId("b")});
}

TEST(Migration, ThreeFailedPreparationsRejectTheTargetAndBootsAreCountedAnew) {
  auto m = at(Phase::preparing);
  for (int i = 0; i < 2; ++i) {
    m = step(m, {EventKind::start_failed, "the store is away", 0}, 1).next;
    EXPECT_EQ(m.phase, Phase::preparing);
  }
  auto third = step(m, {EventKind::start_failed, "the store is away", 0}, 1).next;
  EXPECT_EQ(third.phase, Phase::aborting);
  EXPECT_EQ(third.rejected, std::vector{WorkerId("b")});

  m = step(m, {EventKind::standby_ready, {}, 0}, 1).next;
  m = step(m, {EventKind::source_sealed, {}, m.source_epoch + 1}, 1).next;
  ASSERT_EQ(m.phase, Phase::moving_lease);
  EXPECT_EQ(m.attempts, 0u);
}

struct World {
  Seen seen;
  Vm vm;
  World() {
    for (auto name : {"a", "b"}) {
      auto& worker = seen.workers[WorkerId(name)];
      worker.heard = true, worker.liveness = Liveness::ready,
      worker.wanted_revision = worker.report.wanted_revision = 3;
    }
  }
  SeenVm& say(const char* worker, VmSeen state, Epoch epoch) {
    auto& vm_seen = seen.workers[WorkerId(worker)].vms[VmId("vm-1")];
    vm_seen = SeenVm{};
    vm_seen.vm = VmId("vm-1"), vm_seen.state = state, vm_seen.epoch = epoch;
    return vm_seen;
  }
  std::optional<EventKind> kind(const Migration& m) {
    auto event = observe(m, vm, seen);
    return event ? std::optional(event->kind) : std::nullopt;
  }
};

TEST(Observe, ASealThatIsNotConfirmedOrOfAnotherEpochIsNoSeal) {
  World world;
  EXPECT_EQ(world.kind(at(Phase::freezing)), std::nullopt);
  world.say("a", VmSeen::running, 5);
  EXPECT_EQ(world.kind(at(Phase::freezing)), std::nullopt);
  world.say("a", VmSeen::sealed, 4);
  EXPECT_EQ(world.kind(at(Phase::freezing)), std::nullopt);
  world.say("a", VmSeen::sealed, 5).machine = true;
  EXPECT_EQ(world.kind(at(Phase::freezing)), std::nullopt);
  world.say("a", VmSeen::sealed, 5).disk_open = true;
  EXPECT_EQ(world.kind(at(Phase::freezing)), std::nullopt);
  world.say("a", VmSeen::sealed, 5);
  EXPECT_EQ(world.kind(at(Phase::freezing)), EventKind::source_sealed);
}

TEST(Observe, AWorkerDeclaredDeadIsPassedOverOnlyWhileItIsSilent) {
  World world;
  auto m = at(Phase::freezing);
  m.source_dead = true;
  EXPECT_EQ(world.kind(m), std::nullopt) << "it answers again: it can still seal";
  world.seen.workers[WorkerId("a")].liveness = Liveness::silent;
  EXPECT_EQ(world.kind(m), EventKind::source_dead);
}

TEST(Observe, AGuestThatHasEndedIsNotMovedOn) {
  World world;
  world.say("a", VmSeen::sealed, 5).end = GuestEnd{0, "over"};
  EXPECT_EQ(world.kind(at(Phase::freezing)), std::nullopt);
  auto dead = at(Phase::freezing);
  dead.source_dead = true;
  world.seen.workers[WorkerId("a")].liveness = Liveness::silent;
  EXPECT_EQ(world.kind(dead), std::nullopt);
  world.say("b", VmSeen::ended, 6).end = GuestEnd{0, "over"};
  EXPECT_EQ(world.kind(at(Phase::starting)), EventKind::guest_healthy) << "it has run where it shall";
}

TEST(Observe, WhatFailedBeforeItsMoveIsBackWhenItFailsAgain) {
  World world;
  world.seen.workers[WorkerId("b")].vms.clear();
  world.say("a", VmSeen::starting, 5);
  EXPECT_EQ(world.kind(at(Phase::aborting)), std::nullopt);
  world.say("a", VmSeen::failed, 5);
  EXPECT_EQ(world.kind(at(Phase::aborting)), EventKind::source_running);
}

TEST(Observe, TheTargetCountsOnlyUnderTheNewEpoch) {
  World world;
  world.say("b", VmSeen::running, 5);
  EXPECT_EQ(world.kind(at(Phase::starting)), std::nullopt);
  world.say("b", VmSeen::running, 6);
  EXPECT_EQ(world.kind(at(Phase::starting)), EventKind::guest_healthy);
}

TEST(Observe, TheSourceIsEmptyOnlyWhenItHasSeenTheNewestWantedSet) {
  World world;
  world.seen.workers[WorkerId("a")].report.wanted_revision = 2;
  EXPECT_EQ(world.kind(at(Phase::releasing)), std::nullopt);
  world.seen.workers[WorkerId("a")].report.wanted_revision = 3;
  EXPECT_EQ(world.kind(at(Phase::releasing)), EventKind::source_empty);
  world.say("a", VmSeen::stopping, 5);
  EXPECT_EQ(world.kind(at(Phase::releasing)), std::nullopt);
}

TEST(Wanted, TheSourceRunsOrTheTargetRunsButNeverBoth) {
  for (auto phase : all_phases) {
    bool source = wanted_of_source(at(phase), VmDesired::running) == Wanted::running;
    bool target = wanted_of_target(at(phase), VmDesired::running) == Wanted::running;
    EXPECT_FALSE(source && target) << json::name_of(phase);
    EXPECT_EQ(target, is_past_no_return(phase)) << json::name_of(phase);
  }
}

TEST(Explain, EveryOpenPhaseNamesWhatItWaitsForAndWhoCanAct) {
  World world;
  for (auto phase : all_phases) {
    auto reasons = explain(at(phase), world.seen);
    EXPECT_EQ(reasons.empty(), is_ended(phase)) << json::name_of(phase);
    for (auto& reason : reasons) EXPECT_FALSE(reason.text.empty() || reason.who.empty());
  }
  world.seen.workers[WorkerId("a")].liveness = Liveness::silent;
  EXPECT_NE(explain(at(Phase::freezing), world.seen)[0].text.find("a does not answer"), std::string::npos);
}

}  // namespace
}  // namespace ebb::migration
