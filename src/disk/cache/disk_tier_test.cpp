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
      w.drive->power_cut(random.chance(0.3) ? sim::PowerCut::lose_all : sim::PowerCut::lose_some,
                         w.world.fault_random());
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
  for (std::uint32_t slot = 0; slot < 10; ++slot)
    ASSERT_TRUE(w.drive->corrupt("/cache", layout.slot_offset(slot) + 999));
  for (std::uint32_t slot = 20; slot < 25; ++slot)
    ASSERT_TRUE(w.drive->corrupt("/cache", layout.entry_offset(slot) + 9));
  w.boot(2 * MiB, room);
  EXPECT_EQ(found_on_disk(w, 60), 45u);
  EXPECT_EQ(w.cache->disk_stats()->damaged, 10u);
}

Bytes read_file(CacheWorld& w) {
  return w.drive->find("/cache")->seen.read(0, w.drive->find("/cache")->seen.size());
}
void write_file(CacheWorld& w, Bytes bytes) { ASSERT_TRUE(w.drive->replace("/cache", std::move(bytes))); }

// Bits that flip, sectors that were written elsewhere or never, an end that is missing or too much: whatever
// is returned is right, and the cache goes on.
TEST(DiskTier, AFileDamagedAnywhereIsNeverBelieved) {
  CacheWorld w;
  constexpr std::uint64_t small = 2 * MiB;
  w.boot(256 * KiB, small);
  fill(w, 30);
  w.process->kill();
  const auto whole = read_file(w);
  std::uint64_t found = 0;
  for (std::uint64_t seed = 1; seed <= 150; ++seed) {
    SCOPED_TRACE(seed);
    Random random(seed);
    auto bytes = whole;
    // The index is small beside the slots, and worth as much. A header that was hit is an empty cache.
    const bool with_header = random.chance(0.2);
    auto place = [&] {
      if (with_header && random.chance(0.3)) return random.below(cache_header_bytes);
      return cache_header_bytes +
             random.below(random.chance(0.5) ? 1 * KiB : bytes.size() - cache_header_bytes);
    };
    switch (seed % 5) {
      case 0:
        for (int i = 0; i < 20; ++i) bytes[place()] ^= std::byte(1u << random.below(8));
        break;
      case 1:
        for (int i = 0; i < 6; ++i) {
          auto from = random.below(bytes.size() / 512) * 512, to = place() / 512 * 512;
          std::copy_n(bytes.begin() + static_cast<std::ptrdiff_t>(from), 512,
                      bytes.begin() + static_cast<std::ptrdiff_t>(to));
        }
        break;
      case 2:
        // Entries in each other's places, and pieces.
        for (int i = 0; i < 10; ++i) {
          CacheLayout layout{cache_slots(small), "t"};
          auto a = static_cast<std::uint32_t>(random.below(layout.slots)),
               b = static_cast<std::uint32_t>(random.below(layout.slots));
          bool is_entry = random.chance(0.5);
          auto from = is_entry ? layout.entry_offset(a) : layout.slot_offset(a),
               to = is_entry ? layout.entry_offset(b) : layout.slot_offset(b);
          std::copy_n(bytes.begin() + static_cast<std::ptrdiff_t>(from),
                      is_entry ? cache_entry_bytes : piece_bytes,
                      bytes.begin() + static_cast<std::ptrdiff_t>(to));
        }
        break;
      case 3:
        bytes.resize(random.below(bytes.size()));
        break;
      case 4:
        for (int i = 0; i < 6; ++i) {
          auto at = place() / 512 * 512;
          std::fill_n(bytes.begin() + static_cast<std::ptrdiff_t>(at),
                      std::min<std::size_t>(4096, bytes.size() - at), std::byte{0});
        }
        bytes.resize(bytes.size() + random.below(2) * 4096);
        break;
    }
    write_file(w, std::move(bytes));
    w.boot(256 * KiB, small);
    ASSERT_TRUE(w.cache->disk_stats()->is_ready);
    EXPECT_EQ(w.cache->disk_stats()->faults, 0u);
    found += found_on_disk(w, 30);
    EXPECT_LE(w.drive->used(), small);
    w.process->kill();
  }
  EXPECT_GT(found, 150u * 30 / 8) << "what is whole is still found";
}

TEST(DiskTier, AFileThatIsCutShortWhileItIsUsedIsAMiss) {
  CacheWorld w;
  w.boot(256 * KiB, room);
  fill(w, 60);
  ASSERT_TRUE(w.drive->resize(*w.drive->find("/cache"), 1 * MiB));
  EXPECT_LT(found_on_disk(w, 60), 30u);
  fill(w, 60);
  EXPECT_GT(found_on_disk(w, 60), 40u) << "it grows again";
}

TEST(DiskTier, AForeignFileOrOneOfAnotherSizeIsAnEmptyCache) {
  CacheWorld w;
  auto written =
      sim::run_in(*w.process, w.files->write_atomic("/cache", to_bytes("this is no cache, and short")));
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

}  // namespace
}  // namespace ebb::disk
