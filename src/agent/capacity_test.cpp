#include "agent/capacity.h"

#include <gtest/gtest.h>

#include "base/bytes.h"

namespace ebb::agent {
namespace {

TEST(Capacity, TheHostKeepsItsReserveWhateverIsConfigured) {
  struct {
    std::uint64_t host, reserve;
    std::optional<std::uint64_t> wanted;
    std::uint64_t for_vms;
  } cases[] = {
      {64 * GiB, 64 * GiB / 10, {}, 64 * GiB - 64 * GiB / 10},  // a tenth
      {8 * GiB, 1 * GiB, {}, 7 * GiB},                          // 1 GiB at least
      {10 * GiB, 1 * GiB, {}, 9 * GiB},                         // both the same
      {1536 * MiB, 768 * MiB, {}, 768 * MiB},                   // half of a small machine
      {2 * GiB, 1 * GiB, {}, 1 * GiB},
      {8 * GiB, 1 * GiB, 2 * GiB, 2 * GiB},    // less than there is: as configured
      {8 * GiB, 1 * GiB, 7 * GiB, 7 * GiB},    // all that is left
      {8 * GiB, 1 * GiB, 8 * GiB, 7 * GiB},    // into the reserve
      {8 * GiB, 1 * GiB, 100 * GiB, 7 * GiB},  // more than the machine has
  };
  for (const auto& c : cases) {
    EXPECT_EQ(host_reserve(c.host), c.reserve) << c.host;
    EXPECT_EQ(capacity_for_vms({4, c.host}, {{}, c.wanted}), (Resources{4000, c.for_vms})) << c.host;
  }
  EXPECT_EQ(capacity_for_vms({4, 8 * GiB}, {16, {}}).cpu_millis, 16'000u) << "cores may be promised twice";
}

}  // namespace
}  // namespace ebb::agent
