#include "disk/cache/testing.h"

namespace ebb::disk {
namespace {
using namespace testing;

constexpr std::uint64_t room = 8 * MiB;

// How many of the pieces are found without the store; each that is returned must be right.
std::uint64_t found_on_disk(CacheWorld& w, std::uint32_t pieces) {
  auto before = w.cache->disk_stats()->hits;
  for (std::uint32_t piece = 0; piece < pieces; ++piece) EXPECT_TRUE(w.is_right(1, piece));
  return w.cache->disk_stats()->hits - before;
}

void fill(CacheWorld& w, std::uint32_t pieces) {
  for (std::uint32_t piece = 0; piece < pieces; piece += 4) {
    ASSERT_TRUE(w.read(1, piece, piece + 4));
    w.run_for(20ms);
  }
}

TEST(DiskTier, WhatItHoldsIsFoundAfterTheProcessDied) {
  CacheWorld w;
  w.boot(2 * MiB, room);
  fill(w, 60);
  w.boot(2 * MiB, room);
  EXPECT_EQ(found_on_disk(w, 60), 60u);
  EXPECT_EQ(w.store->gets, 0u);
}

TEST(DiskTier, AfterAPowerCutNothingOfItIsWrong) {
  std::uint64_t found = 0;
  for (std::uint64_t seed = 1; seed <= 60; ++seed) {
    CacheWorld w(seed);
    w.boot(1 * MiB, 2 * MiB);
    Random random(seed);
    for (int turn = 0; turn < 3; ++turn) {
      for (int i = 0; i < 12; ++i) {
        auto piece = static_cast<std::uint32_t>(random.below(60));
        ASSERT_TRUE(w.read(1, piece, piece + 1 + static_cast<std::uint32_t>(random.below(4))));
        w.run_for(random.chance(0.3) ? 5ms : 50us);
      }
      w.process->kill();
      w.drive->power_cut(random.chance(0.3) ? sim::PowerCut::lose_all : sim::PowerCut::lose_some, w.world.fault_random());
      w.boot(1 * MiB, 2 * MiB);
      EXPECT_EQ(w.cache->disk_stats()->faults, 0u) << "seed " << seed;
      found += found_on_disk(w, 60);
    }
  }
  EXPECT_GT(found, 0u) << "nothing was ever found again";
}

TEST(DiskTier, ABitThatFlippedIsAMiss) {
  CacheWorld w;
  w.boot(2 * MiB, room);
  fill(w, 60);
  CacheLayout layout{cache_slots(room), "t"};
  w.process->kill();
  for (std::uint32_t slot = 0; slot < 10; ++slot) ASSERT_TRUE(w.drive->corrupt("/cache", layout.slot_offset(slot) + 999));
  for (std::uint32_t slot = 20; slot < 25; ++slot) ASSERT_TRUE(w.drive->corrupt("/cache", layout.entry_offset(slot) + 9));
  w.boot(2 * MiB, room);
  EXPECT_EQ(found_on_disk(w, 60), 45u);
  EXPECT_EQ(w.cache->disk_stats()->damaged, 10u);
}

TEST(DiskTier, AForeignFileOrOneOfAnotherSizeIsAnEmptyCache) {
  CacheWorld w;
  auto written = sim::run_in(*w.process, w.files->write_atomic("/cache", to_bytes("this is no cache, and short")));
  ASSERT_TRUE(written && *written);
  w.boot(2 * MiB, room);
  EXPECT_TRUE(w.cache->disk_stats()->is_ready);
  fill(w, 40);
  w.boot(2 * MiB, room / 2);
  EXPECT_TRUE(w.cache->disk_stats()->is_ready);
  EXPECT_EQ(w.cache->disk_stats()->bytes, 0u);
  EXPECT_LE(w.drive->used(), room / 2);
  fill(w, 40);
  w.process->kill();
  ASSERT_TRUE(w.drive->corrupt("/cache", 40));  // its header
  w.boot(2 * MiB, room / 2);
  EXPECT_EQ(w.cache->disk_stats()->bytes, 0u) << "entries of another cache are believed";
  fill(w, 40);
  EXPECT_GT(w.cache->disk_stats()->bytes, 2 * MiB);
}

TEST(DiskTier, NoSpaceIsAMissAndWorksAgainLater) {
  CacheWorld w;
  w.boot(2 * MiB, room);
  w.drive->set_capacity(w.drive->used());
  fill(w, 100);
  EXPECT_GT(w.cache->disk_stats()->faults, 0u);
  for (std::uint32_t piece = 0; piece < 100; ++piece) EXPECT_TRUE(w.is_right(1, piece));
  w.drive->set_capacity(1 * GiB);
  w.run_for(1min);
  fill(w, 100);
  fill(w, 100);
  EXPECT_GT(w.cache->disk_stats()->written, 50u);
}

// Reads and writes of it never end.
class HangingFile final : public File {
 public:
  HangingFile(std::unique_ptr<File> file, Loop& loop, const bool& hangs) : file_(std::move(file)), loop_(loop), hangs_(hangs) {}
  Task<Result<Bytes>> read(std::uint64_t offset, std::size_t length) override {
    if (hangs_) co_await sleep_for(loop_, 1h);
    co_return co_await file_->read(offset, length);
  }
  Task<Status> write(std::uint64_t offset, Bytes data) override {
    if (hangs_) co_await sleep_for(loop_, 1h);
    co_return co_await file_->write(offset, std::move(data));
  }
  Task<Status> sync() override { return file_->sync(); }
  Task<Result<std::uint64_t>> size() override { return file_->size(); }
  Task<Status> resize(std::uint64_t bytes) override { return file_->resize(bytes); }

