// Snapshots, forks and restores as an operator asks for them.
#include "control/testing/control_world.h"

namespace ebb::control {
namespace {

struct Disks : ControlWorld {
  Disks() {
    import_image("guest");
    create_vm("a");
    EXPECT_TRUE(tick_until([&] { return is_running("a"); }));
  }
  std::string disk_of(const std::string& vm) { return get<VmView>("/v1/vms/" + vm).vm.disk.value_or(DiskId("-")).value; }
  Disk disk(const std::string& vm = "a") { return get<Disk>("/v1/disks/" + disk_of(vm)); }
  HttpResponse snapshot(const std::string& name, const std::string& more = "") {
    return ask("POST", "/v1/disks/" + disk_of("a") + "/snapshots", fmt::format(R"({{"name":"{}"{}}})", name, more));
  }
  HttpResponse remove(const std::string& name) { return ask("DELETE", "/v1/disks/" + disk_of("a") + "/snapshots/" + name); }
  HttpResponse restore(const std::string& name) {
    return ask("POST", "/v1/disks/" + disk_of("a") + ":restore", fmt::format(R"({{"snapshot":"{}"}})", name));
  }
  HttpResponse fork(const std::string& vm, const std::string& name) {
    CreateVm wish;
    wish.id = VmId(vm), wish.spec.image = ImageId("guest"), wish.spec.disk_from = DiskOrigin{DiskId(disk_of("a")), name};
    return ask("POST", "/v1/vms", json::write_text(wish));
  }
  SnapshotState state_of(const std::string& name) {
    auto d = disk();
    const auto* s = d.find_snapshot(name);
    return s ? s->state : SnapshotState::failed;
  }
  bool is_ready(const std::string& name) {
    return tick_until([&] { return state_of(name) == SnapshotState::ready; });
  }
  void stop() {
    ASSERT_EQ(ask("POST", "/v1/vms/a:stop").status, 200);
    ASSERT_TRUE(tick_until([&] { return !get<VmView>("/v1/vms/a").vm.worker; }));
  }
  std::string why(const std::string& subject) {
    auto answer = get<WhyAnswer>("/v1/" + subject + ":why");
    return answer.reasons.empty() ? "" : answer.reasons[0].text;
  }
};

TEST(DisksApi, ASnapshotOfARunningVmIsTakenByItsAgentAndSurvivesARestartOfTheControlPlane) {
  Disks w;
  auto& worker = w.workers()[w.worker_of("a")];
  worker.snapshot_waits = "the store: 503";
  ASSERT_EQ(w.snapshot("monday", R"(,"request_id":"r1")").status, 201);
  EXPECT_EQ(w.snapshot("monday", R"(,"request_id":"r1")").status, 200) << "the same wish";
  EXPECT_EQ(w.snapshot("monday").status, 409);
  EXPECT_EQ(w.snapshot("Bad name").status, 400);
  w.tick(3);
  EXPECT_NE(w.why("disks/" + w.disk_of("a")).find("the store: 503"), std::string::npos) << "it names what it waits for";
  w.restart();
  w.tick(3);
  EXPECT_EQ(w.state_of("monday"), SnapshotState::wanted);
  worker.snapshot_waits.reset();
  ASSERT_TRUE(w.is_ready("monday"));
  w.tick(3);
  EXPECT_TRUE(worker.vms.begin()->second.snapshots.empty()) << "what is made is no longer wanted";
}

TEST(DisksApi, ASnapshotThatIsRefusedSaysWhyAndCanBeRemoved) {
  Disks w;
  w.workers()[w.worker_of("a")].snapshot_error = "there is a snapshot 'monday' already";
  ASSERT_EQ(w.snapshot("monday").status, 201);
  ASSERT_TRUE(w.tick_until([&] { return w.state_of("monday") == SnapshotState::failed && w.disk().find_snapshot("monday"); }));
  EXPECT_NE(w.why("disks/" + w.disk_of("a")).find("already"), std::string::npos);
  ASSERT_EQ(w.remove("monday").status, 200);
  EXPECT_TRUE(w.tick_until([&] { return w.disk().snapshots.empty(); }));
}

TEST(DisksApi, TheDiskOfAStoppedVmIsSnapshotForkedAndRestoredInThePool) {
  Disks w;
  w.stop();
  ASSERT_EQ(w.snapshot("monday").status, 201);
  ASSERT_TRUE(w.is_ready("monday"));

  ASSERT_EQ(w.fork("b", "monday").status, 201);
  ASSERT_TRUE(w.tick_until([&] { return w.is_running("b"); }));
  EXPECT_EQ(w.disk("b").origin->snapshot, "monday");
  EXPECT_EQ(w.fork("c", "sunday").status, 409);
  auto refused = w.remove("monday");
  EXPECT_EQ(refused.status, 409);
  EXPECT_NE(refused.body.find("'b'"), std::string::npos) << refused.body;
  EXPECT_EQ(w.ask("DELETE", "/v1/vms/a").status, 409) << "forks of its disk live";

  auto plan = w.get<RestorePlanView>("/v1/disks/" + w.disk_of("a") + "/snapshots/monday:plan-restore");
  EXPECT_EQ(plan.writes_undone, 0u);
  EXPECT_EQ(plan.keep_as, "before-restore-1");
  EXPECT_TRUE(plan.blockers.empty());
  ASSERT_EQ(w.restore("monday").status, 200);
  ASSERT_TRUE(w.tick_until([&] { return !w.disk().restore; }));
  ASSERT_TRUE(w.disk().find_snapshot("before-restore-1"));
  EXPECT_EQ(w.disk().find_snapshot("before-restore-1")->left_by_restore_to, "monday");
  ASSERT_EQ(w.restore("before-restore-1").status, 200) << "and back";
  ASSERT_TRUE(w.tick_until([&] { return !w.disk().restore && w.disk().find_snapshot("before-restore-2"); }));

  auto log = w.get<DiskLogView>("/v1/disks/" + w.disk_of("a") + ":log");
  auto count = [&](std::string_view kind) { return std::ranges::count(log.entries, kind, &DiskLogEntry::kind); };
  EXPECT_EQ(count("snapshot"), 3);
  EXPECT_EQ(count("restore"), 2);
  EXPECT_EQ(count("fork"), 1);
  EXPECT_EQ(count("origin"), 1);

  ASSERT_EQ(w.ask("DELETE", "/v1/vms/b").status, 200);
  ASSERT_TRUE(w.tick_until([&] { return w.ask("GET", "/v1/vms/b").status == 404 && w.get<Page<Disk>>("/v1/disks").items.size() == 1; }));
  EXPECT_EQ(w.ask("DELETE", "/v1/vms/a").status, 409) << "its snapshots would be lost";
  for (auto name : {"monday", "before-restore-1", "before-restore-2"}) EXPECT_EQ(w.remove(name).status, 200);
  ASSERT_TRUE(w.tick_until([&] { return w.disk().snapshots.empty(); }));
  EXPECT_EQ(w.ask("DELETE", "/v1/vms/a").status, 200);
  EXPECT_TRUE(w.tick_until([&] { return w.get<Page<Disk>>("/v1/disks").items.empty(); }));
}

TEST(DisksApi, ARestoreIsRefusedWhileTheVmRunsAndTheVmWaitsForIt) {
  Disks w;
  ASSERT_EQ(w.snapshot("monday").status, 201);
  ASSERT_TRUE(w.is_ready("monday"));
  auto refused = w.restore("monday");
  EXPECT_EQ(refused.status, 409);
  EXPECT_NE(refused.body.find("not stopped"), std::string::npos) << refused.body;
  EXPECT_EQ(w.restore("sunday").status, 404);
  w.stop();
  ASSERT_EQ(w.remove("monday").status, 200) << "the obedient worker made it in words only";
  ASSERT_TRUE(w.tick_until([&] { return w.disk().snapshots.empty(); }));
  ASSERT_EQ(w.snapshot("tuesday").status, 201);
  ASSERT_TRUE(w.is_ready("tuesday"));
  w.store().set_outage(true);
  ASSERT_EQ(w.restore("tuesday").status, 200);
  EXPECT_EQ(w.restore("tuesday").status, 200) << "the same again";
  EXPECT_EQ(w.snapshot("wednesday").status, 409);
  ASSERT_EQ(w.ask("POST", "/v1/vms/a:start").status, 200);
  w.tick(20);
  EXPECT_FALSE(w.is_running("a"));
  EXPECT_NE(w.why("vms/a").find("being restored to 'tuesday'"), std::string::npos) << w.why("vms/a");
  w.store().set_outage(false);
  ASSERT_TRUE(w.tick_until([&] { return w.is_running("a"); }, 2000));
  EXPECT_TRUE(w.disk().find_snapshot("before-restore-1"));
}

}  // namespace
}  // namespace ebb::control
