// `ebb disk scrub` and `ebb disk rebuild`: what they say, and an exit code that a script can use.
#include <gtest/gtest.h>

#include "disk/offline/scrub.h"
#include "disk/pool_admin.h"
#include "fake_world.h"
#include "memory_store.h"

namespace ebb {
namespace {

// The commands open the one store that the test has.
class SameStore final : public ReclaimableStore {
 public:
  explicit SameStore(ReclaimableStore& store) : store_(store) {}
  Task<Result<ObjectTag>> put(std::string key, SharedBytes body, PutCondition condition) override {
    return store_.put(std::move(key), std::move(body), std::move(condition));
  }
  Task<Result<StoredObject>> get(std::string key) override { return store_.get(std::move(key)); }
  Task<Result<Bytes>> get_range(std::string key, std::uint64_t offset, std::size_t length) override {
    return store_.get_range(std::move(key), offset, length);
  }
  Task<Status> remove(std::string key) override { return store_.remove(std::move(key)); }

 private:
  ReclaimableStore& store_;
};

struct DiskCheckTest : testing::Test {
  fake::World world;
  MemoryStore store{world.loop, MemoryStore::Conditions::kept};

  DiskCheckTest() {
    world.open_pool = [this](std::string) { return open(&store); };
    disk::ImageWriter writer(world.loop, store);
    EXPECT_TRUE(run(writer.begin(DiskId("image"), 64 * KiB)));
    EXPECT_TRUE(run(writer.write(0, Bytes(8 * KiB, std::byte{7}))));
    EXPECT_TRUE(run(writer.finish()));
    disk::PoolAdmin admin(world.loop, store);
    EXPECT_TRUE(run(admin.create_fork(DiskId("image"), DiskId("d-1"), 64 * KiB, DiskClass::remote)));
  }
  static Task<Result<std::unique_ptr<ReclaimableStore>>> open(ReclaimableStore* store) {
    co_return std::unique_ptr<ReclaimableStore>(std::make_unique<SameStore>(*store));
  }
  Status run(Task<Status> task) { return world.await(std::move(task)); }
  void remove(std::string key) { EXPECT_TRUE(run(store.remove(std::move(key)))); }
};

TEST_F(DiskCheckTest, AGoodDiskIsAllRightAndNoControlPlaneIsAsked) {
  EXPECT_EQ(world.ebb({"disk", "scrub", "d-1", "--pool", "s3://pool"}), 0) << world.screen.talk;
  EXPECT_EQ(world.screen.data, "");
  EXPECT_TRUE(world.screen.talk.starts_with("d-1: all right: 8 KiB of data in 1 objects"))
      << world.screen.talk;
  EXPECT_EQ(world.ebb({"disk", "rebuild", "d-1", "--pool", "s3://pool"}), 0) << world.screen.talk;
  EXPECT_TRUE(world.screen.talk.starts_with("d-1: rebuilt from 8 KiB")) << world.screen.talk;
  EXPECT_EQ(world.ebb({"disk", "scrub", "d-1", "--pool", "s3://pool"}), 0) << world.screen.talk;
  EXPECT_TRUE(world.http.seen.empty());
}

TEST_F(DiskCheckTest, EachBadExtentIsALineAndTheCommandFails) {
  for (const auto& key : store.keys("s/"))
    if (key.contains("/image/")) remove(key);
  EXPECT_EQ(world.ebb({"disk", "scrub", "d-1", "--pool", "s3://pool"}), 1);
  EXPECT_TRUE(world.screen.data.starts_with("0 2 segment image/")) << world.screen.data;
  EXPECT_EQ(world.ebb({"--json", "disk", "scrub", "d-1", "--pool", "s3://pool"}), 1);
  auto report = json::read_text<disk::ScrubReport>(world.screen.data);
  ASSERT_TRUE(report) << world.screen.data;
  EXPECT_EQ(report->bad_extents, 1u);
  EXPECT_EQ(world.ebb({"disk", "rebuild", "d-1", "--pool", "s3://pool"}), 1);
  EXPECT_TRUE(world.screen.talk.contains("nothing was changed")) << world.screen.talk;
}

TEST_F(DiskCheckTest, ADiskThatIsNotThereOrAnImageIsRefused) {
  EXPECT_EQ(world.ebb({"disk", "scrub", "d-9", "--pool", "s3://pool"}), 4);
  EXPECT_EQ(world.ebb({"disk", "rebuild", "image", "--pool", "s3://pool"}), 2);
  EXPECT_TRUE(world.screen.talk.contains("is an image")) << world.screen.talk;
  EXPECT_EQ(world.ebb({"disk", "scrub", "d-1"}), 2) << "without --pool";
}

}  // namespace
}  // namespace ebb
