#include "sim/sim_files.h"

#include <gtest/gtest.h>

#include "sim/run_in.h"

namespace ebb::sim {
namespace {

class SimFilesTest : public testing::Test {
 protected:
  void start() {
    process_ = &world_.start_process("host", "program");
    files_ = &process_->make<SimFiles>(*process_, drive_);
  }
  void SetUp() override { start(); }
  // kill -9 and a new process on the same drive.
  void restart() {
    process_->kill();
    start();
  }
  void power_cut(PowerCut how) {
    process_->kill();
    drive_->power_cut(how, world_.fault_random());
    start();
  }
  std::string read(const std::string& path) {
    auto content = *run_in(*process_, files_->read_all(path));
    return content ? std::string(as_text(*content))
                   : "(" + std::string(to_string(content.error().code)) + ")";
  }
  static Task<Status> write(Files& files, std::string path, std::string synced, std::string unsynced) {
    EBB_CO_TRY(file, co_await files.open(path, OpenMode::create));
    EBB_CO_CHECKED(co_await file->write(0, to_bytes(synced)));
    EBB_CO_CHECKED(co_await file->sync());
    if (!unsynced.empty()) EBB_CO_CHECKED(co_await file->write(0, to_bytes(unsynced)));
    co_return Status{};
  }
  Status write(std::string path, std::string synced, std::string unsynced) {
    return run_in(*process_, write(*files_, path, synced, unsynced))
        .value_or(fail(Code::internal, "did not end"));
  }

