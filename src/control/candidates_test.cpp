#include "control/loops/candidates.h"

#include <gtest/gtest.h>

#include "base/bytes.h"

namespace ebb::control {
namespace {

struct World {
  Fleet fleet;
  Seen seen;
  Vm vm;

  World() {
    for (auto name : {"a", "b"}) {
      Worker worker;
      worker.id = WorkerId(name), worker.capacity = {8000, 8 * GiB}, worker.pools = {PoolId("main")};
      fleet.put(worker);
      seen.workers[worker.id].liveness = Liveness::ready;
    }
    vm.id = VmId("vm"), vm.spec.memory_bytes = 1 * GiB, vm.worker = WorkerId("a");
    fleet.put(vm);
  }
  void says(const char* worker, bool machine) {
    SeenVm said;
    said.vm = vm.id, said.machine = machine;
    seen.workers[WorkerId(worker)].vms[vm.id] = said;
  }
  Resources used_on(const char* worker) const {
    for (const auto& candidate : candidates(fleet, seen))
      if (candidate.worker->id == WorkerId(worker)) return candidate.used;
    return {};
  }
};

TEST(Candidates, AMachineCountsOnceWhereItsVmIs) {
  World w;
  const auto size = footprint(w.vm.spec);
  EXPECT_EQ(w.used_on("a"), size) << "before it runs";
  w.says("a", true);
  EXPECT_EQ(w.used_on("a"), size);
  EXPECT_EQ(w.used_on("b"), Resources{});
}

// A worker was declared dead, its VMs went on elsewhere, and it is back with all of its machines.
TEST(Candidates, AMachineThatWasLeftBehindTakesRoomUntilItIsGone) {
  World w;
  w.says("a", true), w.says("b", true);
  w.vm.worker = WorkerId("b");
  w.fleet.put(w.vm);
  const auto size = footprint(w.vm.spec);
  EXPECT_EQ(w.used_on("a"), size) << "no record says so, and it still runs there";
  EXPECT_EQ(w.used_on("b"), size);
  w.says("a", false);
  EXPECT_EQ(w.used_on("a"), Resources{});
}

TEST(Candidates, BothEndsOfAMoveCountOnceWhateverRunsThere) {
  World w;
  Migration m;
  m.id = MigrationId("mig-1"), m.vm = w.vm.id, m.source = WorkerId("a"), m.target = WorkerId("b");
  m.phase = Phase::freezing;
  w.fleet.put(m);
  w.says("a", true);
  const auto size = footprint(w.vm.spec);
  EXPECT_EQ(w.used_on("a"), size);
  EXPECT_EQ(w.used_on("b"), size);
  m.phase = Phase::starting, w.vm.worker = WorkerId("b");
  w.fleet.put(m), w.fleet.put(w.vm);
  w.says("b", true);
  EXPECT_EQ(w.used_on("a"), size);
  EXPECT_EQ(w.used_on("b"), size);
}

TEST(Candidates, AVmGoesWhereThereIsWhatItNeeds) {
  World w;
  const auto refusal = [&] {
    auto choice = placement::place({candidates(w.fleet, w.seen)[1]}, {request_for(w.fleet, w.vm, {})})[0];
    return choice.worker ? "" : choice.refusals[0].why;
  };
  Image image;
  image.id = ImageId("cloud"), image.pool = PoolId("main"), image.firmware = Firmware::uefi;
  w.fleet.put(image);
  w.vm.spec.image = image.id;
  auto b = *w.fleet.find(WorkerId("b"));
  EXPECT_EQ(refusal(), "") << "agents that do not say are tried";
  b.firmware = {Firmware::bios};
  w.fleet.put(b);
  EXPECT_EQ(refusal(), "has no firmware 'uefi'");
  b.firmware = {Firmware::bios, Firmware::uefi};
  w.fleet.put(b);
  EXPECT_EQ(refusal(), "");
  w.vm.spec.worker_labels = Labels{{"gen", "new"}, {"disk", "nvme"}};
  w.vm.spec.cpu_features = {"avx2"};
  EXPECT_EQ(refusal(), "has no label disk=nvme, has no label gen=new");
  b.labels = {{"gen", "new"}, {"disk", "nvme"}}, b.cpu_features = {"aes"};
  w.fleet.put(b);
  EXPECT_EQ(refusal(), "has no CPU feature avx2");
  b.cpu_features = {"aes", "avx2"};
  w.fleet.put(b);
  EXPECT_EQ(refusal(), "");
}

}  // namespace
}  // namespace ebb::control
