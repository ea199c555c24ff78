// What a disk may owe the store: the age of what it has not sent, and what of its map no checkpoint has.
#include "disk/object_disk.h"
#include "disk/testing/disk_world.h"

namespace ebb::disk {
namespace {
using namespace testing;

// Refuses what is put under keys that begin so; whatever else is asked, HEAD above all, goes through.
class RefusedPuts final : public ObjectStore {
 public:
  RefusedPuts(ObjectStore& store, const std::string& refused) : store_(store), refused_(refused) {}
  Task<Result<ObjectTag>> put(std::string key, SharedBytes body, PutCondition condition) override {
    if (!refused_.empty() && key.starts_with(refused_))
      co_return fail(Code::unavailable, "put {}: refused", key);
    co_return co_await store_.put(std::move(key), std::move(body), std::move(condition));
  }
  Task<Result<StoredObject>> get(std::string key) override { return store_.get(std::move(key)); }
  Task<Result<Bytes>> get_range(std::string key, std::uint64_t offset, std::size_t length) override {
    return store_.get_range(std::move(key), offset, length);
  }

 private:
  ObjectStore& store_;
  const std::string& refused_;
};

class BoundsTest : public ::testing::Test {
 protected:
  void start(DiskClass disk_class, std::uint64_t blocks, std::vector<DiskId> disks = {disk_id}) {
    w_.disk_class = disk_class;
    w_.wrap_store = [this](sim::SimProcess& process, ObjectStore& store) -> ObjectStore* {
      return &process.make<RefusedPuts>(store, refused_);
    };
    ASSERT_TRUE(w_.boot(a_));
    for (const auto& id : disks)
      ASSERT_TRUE(w_.create_disk(disk_class, id, blocks) && w_.open(a_, 1, false, id));
  }
  void TearDown() override {
    for (const auto& violation : w_.world.violations()) ADD_FAILURE() << violation;
  }
  DiskStatus status() const { return a_.daemon->status().disks.at(0); }
  std::size_t changed_bytes(const DiskId& id = disk_id) const {
    auto device = a_.daemon->device(id);
    return dynamic_cast<const ObjectDisk&>(*device).map().changed_bytes();
  }
  Stamp read_stamp(SimWorker& worker, std::uint64_t block, DiskId id = disk_id) {
    Stamp found = 0;
    EXPECT_TRUE(w_.io(
        worker,
        [&](BlockDevice& d) -> Task<Status> {
          EBB_CO_TRY(bytes, co_await d.read(block * block_bytes, block_bytes));
          found = load_le<Stamp>(bytes);
          co_return bytes == stamped(found, block) ? Status{} : fail(Code::corrupt, "mixed");
        },
        id));
    return found;
  }

