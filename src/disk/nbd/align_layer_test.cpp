#include "disk/nbd/align_layer.h"

#include <gtest/gtest.h>

#include "disk/nbd/testing.h"

namespace ebb::disk {
namespace {

Bytes text_at(std::size_t length, std::uint64_t seed) {
  Bytes out(length);
  for (std::size_t i = 0; i < length; ++i) out[i] = static_cast<std::byte>(1 + (seed * 131 + i) % 255);
  return out;
}

struct AlignLayerTest : ::testing::Test {
  template <class T>
  T run(Task<T> task) {
    return loop.run_until_done(std::move(task));
  }
  testing::StepLoop loop;
  std::shared_ptr<testing::MemoryDevice> memory = std::make_shared<testing::MemoryDevice>(loop, 80 * MiB);
  AlignLayer layer{loop, memory};
};

TEST_F(AlignLayerTest, WholeBlocksAreHandedOnAsTheyAre) {
  ASSERT_TRUE(run(layer.write(4096, text_at(8192, 1))));
  ASSERT_TRUE(run(layer.read(4096, 8192)));
  ASSERT_TRUE(run(layer.trim(0, 4096)));
  ASSERT_TRUE(run(layer.write_zeroes(8192, 4096, ZeroMode::may_unmap)));
  EXPECT_EQ(memory->log,
            (std::vector<std::string>{"write 4096 8192", "read 4096 8192", "trim 0 4096", "zero 8192 4096"}));
}

TEST_F(AlignLayerTest, PartialBlocksAreReadChangedAndWritten) {
  ASSERT_TRUE(run(layer.write(0, text_at(16384, 1))));
  memory->log.clear();
  ASSERT_TRUE(run(layer.write(100, text_at(10, 2))));
  EXPECT_EQ(memory->log, (std::vector<std::string>{"read 0 4096", "read 0 4096", "write 0 4096"}));
  auto all = run(layer.read(0, 16384)).value();
  auto expected = text_at(16384, 1), inner = text_at(10, 2);
  std::copy(inner.begin(), inner.end(), expected.begin() + 100);
  EXPECT_EQ(all, expected);
}

TEST_F(AlignLayerTest, ATrimLeavesPartialBlocksAlone) {
  ASSERT_TRUE(run(layer.write(0, text_at(16384, 1))));
  memory->log.clear();
  ASSERT_TRUE(run(layer.trim(1, 12287)));
  ASSERT_TRUE(run(layer.trim(10, 20)));
  ASSERT_TRUE(run(layer.trim(0, 0)));
  EXPECT_EQ(memory->log, (std::vector<std::string>{"trim 4096 8192"}));
}

TEST_F(AlignLayerTest, RequestsLargerThanTheLayersBelowTakeAreCut) {
  ASSERT_TRUE(run(layer.write(1, text_at(32 * MiB, 3))));
  EXPECT_EQ(run(layer.read(1, 32 * MiB)).value(), text_at(32 * MiB, 3));
  ASSERT_TRUE(run(layer.trim(0, 80 * MiB)));
  ASSERT_TRUE(run(layer.write_zeroes(0, 80 * MiB, ZeroMode::may_unmap)));
  EXPECT_EQ(run(layer.extents(0, 80 * MiB)).value(), (std::vector<Extent>{{0, 80 * MiB, true}}));
}

TEST_F(AlignLayerTest, ExtentsAreCutToTheRange) {
  ASSERT_TRUE(run(layer.write(8192, text_at(4096, 1))));
  EXPECT_EQ(run(layer.extents(5000, 10000)).value(),
            (std::vector<Extent>{{5000, 3192, true}, {8192, 4096, false}, {12288, 2712, true}}));
}

TEST_F(AlignLayerTest, ErrorsComeThrough) {
  memory->failure = Error{Code::unavailable, "the store is away", {}};
  EXPECT_EQ(run(layer.read(1, 1)).error().message, "the store is away");
  EXPECT_EQ(run(layer.write(1, Bytes(1))).error().message, "the store is away");
  EXPECT_EQ(run(layer.write_zeroes(1, 1, ZeroMode::may_unmap)).error().message, "the store is away");
  EXPECT_EQ(run(layer.extents(1, 1)).error().message, "the store is away");
}

Task<void> write_one(AlignLayer* layer, std::uint64_t offset, Bytes data) {
  EXPECT_TRUE(co_await layer->write(offset, std::move(data)));
}
Task<void> zero_one(AlignLayer* layer, std::uint64_t offset, std::uint64_t length) {
  EXPECT_TRUE(co_await layer->write_zeroes(offset, length, ZeroMode::may_unmap));
}

// Many overlapping requests of all sizes, issued at once on a device with random delays, must end as if done
// in order.
TEST_F(AlignLayerTest, OverlappingWritesOfAnySizeEndAsIfDoneInOrder) {
  for (std::uint64_t seed = 1; seed <= 30; ++seed) {
    SCOPED_TRACE(fmt::format("seed {}", seed));
    Random random(seed);
    memory->delay = [&random] { return Duration(random.below(1000)); };
    constexpr std::size_t range = 64 * KiB;
    ASSERT_TRUE(run(layer.write_zeroes(0, range, ZeroMode::may_unmap)));
    Bytes expected(range);
    Scope scope(loop);
    for (std::uint64_t i = 0; i < 60; ++i) {
      auto offset = random.below(range),
           length = 1 + random.below(std::min<std::uint64_t>(range - offset, 20000));
      if (random.chance(0.3))
        offset = offset / 4096 * 4096, length = std::min<std::uint64_t>(4096, range - offset);
      auto at = expected.begin() + static_cast<std::ptrdiff_t>(offset);
      if (random.chance(0.2)) {
        std::fill_n(at, length, std::byte{0});
        scope.spawn(zero_one(&layer, offset, length));
      } else {
        auto data = text_at(length, seed * 100 + i);
        std::copy(data.begin(), data.end(), at);
        scope.spawn(write_one(&layer, offset, std::move(data)));
      }
    }
    loop.run();
    ASSERT_EQ(scope.size(), 0u);
    ASSERT_TRUE(run(layer.read(0, range)).value() == expected);
  }
}

}  // namespace
}  // namespace ebb::disk
