// A disk grows: HEAD says so first, what is new reads as zeroes, and every reader of the log copes.
#include "disk/cleaning/reclaim.h"
#include "disk/keys.h"
#include "disk/offline/scrub.h"
#include "disk/testing/disk_world.h"

namespace ebb::disk {
namespace {
using namespace testing;

class ResizeTest : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_TRUE(w_.create_disk());
    ASSERT_TRUE(w_.boot(a_));
    ASSERT_TRUE(w_.boot(b_));
    ASSERT_TRUE(w_.open(a_, 1));
    ASSERT_TRUE(w_.write(a_, 5, 55));
  }
  void TearDown() override {
    for (const auto& violation : w_.world.violations()) ADD_FAILURE() << violation;
  }
  Result<DiskStatus> resize(SimWorker& worker, Epoch epoch, std::uint64_t blocks) {
    return w_.call(worker, worker.daemon->resize({disk_id, pool_id, epoch, blocks * block_bytes}));
  }
  Status grow_detached(std::uint64_t blocks) {
    return w_.admin<Status>([=](PoolAdmin& p) { return p.grow(disk_id, blocks * block_bytes); });
  }
  Head head() { return decode_head(w_.store.peek(head_key(disk_id))->body, disk_id).value(); }
  void expect_scrub_finds_nothing() {
    auto scrubbed =
        w_.apart<ScrubReport>([](StoreAccess access, ObjectRemover*) { return scrub(access, disk_id); });
    ASSERT_TRUE(scrubbed) << scrubbed.error().message;
    EXPECT_TRUE(scrubbed->bad.empty());
  }

  DiskWorld w_;
  SimWorker a_{"worker-a"}, b_{"worker-b"};
};

// Whoever does not hear of the end asks again and again: that makes no more changes of HEAD, and drops no client once more.
TEST_F(ResizeTest, AsksThatWaitForASilentStoreAreOneChange) {
  w_.store.set_outage(true);
  for (int i = 0; i < 5; ++i) {
    auto asked = resize(a_, 1, 2 * disk_blocks);
    ASSERT_FALSE(asked);
    EXPECT_EQ(asked.error().code, Code::unavailable);
  }
  w_.store.set_outage(false);
  for (int i = 0; i < 600 && head().size_bytes != 2 * disk_blocks * block_bytes; ++i) w_.run_for(100ms);
  ASSERT_EQ(head().size_bytes, 2 * disk_blocks * block_bytes);
  const auto nonce = head().nonce;
  w_.run_for(1min);
  ASSERT_TRUE(resize(a_, 1, 2 * disk_blocks)) << "the same again";
  EXPECT_EQ(head().nonce, nonce);
}

TEST_F(ResizeTest, AnOpenDiskGrowsAndWhatIsNewReadsAsZeroesUntilItIsWritten) {
  auto grown = resize(a_, 1, 3 * disk_blocks);
  ASSERT_TRUE(grown) << grown.error().message;
  EXPECT_EQ(grown->size_bytes, 3 * disk_blocks * block_bytes);
  EXPECT_EQ(head().size_bytes, grown->size_bytes);
  ASSERT_TRUE(w_.write(a_, 3 * disk_blocks - 1, 77));
  auto content = w_.read_all(a_);
  ASSERT_TRUE(content) << content.error().message;
  Content expected(3 * disk_blocks);
  expected[5] = 55, expected.back() = 77;
  EXPECT_EQ(*content, expected);

  ASSERT_TRUE(w_.seal(a_, 1));
  ASSERT_TRUE(w_.open(b_, 2));
  content = w_.read_all(b_);
  ASSERT_TRUE(content) << content.error().message;
  EXPECT_EQ(*content, expected);
  expect_scrub_finds_nothing();
}

TEST_F(ResizeTest, WritesToWhatIsNewSurviveACrashBeforeTheyAreInTheStore) {
  w_.disk_class = DiskClass::remote;
  ASSERT_TRUE(resize(a_, 1, 2 * disk_blocks));
  ASSERT_TRUE(w_.write(a_, 2 * disk_blocks - 1, 99));
  ASSERT_TRUE(w_.boot(a_));  // the daemon dies and is started again
  ASSERT_TRUE(w_.wait_open(a_));
  auto content = w_.read_all(a_);
  ASSERT_TRUE(content) << content.error().message;
  ASSERT_EQ(content->size(), 2 * disk_blocks);
  EXPECT_EQ(content->back(), 99u);
}

