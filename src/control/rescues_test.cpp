// What the control plane does with the log of a worker that comes back after its disks were taken over.
#include "control/testing/fleet3.h"
#include "sim/run_in.h"

namespace ebb::control {
namespace {

// VM "a" was taken from a worker that died; the one that has it now took the cut.
struct Rescues : Fleet3 {
  Rescues() {
    create_vm("a", Storage::object, 128 * MiB, DiskClass::local);
    EXPECT_TRUE(all_run({"a"}));
    lost = worker_of("a"), disk_id = *get<VmView>("/v1/vms/a").vm.disk;
    epoch = get<VmView>("/v1/vms/a").vm.epoch;
    worker().answers = false, worker().vms.clear();
    tick(400);
    const auto dead = drain(lost, R"(,"options":{"source_dead":true})");
    EXPECT_TRUE(tick_until([&] { return worker_of("a") != lost; }));
    EXPECT_EQ(disk().snapshots.size(), 1u);
    take_cut();
    EXPECT_TRUE(tick_until([&] { return is_running("a") && cut().state == SnapshotState::ready; }));
    EXPECT_TRUE(tick_until([&] { return drain_view(dead).drain.state == DrainState::done; }));
  }
  ObedientWorker& worker() { return workers().at(lost); }
  Disk disk() { return get<Disk>("/v1/disks/" + disk_id.value); }
  DiskSnapshot cut() { return disk().snapshots.empty() ? DiskSnapshot{} : disk().snapshots[0]; }
  // As the disk daemon does that takes over.
  void take_cut() {
    auto& process = sim().start_process("somebody", "takes the cut");
    auto& client = process.make<sim::SimStoreClient>(process, store(), "pool/");
    disk::PoolAdmin admin(process.loop(), client);
    auto made = sim::run_in(process, admin.snapshot(disk_id, {cut().name, cut().request}));
    EXPECT_TRUE(made && *made);
    process.kill();
  }
  OrphanLog log(std::uint64_t of_epoch) { return {disk_id, 12, 48 * KiB, "", "log-1", of_epoch}; }
  std::optional<Disk> kept() {
    for (auto& d : get<Page<Disk>>("/v1/disks").items)
      if (d.rescue) return d;
    return std::nullopt;
  }
  void returns_with(std::vector<OrphanLog> logs) {
    worker().answers = true, worker().orphan_logs = std::move(logs);
  }

