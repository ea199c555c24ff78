#include "disk/cache/testing.h"
#include "disk/testing/disk_world.h"

namespace ebb::disk {
namespace {
using namespace testing;

TEST(PieceCache, HoweverManyWaitForAPieceItIsFetchedOnce) {
  CacheWorld w;
  w.boot(8 * MiB, 0);
  Scope readers(w.process->loop());
  int right = 0;
  for (int i = 0; i < 50; ++i) {
    readers.spawn([](CacheWorld* world, int* count) -> Task<void> {
      auto got = co_await world->cache->read(world->access(), {object_at(1), 2, 6}, ReadFor::use);
      *count += got && *got->at(3) == piece_of(1, 5);
    }(&w, &right));
  }
  w.run_for(1s);
  EXPECT_EQ(right, 50);
  EXPECT_EQ(w.store->gets, 1u);
  EXPECT_EQ(w.cache->stats().waits, 49u * 4);
}

TEST(PieceCache, WhenTheOneWhoFetchesIsGoneAnotherGoesOn) {
  CacheWorld w;
  w.boot(8 * MiB, 0);
  Scope first(w.process->loop()), second(w.process->loop());
  auto read = [](CacheWorld* world, bool* ok) -> Task<void> {
    auto got = co_await world->cache->read(world->access(), {object_at(1), 0, 1}, ReadFor::use);
    *ok = got && *got->at(0) == piece_of(1, 0);
  };
  bool a = false, b = false;
  first.spawn(read(&w, &a));
  second.spawn(read(&w, &b));
  w.run_for(10ms);
  first.cancel();
  w.run_for(1s);
  EXPECT_FALSE(a);
  EXPECT_TRUE(b);
  EXPECT_EQ(w.store->gets, 2u);
}

TEST(PieceCache, WhenTheOneWhoReadsOurDiskIsGoneAnotherGoesOn) {
  CacheWorld w;
  w.boot(256 * KiB, 8 * MiB);
  for (std::uint32_t piece = 0; piece < 40; ++piece) ASSERT_TRUE(w.is_right(1, piece));
  w.run_for(1s);
  auto gets = w.store->gets;
  for (std::uint32_t piece = 0; piece < 20; ++piece) {
    Scope first(w.process->loop()), second(w.process->loop());
    auto read = [](CacheWorld* world, std::uint32_t at, bool* ok) -> Task<void> {
      auto got = co_await world->cache->read(world->access(), {object_at(1), at, at + 1}, ReadFor::use);
      *ok = got && *got->at(0) == piece_of(1, at);
    };
    bool a = false, b = false;
    first.spawn(read(&w, piece, &a));
    second.spawn(read(&w, piece, &b));
    w.run_for(10us * piece);
    first.cancel();
    w.run_for(1s);
    EXPECT_TRUE(b);
  }
  EXPECT_EQ(w.store->gets, gets);
}

TEST(PieceCache, AnErrorIsToldToAllWhoWaitAndIsNotKept) {
  CacheWorld w;
  w.boot(8 * MiB, 0);
  w.store->is_gone = true;
  Scope readers(w.process->loop());
  int gone = 0;
  for (int i = 0; i < 5; ++i) {
    readers.spawn([](CacheWorld* world, int* count) -> Task<void> {
      auto got = co_await world->cache->read(world->access(), {object_at(1), 0, 1}, ReadFor::use);
      *count += !got && got.error().code == Code::not_found;  // the map may know another place by now
    }(&w, &gone));
  }
  w.run_for(1s);
  EXPECT_EQ(gone, 5);
  w.store->is_gone = false;
  EXPECT_TRUE(w.is_right(1, 0));
}

// Its object was reclaimed: no map names it any more, but whoever looked before may come.
TEST(PieceCache, WhatWasReclaimedIsRightWhereItIsCachedAndElseGone) {
  CacheWorld w;
  w.boot(256 * KiB, 8 * MiB);
  for (std::uint32_t piece = 0; piece < 40; ++piece) ASSERT_TRUE(w.is_right(1, piece));
  w.run_for(1s);
  w.store->is_gone = true;
  for (std::uint32_t piece = 0; piece < 40; ++piece) EXPECT_TRUE(w.is_right(1, piece));
  auto half = w.read(1, 30, 50);
  ASSERT_FALSE(half);
  EXPECT_EQ(half.error().code, Code::not_found);
  auto refreshed = w.read(1, 5, 6, ReadFor::refresh);
  ASSERT_FALSE(refreshed);
  EXPECT_EQ(refreshed.error().code, Code::not_found);
  EXPECT_FALSE(w.read(1, 5, 6)) << "what was refused is not kept";
  EXPECT_TRUE(w.is_right(1, 6));
}

// Slots of what was reclaimed are taken by what is in use.
TEST(PieceCache, WhatWasReclaimedTakesNoRoomForLong) {
  CacheWorld w;
  w.boot(256 * KiB, 8 * MiB);
  for (int round = 0; round < 3; ++round)
    for (std::uint32_t piece = 0; piece < 100; ++piece) ASSERT_TRUE(w.is_right(1, piece));
  for (int round = 0; round < 4; ++round)
    for (std::uint32_t piece = 0; piece < 100; ++piece) ASSERT_TRUE(w.is_right(2, piece));
  w.run_for(1s);
  auto gets = w.store->gets;
  for (std::uint32_t piece = 0; piece < 100; ++piece) ASSERT_TRUE(w.is_right(2, piece));
  EXPECT_LT(w.store->gets - gets, 10u);
}

TEST(PieceCache, MemoryStaysWithinItsBoundWhateverIsRead) {
  CacheWorld w;
  w.boot(4 * MiB, 8 * MiB);
  w.store->latency = 1ms;
  Random random(9);
  for (int i = 0; i < 600; ++i) {
    auto piece = static_cast<std::uint32_t>(random.below(200));
    auto purpose = random.chance(0.5) ? ReadFor::use : random.chance(0.5) ? ReadFor::later : ReadFor::warming;
    ASSERT_TRUE(w.read(1, piece, piece + 1 + static_cast<std::uint32_t>(random.below(20)), purpose));
    ASSERT_LE(w.cache->bytes(), 4 * MiB);
  }
  EXPECT_GT(w.cache->disk_stats()->bytes, 7 * MiB) << "the disk is used";
  EXPECT_LE(w.drive->used(), 8 * MiB);
}

// The hot pieces are used now and then while everything is read once, sequentially.
double hit_ratio_during_a_scan(CacheWorld& w, std::uint32_t hot, std::uint32_t scanned) {
  w.store->latency = 1ms;
  for (int round = 0; round < 4; ++round) {
    for (std::uint32_t piece = 0; piece < hot; ++piece) EXPECT_TRUE(w.is_right(1, piece));
  }
  w.run_for(1s);
  std::uint64_t uses = 0, misses = 0;
  std::uint32_t next_hot = 0;
  for (std::uint32_t piece = 0; piece < scanned; ++piece) {
    EXPECT_TRUE(w.read(2, piece, piece + 1, ReadFor::later));
    EXPECT_TRUE(w.read(2, piece, piece + 1));
    if (piece % 4 != 0) continue;
    auto before = w.store->gets;
    EXPECT_TRUE(w.is_right(1, next_hot++ % hot));
    ++uses, misses += w.store->gets - before;
  }
  return 1 - static_cast<double>(misses) / static_cast<double>(uses);
}

TEST(PieceCache, AScanLargerThanTheMemoryKeepsTheHotPiecesThere) {
  CacheWorld w;
  w.boot(8 * MiB, 0);  // 128 pieces
  auto ratio = hit_ratio_during_a_scan(w, 60, 3000);
  fmt::print("hit ratio of the hot pieces in memory during a scan of 23 times the cache: {:.3f}\n", ratio);
  EXPECT_GT(ratio, 0.95);
}

TEST(PieceCache, AScanLargerThanTheDiskKeepsTheHotPiecesThere) {
  CacheWorld w;
  w.boot(1 * MiB, 32 * MiB);  // 16 pieces in memory, 500 on the disk
  auto ratio = hit_ratio_during_a_scan(w, 250, 6000);
  fmt::print("hit ratio of the hot pieces in both tiers during a scan of 12 times the cache: {:.3f}\n",
             ratio);
  EXPECT_GT(ratio, 0.9);
}

// ---- a disk over it

class CachedDisk : public ::testing::Test {
 protected:
  // An image of so many bytes, and a reader of it in a process of its own.
  void start(std::uint64_t bytes, Duration latency, bool is_compressible = false) {
    w_ = std::make_unique<DiskWorld>(1, sim::SimStoreOptions{});
    auto& importer = w_->world.start_process("control", "importer");
    auto& client = importer.make<sim::SimStoreClient>(importer, w_->store);
    auto& writer = importer.make<ImageWriter>(importer.loop(), client);
    // The first word of each block is where it lies, and one.
    auto import = [](ImageWriter* out, std::uint64_t size, bool is_plain) -> Task<Status> {
      Random random(1);
      EBB_CO_CHECKED(co_await out->begin(disk_id, size));
      for (std::uint64_t at = 0; at < size; at += 4 * MiB) {
        Bytes piece(4 * MiB);
        for (std::size_t i = 0; i < piece.size(); i += 8)
          store_le<std::uint64_t>(piece, i,
                                  i % block_bytes == 0 ? at + i + 1
                                  : is_plain           ? i / 64
                                                       : random.next());
        EBB_CO_CHECKED(co_await out->write(at, std::move(piece)));
      }
      co_return co_await out->finish();
    };
    auto imported = sim::run_in(importer, import(&writer, bytes, is_compressible));
    ASSERT_TRUE(imported && *imported);
    w_->store.options().get = latency;
    reader_ = &w_->world.start_process("worker", "reader");
    auto& reading = reader_->make<sim::SimStoreClient>(*reader_, w_->store);
    counted_ = &reader_->make<Counting>(reading);
    auto& trouble = reader_->make<Trouble>(reader_->loop());
    auto view = sim::run_in(*reader_, open_offline({&reader_->loop(), counted_, &trouble}, disk_id));
    ASSERT_TRUE(view && *view);
    device_ = reader_->make<std::unique_ptr<ImageDevice>>(std::move((**view).device)).get();
    counted_->gets = 0;
  }
  struct Counting final : ObjectStore {
    explicit Counting(ObjectStore& s) : store(s) {}
    Task<Result<ObjectTag>> put(std::string key, SharedBytes body, PutCondition condition) override {
      return store.put(std::move(key), std::move(body), std::move(condition));
    }
    Task<Result<StoredObject>> get(std::string key) override { return store.get(std::move(key)); }
    Task<Result<Bytes>> get_range(std::string key, std::uint64_t offset, std::size_t length) override {
      bool is_data = key.starts_with("s/");  // and no page of the map
      gets += is_data;
      most = std::max(most, ++now), bytes_now += is_data ? length : 0;
      most_bytes = std::max(most_bytes, bytes_now);
      auto got = co_await store.get_range(std::move(key), offset, length);
      --now, bytes_now -= is_data ? length : 0;
      if (got && is_data && wrong_left > 0 && --wrong_left >= 0) got->front() ^= std::byte{1};
      co_return got;
    }
    ObjectStore& store;
    std::uint64_t gets = 0;
    std::uint64_t bytes_now = 0, most_bytes = 0;
    int wrong_left = 0, now = 0, most = 0;
  };

