#include "platform/host.h"

#include <gtest/gtest.h>

namespace ebb {
namespace {

TEST(Host, TellsItsBootItsSizeAndItsClock) {
  EXPECT_EQ(boot_id().value().size(), 36u);
  EXPECT_EQ(boot_id(), boot_id());
  EXPECT_GE(cpu_count(), 1u);
  EXPECT_GT(memory_bytes_total().value(), 64u << 20);
  EXPECT_GT(own_memory_bytes().value(), 1u << 20);
}

TEST(Host, TheCounterFrequencyIsTheSameEachTime) {
  auto first = tsc_khz(), second = tsc_khz();
  if (first == 0) GTEST_SKIP() << "no time stamp counter";
  EXPECT_GT(first, 500'000u);
  EXPECT_LT(first, 10'000'000u);
  EXPECT_NEAR(first, second, first / 1000.0);
}

}  // namespace
}  // namespace ebb
