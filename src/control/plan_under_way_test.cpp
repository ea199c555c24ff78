// A plan that takes several commits, and what happens between them.
#include <gtest/gtest.h>

#include "control/loops/drain_loop.h"
#include "control/loops/vm_loop.h"
#include "control/wanted.h"

namespace ebb::control {
namespace {

constexpr int vms = 90;
constexpr std::uint64_t GiB = 1ull << 30;

// Worker a is full of VMs and is to be emptied; b, c and d are empty.
struct World {
  Fleet fleet;
  Seen seen;
  DrainProgress progress;
  WallMs now = 1'000'000;

  World() {
    for (auto name : {"a", "b", "c", "d"}) {
      Worker worker;
      worker.id = WorkerId(name), worker.capacity = {1'000'000, 64 * GiB}, worker.pools = {PoolId("main")};
      fleet.put(worker);
      auto& at = seen.workers[worker.id];
      at.heard = true, at.liveness = Liveness::ready;
    }
    Image image;
    image.id = ImageId("guest"), image.pool = PoolId("main"), image.state = ImageState::ready;
    fleet.put(image);
    for (int i = 0; i < vms; ++i) {
      Vm vm;
      vm.spec.image = image.id;
      vm.id = VmId(fmt::format("v{}", i)), vm.worker = WorkerId("a"), vm.epoch = 1;
      vm.spec.memory_bytes = GiB / 2;
      fleet.put(vm);
    }
    Drain drain;
    drain.id = DrainId("drain-1"), drain.workers = {WorkerId("a")}, drain.state = DrainState::reserving;
    fleet.put(drain);
    step();
    EXPECT_TRUE(fleet.is_held(WorkerId("a")));
  }
  const Drain& drain() const { return fleet.drains().begin()->second; }
  void step() {
    Batch batch(fleet, now);
    step_drain(fleet, seen, {}, Drain(drain()), progress, batch);
    batch.close();
    for (const auto& record : batch.puts()) fleet.put(record);
    for (const auto& key : batch.erases()) fleet.erase(key);
  }
  void step_until_it_runs() {
    for (int i = 0; i < 20 && drain().state != DrainState::running; ++i) step();
    ASSERT_EQ(drain().state, DrainState::running);
  }
  VmId one_that_stays_yet() const {
    for (const auto& [id, vm] : fleet.vms())
      if (!fleet.open_migration_of(id)) return id;
    return {};
  }
  std::map<VmId, int> moves_of_each() const {
    std::map<VmId, int> moves;
    for (const auto& id : fleet.open_migrations()) ++moves[fleet.migrations().at(id).vm];
    return moves;
  }
};

TEST(PlanUnderWay, IsCarriedOutOverSeveralCommits) {
  World w;
  w.step();
  const auto first = w.fleet.open_migrations().size();
  EXPECT_GT(first, 0u);
  EXPECT_LT(first, static_cast<std::size_t>(vms));
  EXPECT_EQ(w.drain().state, DrainState::reserving);
  w.step_until_it_runs();
  EXPECT_EQ(w.moves_of_each().size(), static_cast<std::size_t>(vms));
}

// The owner relies on it, and tells no worker.
TEST(PlanUnderWay, WhileTargetsAreChosenTheSameIsWantedOfEachWorker) {
  World w;
  const auto wanted = [&] {
    std::string all;
    for (const auto& [id, worker] : w.fleet.workers())
      all += json::write_text(wanted_set(w.fleet, id)) + "\n";
    return all;
  };
  const auto before = wanted();
  w.step_until_it_runs();
  EXPECT_EQ(w.fleet.begun_migrations().size(), 0u);
  EXPECT_EQ(wanted(), before);
}

TEST(PlanUnderWay, LeavesAloneWhatMovesByHandMeanwhile) {
  World w;
  w.step();
  const auto vm = w.fleet.vms().at(w.one_that_stays_yet());
  Batch batch(w.fleet, w.now);
  const auto by_hand = begin_migration(batch, vm, WorkerId("d"), {}).id;
  batch.close();
  for (const auto& record : batch.puts()) w.fleet.put(record);
  w.step_until_it_runs();
  for (const auto& [id, moves] : w.moves_of_each()) EXPECT_EQ(moves, 1) << id.value;
  EXPECT_EQ(w.fleet.open_migration_of(vm.id)->id, by_hand);
}

TEST(PlanUnderWay, IsMadeAnewWhenATargetFallsSilent) {
  World w;
  w.step();
  WorkerId silent;
  for (const auto& id : w.fleet.open_migrations()) silent = w.fleet.migrations().at(id).target;
  w.seen.workers[silent].liveness = Liveness::silent;
  const auto before = w.fleet.open_migrations_at(silent).size();
  w.step_until_it_runs();
  EXPECT_EQ(w.fleet.open_migrations_at(silent).size(), before) << "it gets nothing more";
  EXPECT_EQ(w.moves_of_each().size(), static_cast<std::size_t>(vms));
}

TEST(PlanUnderWay, ThatCameToNothingIsTriedAgainASecondLater) {
  World w;
  for (auto name : {"b", "c", "d"}) w.seen.workers[WorkerId(name)].liveness = Liveness::silent;
  w.step();
  EXPECT_EQ(w.progress.blockers.size(), static_cast<std::size_t>(vms));
  w.seen.workers[WorkerId("b")].liveness = Liveness::ready;
  w.now += 999;
  w.step();
  EXPECT_TRUE(w.fleet.open_migrations().empty()) << "a plan looks at the whole fleet";
  w.now += 1;
  w.step_until_it_runs();
  w.now -= 3'600'000;  // somebody sets the clock
  Vm late;
  late.spec.image = ImageId("guest"), late.id = VmId("late"), late.worker = WorkerId("a"), late.epoch = 1;
  w.fleet.put(late);
  w.step();
  EXPECT_TRUE(w.fleet.open_migration_of(late.id)) << "and does not keep it waiting for an hour";
}

}  // namespace
}  // namespace ebb::control