 private:
  std::unique_ptr<File> file_;
  Loop& loop_;
  const bool& hangs_;
};

class HangingFiles final : public Files {
 public:
  HangingFiles(Files& files, Loop& loop) : files_(files), loop_(loop) {}
  Task<Result<std::unique_ptr<File>>> open(std::string path, OpenMode mode) override {
    EBB_CO_TRY(file, co_await files_.open(path, mode));
    co_return std::make_unique<HangingFile>(std::move(file), loop_, hangs);
  }
  Task<Result<Bytes>> read_all(std::string path) override { return files_.read_all(path); }
  Task<Status> write_atomic(std::string path, Bytes data) override { return files_.write_atomic(path, std::move(data)); }
  Task<Result<std::unique_ptr<DirectFile>>> open_direct(std::string path, OpenMode mode) override { return files_.open_direct(std::move(path), mode); }
  Task<Status> rename(std::string from, std::string to) override { return files_.rename(from, to); }
  Task<Status> remove(std::string path) override { return files_.remove(path); }
  Task<Status> remove_tree(std::string path) override { return files_.remove_tree(path); }
  Task<Result<std::vector<std::string>>> list(std::string path) override { return files_.list(path); }
  Task<Status> make_dirs(std::string path) override { return files_.make_dirs(path); }
  Task<Result<std::unique_ptr<FileLock>>> lock(std::string path) override { return files_.lock(path); }
  bool hangs = false;

 private:
  Files& files_;
  Loop& loop_;
};

TEST(DiskTier, ADiskThatHangsStallsNobody) {
  CacheWorld w;
  w.boot(2 * MiB, 0);
  auto& hanging = w.process->make<HangingFiles>(*w.files, w.process->loop());
  w.cache->add_disk(w.process->loop(), hanging, DiskTier::Options("/cache", room), w.world.logger("cache"));
  w.run_for(1s);
  fill(w, 100);
  hanging.hangs = true;
  auto began = w.world.loop().now();
  for (std::uint32_t piece = 0; piece < 100; ++piece) EXPECT_TRUE(w.is_right(1, piece));
  auto took = w.world.loop().now() - began;
  EXPECT_LT(to_seconds(took), 15) << "32 reads wait 250 ms each, and all others not at all";
  EXPECT_GT(w.cache->disk_stats()->too_slow, 0u);
  began = w.world.loop().now();
  for (std::uint32_t piece = 0; piece < 100; ++piece) EXPECT_TRUE(w.is_right(2, piece));
  EXPECT_LT(to_seconds(w.world.loop().now() - began), 4) << "only the store's latency";
}

}  // namespace
}  // namespace ebb::disk
