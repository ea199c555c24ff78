#include <fmt/format.h>
#include <gtest/gtest.h>

#include "base/random.h"
#include "disk/cache/hot_regions.h"
#include "disk/cache/piece_key.h"
#include "disk/cache/s3_fifo.h"
#include "disk/cache/stream_detector.h"

namespace ebb::disk {
namespace {

using Numbers = S3Fifo<std::uint64_t, int, std::hash<std::uint64_t>>;

// One cache access: whether it was there.
bool access(Numbers& cache, std::uint64_t key, std::size_t limit) {
  if (cache.find(key)) {
    cache.use(key);
    return true;
  }
  cache.add(key, 0, 1);
  (void)cache.shrink(limit);
  return false;
}

TEST(S3Fifo, AScanOfManyTimesItsSizePushesOutNothingThatIsInUse) {
  constexpr std::size_t limit = 100;
  Numbers cache(limit, limit);
  Random random(7);
  for (int i = 0; i < 5000; ++i) access(cache, random.below(60), limit);
  int hits = 0, uses = 0;
  for (std::uint64_t scanned = 0; scanned < 20000; ++scanned) {
    access(cache, 1000 + scanned, limit);
    if (scanned % 4 != 0) continue;
    hits += access(cache, random.below(60), limit), ++uses;
  }
  EXPECT_GT(hits, uses * 98 / 100) << hits << " of " << uses;
}

TEST(S3Fifo, WhatIsNewlyInUseTakesThePlaceOfWhatNoLongerIs) {
  constexpr std::size_t limit = 100;
  Numbers cache(limit, limit);
  Random random(7);
  for (int i = 0; i < 5000; ++i) access(cache, random.below(80), limit);
  int hits = 0;
  for (int i = 0; i < 5000; ++i) hits += access(cache, 500 + random.below(80), limit) && i >= 4000;
  EXPECT_GT(hits, 980);
}

TEST(S3Fifo, WhateverHappensItHoldsWhatWasAddedAndNoMoreThanItMay) {
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    Random random(seed);
    Numbers cache(64, 64);
    std::map<std::uint64_t, std::size_t> model;
    for (int i = 0; i < 3000; ++i) {
      auto key = random.below(200);
      auto dice = random.below(10);
      if (dice < 6 && !model.contains(key)) {
        auto weight = 1 + random.below(5);
        cache.add(key, 0, weight, random.chance(0.2) ? CacheQueue::main : CacheQueue::probation);
        model[key] = weight;
        for (const auto& left : cache.shrink(64)) EXPECT_EQ(model.erase(left.key), 1u);
      } else if (dice < 9) {
        cache.use(key);
      } else {
        EXPECT_EQ(cache.remove(key).has_value(), model.erase(key) == 1);
      }
      std::size_t weight = 0;
      for (const auto& [k, w] : model) weight += w;
      ASSERT_EQ(cache.weight(), weight) << "seed " << seed;
      ASSERT_LE(weight, 64u);
      ASSERT_EQ(cache.keys().size(), model.size());
    }
  }
}

TEST(PieceKey, EveryPartOfAnObjectsNameTellsItApart) {
  DataObject object{DiskId("d1"), {1, 2}, 3, 4096};
  std::set<ObjectName> names{name_of(object)};
  EXPECT_EQ(names.count(name_of(DataObject(object))), 1u);
  EXPECT_TRUE(names.insert(name_of({DiskId("d11"), {1, 2}, 3, 4096})).second);
  EXPECT_TRUE(names.insert(name_of({DiskId("d1"), {2, 2}, 3, 4096})).second);
  EXPECT_TRUE(names.insert(name_of({DiskId("d1"), {1, 1}, 3, 4096})).second);
  EXPECT_TRUE(names.insert(name_of({DiskId("d1"), {1, 2}, 4, 4096})).second);
  EXPECT_TRUE(names.insert(name_of({DiskId("d1"), {1, 2}, 3, 8192})).second);
  EXPECT_TRUE(names.insert(name_of({DiskId("d1"), {1, 2}, 3, 4096, ObjectKind::cleaned})).second);
}

// ---- streams

// Reads [0, bytes) and returns what was read ahead, which must be in one piece.
std::vector<ByteRange> walk(StreamDetector& detector, std::uint64_t from, std::uint64_t bytes,
                            std::uint64_t step) {
  std::vector<ByteRange> out;
  for (std::uint64_t at = from; at < from + bytes; at += step) {
    auto range = detector.on_read(at, step);
    if (!range) continue;
    EXPECT_GE(range->begin, at + step);
    if (!out.empty()) EXPECT_GE(range->begin, out.back().end) << "asked for twice";
    out.push_back(*range);
  }
  return out;
}

TEST(StreamDetector, AheadOfASequentialReaderGrowsFrom128KiBTo16MiB) {
  StreamDetector detector;
  auto ahead = walk(detector, 0, 64 * MiB, 4 * KiB);
  ASSERT_GT(ahead.size(), 8u);
  EXPECT_EQ(ahead.front(), (ByteRange{8 * KiB, 136 * KiB}));
  EXPECT_NEAR(static_cast<double>(ahead.back().end), static_cast<double>(80 * MiB),
              static_cast<double>(2 * MiB));
  for (std::size_t i = 1; i < ahead.size(); ++i) EXPECT_EQ(ahead[i].begin, ahead[i - 1].end) << "a gap";
  EXPECT_LT(ahead.size(), 100u) << "many small reads become few large ones";
}

TEST(StreamDetector, RandomReadersAreNotReadAheadOf) {
  StreamDetector detector;
  Random random(3);
  std::uint64_t ahead = 0;
  for (int i = 0; i < 20000; ++i) {
    if (auto range = detector.on_read(random.below(256 * 1024) * 4096, 4096))
      ahead += range->end - range->begin;
  }
  EXPECT_LT(ahead, 20000u * 4096 / 100);
}

TEST(StreamDetector, SeveralReadersOfOneDiskAreToldApart) {
  StreamDetector detector;
  std::uint64_t ahead[3] = {};
  for (std::uint64_t i = 0; i < 256; ++i) {
    for (std::uint64_t reader = 0; reader < 3; ++reader) {
      auto base = reader * GiB;
      if (auto range = detector.on_read(base + i * 64 * KiB, 64 * KiB)) ahead[reader] = range->end - base;
    }
  }
  for (auto end : ahead) EXPECT_GT(end, 20 * MiB);
}

TEST(StreamDetector, AReaderWhoseRequestsComeOutOfOrderIsOneReader) {
  StreamDetector detector;
  std::uint64_t end = 0;
  for (std::uint64_t i = 0; i < 400; i += 4) {
    for (std::uint64_t k : {1, 0, 3, 2}) {
      if (auto range = detector.on_read((i + k) * 32 * KiB, 32 * KiB)) end = range->end;
    }
  }
  EXPECT_GT(end, 16 * MiB);
}

TEST(StreamDetector, WhatCouldNotBeDoneIsAskedForAgain) {
  StreamDetector detector;
  (void)detector.on_read(0, 64 * KiB);
  auto first = detector.on_read(64 * KiB, 64 * KiB);
  ASSERT_TRUE(first);
  detector.give_back(*first);
  auto again = detector.on_read(128 * KiB, 64 * KiB);
  ASSERT_TRUE(again);
  EXPECT_EQ(again->begin, 192 * KiB);
}

// ---- hot regions

TEST(HotRegions, ReadingAWholeDiskOnceForgetsNothingThatIsInUse) {
  HotRegions hot;
  Random random(5);
  std::set<std::uint32_t> used;
  for (int i = 0; i < 40000; ++i) {
    auto region = static_cast<std::uint32_t>(random.below(2000)) * 7;
    used.insert(region);
    hot.on_read(std::uint64_t{region} * HotRegions::region_bytes, 4096);
  }
  for (std::uint64_t at = 0; at < 4 * GiB; at += 128 * KiB) hot.on_read(at, 128 * KiB);
  std::size_t kept = 0, all = 0;
  for (const auto& run : hot.list()) {
    for (auto region = run.first; region < run.first + run.count; ++region)
      kept += used.contains(region), ++all;
  }
  EXPECT_GT(kept, used.size() * 95 / 100);
  EXPECT_LE(all, HotRegions::regions_max);
}

}  // namespace
}  // namespace ebb::disk
