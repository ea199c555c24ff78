#include "agent/testing.h"

namespace ebb::agent::testing {
namespace {

TEST_F(AgentTest, AWantedVmIsBootedAndReported) {
  start_agent();
  control_.want({vm("a", 5)});
  ASSERT_TRUE(reaches("a", VmSeen::running, 5));
  const auto& seen = *control_.seen("a");
  EXPECT_TRUE(seen.machine);
  EXPECT_TRUE(seen.disk_open);
  EXPECT_TRUE(seen.ports.contains("http"));
  EXPECT_TRUE(seen.timings.open_ms && seen.timings.boot_ms);
  EXPECT_GT(*seen.timings.boot_ms, 500u);
  EXPECT_EQ(control_.report.machines, 1u);
  EXPECT_EQ(control_.report.leases, 1u);
  EXPECT_TRUE(control_.report.disk_daemon_up);
  EXPECT_EQ(control_.report.wanted_revision, control_.set.revision);
  EXPECT_EQ(control_.registrations, 1u);
  EXPECT_EQ(control_.registration.firmware, (std::vector{Firmware::bios, Firmware::uefi}));
  EXPECT_EQ(control_.refused, 0u);
}

TEST_F(AgentTest, ADiskThatIsWantedLargerGrowsUnderItsGuest) {
  start_agent();
  auto wish = vm("a", 5);
  control_.want({wish});
  ASSERT_TRUE(reaches("a", VmSeen::running, 5));
  auto size = [&] {
    const auto* disks = machines_.disks_of(VmId("a"));
    return disks ? disks->at(0).bytes : 0;
  };
  EXPECT_EQ(size(), MiB);
  wish.disks.at(0).size_bytes = 4 * MiB;
  control_.want({wish});
  ASSERT_TRUE(world_.loop().run_until([&] { return size() == 4 * MiB; }, 20s));
  EXPECT_EQ(daemon_.sizes[wish.disks[0].id.value], 4 * MiB) << "where it is served, before";
  EXPECT_EQ(control_.seen("a")->state, VmSeen::running);
  EXPECT_TRUE(world_.loop().run_until(
      [&] {
        const auto sizes = control_.seen("a")->disk_sizes.value_or(std::map<std::string, std::uint64_t>());
        return sizes == std::map<std::string, std::uint64_t>{{wish.disks[0].id.value, 4 * MiB}};
      },
      1s))
      << "that its guest sees it is told at once";
  const auto calls = daemon_.calls.size();
  world_.loop().run_for(20s);
  EXPECT_EQ(daemon_.calls.size(), calls) << "once";

  // Grown while nobody ran it, or half-way: the next start makes it so.
  daemon_.sizes.clear(), daemon_.disks.clear();
  wish.disks.at(0).size_bytes = 8 * MiB, wish.epoch = 6;
  control_.want({});
  ASSERT_TRUE(world_.loop().run_until([&] { return !control_.seen("a"); }, 20s));
  control_.want({wish});
  ASSERT_TRUE(reaches("a", VmSeen::running, 6));
  EXPECT_EQ(size(), 8 * MiB);
  EXPECT_EQ(machines_.resizes(), 1u)
      << "the first time only: what sets a guest up at its boot sees the size that it is to have";
  EXPECT_EQ(daemon_.sizes[wish.disks[0].id.value], 8 * MiB);
}

TEST_F(AgentTest, WhatTheLossOfThisWorkerWouldCostIsReported) {
  start_agent();
  control_.want({vm("a", 5), vm("b", 6)});
  ASSERT_TRUE(reaches("a", VmSeen::running, 5) && reaches("b", VmSeen::running, 6));
  EXPECT_TRUE(control_.report.unsent.empty()) << "of class remote";
  auto& disk = daemon_.disks.at("disk-a");
  disk.loss_bound = LossBound{}, disk.unsent_bytes = 3 * MiB, disk.unsent_age_ms = 1'200;
  daemon_.orphan_logs = {{DiskId("disk-c"), 7, 40'960, ""}};
  ASSERT_TRUE(run_until([&] { return !control_.report.orphan_logs.empty(); }));
  EXPECT_EQ(control_.report.unsent, (std::vector{UnsentDisk{DiskId("disk-a"), 3 * MiB, 1'200, LossBound{}}}));
  EXPECT_EQ(control_.report.orphan_logs, daemon_.orphan_logs);
  disk.unsent_bytes = 5 * MiB;
  ASSERT_TRUE(run_until([&] { return control_.report.unsent.at(0).bytes == 5 * MiB; }))
      << "with the next heartbeat";
}

TEST_F(AgentTest, ADrainedVmIsStoppedSealedAndThenGone) {
  start_agent();
  control_.want({vm("a", 5)});
  ASSERT_TRUE(reaches("a", VmSeen::running, 5));
  daemon_.is_slow = true;
  control_.want({vm("a", 5, Wanted::sealed)});
  ASSERT_TRUE(reaches("a", VmSeen::sealed, 5));
  EXPECT_TRUE(daemon_.is("disk-a", DiskSeen::sealed));
  EXPECT_EQ(machines_of("a"), 0u);
  EXPECT_TRUE(control_.seen("a")->guest_stopped_itself);
  EXPECT_TRUE(control_.seen("a")->timings.stop_ms && control_.seen("a")->timings.seal_ms);
  control_.want({});
  ASSERT_TRUE(run_until([&] { return control_.sees_nothing(); }));
  EXPECT_TRUE(daemon_.disks.empty());
  EXPECT_EQ(control_.report.leases, 0u);
  EXPECT_EQ(control_.report.exports, 0u);
  EXPECT_EQ(control_.report.machines, 0u);
}

TEST_F(AgentTest, ACancelledFreezeRunsTheGuestAgain) {
  start_agent();
  control_.want({vm("a", 5)});
  ASSERT_TRUE(reaches("a", VmSeen::running, 5));
  control_.want({vm("a", 5, Wanted::sealed)});
  run_for(50ms);  // the guest is stopping
  control_.want({vm("a", 5)});
  ASSERT_TRUE(
      run_until([&] { return control_.sees("a", VmSeen::running, 5) && ledger_.runs().size() == 2; }));
  EXPECT_EQ(machines_of("a"), 1u);
  EXPECT_TRUE(daemon_.is("disk-a", DiskSeen::open));
}

TEST_F(AgentTest, AStandbyOwnsNothingAndThenTakesOver) {
  start_agent();
  control_.want({vm("a", 5, Wanted::standby)});
  ASSERT_TRUE(reaches("a", VmSeen::standby, 5));
  EXPECT_FALSE(control_.seen("a")->disk_open);
  EXPECT_EQ(control_.report.leases, 0u);
  EXPECT_EQ(machines_of("a"), 0u);
  control_.want({vm("a", 6)});
  ASSERT_TRUE(reaches("a", VmSeen::running, 6));
  EXPECT_TRUE(control_.seen("a")->timings.prepare_ms);
}

TEST_F(AgentTest, AnAbandonedStandbyLeavesNothingAndSealsNothing) {
  start_agent();
  control_.want({vm("a", 5, Wanted::standby)});
  ASSERT_TRUE(reaches("a", VmSeen::standby, 5));
  control_.want({});
  ASSERT_TRUE(run_until([&] { return control_.sees_nothing(); }));
  EXPECT_TRUE(daemon_.disks.empty());
  EXPECT_EQ(count_calls("seal disk-a"), 0u);
}

TEST_F(AgentTest, AnOlderEpochIsRefusedAlsoAfterARestartAndAfterTheVmLeft) {
  start_agent();
  control_.want({vm("a", 5)});
  ASSERT_TRUE(reaches("a", VmSeen::running, 5));
  control_.want({vm("a", 4)});
  run_for(5s);
  EXPECT_TRUE(control_.sees("a", VmSeen::running, 5));
  EXPECT_EQ(ledger_.runs().size(), 1u);
  control_.want({});
  ASSERT_TRUE(run_until([&] { return control_.sees_nothing(); }));
  for (int restart = 0; restart < 2; ++restart) {
    control_.want({vm("a", 4)});
    run_for(10s);
    EXPECT_EQ(machines_of("a"), 0u);
    EXPECT_EQ(count_calls("open disk-a"), 1u);
    restart_agent();
  }
  control_.want({vm("a", 6)});
  EXPECT_TRUE(reaches("a", VmSeen::running, 6));
}

TEST_F(AgentTest, MachinesAreLeftAloneWhileTheControlPlaneIsAway) {
  start_agent();
  control_.want({vm("a", 5)});
  ASSERT_TRUE(reaches("a", VmSeen::running, 5));
  control_.stop();
  run_for(10min);
  restart_agent();
  run_for(10min);
  EXPECT_EQ(machines_of("a"), 1u);
  EXPECT_EQ(ledger_.runs().size(), 1u);
  control_.start();
  control_.knows_worker = false;  // a control plane that has forgotten its workers
  control_.report = {};
  ASSERT_TRUE(reaches("a", VmSeen::running, 5));
  EXPECT_EQ(ledger_.runs().size(), 1u);
}

TEST_F(AgentTest, AGuestThatCrashesIsRestartedAlsoWithoutAControlPlane) {
  start_agent();
  control_.want({vm("a", 5)});
  ASSERT_TRUE(reaches("a", VmSeen::running, 5));
  machines_.crash(VmId("a"));
  ASSERT_TRUE(reaches("a", VmSeen::failed, 5));
  EXPECT_EQ(control_.seen("a")->failures, 1u);
  EXPECT_NE(control_.seen("a")->error, "");
  ASSERT_TRUE(reaches("a", VmSeen::running, 5));
  EXPECT_EQ(control_.seen("a")->failures, 1u) << "it may be a loop";
  ASSERT_TRUE(run_until([&] { return control_.seen("a")->failures == 0; }, 2min)) << "it is steady";
  control_.stop();
  machines_.crash(VmId("a"));
  run_for(30s);
  EXPECT_EQ(machines_of("a"), 1u);
}

TEST_F(AgentTest, AGuestThatEndsIsStartedAgainAsItsPolicySays) {
  auto always = vm("a", 5), on_failure = vm("b", 6), fails = vm("c", 7), never = vm("d", 8);
  on_failure.restart = fails.restart = Restart::on_failure, never.restart = Restart::never;
  start_agent();
  control_.want({always, on_failure, fails, never});
  for (auto [name, epoch] : {std::pair("a", 5u), {"b", 6u}, {"c", 7u}, {"d", 8u}})
    ASSERT_TRUE(reaches(name, VmSeen::running, epoch)) << name;
  machines_.end_guest(VmId("a"), 0);
  machines_.end_guest(VmId("b"), 0);
  machines_.end_guest(VmId("c"), 3);
  machines_.crash(VmId("d"));
  ASSERT_TRUE(reaches("b", VmSeen::ended, 6) && reaches("d", VmSeen::ended, 8));
  EXPECT_EQ(control_.seen("b")->end->status, 0u);
  EXPECT_EQ(control_.seen("d")->end->status, std::nullopt);
  EXPECT_EQ(control_.seen("d")->end->text, "the guest crashed");
  run_for(2min);
  EXPECT_TRUE(control_.sees("a", VmSeen::running, 5) && control_.sees("c", VmSeen::running, 7));
  EXPECT_EQ(ledger_.runs().size(), 6u) << "each once, and two of them once more";
  EXPECT_EQ(machines_of("b"), 0u);
}

// One VM, `a`, whose guest may end by itself.
struct EndedGuestTest : AgentTest {
  bool runs_with(Restart policy) {
    wish_.restart = policy;
    start_agent();
    want_of_it(Wanted::running);
    return reaches("a", VmSeen::running, 5);
  }
  void want_of_it(Wanted wanted) {
    wish_.wanted = wanted;
    control_.want({wish_});
  }
  WantedVm wish_ = vm("a", 5);
};

TEST_F(EndedGuestTest, AnEndThatNobodyWatchedIsFoundByTheNextAgent) {
  ASSERT_TRUE(runs_with(Restart::never));
  kill_agent();
  machines_.end_guest(VmId("a"), 7);
  start_agent();
  ASSERT_TRUE(reaches("a", VmSeen::ended, 5));
  kill_agent();  // nobody may have been told
  start_agent();
  control_.report = {};
  ASSERT_TRUE(reaches("a", VmSeen::ended, 5));
  EXPECT_EQ(control_.seen("a")->end->status, 7u);
  want_of_it(Wanted::stopped);
  ASSERT_TRUE(reaches("a", VmSeen::stopped, 5));
  EXPECT_TRUE(daemon_.is("disk-a", DiskSeen::sealed));
  want_of_it(Wanted::running);
  ASSERT_TRUE(reaches("a", VmSeen::running, 5)) << "started again by hand";
  EXPECT_FALSE(control_.seen("a")->end);
}

TEST_F(EndedGuestTest, AGuestThatIsStoppedForAMoveHasNotEnded) {
  ASSERT_TRUE(runs_with(Restart::never));
  want_of_it(Wanted::sealed);
  ASSERT_TRUE(reaches("a", VmSeen::sealed, 5));
  EXPECT_FALSE(control_.seen("a")->end);
  want_of_it(Wanted::running);  // the move did not come about
  ASSERT_TRUE(reaches("a", VmSeen::running, 5));
}

TEST_F(EndedGuestTest, AGuestThatEndsWhileItIsStoppedForAMoveHasEnded) {
  machines_.set_guest_fault(VmId("a"), sim::SimMachines::GuestFault::ignores_stop);
  ASSERT_TRUE(runs_with(Restart::on_failure));
  machines_.end_guest(VmId("a"), 0, 2s);  // it says so, and takes a while
  want_of_it(Wanted::sealed);
  ASSERT_TRUE(reaches("a", VmSeen::sealed, 5));
  ASSERT_TRUE(control_.seen("a")->end);
  EXPECT_EQ(control_.seen("a")->end->status, 0u);
}

TEST_F(EndedGuestTest, AGuestThatWasStoppedByHandAndHadEndedIsStartedByHand) {
  ASSERT_TRUE(runs_with(Restart::never));
  kill_agent();
  machines_.end_guest(VmId("a"), 0);
  want_of_it(Wanted::stopped);
  start_agent();
  ASSERT_TRUE(reaches("a", VmSeen::stopped, 5));
  want_of_it(Wanted::running);
  ASSERT_TRUE(reaches("a", VmSeen::running, 5));
  EXPECT_FALSE(control_.seen("a")->end);
}

TEST_F(EndedGuestTest, AGuestThatEndsJustAsItsMoveBeginsIsNotBootedAgain) {
  ASSERT_TRUE(runs_with(Restart::never));
  kill_agent();
  machines_.end_guest(VmId("a"), 0);
  want_of_it(Wanted::sealed);
  start_agent();
  ASSERT_TRUE(reaches("a", VmSeen::sealed, 5));
  EXPECT_TRUE(control_.seen("a")->end) << "the control plane must not boot it elsewhere";
  kill_agent();
  control_.report = {};
  start_agent();
  ASSERT_TRUE(reaches("a", VmSeen::sealed, 5));
  EXPECT_TRUE(control_.seen("a")->end) << "nor if the agent died before it was heard";
  want_of_it(Wanted::running);
  ASSERT_TRUE(reaches("a", VmSeen::ended, 5));
}

TEST_F(AgentTest, AGuestThatCrashesAgainAndAgainIsSaidToFail) {
  start_agent();
  control_.want({vm("a", 5)});
  for (std::uint32_t crashes = 1; crashes <= 3; ++crashes) {
    ASSERT_TRUE(reaches("a", VmSeen::running, 5));
    machines_.crash(VmId("a"));
    ASSERT_TRUE(reaches("a", VmSeen::failed, 5));
    EXPECT_EQ(control_.seen("a")->failures, crashes) << "though it came up each time";
  }
}

TEST_F(AgentTest, AGuestThatNeverComesUpIsTriedAgainEverMoreRarely) {
  machines_.set_guest_fault(VmId("a"), sim::SimMachines::GuestFault::exits_at_boot);
  start_agent();
  control_.want({vm("a", 5)});
  ASSERT_TRUE(run_until([&] { return control_.seen("a") && control_.seen("a")->failures >= 3; }));
  run_for(10min);
  auto runs = ledger_.runs().size();
  EXPECT_GT(runs, 8u);
  EXPECT_LT(runs, 25u);
}

TEST_F(AgentTest, AFencedMachineIsKilledAndFlushesNothing) {
  start_agent();
  control_.want({vm("a", 5)});
  ASSERT_TRUE(reaches("a", VmSeen::running, 5));
  control_.stop();
  daemon_.fence("disk-a");
  auto fenced_at = world_.loop().now();
  ASSERT_TRUE(run_until([&] { return machines_of("a") == 0; }, 2s));
  EXPECT_LT(world_.loop().now() - fenced_at, 1s);
  auto flushes = flushes_["a"];
  run_for(5min);
  EXPECT_EQ(flushes_["a"], flushes);
  EXPECT_EQ(count_calls("seal disk-a"), 0u);
  EXPECT_EQ(ledger_.runs().size(), 1u) << "a fenced VM was started again under its old epoch";
  control_.start();
  ASSERT_TRUE(reaches("a", VmSeen::fenced, 5));
  control_.want({vm("a", 7)});
  daemon_.disks.clear();
  EXPECT_TRUE(reaches("a", VmSeen::running, 7));
}

TEST_F(AgentTest, AGuestThatIgnoresItsStopIsKilledWhenItsDiskIsFencedMeanwhile) {
  machines_.set_guest_fault(VmId("a"), sim::SimMachines::GuestFault::ignores_stop);
  start_agent();
  control_.want({vm("a", 5)});
  ASSERT_TRUE(reaches("a", VmSeen::running, 5));
  auto sealed = vm("a", 5, Wanted::sealed);
  sealed.stop_grace_ms = 600'000;
  control_.want({sealed});
  run_for(2s);
  daemon_.fence("disk-a");
  EXPECT_TRUE(run_until([&] { return machines_of("a") == 0; }, 2s));
  EXPECT_TRUE(reaches("a", VmSeen::fenced, 5));
}

TEST_F(AgentTest, ADiskThatIsFencedAtItsOpeningIsReportedSo) {
  daemon_.refuse_open = Error{Code::fenced, "HEAD is newer", {}};
  start_agent();
  control_.want({vm("a", 5)});
  ASSERT_TRUE(reaches("a", VmSeen::fenced, 5));
  EXPECT_EQ(machines_of("a"), 0u);
}

TEST_F(AgentTest, WithoutADiskDaemonMachinesRunOnAndItIsSaid) {
  start_agent();
  control_.want({vm("a", 5)});
  ASSERT_TRUE(reaches("a", VmSeen::running, 5));
  daemon_.stop();
  ASSERT_TRUE(run_until([&] { return !control_.report.disk_daemon_up; }));
  run_for(1min);
  EXPECT_EQ(machines_of("a"), 1u);
  auto opens = count_calls("open disk-a");
  daemon_.disks.clear();  // and it comes back without a memory
  daemon_.start();
  ASSERT_TRUE(
      run_until([&] { return control_.report.disk_daemon_up && daemon_.is("disk-a", DiskSeen::open); }));
  EXPECT_EQ(count_calls("open disk-a"), opens + 1);
  EXPECT_EQ(ledger_.runs().size(), 1u);
}

TEST_F(AgentTest, WhatARunningVmsDiskWaitsForIsReported) {
  start_agent();
  control_.want({vm("a", 5)});
  ASSERT_TRUE(reaches("a", VmSeen::running, 5));
  daemon_.disks["disk-a"].waiting_for = "the log: no space left";
  ASSERT_TRUE(run_until([&] { return control_.seen("a")->error.contains("the log: no space left"); }, 2s));
  EXPECT_EQ(control_.seen("a")->state, VmSeen::running);
  daemon_.disks["disk-a"].waiting_for.clear();
  ASSERT_TRUE(run_until([&] { return control_.seen("a")->error.empty(); }, 2s));
}

TEST_F(AgentTest, WhatDoesNotFitIsRefusedWithTheReason) {
  start_agent();
  auto large = vm("b", 6);
  large.memory_bytes = 900 * MiB;  // fits without QEMU's own memory and without VM a
  control_.want({vm("a", 5), large});
  ASSERT_TRUE(reaches("a", VmSeen::running, 5));
  ASSERT_TRUE(reaches("b", VmSeen::failed, 6));
  EXPECT_NE(control_.seen("b")->error.find("no room"), std::string::npos) << control_.seen("b")->error;
  EXPECT_EQ(count_calls("open disk-b"), 0u);
  control_.want({large});
  EXPECT_TRUE(reaches("b", VmSeen::running, 6));
}

TEST_F(AgentTest, AnUnknownMachineIsLeftUntilAWantedSetIsReceived) {
  start_agent();
  control_.want({vm("a", 5)});
  ASSERT_TRUE(reaches("a", VmSeen::running, 5));
  kill_agent();
  drive_ = std::make_shared<sim::SimDrive>();  // the agent's memory is lost
  control_.stop();
  start_agent();
  run_for(5min);
  EXPECT_EQ(machines_of("a"), 1u);
  control_.report = {};
  control_.start();
  // It is wanted after all: adopted as it is.
  ASSERT_TRUE(reaches("a", VmSeen::running, 5));
  EXPECT_EQ(ledger_.runs().size(), 1u);

  kill_agent();
  drive_ = std::make_shared<sim::SimDrive>();
  start_agent();
  control_.want({});
  ASSERT_TRUE(run_until([&] { return control_.sees_nothing() && machines_of("a") == 0; }));
}

TEST_F(AgentTest, AKernelThatIsNotWhatWasAnnouncedIsNotBooted) {
  auto bad = vm("a", 5);
  bad.kernel->sha256[0] = bad.kernel->sha256[0] == '0' ? '1' : '0';
  start_agent();
  control_.want({bad});
  ASSERT_TRUE(reaches("a", VmSeen::failed, 5));
  EXPECT_NE(control_.seen("a")->error.find("sha256"), std::string::npos);
  EXPECT_EQ(machines_of("a"), 0u);
}

TEST_F(AgentTest, AnImagesDiskIsClosedWithItsLastUser) {
  auto stateless = [](const std::string& name, Epoch epoch) {
    auto w = vm(name, epoch);
    w.disks = {{DiskId("image"), PoolId("pool"), MiB, DiskClass::remote, true, false}};
    return w;
  };
  start_agent();
  control_.want({stateless("a", 5), stateless("b", 6)});
  ASSERT_TRUE(reaches("a", VmSeen::running, 5));
  ASSERT_TRUE(reaches("b", VmSeen::running, 6));
  EXPECT_EQ(control_.report.leases, 0u);
  control_.want({stateless("b", 6)});
  ASSERT_TRUE(run_until([&] { return control_.report.vms.size() == 1; }));
  EXPECT_TRUE(daemon_.is("image", DiskSeen::reading));
  control_.want({});
  ASSERT_TRUE(run_until([&] { return control_.sees_nothing(); }));
  EXPECT_TRUE(daemon_.disks.empty());
  EXPECT_EQ(count_calls("seal image"), 0u);
}

TEST_F(AgentTest, AFullStateFolderIsReportedAndWhatRunsRunsOn) {
  start_agent();
  control_.want({vm("a", 5)});
  ASSERT_TRUE(reaches("a", VmSeen::running, 5));
  drive_->set_capacity(drive_->used());
  control_.want({vm("a", 5), vm("b", 6)});
  ASSERT_TRUE(run_until([&] { return control_.report.trouble.contains("no space left"); }, 2s));
  EXPECT_LT(control_.report.wanted_revision, control_.set.revision);
  EXPECT_EQ(control_.seen("b"), nullptr);
  EXPECT_TRUE(control_.sees("a", VmSeen::running, 5));
  drive_->set_capacity(GiB);
  ASSERT_TRUE(reaches("b", VmSeen::running, 6));
  EXPECT_EQ(control_.report.trouble, "");
  EXPECT_EQ(machines_of("a"), 1u);
}

TEST_F(AgentTest, AFolderOfANewerVersionIsRefused) {
  drive_->make_dirs("/agent").value();
  drive_->replace("/agent/wishes.json", to_bytes(R"({"format":2,"shape":"unknown"})")).value();
  start_agent();
  ASSERT_TRUE(run_until([&] { return run_result_->has_value(); }));
  EXPECT_EQ((*run_result_)->error().code, Code::invalid);
  EXPECT_NE((*run_result_)->error().message.find("newer version"), std::string::npos);
  run_for(1min);
  EXPECT_EQ(control_.registrations, 0u);
}

TEST_F(AgentTest, ASecondAgentOnTheSameFolderIsRefused) {
  start_agent();
  run_for(1s);
  auto* first = agent_process_;
  start_agent();
  ASSERT_TRUE(run_until([&] { return run_result_->has_value(); }));
  EXPECT_EQ((*run_result_)->error().code, Code::busy);
  first->kill();
}

TEST_F(AgentTest, AQuietAgentReportsEveryTwoSeconds) {
  start_agent();
  ASSERT_TRUE(run_until([&] { return control_.reports > 0; }));
  run_for(2s);
  auto before = control_.reports;
  run_for(20s);
  EXPECT_GE(control_.reports - before, 9u);
  EXPECT_LE(control_.reports - before, 12u);
}

TEST_F(AgentTest, OperatorsSeeWhatItSees) {
  start_agent();
  control_.want({vm("a", 5)});
  ASSERT_TRUE(reaches("a", VmSeen::running, 5));
  auto& operator_process = world_.start_process(worker_host, "curl");
  sim::SimHttp http(operator_process, network_);
  auto ask = [&](const std::string& target) {
    return **sim::run_in(operator_process, http.request("unix:/run/agent", {"GET", target, {}, {}}, 1s));
  };
  EXPECT_EQ(ask("/healthz").status, 200);
  EXPECT_EQ(ask("/nothing").status, 404);
  auto status = json::parse(ask("/status").body);
  ASSERT_TRUE(status);
  EXPECT_EQ(status->at("worker"), "worker-1");
  EXPECT_EQ(status->at("vms").at(0).at("seen").at("state"), "running");
}

// A report that says that nothing is left here is believed: a drain ends by it.
TEST_F(AgentTest, ADiskThatWasGivenUpIsNeverReportedAsLeavingNothingBeforeTheDaemonSaysSo) {
  start_agent();
  control_.want({vm("a", 5)});
  ASSERT_TRUE(reaches("a", VmSeen::running, 5));
  daemon_.leaves_logs = true;
  daemon_.fence("disk-a");
  std::size_t without_disk = 0;
  control_.on_report = [&](const AgentReport& report) {
    const auto* seen = control_.seen("a");
    if (report.leases > 0 || (seen && (seen->disk_open || seen->machine))) return;
    ++without_disk;
    if (daemon_.is("disk-a", DiskSeen::fenced)) return;  // the daemon speaks for itself
    EXPECT_EQ(report.unsent_logs, 1u);
    EXPECT_EQ(report.unread_logs, std::vector{DiskId("disk-a")});
  };
  control_.want({});
  ASSERT_TRUE(run_until([&] { return control_.sees_nothing(); }));
  ASSERT_TRUE(run_until([&] { return without_disk > 3; }));
}

TEST_F(AgentTest, ADaemonThatHasNotToldWhatItHasCountsAsOneThatDoesNotAnswer) {
  daemon_.is_silent_about_itself = true;
  start_agent();
  control_.want({vm("a", 5)});
  ASSERT_TRUE(reaches("a", VmSeen::running, 5)) << "it carries out what is asked";
  EXPECT_FALSE(control_.report.disk_daemon_up) << "and nobody knows what logs lie there";
  daemon_.is_silent_about_itself = false;
  ASSERT_TRUE(run_until([&] { return control_.report.disk_daemon_up; }));
}

TEST_F(AgentTest, AWantedRescueIsAskedForUntilItEndsAndToldOf) {
  start_agent();
  const RescueLog good{DiskId("d"), PoolId("main"), "log-1", DiskId("d-lost-1"), 7, DiskClass::local};
  auto bad = good;
  bad.into = DiskId("d-lost-2");
  int asked = 0;
  daemon_.rescue = [&](const RescueLog& wish) {
    if (wish.into == bad.into) return error_reply(409, Code::conflict, "it goes on elsewhere");
    if (++asked < 4) return error_reply(503, Code::unavailable, "12 records");
    return reply(DiskStatus{});
  };
  control_.want_rescues({good, bad});
  auto told = [&](const RescueLog& wish) {
    auto found = std::ranges::find(control_.report.rescues, wish.into, &SeenRescue::into);
    return found == control_.report.rescues.end() ? SeenRescue{} : *found;
  };
  ASSERT_TRUE(run_until([&] { return told(good).waiting_for.ends_with("12 records"); }));
  ASSERT_TRUE(run_until([&] { return told(good).written && !told(bad).error.empty(); }));
  EXPECT_EQ(told(good), (SeenRescue{good.into, 7, true, {}, {}}));
  EXPECT_TRUE(told(bad).error.ends_with("it goes on elsewhere")) << told(bad).error;
  const auto calls = daemon_.calls.size();
  ASSERT_TRUE(world_.loop().run_for(30s));
  EXPECT_EQ(daemon_.calls.size(), calls) << "what has ended is not asked for again";
  control_.want_rescues({});
  ASSERT_TRUE(run_until([&] { return control_.report.rescues.empty(); }));
}

}  // namespace
}  // namespace ebb::agent::testing
