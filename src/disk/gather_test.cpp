#include "disk/keys.h"
#include "disk/testing/disk_world.h"

namespace ebb::disk {
namespace {
using namespace testing;

constexpr std::uint64_t large = 32;  // blocks: two pieces of the cache

class GatherTest : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_TRUE(w_.create_disk(DiskClass::remote));
    ASSERT_TRUE(w_.boot(a_) && w_.boot(b_) && w_.open(a_, 1));
  }
  Status write(SimWorker& worker, std::uint64_t block, std::uint64_t count, Stamp stamp) {
    Bytes data;
    for (auto b = block; b < block + count; ++b) append(data, stamped(stamp, b));
    return w_.io(worker, [&](BlockDevice& d) { return d.write(block * block_bytes, data); });
  }
  // Elsewhere: with nothing in memory, and everything in the store.
  void move_to_b() { ASSERT_TRUE(w_.seal(a_, 1) && w_.open(b_, 2)); }
  Result<Slices> gather(SimWorker& worker, std::uint64_t block, std::uint64_t count) {
    auto device = worker.daemon->device(disk_id);
    auto got = sim::run_in(*worker.process, device->gather(block * block_bytes, count * block_bytes));
    return got ? std::move(*got) : fail(Code::unavailable, "did not end");
  }
  // The same as a read says.
  void expect_as_read(SimWorker& worker, std::uint64_t block, std::uint64_t count) {
    auto got = gather(worker, block, count);
    ASSERT_TRUE(got) << got.error().message;
    auto device = worker.daemon->device(disk_id);
    auto read = sim::run_in(*worker.process, device->read(block * block_bytes, count * block_bytes));
    ASSERT_TRUE(read && *read);
    EXPECT_EQ(joined(*got), **read);
    EXPECT_EQ(got->size(), count * block_bytes);
  }

  DiskWorld w_;
  SimWorker a_{"worker-a"}, b_{"worker-b"};
};

TEST_F(GatherTest, WhatIsInTheCacheIsNotCopied) {
  ASSERT_TRUE(write(a_, 0, large, 7));
  move_to_b();
  auto first = gather(b_, 0, large), second = gather(b_, 0, large);
  ASSERT_TRUE(first && second);
  ASSERT_EQ(first->parts().size(), second->parts().size());
  for (std::size_t i = 0; i < first->parts().size(); ++i)
    EXPECT_EQ(first->parts()[i].bytes.data(), second->parts()[i].bytes.data());
  expect_as_read(b_, 0, large);
  expect_as_read(b_, 3, large - 5);
}

// A slice of 4 KiB would keep 64 KiB.
TEST_F(GatherTest, ASmallReadKeepsNothingOfTheCache) {
  ASSERT_TRUE(write(a_, 0, large, 7));
  move_to_b();
  auto got = gather(b_, 1, 1);
  ASSERT_TRUE(got && got->parts().size() == 1);
  EXPECT_EQ(got->parts()[0].owner->size(), block_bytes);
}

TEST_F(GatherTest, HolesAndWhatTheStoreLacksAreInTheirPlaces) {
  ASSERT_TRUE(write(a_, 0, large, 7));
  move_to_b();
  expect_as_read(b_, 0, large);
  w_.store.set_outage(true);  // what is written now stays in memory
  ASSERT_TRUE(write(b_, 8, 9, 8));
  ASSERT_TRUE(w_.io(b_, [](BlockDevice& d) { return d.trim(20 * block_bytes, 2 * block_bytes); }));
  for (auto [block, count] : {std::pair(0, 32), {8, 9}, {9, 8}, {20, 2}, {0, 8}, {22, 10}})
    expect_as_read(b_, static_cast<std::uint64_t>(block), static_cast<std::uint64_t>(count));
}

TEST_F(GatherTest, DamageIsFoundWhereItIsAndNeverServed) {
  ASSERT_TRUE(write(a_, 0, large, 7));
  ASSERT_TRUE(w_.seal(a_, 1));
  auto& body = const_cast<StoredObject*>(w_.store.peek(segment_key(disk_id, {1, 1}, 1)))->body;
  body.back() ^= std::byte{1};
  ASSERT_TRUE(w_.open(b_, 2));
  auto got = gather(b_, 0, large);
  ASSERT_FALSE(got);
  EXPECT_EQ(got.error().code, Code::corrupt);
  EXPECT_NE(got.error().message.find("segment d1/1.1/1"), std::string::npos) << got.error().message;
}

}  // namespace
}  // namespace ebb::disk