  std::string lost;
  DiskId disk_id;
  Epoch epoch = 0;
};

TEST(RescuesApi, TheLogOfAWorkerThatComesBackBecomesADiskAndOnlyThenIsItsDrainDone) {
  Rescues w;
  EXPECT_EQ(w.cut().cut_of, (EndedTurn{WorkerId(w.lost), w.epoch, VmId("a")}));
  std::string waiting = "reading the log";
  w.worker().tell_rescue = [&](const RescueLog& wish) {
    return SeenRescue{wish.into, wish.epoch, waiting.empty(), {}, waiting};
  };
  w.returns_with({w.log(w.epoch)});
  ASSERT_TRUE(w.tick_until([&] { return !w.worker().rescues.empty(); }));
  const auto wish = w.worker().rescues[0];
  EXPECT_EQ(wish,
            (RescueLog{w.disk_id, PoolId("main"), "log-1", w.kept()->id, wish.epoch, DiskClass::local}));
  EXPECT_GT(wish.epoch, w.get<VmView>("/v1/vms/a").vm.epoch);
  EXPECT_EQ(w.kept()->origin, (DiskOrigin{w.disk_id, w.cut().name}));
  const auto drain = w.drain(w.lost);
  w.tick(20);
  EXPECT_EQ(w.drain_view(drain).status, "running") << "while the log is there";
  const auto path = "/v1/disks/" + wish.into.value;
  EXPECT_TRUE(w.get<WhyAnswer>(path + ":why").reasons.at(0).text.ends_with("reading the log"));
  EXPECT_EQ(w.ask("DELETE", path).status, 409) << "it is being written";
  EXPECT_EQ(w.ask("POST", path + "/snapshots", R"({"name":"early"})").status, 409);
  w.restart();
  ASSERT_TRUE(w.tick_until([&] { return w.worker().rescues == std::vector{wish}; })) << "the same, once";

  waiting.clear(), w.worker().orphan_logs.clear();
  ASSERT_TRUE(w.tick_until([&] { return w.kept()->rescue->state == RescueState::written; }));
  ASSERT_TRUE(w.tick_until([&] { return w.drain_view(drain).drain.state == DrainState::done; }));
  ASSERT_TRUE(w.tick_until([&] { return w.worker().rescues.empty(); })) << "withdrawn";
  EXPECT_EQ(w.ask("DELETE", "/v1/vms/a").status, 409) << "a fork of its disk holds what was lost";
  EXPECT_EQ(w.cut().state, SnapshotState::ready) << "the fork needs it";
  EXPECT_EQ(w.ask("DELETE", path).status, 204);
  ASSERT_TRUE(w.tick_until([&] { return w.disk().snapshots.empty(); })) << "the cut goes with it";
  EXPECT_EQ(w.ask("DELETE", "/v1/vms/a").status, 200);
}

TEST(RescuesApi, ACutGoesWhenTheWorkerSaysThatItsLogHoldsNothingAndNotBefore) {
  Rescues w;
  w.tick(50);
  ASSERT_EQ(w.cut().state, SnapshotState::ready) << "nobody has said anything";
  w.worker().unread_logs = {w.disk_id};
  w.returns_with({});
  w.tick(50);
  EXPECT_EQ(w.cut().state, SnapshotState::ready) << "its logs have not been read";
  w.worker().unread_logs.clear(), w.worker().disk_daemon_up = false;
  w.tick(50);
  EXPECT_EQ(w.cut().state, SnapshotState::ready) << "its disk daemon has not spoken";
  w.worker().disk_daemon_up = true;
  ASSERT_TRUE(w.tick_until([&] { return w.disk().snapshots.empty(); }));
  EXPECT_FALSE(w.kept());
}

TEST(RescuesApi, ALogOfAnotherTurnOrADamagedOneIsLeftWhereItIs) {
  Rescues w;
  auto damaged = w.log(w.epoch);
  damaged.error = "damaged at position 4711";
  w.returns_with({w.log(w.epoch + 1), damaged});
  w.tick(50);
  EXPECT_FALSE(w.kept());
  EXPECT_EQ(w.cut().state, SnapshotState::ready);
  const auto drain = w.drain(w.lost);
  w.tick(20);
  auto view = w.drain_view(drain);
  EXPECT_EQ(view.status, "running");
  bool is_told = std::ranges::any_of(view.waiting_for, [](const Reason& r) {
    return r.text.contains("damaged at position 4711") && r.who.starts_with("operator: ");
  });
  EXPECT_TRUE(is_told);
}

TEST(RescuesApi, ARescueThatIsRefusedSaysWhyAndOneWhoseWorkerIsGoneEnds) {
  Rescues w;
  w.worker().tell_rescue = [&](const RescueLog& wish) {
    return SeenRescue{wish.into, wish.epoch, false, "the log goes on elsewhere", {}};
  };
  w.returns_with({w.log(w.epoch)});
  ASSERT_TRUE(w.tick_until([&] { return w.kept() && w.kept()->rescue->state == RescueState::failed; }));
  EXPECT_TRUE(w.get<WhyAnswer>("/v1/disks/" + w.kept()->id.value + ":why")
                  .reasons.at(0)
                  .text.ends_with("the log goes on elsewhere"));

  Rescues gone;
  gone.returns_with({gone.log(gone.epoch)});
  ASSERT_TRUE(gone.tick_until([&] { return !gone.worker().rescues.empty(); }));
  gone.worker().answers = false;
  gone.tick(400);
  ASSERT_EQ(gone.ask("DELETE", "/v1/workers/" + gone.lost).status, 204);
  gone.tick(20);
  EXPECT_EQ(gone.kept()->rescue->state, RescueState::failed);
}

TEST(RescuesApi, AForkOfTheCutByAnOperatorKeepsNoLogFromBeingRescuedAndARemovedRescueIsBegunAnew) {
  Rescues w;
  CreateVm wish;
  wish.id = VmId("look"), wish.spec.image = ImageId("guest"),
  wish.spec.disk_from = DiskOrigin{w.disk_id, w.cut().name};
  ASSERT_EQ(w.ask("POST", "/v1/vms", json::write_text(wish)).status, 201);
  ASSERT_TRUE(w.all_run({"look"}));
  w.worker().tell_rescue = [&](const RescueLog& asked) {
    return SeenRescue{asked.into, asked.epoch, false, "it cannot be", {}};
  };
  w.returns_with({w.log(w.epoch)});
  ASSERT_TRUE(w.tick_until([&] { return w.kept() && w.kept()->rescue->state == RescueState::failed; }));
  const auto first = w.kept()->id;
  w.worker().tell_rescue = {};
  ASSERT_EQ(w.ask("DELETE", "/v1/disks/" + first.value).status, 204);
  ASSERT_TRUE(w.tick_until([&] {
    return !w.worker().rescues.empty() && w.worker().rescues[0].into != first;
  })) << "ids are never used again";
}

TEST(RescuesApi, ACutIsNotLeftBehindForAWorkerThatIsForgotten) {
  Rescues w;
  ASSERT_EQ(w.ask("DELETE", "/v1/workers/" + w.lost).status, 204);
  ASSERT_TRUE(w.tick_until([&] { return w.disk().snapshots.empty(); }));
}

}  // namespace
}  // namespace ebb::control