TEST_F(ResizeTest, AskedAgainItChangesNothingAndADiskDoesNotShrink) {
  ASSERT_TRUE(resize(a_, 1, 2 * disk_blocks));
  auto before = w_.store.peek(head_key(disk_id))->body;
  ASSERT_TRUE(resize(a_, 1, 2 * disk_blocks));
  auto smaller = resize(a_, 1, disk_blocks);
  ASSERT_FALSE(smaller);
  EXPECT_EQ(smaller.error().code, Code::invalid);
  EXPECT_EQ(smaller.error().field, "size_bytes");
  auto odd = w_.call(a_, a_.daemon->resize({disk_id, pool_id, 1, 3 * disk_blocks * block_bytes + 1}));
  ASSERT_FALSE(odd);
  EXPECT_EQ(odd.error().code, Code::invalid);
  auto older = resize(a_, 0, 3 * disk_blocks);
  ASSERT_FALSE(older);
  EXPECT_EQ(older.error().code, Code::fenced);
  EXPECT_EQ(head().size_bytes, 2 * disk_blocks * block_bytes);
  EXPECT_EQ(decode_head(before, disk_id)->size_bytes, head().size_bytes);
}

TEST_F(ResizeTest, AfterATakeOverTheFormerOwnerGrowsNothing) {
  ASSERT_TRUE(w_.open(b_, 2, true));
  auto zombie = resize(a_, 1, 2 * disk_blocks);
  EXPECT_FALSE(zombie);
  EXPECT_EQ(head().size_bytes, disk_blocks * block_bytes);
}

TEST_F(ResizeTest, ADiskThatNobodyHoldsGrowsInTheStoreAndOneThatIsHeldDoesNot) {
  auto held = grow_detached(2 * disk_blocks);
  ASSERT_FALSE(held);
  EXPECT_EQ(held.error().code, Code::conflict);
  EXPECT_TRUE(held.error().message.contains("worker-a")) << held.error().message;
  ASSERT_TRUE(w_.seal(a_, 1));
  ASSERT_TRUE(grow_detached(2 * disk_blocks));
  ASSERT_TRUE(w_.open(b_, 2));
  ASSERT_TRUE(w_.write(b_, 2 * disk_blocks - 1, 7));
  auto content = w_.read_all(b_);
  ASSERT_TRUE(content) << content.error().message;
  EXPECT_EQ(content->size(), 2 * disk_blocks);
  EXPECT_EQ((*content)[5], 55u);
  EXPECT_EQ(content->back(), 7u);
}

TEST_F(ResizeTest, ASnapshotFromBeforeIsRestoredIntoTheLargerDisk) {
  ASSERT_TRUE(w_.seal(a_, 1));
  ASSERT_TRUE(w_.admin<Result<NamedRoot>>(
      [&](PoolAdmin& p) { return p.snapshot(disk_id, {"small", "r1"}, w_.tuning); }));
  ASSERT_TRUE(w_.open(a_, 2));
  ASSERT_TRUE(resize(a_, 2, 2 * disk_blocks));
  ASSERT_TRUE(w_.write(a_, 2 * disk_blocks - 1, 8));
  ASSERT_TRUE(w_.write(a_, 5, 56));
  ASSERT_TRUE(w_.seal(a_, 2));
  ASSERT_TRUE(w_.admin<Result<RestoreRecord>>(
      [&](PoolAdmin& p) { return p.restore(disk_id, {"small", "r2", {}}, w_.tuning); }));
  ASSERT_TRUE(w_.open(a_, 3));
  auto content = w_.read_all(a_);
  ASSERT_TRUE(content) << content.error().message;
  Content expected(2 * disk_blocks);
  expected[5] = 55;
  EXPECT_EQ(*content, expected);
}

}  // namespace
}  // namespace ebb::disk
