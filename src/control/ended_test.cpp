// VMs whose guests end by themselves, and are not started again.
#include "control/testing/fleet3.h"

namespace ebb::control {
namespace {

struct EndedWorld : Fleet3 {
  EndedWorld() {
    create_vm("a");
    EXPECT_TRUE(all_run({"a"}));
  }
  VmView vm() { return get<VmView>("/v1/vms/a"); }
  void end_on(const std::string& worker, Epoch epoch) { workers()[worker].ended[VmId("a")] = epoch; }
  void to_all_but(const std::string& one, const std::string& verb) {
    for (auto& [name, worker] : workers())
      if (name != one) EXPECT_EQ(ask("POST", "/v1/workers/" + name + ":" + verb, "{}").status, 200);
  }
  // Again and again, where it is: nobody else takes it.
  void fail_on(const std::string& worker) {
    to_all_but(worker, "cordon");
    workers()[worker].cannot_start.insert(VmId("a"));
    EXPECT_TRUE(tick_until([&] { return vm().seen == VmSeen::failed; }));
  }
  bool is_at_rest() { return vm().vm.ended && !vm().vm.worker && !vm().migration; }
};

TEST(Ended, AVmThatHasEndedIsStoppedSaysWhyAndCanBeStartedAgain) {
  EndedWorld w;
  const auto before = w.vm().vm;
  w.end_on(before.worker->value, before.epoch);
  ASSERT_TRUE(w.tick_until([&] { return w.is_at_rest(); }));
  const auto ended = w.vm().vm;
  EXPECT_EQ(ended.desired, VmDesired::stopped);
  EXPECT_EQ(ended.ended->worker, *before.worker);
  EXPECT_EQ(ended.ended->end.status, 0u);
  auto why = w.get<WhyAnswer>("/v1/vms/a:why");
  EXPECT_TRUE(why.headline.contains("a has ended by itself on " + before.worker->value)) << why.headline;
  EXPECT_TRUE(why.reasons.empty());
  w.restart(), w.tick(20);
  EXPECT_TRUE(w.is_at_rest()) << "it stays so";
  EXPECT_EQ(w.ask("POST", "/v1/vms/a:start").status, 200);
  ASSERT_TRUE(w.all_run({"a"}));
  EXPECT_FALSE(w.vm().vm.ended);
  EXPECT_GT(w.vm().vm.epoch, before.epoch);
}

TEST(Ended, AVmThatIsStillBeingStoppedIsNotStartedAndSaysSo) {
  EndedWorld w;
  const auto before = w.vm().vm;
  w.end_on(before.worker->value, before.epoch);
  ASSERT_TRUE(w.tick_until([&] { return w.vm().vm.ended.has_value(); }));
  ASSERT_TRUE(w.vm().vm.worker);
  auto reply = w.ask("POST", "/v1/vms/a:start");
  EXPECT_EQ(reply.status, 409);
  EXPECT_TRUE(reply.body.contains("is still stopping it")) << reply.body;
  EXPECT_EQ(w.ask("POST", "/v1/vms/a:stop").status, 200) << "as it is";
}

// Whatever else is wanted of its worker by then, and whoever has just been started anew.
TEST(Ended, ASealedVmThatHasEndedIsNotMovedOn) {
  EndedWorld w;
  const auto before = w.vm().vm;
  const auto source = before.worker->value;
  w.workers()[source].ended_as_sealed.insert(VmId("a"));
  const auto id = w.drain(source);
  ASSERT_TRUE(w.tick_until([&] {
    auto view = w.vm();
    if (view.seen == VmSeen::sealed) w.restart();
    return w.drain_view(id).status == "done";
  }));
  EXPECT_TRUE(w.is_at_rest());
  EXPECT_EQ(w.vm().vm.epoch, before.epoch) << "it was booted nowhere else";
}

TEST(Ended, AVmThatEndedOnAWorkerThatDiedThenCanBeStartedElsewhere) {
  EndedWorld w;
  const auto before = w.vm().vm;
  const auto source = before.worker->value;
  w.end_on(source, before.epoch);
  ASSERT_TRUE(w.tick_until([&] { return w.vm().vm.ended.has_value(); }));
  ASSERT_TRUE(w.vm().vm.worker);
  w.workers()[source].answers = false;
  w.tick(600);  // the control plane has heard who is there, too
  const auto id = w.drain(source, R"(,"options":{"source_dead":true})");
  w.tick(20);
  ASSERT_FALSE(w.drain_view(id).waiting_for.empty());
  EXPECT_TRUE(w.drain_view(id).waiting_for[0].who.contains("ebb start a"))
      << w.drain_view(id).waiting_for[0].who;
  EXPECT_EQ(w.ask("POST", "/v1/vms/a:start").status, 200) << "nobody can say whether it is stopped";
  ASSERT_TRUE(w.tick_until([&] { return w.worker_of("a") != source && w.is_running("a"); }));
  EXPECT_TRUE(w.tick_until([&] { return w.drain_view(id).status == "done"; }));
}

TEST(Ended, AVmThatWasStartedWhileItsWorkerWasSilentIsLetGoThereFirst) {
  EndedWorld w;
  const auto before = w.vm().vm;
  const auto source = before.worker->value;
  w.end_on(source, before.epoch);
  ASSERT_TRUE(w.tick_until([&] { return w.vm().vm.ended.has_value(); }));
  w.restart();
  EXPECT_EQ(w.ask("POST", "/v1/vms/a:start").status, 409) << "nobody has been listened to yet";
  w.workers()[source].answers = false;
  ASSERT_TRUE(w.tick_until([&] { return w.ask("POST", "/v1/vms/a:start").status == 200; }, 1000));
  w.tick(5);
  w.workers()[source].answers = true;  // and says once more that it has ended
  ASSERT_TRUE(w.tick_until([&] { return w.is_running("a"); }));
  EXPECT_GT(w.vm().vm.epoch, before.epoch);
  EXPECT_FALSE(w.vm().vm.started_after_end);
  w.end_on(w.worker_of("a"), w.vm().vm.epoch);
  EXPECT_TRUE(w.tick_until([&] { return w.is_at_rest(); })) << "the next end counts";
}

TEST(Ended, AMoveOfAFailingVmCanBeUndone) {
  EndedWorld w;
  const auto source = w.worker_of("a");
  w.fail_on(source);
  w.to_all_but(source, "uncordon");
  for (auto& [name, worker] : w.workers()) worker.answers = name == source;  // nobody prepares
  const auto id = w.drain(source);
  ASSERT_TRUE(w.tick_until([&] { return w.vm().migration.has_value(); }));
  EXPECT_EQ(w.ask("POST", "/v1/drains/" + id + ":cancel").status, 200);
  for (auto& [name, worker] : w.workers()) worker.answers = true;
  ASSERT_TRUE(
      w.tick_until([&] { return w.drain_view(id).migrations.at(0).migration.phase == Phase::aborted; }));
}

TEST(Ended, AMoveOfAVmThatEndsBeforehandIsGivenUpAndItsDrainGoesOn) {
  EndedWorld w;
  const auto before = w.vm().vm;
  const auto source = before.worker->value;
  for (auto& [name, worker] : w.workers()) worker.answers = name == source;  // nobody prepares
  const auto id = w.drain(source);
  ASSERT_TRUE(w.tick_until([&] { return w.vm().migration.has_value(); }));
  w.end_on(source, before.epoch);
  ASSERT_TRUE(w.tick_until([&] { return w.vm().vm.ended.has_value(); }));
  for (auto& [name, worker] : w.workers()) worker.answers = true;
  ASSERT_TRUE(w.tick_until([&] { return w.drain_view(id).status == "done"; }));
  EXPECT_TRUE(w.is_at_rest());
  EXPECT_EQ(w.vm().vm.epoch, before.epoch) << "it was booted nowhere else";
}

TEST(Ended, AVmThatEndsRightAfterItsMoveHasArrived) {
  EndedWorld w;
  const auto before = w.vm().vm;
  const auto source = before.worker->value;
  for (auto& [name, worker] : w.workers())
    if (name != source) w.end_on(name, before.epoch + 1);
  const auto id = w.drain(source);
  ASSERT_TRUE(w.tick_until([&] { return w.drain_view(id).status == "done"; }));
  ASSERT_TRUE(w.tick_until([&] { return w.is_at_rest(); }));
  EXPECT_NE(w.vm().vm.ended->worker, *before.worker);
  EXPECT_EQ(w.drain_view(id).moved, 1u);
}

// It ran nowhere before, and need not run for its worker to be empty.
TEST(Ended, AVmThatFailsEverywhereKeepsNoDrainWaiting) {
  EndedWorld w;
  const auto source = w.worker_of("a");
  w.fail_on(source);
  w.tick(5);  // again and again
  for (auto& [name, worker] : w.workers()) worker.cannot_start.insert(VmId("a"));
  w.to_all_but(source, "uncordon");
  const auto id = w.drain(source);
  ASSERT_TRUE(w.tick_until([&] { return w.drain_view(id).status == "done"; }));
  EXPECT_NE(w.worker_of("a"), source);
}

TEST(Ended, AVmThatFailsEverywhereDoesNotTourTheFleet) {
  EndedWorld w;
  for (auto& [name, worker] : w.workers()) worker.cannot_start.insert(VmId("a"));
  w.tick(400);
  const auto moves = w.get<Page<MigrationView>>("/v1/migrations").items;
  EXPECT_GE(moves.size(), 1u);
  EXPECT_LE(moves.size(), 3u);
  std::set<WorkerId> left;
  for (const auto& m : moves)
    EXPECT_TRUE(left.insert(m.migration.source).second) << "it has failed there before";
  EXPECT_EQ(w.vm().seen, VmSeen::failed);
}

}  // namespace
}  // namespace ebb::control