  std::unique_ptr<DiskWorld> w_;
  sim::SimProcess* reader_ = nullptr;
  Counting* counted_ = nullptr;
  ImageDevice* device_ = nullptr;
};

TEST_F(CachedDisk, AColdSequentialReadIsFastOverAStoreWithLatency) {
  constexpr std::uint64_t bytes = 256 * MiB;
  start(bytes, 30ms);
  auto read = [](ImageDevice* device) -> Task<bool> {
    for (std::uint64_t at = 0; at < bytes; at += 128 * KiB) {
      auto got = co_await device->read(at, 128 * KiB);
      if (!got || load_le<std::uint64_t>(*got) != at + 1) co_return false;
    }
    co_return true;
  };
  auto began = w_->world.loop().now();
  auto right = sim::run_in(*reader_, read(device_));
  ASSERT_TRUE(right && *right);
  auto rate = static_cast<double>(bytes) / 1e6 / to_seconds(w_->world.loop().now() - began);
  fmt::print(
      "sequential, one read of 128 KiB at a time, 30 ms: {:.0f} MB/s in virtual time, {} requests, {} at a "
      "time\n",
      rate, counted_->gets, counted_->most);
  EXPECT_GT(rate, 200);
  EXPECT_LT(counted_->gets, bytes / MiB * 5 / 4);
}

// Each object costs one request more: for its table of frames.
TEST_F(CachedDisk, DataThatIsStoredPackedIsReadWithHardlyMoreRequests) {
  constexpr std::uint64_t bytes = 128 * MiB;
  start(bytes, 30ms, true);
  std::uint64_t stored = 0;
  for (const auto& key : w_->store.keys("s/")) stored += w_->store.peek(key)->body.size();
  ASSERT_LT(stored, bytes / 2) << "it is packed";
  auto read = [](ImageDevice* device) -> Task<bool> {
    for (std::uint64_t at = 0; at < bytes; at += 128 * KiB) {
      auto got = co_await device->read(at, 128 * KiB);
      for (std::uint64_t b = 0; got && b < 128 * KiB; b += block_bytes)
        if (load_le<std::uint64_t>(ByteView(*got).subspan(b)) != at + b + 1) co_return false;
      if (!got) co_return false;
    }
    co_return true;
  };
  auto right = sim::run_in(*reader_, read(device_));
  ASSERT_TRUE(right && *right);
  EXPECT_LT(counted_->gets, bytes / MiB * 5 / 4 + bytes / (8 * MiB) + 4);
}

TEST_F(CachedDisk, ARandomReaderIsNotReadAheadOf) {
  start(64 * MiB, 1ms);
  auto read = [](ImageDevice* device) -> Task<bool> {
    Random random(4);
    for (int i = 0; i < 300; ++i) {
      if (!co_await device->read(random.below(64 * MiB / 4096) * 4096, 4096)) co_return false;
    }
    co_return true;
  };
  ASSERT_TRUE(sim::run_in(*reader_, read(device_)).value_or(false));
  EXPECT_LT(counted_->gets, 320u);
}

// Eight readers of one disk, over a store that takes seconds: each of them would have 16 MiB read ahead.
TEST_F(CachedDisk, WhatIsReadAheadStaysWithinHalfOfTheMemory) {
  start(256 * MiB, 3s);
  struct Reader {
    static Task<void> run(ImageDevice* device, std::uint64_t from, int* wrong) {
      for (std::uint64_t at = from; at < from + 24 * MiB; at += 128 * KiB) {
        auto got = co_await device->read(at, 128 * KiB);
        *wrong += !got || load_le<std::uint64_t>(*got) != at + 1;
      }
    }
  };
  int wrong = 0;
  Scope readers(reader_->loop());
  constexpr std::uint64_t count = 8;
  for (std::uint64_t i = 0; i < count; ++i) readers.spawn(Reader::run(device_, i * 32 * MiB, &wrong));
  ASSERT_TRUE(w_->world.loop().run_until([&] { return readers.size() == 0; }, 1h));
  EXPECT_EQ(wrong, 0);
  constexpr auto memory = 64 * MiB;
  EXPECT_LE(counted_->most_bytes, memory / 2 + count * 1 * MiB) << "and what the readers wait for themselves";
  EXPECT_GT(counted_->most_bytes, memory / 4) << "it is read ahead";
}

TEST_F(CachedDisk, WrongBytesInTheCacheAreFoundByTheMapAndReadAgain) {
  start(8 * MiB, 1ms);
  counted_->wrong_left = 1;
  auto got = sim::run_in(*reader_, device_->read(0, 4096));
  ASSERT_TRUE(got && *got) << (*got).error().message;
  EXPECT_EQ(load_le<std::uint64_t>(**got), 1u);
  EXPECT_EQ(counted_->gets, 2u);
  counted_->wrong_left = 2;
  auto bad = sim::run_in(*reader_, device_->read(4 * MiB, 4096));
  ASSERT_TRUE(bad);
  EXPECT_EQ(bad->error().code, Code::corrupt) << "what the store itself has wrong is an error";
}

}  // namespace
}  // namespace ebb::disk
