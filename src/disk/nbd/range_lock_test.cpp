#include "disk/nbd/range_lock.h"

#include <gtest/gtest.h>

#include "disk/nbd/testing.h"

namespace ebb::disk {
namespace {

struct RangeLockTest : ::testing::Test {
  Task<void> hold(std::uint64_t begin, std::uint64_t end, char name) {
    auto guard = co_await lock.lock(begin, end);
    order += name;
    co_await sleep_for(loop, 10ms);
  }
  testing::StepLoop loop;
  RangeLock lock{loop};
  std::string order;
};

TEST_F(RangeLockTest, OverlappingRangesComeInOrderAndOthersAtOnce) {
  Scope scope(loop);
  scope.spawn(hold(0, 10, 'a'));
  scope.spawn(hold(5, 15, 'b'));
  scope.spawn(hold(0, 5, 'c'));
  scope.spawn(hold(20, 30, 'd'));
  loop.run(5ms);
  EXPECT_EQ(order, "ad");
  loop.run(10ms);
  EXPECT_EQ(order, "adbc");
  loop.run();
  EXPECT_EQ(lock.size(), 0u);
}

TEST_F(RangeLockTest, ALaterRangeDoesNotOvertakeOneThatWaits) {
  Scope scope(loop);
  scope.spawn(hold(0, 10, 'a'));
  scope.spawn(hold(5, 25, 'b'));
  scope.spawn(hold(20, 30, 'c'));  // free, but for the waiting b
  loop.run();
  EXPECT_EQ(order, "abc");
}

TEST_F(RangeLockTest, ADestroyedWaiterGivesItsPlaceUp) {
  Scope scope(loop);
  auto doomed = std::make_unique<Scope>(loop);
  scope.spawn(hold(0, 10, 'a'));
  doomed->spawn(hold(0, 20, 'x'));
  scope.spawn(hold(10, 20, 'b'));
  loop.run(5ms);
  EXPECT_EQ(order, "a");
  doomed.reset();
  loop.run(1ms);
  EXPECT_EQ(order, "ab");
  loop.run();
  EXPECT_EQ(lock.size(), 0u);
}

TEST_F(RangeLockTest, ADestroyedHolderLetsTheNextIn) {
  Scope scope(loop);
  auto doomed = std::make_unique<Scope>(loop);
  doomed->spawn(hold(0, 10, 'a'));
  doomed->spawn(hold(0, 10, 'x'));
  scope.spawn(hold(0, 10, 'b'));
  loop.run(5ms);
  doomed.reset();
  loop.run();
  EXPECT_EQ(order, "ab");
}

}  // namespace
}  // namespace ebb::disk
