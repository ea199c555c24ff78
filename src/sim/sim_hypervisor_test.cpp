#include "sim/sim_hypervisor.h"

#include <gtest/gtest.h>

#include "sim/run_in.h"

namespace ebb::sim {
namespace {

// A disk that loses nothing - unless told to.
struct Platter {
  std::vector<GuestRecord> durable, written;
  bool is_broken = false;
};

class TestDisk final : public GuestDisk {
 public:
  TestDisk(SimProcess& process, Platter& platter) : process_(process), platter_(platter) {}
  Task<Status> write(GuestRecord record) override {
    co_await sleep_for(process_.loop(), 1ms);
    if (platter_.is_broken) co_return fail(Code::unavailable, "input/output error");
    platter_.written.resize(record.number - 1);
    platter_.written.push_back(record);
    co_return Status{};
  }
  Task<Status> flush() override {
    co_await sleep_for(process_.loop(), 1ms);
    platter_.durable = platter_.written;
    co_return Status{};
  }
  Task<Result<std::vector<GuestRecord>>> read_all() override { co_return platter_.written; }

 private:
  SimProcess& process_;
  Platter& platter_;
};

class SimHypervisorTest : public testing::Test {
 protected:
  SimMachines machines(std::string host) {
    return SimMachines(world_, std::move(host), ledger_,
                       [this](SimProcess& process, const MachineSpec&, const MachineDisk&) {
                         return std::make_shared<TestDisk>(process, platter_);
                       });
  }
  static MachineSpec spec(std::uint64_t epoch) {
    return {.vm = VmId("vm-1"),
            .epoch = epoch,
            .kernel = "k",
            .initrd = {},
            .cmdline = {},
            .disks = {MachineDisk{.serial = "d", .nbd_socket = "s", .nbd_export = "e"}},
            .ports = {{"ssh", 22}},
            .channels = {}};
  }
  void run_for(Duration duration) { ASSERT_TRUE(world_.loop().run_for(duration)); }

