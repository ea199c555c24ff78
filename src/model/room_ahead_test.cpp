#include "model/room_ahead.h"

#include <gtest/gtest.h>

namespace ebb {
namespace {

struct Memory {
  RoomAhead room;
  Memory& make(const char* vm, std::uint64_t bytes) { return room.make(VmId(vm), {0, bytes}), *this; }
  Memory& take(std::uint64_t bytes) { return room.take({0, bytes}), *this; }
  std::uint64_t most() const { return room.most().memory_bytes; }
};

TEST(RoomAhead, IsWhatIsNeededBeyondWhatIsMade) {
  EXPECT_EQ(Memory().make("m", 10).take(15).most(), 5u);
  EXPECT_EQ(Memory().make("m", 10).take(5).most(), 0u) << "never less than nothing";
}

TEST(RoomAhead, OfOneIsNotLentToAnotherWhoComesLater) {
  // w, after m, needs 5 more; x, after m and v, would leave 5: but v may still be there when w begins.
  EXPECT_EQ(Memory().make("m", 10).take(15).make("m", 10).make("v", 10).take(5).most(), 5u);
}

TEST(RoomAhead, ThatTheFirstLeavesIsTheNextOnes) {
  EXPECT_EQ(Memory().make("m", 10).take(5).make("m", 10).make("v", 5).take(10).most(), 0u);
}

}  // namespace
}  // namespace ebb
