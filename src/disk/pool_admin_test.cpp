#include "disk/keys.h"
#include "disk/testing/disk_world.h"

namespace ebb::disk {
namespace {
using namespace testing;

const DiskId image("image-1"), fork_1("fork-1"), fork_2("fork-2");
constexpr std::uint64_t image_blocks = 40;

Task<Status> write_image(Loop* loop, ObjectStore* store, Stamp stamp) {
  ImageWriter writer(*loop, *store, small_tuning());
  EBB_CO_CHECKED(co_await writer.begin(image, image_blocks * block_bytes));
  for (std::uint64_t block = 0; block < image_blocks; block += 8) {
    Bytes bytes;
    for (auto b = block; b < block + 8; ++b) append(bytes, stamped(b % 3 == 0 ? 0 : stamp + b, b));
    EBB_CO_CHECKED(co_await writer.write(block * block_bytes, std::move(bytes)));
  }
  co_return co_await writer.finish();
}

class PoolAdminTest : public ::testing::Test {
 protected:
  Status import(Stamp stamp = 100) {
    auto& process = w_.world.start_process("control", "import");
    auto& client = process.make<sim::SimStoreClient>(process, w_.store);
    auto done = sim::run_in(process, write_image(&process.loop(), &client, stamp));
    bool lives = process.is_alive();
    process.kill();
    return done ? *done : Status(fail(Code::unavailable, "{}", lives ? "did not end" : "died"));
  }
  Status fork(DiskId id, std::uint64_t blocks = image_blocks) {
    return w_.admin<Status>(
        [=](PoolAdmin& p) { return p.create_fork(image, id, blocks * block_bytes, DiskClass::remote); });
  }
  Status remove(DiskId id) {
    return w_.admin<Status>([=](PoolAdmin& p) { return p.delete_disk(id); });
  }

