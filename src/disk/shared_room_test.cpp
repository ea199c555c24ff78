// One daemon's disks share the memory for writes on their way.
#include "disk/testing/disk_world.h"

namespace ebb::disk {
namespace {
using namespace testing;

constexpr int disks = 4;
constexpr std::size_t limit = 128 * KiB;

class SharedRoomTest : public ::testing::Test {
 protected:
  void SetUp() override {
    w_.room = SharedRoom::Limits{limit, 1 * MiB};
    w_.disk_class = DiskClass::local;
    ASSERT_TRUE(w_.boot(a_));
    for (int i = 0; i < disks; ++i) {
      ASSERT_TRUE(w_.create_disk(DiskClass::local, id(i)));
      ASSERT_TRUE(w_.open(a_, 1, false, id(i)));
    }
  }
  void TearDown() override {
    for (const auto& violation : w_.world.violations()) ADD_FAILURE() << violation;
  }
  static DiskId id(int i) { return DiskId(fmt::format("d{}", i)); }
  std::uint64_t unsent() const {
    std::uint64_t bytes = 0;
    for (const auto& s : a_.daemon->status().disks) bytes += s.unsent_bytes;
    return bytes;
  }
  // So many writes of one block, one after the other.
  static Task<void> write_on(std::shared_ptr<BlockDevice> device, int count, int* done) {
    for (int i = 0; i < count; ++i) {
      auto block = static_cast<std::uint64_t>(i) % disk_blocks;
      if (!co_await device->write(block * block_bytes, stamped(static_cast<Stamp>(i + 1), block))) co_return;
      ++*done;
    }
  }

  DiskWorld w_;
  SimWorker a_{"worker-a"};
};

TEST_F(SharedRoomTest, WritesOfAllDisksTogetherWaitForTheStoreAndThenAllGoOn) {
  w_.store.set_outage(true);
  std::vector<int> done(disks);
  Scope writers(a_.process->loop());
  constexpr int writes = 200;
  for (int i = 0; i < disks; ++i) writers.spawn(write_on(a_.daemon->device(id(i)), writes, &done[i]));
  std::uint64_t worst = 0;
  for (int i = 0; i < 100; ++i) {
    w_.run_for(100ms);
    worst = std::max(worst, unsent());
  }
  // Each disk may have one write in flight whatever the others have.
  EXPECT_LE(worst, limit + disks * 2 * block_bytes);
  EXPECT_GE(worst, limit / 2);
  for (int i = 0; i < disks; ++i) EXPECT_LT(done[i], writes) << i;

  w_.store.set_outage(false);
  w_.run_for(2min);
  for (int i = 0; i < disks; ++i) EXPECT_EQ(done[i], writes) << i;
  writers.cancel();
}

TEST_F(SharedRoomTest, ADiskThatIsClosedGivesItsPartBack) {
  w_.store.set_outage(true);
  std::vector<int> done(disks);
  Scope writers(a_.process->loop());
  for (int i = 0; i < disks; ++i) writers.spawn(write_on(a_.daemon->device(id(i)), 100, &done[i]));
  w_.run_for(5s);
  auto before = done[0];
  for (int i = 1; i < disks; ++i) ASSERT_TRUE(w_.call(a_, a_.daemon->close({id(i), pool_id, 1})));
  w_.run_for(5s);
  EXPECT_GT(done[0], before);
  writers.cancel();
}

// Its first records are logged and stored while the others wait for room.
TEST(LargeWrite, EndsThoughItIsLargerThanTheRoomOfAllDisks) {
  DiskWorld w;
  SimWorker a{"worker-a"};
  w.disk_class = DiskClass::local;
  w.room = SharedRoom::Limits{2 * MiB, 1 * MiB};
  w.tuning = DiskTuning{};
  constexpr std::uint64_t blocks = 4 * MiB / block_bytes;
  ASSERT_TRUE(w.create_disk(DiskClass::local, disk_id, blocks));
  ASSERT_TRUE(w.boot(a) && w.open(a, 1));
  EXPECT_TRUE(w.io(a, [](BlockDevice& d) { return d.write(0, Bytes(4 * MiB, std::byte{7})); }));
  EXPECT_TRUE(w.flush(a));
}

TEST(LargeWrite, ThatWaitsForRoomDoesNotHoldUpASeal) {
  DiskWorld w;
  SimWorker a{"worker-a"};
  w.tuning = DiskTuning{};
  w.tuning.pending_bytes_max = 2 * MiB;
  constexpr std::uint64_t blocks = 8 * MiB / block_bytes;
  ASSERT_TRUE(w.create_disk(DiskClass::remote, disk_id, blocks));
  ASSERT_TRUE(w.boot(a) && w.open(a, 1));
  w.store.set_outage(true);
  ASSERT_TRUE(w.io(a, [](BlockDevice& d) { return d.write(0, Bytes(512 * KiB, std::byte{7})); }));
  w.run_for(1s);
  Scope writer(a.process->loop());
  Status done;
  writer.spawn([](std::shared_ptr<BlockDevice> device, Status* out) -> Task<void> {
    *out = co_await device->write(1 * MiB, Bytes(4 * MiB, std::byte{8}));
  }(a.daemon->device(disk_id), &done));
  w.run_for(1s);
  ASSERT_EQ(writer.size(), 1u);
  (void)w.call(a, a.daemon->seal({disk_id, pool_id, 1}));
  w.store.set_outage(false);
  w.run_for(1min);
  EXPECT_EQ(DiskWorld::state_of(a), DiskSeen::sealed);
  ASSERT_FALSE(done);
  EXPECT_EQ(done.error().code, Code::fenced);
}

TEST(MemoryShares, AreLessThanTheWholeAndGrowWithIt) {
  for (std::size_t all : {memory_bytes_min, 320 * MiB, 64 * GiB}) {
    auto shares = shares_of(all);
    auto sum = shares.cache + shares.maps + shares.room.in_flight + shares.room.changes;
    EXPECT_LT(sum, all / 10 * 8);
    EXPECT_GE(shares.room.in_flight, 8 * MiB);
  }
}

}  // namespace
}  // namespace ebb::disk
