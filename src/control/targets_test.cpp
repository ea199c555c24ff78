#include "control/loops/targets.h"

#include <gtest/gtest.h>

namespace ebb::control {
namespace {

constexpr std::uint64_t gib = 1ull << 30;

struct World {
  Fleet fleet;
  Seen seen;

  Worker& worker(const std::string& id, std::uint64_t memory, std::vector<PoolId> pools = {PoolId("main")}) {
    static Worker w;
    w = Worker{};
    w.id = WorkerId(id), w.capacity = {16'000, memory}, w.pools = std::move(pools);
    fleet.put(w);
    auto& at = seen.workers[w.id];
    at.heard = true, at.liveness = Liveness::ready;
    return w;
  }
  void vm(const std::string& id, const char* at, std::uint64_t memory, const char* pool = nullptr) {
    Vm v;
    v.id = VmId(id), v.worker = WorkerId(at), v.spec.memory_bytes = memory - machine_overhead_bytes;
    if (pool) {
      v.disk = DiskId("d-" + id);
      Disk disk;
      disk.id = *v.disk, disk.pool = PoolId(pool), disk.vm = v.id;
      fleet.put(disk);
    }
    fleet.put(v);
  }
  // Where the VMs of these workers go; by name what takes nothing.
  std::map<std::string, std::string> targets(
      std::vector<std::string> sources,
      std::map<std::string, std::map<WorkerId, std::string>> excluded = {}) {
    std::vector<WorkerId> workers;
    std::vector<Leaving> leaving;
    for (const auto& source : sources) {
      workers.emplace_back(source);
      for (const auto& id : fleet.vms_owned_by(WorkerId(source))) leaving.push_back({id, excluded[id.value]});
    }
    std::map<std::string, std::string> found;
    for (const auto& placed : choose_targets(fleet, seen, workers, std::move(leaving), 2))
      found[placed.vm.value] = placed.target ? placed.target->value : placed.why_not;
    return found;
  }
  using Found = std::map<std::string, std::string>;
};

TEST(Targets, FillWhatIsLeftAndNeverOneOfTheSources) {
  World w;
  for (auto name : {"a", "b"}) w.worker(name, 8 * gib);
  w.worker("c", 8 * gib), w.worker("d", 8 * gib);
  w.vm("stays-c", "c", 5 * gib), w.vm("stays-d", "d", 4 * gib);
  w.vm("large", "a", 4 * gib), w.vm("small", "b", 3 * gib);
  EXPECT_EQ(w.targets({"a", "b"}), (World::Found{{"large", "d"}, {"small", "c"}}));
  EXPECT_EQ(w.targets({"b"}).at("small"), "c") << "the tightest";
}

TEST(Targets, AreNotWorkersThatTakeNothing) {
  World w;
  w.worker("a", 8 * gib), w.worker("b", 8 * gib), w.worker("c", 8 * gib), w.worker("d", 8 * gib);
  w.vm("v", "a", gib);
  w.fleet.put(Hold{HoldId("h"), WorkerId("b"), "operator", "fans", 0, {}});
  w.seen.workers[WorkerId("c")].liveness = Liveness::silent;
  EXPECT_EQ(w.targets({"a"}).at("v"), "d");
  w.vm("full", "d", 8 * gib);
  EXPECT_EQ(w.targets({"a"}).at("v"),
            "b: held by operator (fans); c: does not answer; d: 1 GiB of memory needed, 0 B free");
}

TEST(Targets, OfferWhatIsNeeded) {
  World w;
  w.worker("a", 8 * gib, {PoolId("main"), PoolId("fast")});
  w.worker("b", 2 * gib), w.worker("c", 8 * gib, {PoolId("fast")});
  w.vm("in-main", "a", gib, "main"), w.vm("in-fast", "a", gib, "fast");
  EXPECT_EQ(w.targets({"a"}), (World::Found{{"in-main", "b"}, {"in-fast", "c"}}));
}

TEST(Targets, ThatHaveRefusedAVmAreLeftOutForThatOneAlone) {
  World w;
  w.worker("a", 8 * gib), w.worker("b", 2 * gib), w.worker("c", 8 * gib);
  w.vm("u", "a", gib), w.vm("v", "a", gib);
  EXPECT_EQ(w.targets({"a"}, {{"v", {{WorkerId("b"), "could not start it"}}}}),
            (World::Found{{"u", "b"}, {"v", "c"}}));
  EXPECT_EQ(
      w.targets({"a"}, {{"v", {{WorkerId("b"), "could not start it"}, {WorkerId("c"), "nor could it"}}}})
          .at("v"),
      "b: could not start it; c: nor could it");
}

TEST(Targets, CountWhatIsOnTheWayToThem) {
  World w;
  w.worker("a", 8 * gib), w.worker("b", 4 * gib), w.worker("c", 8 * gib);
  w.vm("v", "a", 3 * gib), w.vm("moving", "c", 2 * gib);
  Migration m;
  m.id = MigrationId("mig-1"), m.vm = VmId("moving"), m.source = WorkerId("c"), m.target = WorkerId("b");
  m.phase = Phase::preparing;
  w.fleet.put(m);
  EXPECT_EQ(w.targets({"a"}).at("v"), "c");
}

TEST(Targets, OfVmsInMorePoolsThanThereAreBits) {
  World w;
  std::vector<PoolId> pools;
  for (int i = 0; i < 70; ++i) pools.emplace_back(fmt::format("p{}", i));
  w.worker("a", 100 * gib, pools), w.worker("b", 100 * gib, pools), w.worker("c", 100 * gib);
  for (int i = 0; i < 70; ++i)
    w.vm(fmt::format("v{}", i), "a", gib, pools[static_cast<std::size_t>(i)].value.c_str());
  for (auto& worker : {"a", "b", "c"}) {  // cores are not what this is about
    auto next = w.fleet.workers().at(WorkerId(worker));
    next.capacity.cpu_millis = 1'000'000;
    w.fleet.put(next);
  }
  const auto found = w.targets({"a"});
  ASSERT_EQ(found.size(), 70u);
  for (const auto& [vm, target] : found) EXPECT_EQ(target, "b") << vm;
}

TEST(Targets, OfAnOvercommittedWorkerThatOthersOfAGroupComeTo) {
  World w;
  w.worker("a", 4 * gib), w.worker("b", 8 * gib), w.worker("c", 8 * gib);
  w.fleet.put(Group{GroupId("web"), {{DomainLevel::worker, 1}}});
  const auto in_group = [&](const char* id, const char* at) {
    w.vm(id, at, 3 * gib);
    auto vm = w.fleet.vms().at(VmId(id));
    vm.spec.group = GroupId("web");
    w.fleet.put(vm);
  };
  in_group("g1", "a"), in_group("g2", "b");
  w.vm("other", "a", 3 * gib);  // its agent has less to give than before
  Migration m;
  m.id = MigrationId("mig-1"), m.vm = VmId("g2"), m.source = WorkerId("b"), m.target = WorkerId("a");
  m.phase = Phase::preparing;
  w.fleet.put(m);
  EXPECT_EQ(w.targets({"a"}).at("g1"), "c") << "not where g2 still is";
}

TEST(Targets, HaveTheFirmwareAndAreFoundForEachOfManyVms) {
  World w;
  auto& lacking = w.worker("b", 800 * gib);
  lacking.firmware = std::vector{Firmware::bios}, lacking.capacity.cpu_millis = 1'000'000;
  w.fleet.put(lacking);
  for (auto name : {"a", "c"}) {
    auto& worker = w.worker(name, 800 * gib);
    worker.capacity.cpu_millis = 1'000'000;
    w.fleet.put(worker);
  }
  Image image;
  image.id = ImageId("uefi"), image.pool = PoolId("main"), image.firmware = Firmware::uefi;
  w.fleet.put(image);
  std::map<std::string, std::map<WorkerId, std::string>> refused;
  for (int i = 0; i < 300; ++i) {
    const auto id = fmt::format("v{}", i);
    w.vm(id, "a", gib);
    auto vm = w.fleet.vms().at(VmId(id));
    vm.spec.image = image.id;
    w.fleet.put(vm);
    if (i % 2) refused[id][WorkerId("b")] = "could not start it";
  }
  const auto found = w.targets({"a"}, refused);
  ASSERT_EQ(found.size(), 300u);
  for (const auto& [vm, target] : found) EXPECT_EQ(target, "c") << vm;
}

TEST(Targets, OfAThousandWorkersAndWhyThereIsNoneForMany) {
  World w;
  for (int i = 0; i < 1000; ++i) w.worker(fmt::format("w{}", i), 8 * gib);
  for (int i = 0; i < 1000; ++i) w.vm(fmt::format("full{}", i), fmt::format("w{}", i).c_str(), 5 * gib);
  std::vector<std::string> sources;
  for (int i = 0; i < 150; ++i) sources.push_back(fmt::format("w{}", i));
  auto found = w.targets(sources);
  ASSERT_EQ(found.size(), 150u);
  std::size_t untold = 0;
  for (const auto& [vm, why] : found) {
    EXPECT_FALSE(w.fleet.find(WorkerId(why))) << vm << " fits nowhere";
    untold += why.starts_with("no room is left");
  }
  EXPECT_EQ(untold, 50u);
  for (int i = 0; i < 1000; ++i) w.vm(fmt::format("full{}", i), fmt::format("w{}", i).c_str(), 4 * gib);
  found = w.targets(sources);
  std::set<std::string> targets;
  for (const auto& [vm, target] : found) targets.insert(target);
  EXPECT_EQ(targets.size(), 150u) << "each has room for one";
  for (const auto& source : sources) EXPECT_FALSE(targets.contains(source));
}

}  // namespace
}  // namespace ebb::control
