#include "disk/cache/testing.h"

namespace ebb::disk {
namespace {
using namespace testing;

constexpr std::uint64_t room = 8 * MiB;
constexpr Duration latency = 30ms;  // of the store

enum class Call { open, size, resize, read, write, sync };
constexpr Call calls[] = {Call::open, Call::size, Call::resize, Call::read, Call::write, Call::sync};

// Files whose calls of one kind fail, or do not end until they are well again.
struct BadFiles final : Files {
  enum class How { well, fail, hang };
  BadFiles(Files& f, Loop& l) : files(f), loop(l) {}
  Task<Status> pass(Call call) {
    if (call == bad && how == How::fail) co_return fail(Code::internal, "input/output error");
    if (call == bad && how == How::hang) {
      most_hanging = std::max(most_hanging, ++hanging);
      while (how == How::hang) co_await sleep_for(loop, 100ms);
      --hanging;
    }
    co_return Status{};
  }
  struct BadFile final : File {
    BadFile(std::unique_ptr<File> f, BadFiles& o) : file(std::move(f)), of(o) {}
    Task<Result<Bytes>> read(std::uint64_t offset, std::size_t length) override {
      EBB_CO_CHECKED(co_await of.pass(Call::read));
      co_return co_await file->read(offset, length);
    }
    Task<Status> write(std::uint64_t offset, Bytes data) override {
      EBB_CO_CHECKED(co_await of.pass(Call::write));
      co_return co_await file->write(offset, std::move(data));
    }
    Task<Status> sync() override {
      EBB_CO_CHECKED(co_await of.pass(Call::sync));
      co_return co_await file->sync();
    }
    Task<Result<std::uint64_t>> size() override {
      EBB_CO_CHECKED(co_await of.pass(Call::size));
      co_return co_await file->size();
    }
    Task<Status> resize(std::uint64_t bytes) override {
      EBB_CO_CHECKED(co_await of.pass(Call::resize));
      co_return co_await file->resize(bytes);
    }
    std::unique_ptr<File> file;
    BadFiles& of;
  };
  Task<Result<std::unique_ptr<File>>> open(std::string path, OpenMode mode) override {
    EBB_CO_CHECKED(co_await pass(Call::open));
    EBB_CO_TRY(file, co_await files.open(path, mode));
    co_return std::make_unique<BadFile>(std::move(file), *this);
  }
  Task<Result<Bytes>> read_all(std::string path) override { return files.read_all(path); }
  Task<Status> write_atomic(std::string path, Bytes data) override {
    return files.write_atomic(path, std::move(data));
  }
  Task<Result<std::unique_ptr<DirectFile>>> open_direct(std::string path, OpenMode mode) override {
    return files.open_direct(path, mode);
  }
  Task<Status> rename(std::string from, std::string to) override { return files.rename(from, to); }
  Task<Status> remove(std::string path) override { return files.remove(path); }
  Task<Status> remove_tree(std::string path) override { return files.remove_tree(path); }
  Task<Result<std::vector<std::string>>> list(std::string path) override { return files.list(path); }
  Task<Status> make_dirs(std::string path) override { return files.make_dirs(path); }
  Task<Result<std::unique_ptr<FileLock>>> lock(std::string path) override { return files.lock(path); }

  Files& files;
  Loop& loop;
  Call bad = Call::open;
  How how = How::well;
  std::size_t hanging = 0, most_hanging = 0;
};
using How = BadFiles::How;

class DiskFaults : public ::testing::Test {
 protected:
  // Its disk is bad from the start, or not yet.
  void boot(Call call, How how) {
    w_.boot(1 * MiB, 0);
    files_ = &w_.process->make<BadFiles>(*w_.files, w_.process->loop());
    files_->bad = call, files_->how = how;
    w_.cache->add_disk(w_.process->loop(), *files_, DiskTier::Options("/cache", room),
                       w_.world.logger("cache"));
    w_.run_for(1s);
  }
  // Each read is right; returns how long the longest and all of them took.
  std::pair<Duration, Duration> read(std::uint32_t first, std::uint32_t end) {
    Duration longest{}, all{};
    for (auto piece = first; piece < end; ++piece) {
      auto began = w_.world.loop().now();
      EXPECT_TRUE(w_.is_right(1, piece));
      auto took = w_.world.loop().now() - began;
      longest = std::max(longest, took), all += took;
    }
    return {longest, all};
  }
  std::uint64_t hits() { return w_.cache->disk_stats()->hits; }