  SimWorld world_;
  GuestLedger ledger_{world_};
  Platter platter_;
  SimMachines here_ = machines("worker-1"), there_ = machines("worker-2");
  SimProcess* agent_ = &world_.start_process("worker-1", "agent");
  SimHypervisor* hypervisor_ = &agent_->make<SimHypervisor>(*agent_, here_);
};

TEST_F(SimHypervisorTest, AGuestBootsWritesAndStopsWhenAsked) {
  auto started = *run_in(*agent_, hypervisor_->start(spec(1)));
  ASSERT_TRUE(started);
  EXPECT_EQ(started->state, MachineState::booting);
  int changes = 0;
  hypervisor_->on_change([&] { ++changes; });
  run_for(10s);
  EXPECT_EQ(here_.list().at(0).state, MachineState::ready);
  EXPECT_GE(changes, 1);
  auto durable = ledger_.durable(VmId("vm-1"));
  EXPECT_GT(durable, 10u);
  EXPECT_TRUE(**run_in(*agent_, hypervisor_->stop(VmId("vm-1"), {.grace = 10s}))) << "stopped by itself";
  EXPECT_EQ(here_.list().at(0).state, MachineState::exited);
  EXPECT_EQ(run_in(*agent_, hypervisor_->start(spec(1)))->error().code, Code::conflict);
  EXPECT_TRUE(*run_in(*agent_, hypervisor_->forget(VmId("vm-1"))));
  EXPECT_TRUE(run_in(*agent_, hypervisor_->start(spec(1)))->has_value());
  run_for(10s);
  EXPECT_GT(ledger_.durable(VmId("vm-1")), durable) << "the next boot goes on where the last one ended";
  EXPECT_EQ(world_.violations(), std::vector<std::string>{});
}

TEST_F(SimHypervisorTest, MachinesOutliveTheAgentButNotTheHost) {
  ASSERT_TRUE(*run_in(*agent_, hypervisor_->start(spec(1))));
  run_for(5s);
  agent_->kill();
  auto before = ledger_.durable(VmId("vm-1"));
  run_for(5s);
  EXPECT_GT(ledger_.durable(VmId("vm-1")), before);
  auto& agent = world_.start_process("worker-1", "agent");
  SimHypervisor adopted(agent, here_);
  EXPECT_EQ((**run_in(agent, adopted.list())).at(0).state, MachineState::ready);
  here_.power_off();
  before = ledger_.durable(VmId("vm-1"));
  run_for(5s);
  EXPECT_EQ(ledger_.durable(VmId("vm-1")), before);
  EXPECT_TRUE((**run_in(agent, adopted.list())).empty());
}

TEST_F(SimHypervisorTest, AGuestThatIgnoresTheStopIsKilledAfterTheGrace) {
  here_.set_guest_fault(VmId("vm-1"), SimMachines::GuestFault::ignores_stop);
  ASSERT_TRUE(*run_in(*agent_, hypervisor_->start(spec(1))));
  run_for(5s);
  auto asked = world_.loop().now();
  EXPECT_FALSE(**run_in(*agent_, hypervisor_->stop(VmId("vm-1"), {.grace = 3s})));
  EXPECT_EQ(world_.loop().now() - asked, 3s);
}

TEST_F(SimHypervisorTest, APausedGuestWritesNothing) {
  ASSERT_TRUE(*run_in(*agent_, hypervisor_->start(spec(1))));
  run_for(5s);
  ASSERT_TRUE(*run_in(*agent_, hypervisor_->pause(VmId("vm-1"))));
  auto before = ledger_.durable(VmId("vm-1"));
  run_for(1min);
  EXPECT_EQ(ledger_.durable(VmId("vm-1")), before);
  EXPECT_FALSE(**run_in(*agent_, hypervisor_->stop(VmId("vm-1"), {.grace = 1s})));
}

TEST_F(SimHypervisorTest, FailuresToStartAndToBootAreSeen) {
  here_.fail_starts(1, Error{Code::unavailable, "QEMU is not installed", {}});
  EXPECT_EQ(run_in(*agent_, hypervisor_->start(spec(1)))->error().message, "QEMU is not installed");
  here_.set_guest_fault(VmId("vm-1"), SimMachines::GuestFault::exits_at_boot);
  ASSERT_TRUE(*run_in(*agent_, hypervisor_->start(spec(1))));
  run_for(10s);
  EXPECT_EQ(here_.list().at(0).state, MachineState::exited);
  EXPECT_EQ(here_.list().at(0).error, "the guest kernel panicked");
}

TEST_F(SimHypervisorTest, TheLedgerSeesASecondWriter) {
  auto& agent = world_.start_process("worker-2", "agent");
  SimHypervisor elsewhere(agent, there_);
  ASSERT_TRUE(*run_in(*agent_, hypervisor_->start(spec(1))));
  run_for(5s);
  ASSERT_TRUE(*run_in(agent, elsewhere.start(spec(2))));
  run_for(10s);
  ASSERT_FALSE(world_.violations().empty());
  EXPECT_TRUE(world_.violations()[0].contains("had read its disk")) << world_.violations()[0];
}

// A paused owner hears late that its record reached the store: its successor found and kept it.
TEST_F(SimHypervisorTest, TheLedgerBelievesALateWordAboutWhatWasKept) {
  auto older = ledger_.begin(VmId("vm-1"), 1, "worker-1");
  ledger_.acknowledge(older, 1);
  auto newer = ledger_.begin(VmId("vm-1"), 2, "worker-2");
  ledger_.recovered(newer, {{1, older}, {2, older}});
  ledger_.acknowledge(older, 2);
  EXPECT_TRUE(world_.violations().empty());
  ledger_.acknowledge(older, 3);
  EXPECT_EQ(world_.violations().size(), 1u);
}

TEST_F(SimHypervisorTest, TheLedgerLetsACopyWithASuccessorSeeThePast) {
  auto older = ledger_.begin(VmId("vm-1"), 1, "worker-1");
  auto newer = ledger_.begin(VmId("vm-1"), 2, "worker-2");
  ledger_.recovered(newer, {});
  ledger_.acknowledge(newer, 1);
  ledger_.recovered(older, {});
  ledger_.acknowledge(newer, 2);
  EXPECT_TRUE(world_.violations().empty());
}

TEST_F(SimHypervisorTest, TheLedgerSeesALostRecord) {
  ASSERT_TRUE(*run_in(*agent_, hypervisor_->start(spec(1))));
  run_for(5s);
  here_.power_off();
  platter_.written.pop_back();
  ASSERT_TRUE(*run_in(*agent_, hypervisor_->start(spec(2))));
  run_for(5s);
  ASSERT_EQ(world_.violations().size(), 1u);
  EXPECT_TRUE(world_.violations()[0].contains("records lost")) << world_.violations()[0];
}

TEST_F(SimHypervisorTest, TheLedgerSeesAnErrorInTheGuest) {
  ASSERT_TRUE(*run_in(*agent_, hypervisor_->start(spec(1))));
  run_for(5s);
  platter_.is_broken = true;
  run_for(5s);
  ASSERT_EQ(world_.violations().size(), 1u);
  EXPECT_TRUE(world_.violations()[0].contains("I/O error in the guest"));
  EXPECT_EQ(here_.list().at(0).state, MachineState::paused);
}

TEST_F(SimHypervisorTest, TheSameSeedTwiceEndsInTheSameState) {
  auto run = [](std::uint64_t seed) {
    SimWorld world({.seed = seed});
    GuestLedger ledger(world);
    Platter platter;
    SimMachines machines(world, "w", ledger,
                         [&](SimProcess& process, const MachineSpec&, const MachineDisk&) {
                           return std::make_shared<TestDisk>(process, platter);
                         });
    auto& agent = world.start_process("w", "agent");
    SimHypervisor hypervisor(agent, machines);
    (void)run_in(agent, hypervisor.start(spec(1)));
    (void)world.loop().run_for(20s);
    return std::pair(ledger.hash(), world.loop().trace_hash());
  };
  EXPECT_EQ(run(3), run(3));
  EXPECT_NE(run(3), run(4));
}

}  // namespace
}  // namespace ebb::sim