  DiskWorld w_;
  SimWorker a_{"worker-a"}, b_{"worker-b"};
};

TEST_F(PoolAdminTest, CreatingADiskTwiceIsCreatingItOnce) {
  EXPECT_TRUE(w_.create_disk());
  EXPECT_TRUE(w_.create_disk());
  EXPECT_EQ(w_.create_disk(DiskClass::local).error().code, Code::conflict);
  EXPECT_EQ(w_.create_disk(DiskClass::remote, DiskId("-bad-")).error().code, Code::invalid);
  EXPECT_EQ(w_.create_disk(DiskClass::remote, DiskId("empty"), 0).error().code, Code::invalid);
}

TEST_F(PoolAdminTest, APoolOfANewerVersionIsRefused) {
  auto prepare = [](PoolAdmin& p) { return p.prepare(); };
  EXPECT_TRUE(w_.admin<Status>(prepare));
  EXPECT_TRUE(w_.admin<Status>(prepare));
  auto& body = const_cast<StoredObject*>(w_.store.peek("format"))->body;
  body[std::string_view("ebb-format ").size()] = std::byte{'2'};
  EXPECT_EQ(w_.admin<Status>(prepare).error().code, Code::invalid);
}

TEST_F(PoolAdminTest, ForksShareTheImageAndDiverge) {
  ASSERT_TRUE(import());
  auto objects = w_.store.keys("s/").size();
  ASSERT_TRUE(fork(fork_1) && fork(fork_2, image_blocks + 24));
  EXPECT_EQ(w_.store.keys("s/").size(), objects) << "a fork copies nothing";
  ASSERT_TRUE(w_.boot(a_) && w_.boot(b_));
  ASSERT_TRUE(w_.open(a_, 1, false, fork_1) && w_.open(b_, 1, false, fork_2));
  ASSERT_TRUE(w_.write(a_, 1, 7, fork_1) && w_.flush(a_, fork_1));
  ASSERT_TRUE(w_.write(b_, 2, 8, fork_2) && w_.write(b_, image_blocks + 1, 9, fork_2) &&
              w_.flush(b_, fork_2));
  auto one = w_.read_all(a_, fork_1), two = w_.read_all(b_, fork_2);
  ASSERT_TRUE(one && two);
  for (std::uint64_t b = 0; b < image_blocks; ++b) {
    Stamp original = b % 3 == 0 ? 0 : 100 + b;
    EXPECT_EQ((*one)[b], b == 1 ? 7 : original);
    EXPECT_EQ((*two)[b], b == 2 ? 8 : original);
  }
  EXPECT_EQ((*two)[image_blocks + 1], 9u);
  // And elsewhere, after a clean move.
  ASSERT_TRUE(w_.seal(a_, 1, fork_1) && w_.open(b_, 2, false, fork_1));
  EXPECT_EQ(*w_.read_all(b_, fork_1), *one);
}

TEST_F(PoolAdminTest, AnImageIsServedReadOnly) {
  ASSERT_TRUE(import() && w_.boot(a_));
  OpenDisk request{image, pool_id, 0, DiskClass::remote, true, false};
  auto opened = w_.call(a_, a_.daemon->open(request));
  ASSERT_TRUE(opened) << opened.error().message;
  EXPECT_EQ(opened->state, DiskSeen::reading);
  EXPECT_EQ((*w_.read_all(a_, image))[1], 101u);
  EXPECT_FALSE(w_.write(a_, 1, 1, image));
  EXPECT_EQ(w_.open(a_, 5, false, image).error().code, Code::invalid) << "not for writing";
}

TEST_F(PoolAdminTest, AForkNeedsAnImageAndRoomForIt) {
  EXPECT_EQ(fork(fork_1).error().code, Code::not_found);
  ASSERT_TRUE(w_.create_disk(DiskClass::remote, image));
  EXPECT_EQ(fork(fork_1).error().code, Code::invalid);
}

TEST_F(PoolAdminTest, AnImportThatDiedAnywhereIsDoneAgainFromTheBeginning) {
  for (std::uint64_t nth = 0;; ++nth) {
    SCOPED_TRACE(nth);
    DiskWorld w(nth + 1);
    auto import = [&](Stamp stamp) {
      auto& process = w.world.start_process("control", "import");
      auto& client = process.make<sim::SimStoreClient>(process, w.store);
      auto done = sim::run_in(process, write_image(&process.loop(), &client, stamp));
      process.kill();
      return done;
    };
    w.world.crash_points().arm([](const sim::CrashPoint&) { return true; }, nth);
    auto first = import(500);
    bool died = w.world.crash_points().fired().has_value();
    w.world.crash_points().disarm();
    auto second = import(500);
    ASSERT_TRUE(second && *second) << w.last_lines();
    auto content = w.read_offline(image);
    ASSERT_TRUE(content) << content.error().message;
    for (std::uint64_t b = 0; b < image_blocks; ++b) ASSERT_EQ((*content)[b], b % 3 == 0 ? 0 : 500 + b);
    if (!died) break;
    ASSERT_LT(nth, 200u);
  }
}

TEST_F(PoolAdminTest, ForkingAndDeletingMayDieAnywhereAndBeAskedAgain) {
  for (std::uint64_t nth = 0; nth < 40; ++nth) {
    SCOPED_TRACE(nth);
    DiskWorld w(nth + 1);
    auto& process = w.world.start_process("control", "import");
    auto& client = process.make<sim::SimStoreClient>(process, w.store);
    ASSERT_TRUE(*sim::run_in(process, write_image(&process.loop(), &client, 100)));
    auto steps = [](StoreAccess access) -> Task<Status> {
      PoolAdmin p(*access.loop, *access.store);
      EBB_CO_CHECKED(co_await p.create_fork(image, fork_1, image_blocks * block_bytes, DiskClass::remote));
      EBB_CO_CHECKED(co_await p.delete_disk(fork_1));
      co_return co_await p.delete_disk(image);
    };
    auto fork_and_delete = [&] {
      auto& child = w.world.start_process("control", "admin");
      auto& child_client = child.make<sim::SimStoreClient>(child, w.store);
      auto& trouble = child.make<Trouble>(child.loop());
      auto done = sim::run_in(child, steps({&child.loop(), &child_client, &trouble}));
      child.kill();
      return done;
    };
    w.world.crash_points().arm([](const sim::CrashPoint&) { return true; }, nth);
    (void)fork_and_delete();
    bool died = w.world.crash_points().fired().has_value();
    w.world.crash_points().disarm();
    auto again = w.admin<Status>([](PoolAdmin& p) { return p.delete_disk(fork_1); });
    ASSERT_TRUE(again);
    auto gone = w.admin<Status>([](PoolAdmin& p) { return p.delete_disk(image); });
    ASSERT_TRUE(gone) << gone.error().message;
    if (!died) break;
  }
}

// Rule 7.
TEST_F(PoolAdminTest, AnImageWithLiveForksIsNotDeleted) {
  ASSERT_TRUE(import() && fork(fork_1));
  EXPECT_EQ(remove(image).error().code, Code::busy);
  ASSERT_TRUE(remove(fork_1));
  EXPECT_TRUE(remove(image));
  EXPECT_EQ(fork(fork_2).error().code, Code::not_found);
}

// Rule 5.
TEST_F(PoolAdminTest, DeletingAnOpenDiskFencesItsOwnerFirst) {
  ASSERT_TRUE(w_.create_disk() && w_.boot(a_) && w_.open(a_, 1));
  ASSERT_TRUE(remove(disk_id) && remove(disk_id));
  (void)w_.write(a_, 1, 1);
  EXPECT_FALSE(w_.flush(a_));
  EXPECT_EQ(w_.open(a_, 9, true).error().code, Code::not_found);
  EXPECT_EQ(w_.create_disk().error().code, Code::conflict) << "ids are never used again";
}

TEST_F(PoolAdminTest, DeletingAnUnknownIdBurnsIt) {
  ASSERT_TRUE(remove(disk_id));
  EXPECT_EQ(w_.create_disk().error().code, Code::conflict) << "a late creation must not bring it to life";
}

// Rule 7.
TEST_F(PoolAdminTest, ManyForksAtOnceAreAllPinned) {
  ASSERT_TRUE(import());
  std::vector<sim::SimProcess*> processes;
  std::vector<std::unique_ptr<Scope>> scopes;
  std::size_t done = 0;
  for (int i = 0; i < 8; ++i) {
    auto& process = w_.world.start_process("control", fmt::format("admin-{}", i));
    auto& client = process.make<sim::SimStoreClient>(process, w_.store);
    auto& admin = process.make<PoolAdmin>(process.loop(), client);
    auto& scope = process.make<Scope>(process.loop());
    scope.spawn([](PoolAdmin* p, DiskId id, std::size_t* count) -> Task<void> {
      if (co_await p->create_fork(image, id, image_blocks * block_bytes, DiskClass::remote)) ++*count;
    }(&admin, DiskId(fmt::format("many-{}", i)), &done));
  }
  ASSERT_TRUE(w_.world.loop().run_until([&] { return done == 8; }, 5min));
  auto head = decode_head(w_.store.peek(head_key(image))->body, image);
  auto page = decode_roots(w_.store.peek(roots_key(image, head->roots->nonce))->body);
  EXPECT_EQ(page->forks.size(), 8u);
}

TEST_F(PoolAdminTest, BlobsAreWrittenOnceAndReadBackWhole) {
  auto content = std::make_shared<Bytes>(17 * MiB);
  for (std::size_t i = 0; i < content->size(); i += 1000) (*content)[i] = std::byte(i);
  auto write = [&](PoolAdmin& p) { return p.write_blob("kernel-1", content); };
  EXPECT_TRUE(w_.admin<Status>(write));
  EXPECT_TRUE(w_.admin<Status>(write)) << "again";
  EXPECT_EQ(w_.store.keys("b/").size(), 3u);
  auto read = w_.admin<Result<Bytes>>([&](PoolAdmin& p) { return p.read_blob("kernel-1", content->size()); });
  EXPECT_TRUE(read && *read == *content);
  auto other = w_.admin<Status>([](PoolAdmin& p) { return p.write_blob_chunk("kernel-1", 0, Bytes(5)); });
  EXPECT_EQ(other.error().code, Code::conflict);
}

}  // namespace
}  // namespace ebb::disk