  std::string refused_;
  DiskWorld w_;
  SimWorker a_{"worker-a"}, b_{"worker-b"};
};

// HEAD is read and rewritten all the while, so nothing but the age of what is unsent may stop a FLUSH.
TEST_F(BoundsTest, ALocalFlushIsNotAcknowledgedBeyondItsBoundInAgeThoughHeadAnswers) {
  w_.tuning.unsent_age_max = 20s;
  start(DiskClass::local, disk_blocks);
  refused_ = "s/";
  ASSERT_TRUE(w_.write(a_, 1, 1) && w_.flush(a_));
  w_.run_for(15s);
  ASSERT_TRUE(w_.write(a_, 2, 2));
  EXPECT_TRUE(w_.flush(a_)) << "within the bound";
  w_.run_for(6s);
  ASSERT_TRUE(w_.write(a_, 3, 3)) << "a write needs only the log";
  std::optional<Status> flushed;
  Scope guest(a_.process->loop());
  guest.spawn([](std::shared_ptr<BlockDevice> device, std::optional<Status>* out) -> Task<void> {
    *out = co_await device->flush();
  }(a_.daemon->device(disk_id), &flushed));
  for (int i = 0; i < 60; ++i) {
    w_.run_for(1s);
    ASSERT_FALSE(flushed) << "acknowledged beyond the announced bound";
    ASSERT_LT(status().owner_age_ms.value_or(~0ull), to_ms(w_.tuning.ownership_age_max))
        << "it is the owner's word that is old, not the data";
  }
  const auto grown = (disk_blocks + 8) * block_bytes;
  EXPECT_TRUE(w_.call(a_, a_.daemon->resize({disk_id, pool_id, 1, grown}))) << "HEAD is rewritten as ever";
  EXPECT_LT(status().unsent_bytes, w_.tuning.unsent_bytes_max);
  EXPECT_GE(status().unsent_age_ms, 80'000u);

  refused_.clear();
  w_.run_for(5s);
  ASSERT_TRUE(flushed && *flushed) << "it goes on by itself";
  EXPECT_EQ(status().unsent_bytes, 0u);
  auto stored = w_.read_offline();
  ASSERT_TRUE(stored);
  for (Stamp block : {1, 2, 3}) EXPECT_EQ((*stored)[block], block);
}

constexpr std::uint64_t large_blocks = 1024 * GiB / block_bytes;  // of 32768 pages

Task<void> write_blocks(std::shared_ptr<BlockDevice> device, std::vector<std::uint64_t> blocks,
                        std::size_t* done) {
  for (auto block : blocks) {
    if (!co_await device->write(block * block_bytes, stamped(*done + 1, block))) co_return;
    ++*done;
  }
}

std::vector<std::uint64_t> random_blocks(std::uint64_t seed, std::size_t count) {
  Random random(seed);
  std::set<std::uint64_t> blocks;
  while (blocks.size() < count) blocks.insert(random.below(large_blocks));
  std::vector<std::uint64_t> out(blocks.begin(), blocks.end());
  for (auto i = out.size() - 1; i > 0; --i) std::swap(out[i], out[random.below(i + 1)]);
  return out;
}

// Each write changes another page. While no page can be stored, no checkpoint takes any of them.
TEST_F(BoundsTest, WhatChangesInAMapStaysWithinItsLimitAndWritesWaitForTheCheckpoint) {
  w_.tuning.map_changes_bytes_max = 64 * KiB;
  start(DiskClass::local, large_blocks);
  const auto blocks = random_blocks(1, 3000);
  std::size_t done = 0, most = 0;
  Scope guest(a_.process->loop());
  refused_ = "m/";
  guest.spawn(write_blocks(a_.daemon->device(disk_id), blocks, &done));
  auto watch_for = [&](Duration time) {
    for (Duration at{}; at < time; at += 10ms) w_.run_for(10ms), most = std::max(most, changed_bytes());
  };
  watch_for(20s);
  const auto stopped_at = done;
  EXPECT_GT(stopped_at, 300u);
  EXPECT_LT(stopped_at, 2000u) << "writes do not wait for room in the map";
  EXPECT_GT(most, w_.tuning.map_changes_bytes_max * 9 / 10) << "they wait for something else";
  watch_for(10s);
  EXPECT_EQ(done, stopped_at);
  EXPECT_TRUE(w_.flush(a_)) << "what was taken is in the log";

  refused_.clear();
  watch_for(60s);
  ASSERT_EQ(done, blocks.size()) << "they go on: " << w_.last_lines();
  // The change of one write at a time is let in below the limit.
  EXPECT_LE(most, w_.tuning.map_changes_bytes_max + 256);
  w_.wrap_store = nullptr;
  ASSERT_TRUE(w_.seal(a_, 1) && w_.boot(b_) && w_.open(b_, 2));
  for (std::size_t i = 0; i < blocks.size(); ++i) ASSERT_EQ(read_stamp(b_, blocks[i]), i + 1) << blocks[i];
}

// Half of each object is dead, and what is live in them lies on pages that nobody else changes: moved by an idle disk, all at once.
TEST_F(BoundsTest, WhatCleaningChangesInAMapStaysWithinItsLimitToo) {
  w_.tuning.map_changes_bytes_max = 64 * KiB;
  start(DiskClass::local, large_blocks);
  auto blocks = random_blocks(1, 6000);
  const auto all = blocks.size();
  for (std::size_t i = 0; i < all; i += 2) blocks.push_back(blocks[i]);
  std::size_t done = 0, most = 0;
  Scope guest(a_.process->loop());
  guest.spawn(write_blocks(a_.daemon->device(disk_id), blocks, &done));
  for (int i = 0; i < 6000; ++i) w_.run_for(20ms), most = std::max(most, changed_bytes());
  ASSERT_EQ(done, blocks.size());
  const auto& disk = dynamic_cast<const ObjectDisk&>(*a_.daemon->device(disk_id));
  EXPECT_GT(disk.blocks_cleaned(), all / 3) << "it goes on after each checkpoint";
  constexpr std::size_t one_object = 32 * KiB;  // what is moved into it: seven blocks of each of 64 at most
  EXPECT_LE(most, w_.tuning.map_changes_bytes_max + one_object);
  for (std::size_t i = 0; i < all; i += 10) ASSERT_EQ(read_stamp(a_, blocks[i]), all + i / 2 + 1) << i;
  for (std::size_t i = 1; i < all; i += 10) ASSERT_EQ(read_stamp(a_, blocks[i]), i + 1) << i;
}

Task<void> trim_on(std::shared_ptr<BlockDevice> device, std::uint64_t length, int count, int* done) {
  for (int i = 0; i < count; ++i) {
    auto at = static_cast<std::uint64_t>(i) * length;
    if (!co_await device->trim(at, length)) co_return;
    ++*done;
  }
}

// A trim of 1 GiB changes 32 pages and costs hardly anything else.
TEST_F(BoundsTest, WhatChangesInAllMapsStaysWithinTheRoomThatTheyShare) {
  const DiskId disks[] = {DiskId("d1"), DiskId("d2"), DiskId("d3")};
  constexpr std::size_t all = 3 * MiB;
  constexpr int trims = 900;
  w_.room = SharedRoom::Limits{8 * MiB, all};
  start(DiskClass::local, large_blocks, {std::begin(disks), std::end(disks)});
  std::array<int, 3> done{};
  std::size_t most = 0;
  Scope guests(a_.process->loop());
  refused_ = "m/";
  for (std::size_t i = 0; i < 3; ++i)
    guests.spawn(trim_on(a_.daemon->device(disks[i]), 1 * GiB, trims, &done[i]));
  auto watch_for = [&](Duration time) {
    for (Duration at{}; at < time; at += 100ms) {
      w_.run_for(100ms);
      std::size_t now = 0;
      for (const auto& id : disks) now += changed_bytes(id);
      most = std::max(most, now);
    }
  };
  watch_for(20s);
  for (auto count : done) EXPECT_LT(count, trims);
  EXPECT_GT(most, all * 9 / 10);
  refused_.clear();
  watch_for(30s);
  for (auto count : done) EXPECT_EQ(count, trims);
  EXPECT_LE(most, all + 3 * 4 * KiB) << "one trim of each disk is let in below the limit";
}

}  // namespace
}  // namespace ebb::disk
