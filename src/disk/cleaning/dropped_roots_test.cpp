#include "disk/cleaning/reclaim.h"
#include "disk/offline/scrub.h"
#include "disk/testing/snapshots.h"

namespace ebb::disk {
namespace {
using namespace testing;

const DiskId fork_id("fork-1");

class DroppedRootsTest : public ::testing::Test {
 protected:
  void SetUp() override {
    w_.tuning.detach_checkpoint_segments = 0;  // each tenure that wrote ends with a checkpoint
    ASSERT_TRUE(w_.create_disk() && w_.boot(a_));
  }
  void TearDown() override {
    for (const auto& violation : w_.world.violations()) ADD_FAILURE() << violation;
  }
  // One tenure that overwrites the whole disk.
  void fill(Stamp stamp) {
    ASSERT_TRUE(w_.open(a_, ++epoch_)) << w_.last_lines();
    for (std::uint64_t b = 0; b < disk_blocks; ++b) ASSERT_TRUE(w_.write(a_, b, stamp));
    ASSERT_TRUE(w_.seal(a_, epoch_));
  }
  Result<Reclaimed> reclaim_now(DiskId id = disk_id) {
    return w_.apart<Reclaimed>(
        [=](StoreAccess access, ObjectRemover* remover) { return reclaim(access, remover, id); });
  }
  void expect_whole(Stamp stamp) {
    auto content = w_.read_offline();
    ASSERT_TRUE(content) << content.error().message;
    EXPECT_EQ(*content, Content(disk_blocks, stamp));
    auto scrubbed =
        w_.apart<ScrubReport>([](StoreAccess access, ObjectRemover*) { return scrub(access, disk_id); });
    ASSERT_TRUE(scrubbed) << scrubbed.error().message;
    EXPECT_EQ(scrubbed->bad_extents, 0u);
  }
  // Everything that a checkpoint names, and its own root.
  std::set<std::string> keys_of(const CheckpointRef& c) {
    std::set<std::string> keys{checkpoint_root_key(c.disk, c.epoch, c.number),
                               checkpoint_root_copy_key(c.disk, c.epoch, c.number)};
    auto root = decode_checkpoint_root(w_.store.peek(*keys.begin())->body).value();
    for (const auto& o : root.objects) keys.insert(data_object_key(o.object));
    for (const auto& p : root.packs) keys.insert(map_pack_key(p.disk, p.epoch, p.checkpoint, p.number));
    return keys;
  }
  std::size_t still_there(const std::set<std::string>& keys) {
    return static_cast<std::size_t>(
        std::ranges::count_if(keys, [&](const auto& key) { return w_.store.peek(key) != nullptr; }));
  }
  Status snap(std::string name) {
    auto made = s_.take_detached(name, "request-" + name);
    return made ? Status{} : Status(fail(std::move(made).error()));
  }

