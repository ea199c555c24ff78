#include "disk/cache/hints.h"

#include "disk/testing/disk_world.h"

namespace ebb::disk {
namespace {
using namespace testing;

TEST(Hints, AreReadAsTheyWereWrittenAndNoFlippedBitGoesUnnoticed) {
  Hints hints{DiskId("d1"), {3, 4}, 2, {{100, 7}, {3, 1}}};
  auto bytes = encode(hints);
  auto read = decode_hints(bytes);
  ASSERT_TRUE(read);
  EXPECT_EQ(*read, hints);
  for (std::size_t bit = 0; bit < bytes.size() * 8; ++bit) {
    auto damaged = bytes;
    damaged[bit / 8] ^= std::byte(1u << bit % 8);
    EXPECT_FALSE(decode_hints(damaged)) << bit;
  }
  for (std::size_t length = 0; length < bytes.size(); ++length) EXPECT_FALSE(decode_hints(ByteView(bytes).first(length)));
  EXPECT_FALSE(decode_hints(encode(Hints{DiskId("d1"), {3, 4}, 2, {{0, 0}}})));
  EXPECT_FALSE(decode_hints(encode(Hints{DiskId("d1"), {3, 4}, 2, {{0xffffffff, 1}}})));
  EXPECT_FALSE(decode_hints(encode(Hints{DiskId("d1"), {3, 4}, 2, {{0, 0xffffffff}}})));
}

class HintsTest : public ::testing::Test {
 protected:
  static constexpr std::uint64_t blocks = 64 * MiB / block_bytes;
  static constexpr std::uint64_t boot_reads = 200;

  static std::uint64_t boot_block(std::uint64_t i) { return i * 7919 % (blocks / 16) * 16; }

  // Written at the source; read there as a guest does that boots.
  void start() {
    w_.tuning = {};
    ASSERT_TRUE(w_.create_disk(DiskClass::remote, disk_id, blocks));
    ASSERT_TRUE(w_.boot(a_) && w_.boot(b_));
    ASSERT_TRUE(w_.open(a_, 1));
    for (std::uint64_t at = 0; at < 64 * MiB; at += 1 * MiB)
      ASSERT_TRUE(w_.io(a_, [at](BlockDevice& d) { return d.write(at, Bytes(1 * MiB, std::byte(at >> 20 | 1))); }));
    ASSERT_TRUE(w_.flush(a_));
    w_.store.options().get = 30ms;
  }
  // Seconds that the boot's reads take, one after the other.
  double boot_guest(SimWorker& worker) {
    auto began = w_.world.loop().now();
    for (std::uint64_t i = 0; i < boot_reads; ++i) {
      EXPECT_TRUE(w_.io(worker, [i](BlockDevice& d) -> Task<Status> {
        auto got = co_await d.read(boot_block(i) * block_bytes, 4096);
        if (!got) co_return fail(got.error());
        co_return (*got)[7] == std::byte(boot_block(i) * block_bytes >> 20 | 1) ? Status{} : fail(Code::corrupt, "other bytes");
      }));
    }
    return to_seconds(w_.world.loop().now() - began);
  }
  DiskWorld w_;
  SimWorker a_{"worker-a"}, b_{"worker-b"};
};

TEST_F(HintsTest, AStandbyFetchesWhatTheGuestUsesSoThatTheMovedGuestIsWarm) {
  start();
  boot_guest(a_);
  w_.run_for(2min);  // the source leaves its hints
  ASSERT_TRUE(w_.call(b_, b_.daemon->standby({disk_id, pool_id, 2})));
  w_.run_for(10s);
  ASSERT_TRUE(w_.seal(a_, 1));
  ASSERT_TRUE(w_.open(b_, 2));
  auto warm = boot_guest(b_);

  SimWorker c{"worker-c"};
  ASSERT_TRUE(w_.seal(b_, 2));
  ASSERT_TRUE(w_.boot(c));
  ASSERT_TRUE(w_.open(c, 3));
  auto cold = boot_guest(c);
  fmt::print("{} reads of a boot over 30 ms, in virtual time: {:.2f} s cold, {:.2f} s after hints\n", boot_reads, cold, warm);
  EXPECT_GT(cold, 4);
  EXPECT_LT(warm, cold / 10);
}

TEST_F(HintsTest, WithoutAStoreThatTakesThemNothingIsDifferent) {
  start();
  boot_guest(a_);
  w_.store.options().refuse = 0.7;
  w_.run_for(2min);
  w_.store.options().refuse = 0;
  auto sealed = w_.seal(a_, 1);
  ASSERT_TRUE(sealed) << sealed.error().message;
  ASSERT_TRUE(w_.call(b_, b_.daemon->standby({disk_id, pool_id, 2})));
  w_.run_for(10s);
  ASSERT_TRUE(w_.open(b_, 2));
  boot_guest(b_);
}

}  // namespace
}  // namespace ebb::disk
