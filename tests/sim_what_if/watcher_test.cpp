// The watcher finds what it is there for: each fault is planted, and named.
#include "watcher.h"

#include <gtest/gtest.h>

namespace ebb::what_if {
namespace {

// Two racks of two workers with room for two VMs each; a and b are a group that is apart, both on one tenant and one budget.
struct WatcherTest : testing::Test {
  FleetRecords fleet;
  Numbered<WorkerId> workers;
  Numbered<VmId> vms;
  WallMs now = 1000;
  std::optional<Watcher> watcher;

  WatcherTest() {
    for (int i = 1; i <= 4; ++i) {
      Worker w;
      w.id = WorkerId(fmt::format("w{}", i)), w.capacity = {2000, 2ull << 30};
      w.labels = {{"rack", i <= 2 ? "r1" : "r2"}};
      fleet.workers.push_back(w);
      workers.add(w.id);
    }
    Group group;
    group.id = GroupId("g"), group.apart = {{DomainLevel::rack, 1}};
    fleet.groups.push_back(group);
    Budget budget;
    budget.id = BudgetId("b"), budget.selector = {{"app", "x"}}, budget.away_max = 1;
    fleet.budgets.push_back(budget);
    add_vm("a", "w1", true), add_vm("b", "w3", true), add_vm("c", "w1", false), add_vm("d", "w2", false);
  }
  void add_vm(std::string name, std::string worker, bool is_grouped) {
    Vm vm;
    vm.id = VmId(std::move(name)), vm.worker = WorkerId(std::move(worker)), vm.epoch = fleet.vms.size() + 1;
    vm.spec.memory_bytes = 512ull << 20;
    vm.spec.labels = {{"app", "x"}};
    if (is_grouped) vm.spec.group = GroupId("g");
    fleet.vms.push_back(vm);
    vms.add(fleet.vms.back().id);
  }
  Vm vm(std::string_view name) const {
    return *std::ranges::find(fleet.vms, VmId(std::string(name)), &Vm::id);
  }
  static Migration move_of(std::string vm, std::string source, std::string target, Phase phase,
                           std::string id = "mig-1") {
    Migration m;
    m.id = MigrationId(std::move(id)), m.vm = VmId(std::move(vm));
    m.source = WorkerId(std::move(source)), m.target = WorkerId(std::move(target)), m.phase = phase;
    m.source_epoch = 1, m.history = {{Phase::reserving, 1}};
    if (phase != Phase::reserving) m.history.push_back({Phase::preparing, 2});
    return m;
  }
  static Hold hold_of(std::string worker) {
    return {HoldId("hold-" + worker), WorkerId(worker), "operator", "", 0, {}};
  }
  void begin() {
    watcher.emplace(fleet, workers, vms, [this] { return now; });
    for (const auto& record : fleet.vms)
      watcher->guest_started(vms.find(record.id), workers.find(*record.worker));
  }
  void commit(std::vector<Record> puts) { watcher->on_commit({std::move(puts), {}}); }
  using Found = std::vector<std::string>;
};

TEST_F(WatcherTest, AMoveByTheRulesIsNoFault) {
  begin();
  auto m = move_of("c", "w1", "w4", Phase::reserving);
  commit({m});
  m.phase = Phase::preparing, m.history.push_back({Phase::preparing, 2});
  commit({m});
  watcher->guest_stopped(vms.find(VmId("c")), workers.find(WorkerId("w1")));
  m.phase = Phase::moving_lease, m.target_epoch = 9;
  auto moved = vm("c");
  moved.worker = WorkerId("w4"), moved.epoch = 9;
  commit({m, moved});
  watcher->guest_started(vms.find(VmId("c")), workers.find(WorkerId("w4")));
  m.phase = Phase::done;
  commit({m});
  EXPECT_EQ(watcher->violations(), Found());
  EXPECT_EQ(watcher->vms_on(workers.find(WorkerId("w4"))), 1u);
}

TEST_F(WatcherTest, ATargetWithoutRoomIsNamed) {
  add_vm("e", "w4", false), add_vm("f", "w4", false);
  begin();
  commit({move_of("c", "w1", "w4", Phase::reserving)});
  EXPECT_EQ(watcher->violations(),
            Found({fmt::format("w4 is overcommitted: {} bytes of {}, 3000 mCPU of 2000",
                               3 * (512ull << 20) + 3 * (75ull << 20), 2ull << 30)}));
}

TEST_F(WatcherTest, RoomThatIsBeingMadeIsNotTakenBeforeItIsThere) {
  add_vm("e", "w4", false), add_vm("f", "w4", false);
  begin();
  auto maker = move_of("e", "w4", "w3", Phase::preparing, "mig-1");
  auto waiting = move_of("c", "w1", "w4", Phase::reserving, "mig-2");
  waiting.after = {maker.id};
  commit({maker, waiting});
  EXPECT_EQ(watcher->violations(), Found());
  waiting.phase = Phase::preparing, waiting.history.push_back({Phase::preparing, 3});
  commit({waiting});
  EXPECT_EQ(watcher->violations_seen(), 2u);  // too many at once on w4, and the budget
}

TEST_F(WatcherTest, OneOfAGroupInTheRackOfAnotherIsNamed) {
  begin();
  commit({move_of("a", "w1", "w4", Phase::reserving)});
  EXPECT_EQ(watcher->violations(), Found({"a goes to w4, whose rack has 1 others of its group"}));
}

TEST_F(WatcherTest, AnArrivalOnAHeldWorkerIsNamed) {
  fleet.holds.push_back(hold_of("w4"));
  begin();
  commit({move_of("c", "w1", "w4", Phase::reserving)});
  EXPECT_EQ(watcher->violations(), Found({"c goes to w4, which is held"}));
}

TEST_F(WatcherTest, AHoldThatComesWithTheMoveKeepsNobodyAway) {
  begin();
  commit({move_of("c", "w1", "w4", Phase::reserving), hold_of("w4")});
  EXPECT_EQ(watcher->violations(), Found());
  EXPECT_TRUE(watcher->is_held(workers.find(WorkerId("w4"))));
}

TEST_F(WatcherTest, ASecondRunningCopyIsNamed) {
  begin();
  watcher->guest_started(vms.find(VmId("c")), workers.find(WorkerId("w4")));
  EXPECT_EQ(watcher->violations(), Found({"c starts on w4 while 1 other runs"}));
}

TEST_F(WatcherTest, EpochsThatGoBackOrComeAgainAreNamed) {
  begin();
  auto older = vm("b");
  older.epoch = 1;
  commit({older});
  auto same = vm("a");
  same.epoch = 3;
  watcher->guest_stopped(vms.find(VmId("a")), workers.find(WorkerId("w1")));
  commit({same});
  EXPECT_EQ(watcher->violations(),
            Found({"the epoch of b goes back from 2 to 1", "a gets epoch 3, which was there before"}));
}

TEST_F(WatcherTest, AVmThatPassesOnWhileItRunsIsNamed) {
  begin();
  auto moved = vm("c");
  moved.worker = WorkerId("w4"), moved.epoch = 9;
  commit({moved});
  EXPECT_EQ(watcher->violations(), Found({"c passes to w4 while it runs"}));
}

TEST_F(WatcherTest, MoreMovesAtOnceThanMayAreNamed) {
  add_vm("e", "w1", false);
  begin();
  fleet.budgets.clear();
  for (auto& record : fleet.vms) record.spec.labels.clear(), record.spec.group.reset();
  begin();
  commit({move_of("a", "w1", "w2", Phase::preparing, "mig-1"),
          move_of("c", "w1", "w3", Phase::preparing, "mig-2"),
          move_of("e", "w1", "w4", Phase::preparing, "mig-3")});
  EXPECT_EQ(watcher->violations(), Found({"3 moves leave w1 at once, 2 may"}));
}

TEST_F(WatcherTest, ABudgetThatIsOverdrawnIsNamedAndItsUseIsKept) {
  begin();
  auto first = move_of("c", "w1", "w4", Phase::preparing, "mig-1");
  commit({first});
  EXPECT_EQ(watcher->violations(), Found());
  commit({move_of("d", "w2", "w3", Phase::preparing, "mig-2")});
  EXPECT_EQ(watcher->violations(), Found({"d begins to move as number 2 of budget b, 1 may"}));
  now += 5000;
  EXPECT_EQ(watcher->budgets()[0].moving_most, 2u);
  EXPECT_EQ(watcher->budgets()[0].full_ms, 5000);
}

TEST_F(WatcherTest, MoreMovesOfATenantThanMayAreNamed) {
  fleet.budgets.clear();
  for (auto& record : fleet.vms) record.spec.tenant = "acme";
  begin();
  commit({move_of("c", "w1", "w4", Phase::preparing, "mig-1")});
  commit({move_of("d", "w2", "w3", Phase::preparing, "mig-2")});
  EXPECT_EQ(watcher->violations(), Found({"d begins to move as number 2 of its tenant, 1 may"}));
}

TEST_F(WatcherTest, ADoneDrainOfAWorkerThatIsNotEmptyIsNamed) {
  begin();
  Drain drain;
  drain.id = DrainId("drain-1"), drain.workers = {WorkerId("w2"), WorkerId("w4")};
  drain.state = DrainState::running;
  commit({drain});
  drain.state = DrainState::done;
  commit({drain});
  EXPECT_EQ(watcher->violations(), Found({"drain-1 is done, and w2 owns 1 VMs and runs 1"}));
}

}  // namespace
}  // namespace ebb::what_if