  CacheWorld w_;
  BadFiles* files_ = nullptr;
};

TEST_F(DiskFaults, WhateverCallFailsOrHangsNoReadFailsOrWaitsForLongAndTheCacheComesBack) {
  const auto longest_allowed = latency + DiskTier::Options("", 0).read_within + 5ms;
  for (bool is_from_the_start : {true, false}) {
    for (auto call : calls) {
      for (auto how : {How::fail, How::hang}) {
        SCOPED_TRACE(fmt::format("call {} {} {}", static_cast<int>(call),
                                 how == How::fail ? "fails" : "hangs",
                                 is_from_the_start ? "from the start" : "after a while"));
        w_.process->kill();
        (void)w_.drive->remove("/cache");
        boot(call, is_from_the_start ? how : How::well);
        for (int i = 0; i < 4; ++i) (void)read(0, 60);
        w_.run_for(1s);
        files_->how = how;
        (void)read(200, 600);  // much is written, and synced
        auto [longest, all] = read(0, 100);
        EXPECT_LE(to_ms(longest), to_ms(longest_allowed));
        EXPECT_LE(to_ms(all), 100 * to_ms(latency + 1ms) + 5 * 250)
            << "a disk that is too slow is asked every few seconds only";
        files_->how = How::well;
        w_.run_for(2min);
        (void)read(0, 60);
        w_.run_for(1s);
        auto before = hits();
        (void)read(0, 60);
        EXPECT_GT(hits(), before + 30) << "of 60; the memory has room for 16";
      }
    }
  }
}

TEST_F(DiskFaults, ADiskThatHangsKeepsFewCallsHoweverManyRead) {
  boot(Call::read, How::well);
  (void)read(0, 100);
  w_.run_for(1s);
  files_->how = How::hang;
  Scope readers(w_.process->loop());
  int right = 0;
  for (std::uint32_t i = 0; i < 100; ++i) {
    readers.spawn([](CacheWorld* world, std::uint32_t piece, int* count) -> Task<void> {
      auto got = co_await world->cache->read(world->access(), {object_at(1), piece, piece + 1}, ReadFor::use);
      *count += got && *got->at(0) == piece_of(1, piece);
    }(&w_, i, &right));
  }
  w_.run_for(1s);
  EXPECT_EQ(right, 100);
  EXPECT_LE(files_->most_hanging, DiskTier::Options("", 0).reads_at_once);
  EXPECT_GT(files_->most_hanging, 0u);
}

TEST_F(DiskFaults, ManyReadersOfAQuickDiskWaitForTheirTurnAndAskNoStore) {
  boot(Call::read, How::well);
  (void)read(0, 100);
  w_.run_for(1s);
  auto gets = w_.store->gets;
  Scope readers(w_.process->loop());
  int right = 0;
  for (std::uint32_t i = 0; i < 60; ++i) {
    readers.spawn([](CacheWorld* world, std::uint32_t piece, int* count) -> Task<void> {
      auto got = co_await world->cache->read(world->access(), {object_at(1), piece, piece + 1}, ReadFor::use);
      *count += got && *got->at(0) == piece_of(1, piece);
    }(&w_, i, &right));
  }
  w_.run_for(1s);
  EXPECT_EQ(right, 60);
  EXPECT_EQ(w_.store->gets, gets);
}

}  // namespace
}  // namespace ebb::disk