  DiskWorld w_;
  SimWorker a_{"worker-a"};
  Snapshots s_{w_};
  Epoch epoch_ = 0;
};

TEST_F(DroppedRootsTest, WhatOnlyARemovedSnapshotHeldIsGivenBack) {
  fill(1);
  ASSERT_TRUE(snap("one"));
  const auto one = keys_of(s_.page().find("one")->checkpoint);
  fill(2);
  ASSERT_TRUE(snap("two") && snap("two-again"));
  const auto two = keys_of(s_.page().find("two")->checkpoint);
  fill(3);
  ASSERT_TRUE(reclaim_now());
  EXPECT_EQ(still_there(one), one.size()) << "named roots hold it";
  ASSERT_TRUE(s_.remove("one") && s_.remove("two"));
  EXPECT_EQ(s_.page().dropped.size(), 2u);
  auto done = reclaim_now();
  ASSERT_TRUE(done) << done.error().message;
  EXPECT_EQ(still_there(one), 0u);
  EXPECT_EQ(still_there(two), two.size()) << "held under another name";
  EXPECT_TRUE(s_.page().dropped.empty());
  EXPECT_EQ(s_.content("two-again"), Content(disk_blocks, 2));
  ASSERT_TRUE(s_.remove_disk(DiskId("look-1")) && s_.remove("two-again") && reclaim_now());
  EXPECT_EQ(still_there(two), 0u);
  expect_whole(3);
}

TEST_F(DroppedRootsTest, ARestoredDiskKeepsWhatItNeedsAndGivesBackWhatWasLeft) {
  fill(1);
  ASSERT_TRUE(snap("one"));
  fill(2);
  fill(3);
  auto restored = s_.restore("one", "x1");
  ASSERT_TRUE(restored) << restored.error().message;
  const auto left = keys_of(s_.page().find(restored->kept_as)->checkpoint);
  ASSERT_TRUE(reclaim_now());
  EXPECT_EQ(still_there(left), left.size());
  ASSERT_TRUE(s_.remove(restored->kept_as) && reclaim_now());
  EXPECT_EQ(still_there(left), 0u) << "also what only its lineage had condemned";
  expect_whole(1);
  const auto one = keys_of(s_.page().find("one")->checkpoint);
  ASSERT_TRUE(s_.remove("one") && reclaim_now());
  EXPECT_EQ(still_there(one), one.size()) << "HEAD names it itself";
  expect_whole(1);
  fill(4);
  ASSERT_TRUE(reclaim_now());
  EXPECT_EQ(still_there(one), 0u);
  expect_whole(4);
  for (const auto& key : w_.store.keys("s/"))
    EXPECT_TRUE(key.contains("/000000000004-") || as_text(w_.store.peek(key)->body).starts_with("EBBFENC"))
        << key;
}

TEST_F(DroppedRootsTest, GoingToAndFroLosesNothingAndLeavesNothing) {
  fill(1);
  ASSERT_TRUE(snap("one"));
  fill(2);
  ASSERT_TRUE(snap("two"));
  for (int i = 0; i < 6; ++i) {
    auto to = i % 2 ? "two" : "one";
    auto restored = s_.restore(to, fmt::format("x{}", i));
    ASSERT_TRUE(restored) << restored.error().message;
    if (i % 3 == 1) ASSERT_TRUE(reclaim_now());
    expect_whole(i % 2 ? 2 : 1);
    ASSERT_TRUE(w_.open(a_, ++epoch_) && w_.write(a_, 5, 50) && w_.write(a_, 5, i % 2 ? 2 : 1) &&
                w_.seal(a_, epoch_))
        << w_.last_lines();
    ASSERT_TRUE(s_.remove(restored->kept_as) && reclaim_now());
    expect_whole(i % 2 ? 2 : 1);
  }
  EXPECT_EQ(s_.content("one"), Content(disk_blocks, 1));
  EXPECT_EQ(s_.content("two"), Content(disk_blocks, 2));
  ASSERT_TRUE(s_.remove_disk(DiskId("look-1")) && s_.remove_disk(DiskId("look-2")) && s_.remove("one") &&
              s_.remove("two"));
  fill(9);
  ASSERT_TRUE(reclaim_now());
  const auto needed = keys_of(*s_.head().checkpoint);
  for (const auto* kind : {"g/", "m/"})
    for (const auto& key : w_.store.keys(kind)) EXPECT_TRUE(needed.contains(key)) << key;
  expect_whole(9);
}

TEST_F(DroppedRootsTest, AReclaimThatDiedAnywhereIsFinishedByTheNext) {
  for (std::uint64_t nth = 0;; ++nth) {
    SCOPED_TRACE(nth);
    w_.~DiskWorld();
    new (&w_) DiskWorld(nth + 1);
    a_ = SimWorker{"worker-a"}, epoch_ = 0;
    SetUp();
    fill(1);
    ASSERT_TRUE(snap("one"));
    const auto one = keys_of(s_.page().find("one")->checkpoint);
    fill(2);
    ASSERT_TRUE(s_.remove("one"));
    w_.world.crash_points().arm([](const sim::CrashPoint&) { return true; }, nth);
    (void)reclaim_now();
    const bool died = w_.world.crash_points().fired().has_value();
    w_.world.crash_points().disarm();
    expect_whole(2);
    ASSERT_TRUE(reclaim_now());
    EXPECT_EQ(still_there(one), 0u);
    EXPECT_TRUE(s_.page().dropped.empty());
    expect_whole(2);
    if (!died) break;
    ASSERT_LT(nth, 200u);
  }
}

TEST_F(DroppedRootsTest, ASnapshotRemovedBeforeItWasTakenIsNotTaken) {
  fill(1);
  ASSERT_TRUE(s_.withdraw("one", "request-one"));
  auto late = snap("one");
  ASSERT_FALSE(late);
  EXPECT_EQ(late.error().code, Code::invalid);
  EXPECT_TRUE(s_.page().roots.empty());
  EXPECT_TRUE(s_.take_detached("one", "another"));
}

TEST_F(DroppedRootsTest, OfADeletedDiskWithSnapshotsOnlyTombstoneAndFencesStay) {
  fill(1);
  ASSERT_TRUE(snap("one"));
  fill(2);
  ASSERT_TRUE(s_.restore("one", "x1") && s_.fork("one", fork_id));
  EXPECT_EQ(s_.remove_disk(disk_id).error().code, Code::busy) << "the fork lives on it";
  ASSERT_TRUE(s_.remove_disk(fork_id) && s_.remove_disk(disk_id));
  auto done = reclaim_now();
  ASSERT_TRUE(done) << done.error().message;
  EXPECT_TRUE(done->is_disk_gone);
  for (const auto* kind : {"g/", "m/", "r/"})
    EXPECT_TRUE(w_.store.keys(kind).empty()) << w_.store.keys(kind)[0];
  for (const auto& key : w_.store.keys("s/"))
    EXPECT_TRUE(as_text(w_.store.peek(key)->body).starts_with("EBBFENC")) << key;
  EXPECT_TRUE(reclaim_now() && reclaim_now(fork_id)) << "again; and a fork whose parent is gone";
}

TEST_F(DroppedRootsTest, ReplacedPagesAreClearedAway) {
  fill(1);
  for (int i = 0; i < 40; ++i) {
    ASSERT_TRUE(snap("one") || i > 0);
    ASSERT_TRUE(s_.withdraw("one", fmt::format("w{}", i)) &&
                s_.take_detached("one", fmt::format("again-{}", i)));
    ASSERT_TRUE(reclaim_now());
    ASSERT_LE(w_.store.keys("r/").size(), 2 * RootsPage::replaced_kept + 4);
  }
  EXPECT_GE(w_.store.keys("r/").size(), RootsPage::replaced_kept) << "somebody may be reading them";
  expect_whole(1);
}

}  // namespace
}  // namespace ebb::disk