  SimWorld world_;
  std::shared_ptr<SimDrive> drive_ = std::make_shared<SimDrive>();
  SimProcess* process_ = nullptr;
  SimFiles* files_ = nullptr;
};

TEST_F(SimFilesTest, TheDeathOfAProcessLosesNothing) {
  ASSERT_TRUE(write("/log", "old", "new"));
  restart();
  EXPECT_EQ(read("/log"), "new");
}

TEST_F(SimFilesTest, APowerCutLosesWhatWasNotSyncedAndNothingElse) {
  ASSERT_TRUE(write("/log", "old", "new"));
  ASSERT_TRUE(write("/done", "done", ""));
  power_cut(PowerCut::lose_all);
  EXPECT_EQ(read("/log"), "old");
  EXPECT_EQ(read("/done"), "done");
}

TEST_F(SimFilesTest, ACreatedFileIsGoneUntilItsFirstSync) {
  ASSERT_TRUE(run_in(*process_, files_->open("/new", OpenMode::create))->has_value());
  power_cut(PowerCut::lose_all);
  EXPECT_EQ(read("/new"), "(not_found)");
}

TEST_F(SimFilesTest, APowerCutMayKeepAnySectorsOfAnUnsyncedWrite) {
  std::set<std::string> seen;
  for (int i = 0; i < 200; ++i) {
    auto path = fmt::format("/file-{}", i);
    ASSERT_TRUE(write(path, std::string(1024, 'o'), std::string(1024, 'n')));
    power_cut(PowerCut::lose_some);
    auto content = read(path);
    ASSERT_EQ(content.size(), 1024u);
    for (std::size_t half : {0, 512})
      ASSERT_EQ(content.substr(half, 512), std::string(512, content[half])) << "sectors are never torn";
    seen.insert({content[0], content[512]});
  }
  EXPECT_EQ(seen, (std::set<std::string>{"oo", "on", "no", "nn"}));
}

TEST_F(SimFilesTest, AtomicReplacementsAndRemovalsSurviveAtOnce) {
  ASSERT_TRUE(*run_in(*process_, files_->make_dirs("/a/b")));
  ASSERT_TRUE(*run_in(*process_, files_->write_atomic("/a/b/x", to_bytes("1"))));
  ASSERT_TRUE(*run_in(*process_, files_->write_atomic("/a/b/x", to_bytes("2"))));
  ASSERT_TRUE(write("/a/y", "y", ""));
  ASSERT_TRUE(*run_in(*process_, files_->remove("/a/y")));
  power_cut(PowerCut::lose_all);
  EXPECT_EQ(read("/a/b/x"), "2");
  EXPECT_EQ(read("/a/y"), "(not_found)");
  EXPECT_EQ(**run_in(*process_, files_->list("/a")), (std::vector<std::string>{"b"}));
  ASSERT_TRUE(*run_in(*process_, files_->remove_tree("/a")));
  EXPECT_EQ(run_in(*process_, files_->list("/a"))->error().code, Code::not_found);
}

TEST_F(SimFilesTest, AfterAFailedSyncALaterOneDoesNotSaveTheOldWrites) {
  ASSERT_TRUE(write("/log", "old", "new"));
  drive_->fail_syncs("/log", 1);
  auto again = [](Files& files) -> Task<Status> {
    EBB_CO_TRY(file, co_await files.open("/log", OpenMode::read_write));
    auto first = co_await file->sync();
    EXPECT_FALSE(first);
    co_return co_await file->sync();
  };
  EXPECT_TRUE(*run_in(*process_, again(*files_)));
  power_cut(PowerCut::lose_all);
  EXPECT_EQ(read("/log"), "old");
}

TEST_F(SimFilesTest, AFullDriveSaysSo) {
  drive_->set_capacity(8192);
  EXPECT_TRUE(write("/a", std::string(4096, 'a'), ""));
  auto status = write("/b", std::string(8192, 'b'), "");
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().message, "no space left on device");
}

std::shared_ptr<BlockBuffer> filled(std::size_t bytes, char value) {
  auto buffer = std::make_shared<BlockBuffer>(bytes);
  std::ranges::fill(buffer->first(bytes), static_cast<std::byte>(value));
  return buffer;
}

TEST_F(SimFilesTest, ADirectFileIsReadAndWrittenInWholeBlocks) {
  auto file = std::move(**run_in(*process_, files_->open_direct("/a", OpenMode::create)));
  EXPECT_TRUE(*run_in(*process_, file->write(4096, filled(8192, 'x'), 8192)));
  EXPECT_EQ(run_in(*process_, file->write(512, filled(8192, 'x'), 8192))->error().code, Code::invalid);
  EXPECT_EQ(run_in(*process_, file->write(0, filled(8192, 'x'), 100))->error().code, Code::invalid);
  auto into = filled(8192, ' ');
  EXPECT_EQ(run_in(*process_, file->read(8192, into, 8192)), 4096u);
  EXPECT_EQ(as_text(into->first(4096)), std::string(4096, 'x'));
  EXPECT_TRUE(*run_in(*process_, file->sync()));
  power_cut(PowerCut::lose_all);
  EXPECT_EQ(read("/a"), std::string(4096, '\0') + std::string(8192, 'x'));
}

TEST_F(SimFilesTest, ADirectWriteUnderWayAtTheDeathOfItsProcessMayBeTornAndMayComeLate) {
  std::set<std::string> at_once, later;
  for (int i = 0; i < 300; ++i) {
    ASSERT_TRUE(write("/a", std::string(4096, 'o'), ""));
    auto file = std::move(**run_in(*process_, files_->open_direct("/a", OpenMode::read_write)));
    auto& scope = process_->make<Scope>(process_->loop());
    scope.spawn([](std::unique_ptr<DirectFile> f) -> Task<void> {
      (void)co_await f->write(0, filled(4096, 'n'), 4096);
    }(std::move(file)));
    ASSERT_TRUE(world_.loop().run_for(10us));
    restart();
    auto kind = [](const std::string& content) {
      auto count = std::count(content.begin(), content.end(), 'n');
      return count == 0 ? "none" : count == 4096 ? "all" : "some";
    };
    at_once.insert(kind(read("/a")));
    auto before = read("/a");
    ASSERT_TRUE(world_.loop().run_for(1s));
    if (read("/a") != before) later.insert(kind(read("/a")));
  }
  EXPECT_EQ(at_once, (std::set<std::string>{"none", "some", "all"}));
  EXPECT_EQ(later, std::set<std::string>{"all"});
}

TEST_F(SimFilesTest, ARenamedFileHasItsNewNameForGoodAndReplacesNothing) {
  ASSERT_TRUE(write("/a", "a", "unsynced"));
  ASSERT_TRUE(write("/b", "b", ""));
  EXPECT_EQ(run_in(*process_, files_->rename("/a", "/b"))->error().code, Code::conflict);
  EXPECT_EQ(run_in(*process_, files_->rename("/none", "/c"))->error().code, Code::not_found);
  ASSERT_TRUE(*run_in(*process_, files_->rename("/a", "/c")));
  power_cut(PowerCut::lose_all);
  EXPECT_EQ(read("/a"), "(not_found)");
  EXPECT_EQ(read("/c"), "a");
}

TEST_F(SimFilesTest, ALockIsReleasedByTheDeathOfItsHolder) {
  auto held = *run_in(*process_, files_->lock("/lock"));
  ASSERT_TRUE(held);
  process_->own(std::move(*held));
  EXPECT_EQ(run_in(*process_, files_->lock("/lock"))->error().code, Code::busy);
  restart();
  EXPECT_TRUE(run_in(*process_, files_->lock("/lock"))->has_value());
}

TEST_F(SimFilesTest, ASyncCrashPointBeforeLosesTheWriteAndAfterKeepsIt) {
  for (auto [kind, expected] :
       {std::pair("file.sync before", "(not_found)"), std::pair("file.sync after", "content")}) {
    world_.crash_points().arm(CrashPoints::of_kind(kind), 0);
    EXPECT_EQ(run_in(*process_, write(*files_, "/x", "content", "")), std::nullopt)
        << "the process died of it";
    EXPECT_TRUE(world_.crash_points().fired());
    power_cut(PowerCut::lose_all);
    EXPECT_EQ(read("/x"), expected);
  }
}

TEST(PagedBytes, AgreeWithPlainBytesUnderRandomOperations) {
  Random random(5);
  PagedBytes paged;
  Bytes plain;
  for (int i = 0; i < 3000; ++i) {
    auto offset = static_cast<std::size_t>(random.below(20'000)),
         length = static_cast<std::size_t>(random.below(9'000));
    auto copy = paged;  // shares pages, must not be disturbed
    if (random.chance(0.1)) {
      paged.resize(offset);
      plain.resize(offset);
    } else {
      Bytes data(length, random.chance(0.3) ? std::byte{0} : static_cast<std::byte>(random.below(256)));
      if (plain.size() < offset + length) plain.resize(offset + length);
      std::ranges::copy(data, plain.begin() + static_cast<std::ptrdiff_t>(offset));
      auto before = copy.read(0, 1 << 20);
      paged.write(offset, data);
      ASSERT_EQ(copy.read(0, 1 << 20), before);
    }
    ASSERT_EQ(paged.size(), plain.size());
    ASSERT_EQ(paged.read(0, 1 << 20), plain);
  }
}

}  // namespace
}  // namespace ebb::sim
