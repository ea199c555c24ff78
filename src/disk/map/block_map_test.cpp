// The paged map beside one that is a plain array, through random changes, checkpoints, restarts and a cache
// that holds next to nothing.
#include "disk/map/block_map.h"

#include <gtest/gtest.h>

#include "base/random.h"
#include "disk/attach/load_map.h"
#include "disk/block_device.h"
#include "sim/run_in.h"
#include "sim/sim_store.h"

namespace ebb::disk {
namespace {

const DiskId disk("d1");

struct Where {
  std::uint64_t seq = 0;  // 0: a hole
  std::uint32_t data_block = 0, crc = 0;
  bool operator==(const Where&) const = default;
};

struct MapWorld {
  explicit MapWorld(std::uint64_t seed, std::uint64_t blocks, std::size_t cache_bytes)
      : world({.seed = seed}),
        store(world, sim::SimStoreOptions{}),
        process(world.start_process("w", "diskd")),
        blocks_max(blocks),
        cache_max(cache_bytes),
        plain(blocks),
        random(seed) {
    restart();
  }
  StoreAccess access() { return {&process.loop(), &client, &trouble}; }

  // As a process that knows nothing but the last adopted checkpoint.
  void restart() {
    pages = std::make_shared<PageCache>(cache_max);
    map = std::make_unique<BlockMap>(access(), pages, blocks_max * block_bytes);
    if (!checkpoint) return plain.assign(blocks_max, {});
    auto root = *sim::run_in(process, read_checkpoint_root(access(), *checkpoint, nullptr));
    ASSERT_TRUE(root) << root.error().message;
    map->start_from(std::move(*root));
    plain = at_checkpoint;
  }

  // One segment's worth of writes and trims.
  void change(int writes) {
    ++seq;
    auto id = map->add_object({disk, {1, 1}, seq, 0});
    std::uint32_t data_block = 0;
    for (int i = 0; i < writes; ++i) {
      auto count = 1 + random.below(random.chance(0.1) ? 300 : 4);
      auto block = random.below(blocks_max - count);
      if (random.chance(0.15)) {
        count = std::min(blocks_max - block, count * (random.chance(0.2) ? 100 : 1));
        map->clear(block, count);
        for (auto b = block; b < block + count; ++b) plain[b] = {};
        continue;
      }
      std::vector<std::uint32_t> crcs;
      for (std::uint64_t b = 0; b < count; ++b) crcs.push_back(static_cast<std::uint32_t>(random.next()));
      map->set(block, crcs, id, data_block);
      for (std::uint64_t b = 0; b < count; ++b)
        plain[block + b] = {seq, static_cast<std::uint32_t>(data_block + b), crcs[b]};
      data_block += static_cast<std::uint32_t>(count);
    }
    map->complete_object(id, {4096, data_block, 0});
  }

  testing::AssertionResult begin_checkpoint() {
    at_freeze = plain;
    map->freeze();
    auto stored = *sim::run_in(
        process,
        map->store_checkpoint({disk, {1, 1}, ++number, blocks_max * block_bytes, LogPoint{}, {}, {}}));
    if (!stored) return testing::AssertionFailure() << stored.error().message;
    next_checkpoint = *stored;
    return testing::AssertionSuccess();
  }
  void adopt() {
    map->adopt();
    checkpoint = next_checkpoint, at_checkpoint = at_freeze;
  }

  void expect_same(std::uint64_t block, std::uint64_t count) {
    auto pieces = *sim::run_in(process, map->find(block, count));
    ASSERT_TRUE(pieces) << pieces.error().message;
    auto at = block;
    for (const auto& piece : *pieces) {
      ASSERT_EQ(piece.block, at);
      ASSERT_EQ(piece.crcs.size(), piece.object ? piece.count : 0);
      for (std::uint64_t i = 0; i < piece.count; ++i, ++at) {
        Where found = piece.object ? Where{piece.object->seq,
                                           static_cast<std::uint32_t>(piece.data_block + i), piece.crcs[i]}
                                   : Where{};
        ASSERT_EQ(found, plain[at]) << "block " << at;
      }
    }
    ASSERT_EQ(at, block + count);
  }
  void expect_same_everywhere() {
    for (std::uint64_t block = 0; block < blocks_max; block += 5000)
      expect_same(block, std::min<std::uint64_t>(5000, blocks_max - block));
  }

  sim::SimWorld world;
  sim::SimStore store;
  sim::SimProcess& process;
  sim::SimStoreClient client{process, store};
  Trouble trouble{process.loop()};
  std::uint64_t blocks_max, seq = 0, number = 0;
  std::size_t cache_max;
  std::vector<Where> plain, at_freeze, at_checkpoint;
  std::optional<CheckpointRef> checkpoint, next_checkpoint;
  Random random;
  std::shared_ptr<PageCache> pages;
  std::unique_ptr<BlockMap> map;
};

TEST(BlockMapTest, IsThatOfAPlainArrayThroughCheckpointsAndRestarts) {
  for (std::uint64_t seed = 1; seed <= 30; ++seed) {
    SCOPED_TRACE(seed);
    MapWorld w(seed, 5 * blocks_per_page + 1000, seed % 2 ? 64 * MiB : 1);
    for (int step = 0; step < 25; ++step) {
      w.change(static_cast<int>(w.random.below(60)));
      if (w.random.chance(0.3)) w.expect_same_everywhere();
      if (!w.random.chance(0.4)) continue;
      ASSERT_TRUE(w.begin_checkpoint());
      w.change(10);  // under way: the next one's
      w.expect_same_everywhere();
      if (w.random.chance(0.3)) {
        w.restart();  // HEAD never named it
      } else {
        w.adopt();
        w.expect_same_everywhere();
        if (w.random.chance(0.3)) w.restart();
      }
      w.expect_same_everywhere();
      if (::testing::Test::HasFailure()) return;
    }
  }
}

// It has no live block yet that this checkpoint counts; the next one will count them.
TEST(BlockMapTest, ACheckpointFrozenWhileAnObjectIsFilledKeepsTheObject) {
  MapWorld w(7, 2 * blocks_per_page, 1);
  w.change(60);
  ASSERT_TRUE(w.begin_checkpoint());
  w.adopt();
  auto pieces = *sim::run_in(w.process, w.map->find(0, 2 * blocks_per_page));
  ASSERT_TRUE(pieces);
  std::vector<BlockMap::Move> moves;
  DataObject cleaned{disk, {1, 1}, 1, 4096, ObjectKind::cleaned};
  std::uint32_t at = 0;
  for (auto& piece : *pieces) {
    if (!piece.object || piece.block / blocks_per_page != (piece.block + piece.count - 1) / blocks_per_page)
      continue;
    auto count = static_cast<std::uint32_t>(piece.count);
    moves.push_back({piece.block, count, *piece.object, piece.data_block, at, piece.crcs});
    at += count;
  }
  ASSERT_FALSE(moves.empty());
  w.expect_same(blocks_per_page, 100);  // the cache has room for one page: not the first any more
  std::optional<Result<std::uint64_t>> moved;
  auto& scope = w.process.make<Scope>(w.process.loop());
  scope.spawn([](BlockMap* map, DataObject object, std::uint32_t blocks, std::vector<BlockMap::Move> what,
                 std::optional<Result<std::uint64_t>>* out) -> Task<void> {
    *out = co_await map->repoint(object, {4096, blocks, 0}, std::move(what), {});
  }(w.map.get(), cleaned, at, std::move(moves), &moved));
  ASSERT_TRUE(w.world.loop().run_until([&] { return w.map->object(cleaned).has_value(); }, 1min));
  ASSERT_FALSE(moved) << "it fetches a page";
  EXPECT_EQ(w.map->changed_bytes(), 0u) << "the first one";
  ASSERT_TRUE(w.begin_checkpoint());
  w.adopt();
  ASSERT_TRUE(w.world.loop().run_until([&] { return moved.has_value(); }, 1min));
  ASSERT_TRUE(*moved) << moved->error().message;
  EXPECT_EQ(**moved, at);
  for (int round = 0; round < 2; ++round) {
    auto now = *sim::run_in(w.process, w.map->find(0, 2 * blocks_per_page));
    ASSERT_TRUE(now) << now.error().message;
    EXPECT_TRUE(std::ranges::any_of(*now, [&](auto& piece) { return piece.object == cleaned; }));
    ASSERT_TRUE(w.begin_checkpoint());
    w.adopt();
  }
}

TEST(BlockMapTest, CountsWhatIsLiveOfEveryObject) {
  MapWorld w(7, 3 * blocks_per_page, 64 * MiB);
  for (int i = 0; i < 12; ++i) {
    w.change(40);
    ASSERT_TRUE(w.begin_checkpoint());
    w.adopt();
    std::map<std::uint64_t, std::uint32_t> live;
    for (const auto& where : w.plain)
      if (where.seq) ++live[where.seq];
    auto root = *sim::run_in(w.process, read_checkpoint_root(w.access(), *w.checkpoint, nullptr));
    ASSERT_TRUE(root);
    std::map<std::uint64_t, std::uint32_t> counted;
    for (const auto& object : root->objects) counted[object.object.seq] = object.live;
    ASSERT_EQ(counted, live);
  }
}

// However large the disk and its map: what is held in memory is what changed, and a bounded cache.
TEST(BlockMapTest, KeepsOnlyWhatFitsInMemory) {
  constexpr std::size_t cache_bytes = 256 * KiB;
  MapWorld w(3, 200 * blocks_per_page, cache_bytes);
  for (int i = 0; i < 40; ++i) {
    w.change(100);
    ASSERT_TRUE(w.begin_checkpoint());
    w.adopt();
    EXPECT_EQ(w.map->changed_bytes(), 0u);
    EXPECT_LE(w.pages->bytes(), cache_bytes);
  }
  EXPECT_GT(w.map->stored_bytes(), cache_bytes);
  w.restart();
  w.expect_same_everywhere();
  EXPECT_LE(w.pages->bytes(), cache_bytes);
}

TEST(BlockMapTest, PacksThatAreNearlyUnusedAreLeftBehind) {
  MapWorld w(5, 40 * blocks_per_page, 64 * MiB);
  for (int i = 0; i < 60; ++i) {
    w.change(30);
    ASSERT_TRUE(w.begin_checkpoint());
    w.adopt();
  }
  auto root = *sim::run_in(w.process, read_checkpoint_root(w.access(), *w.checkpoint, nullptr));
  ASSERT_TRUE(root);
  std::uint64_t packs = 0, pages = 0;
  for (const auto& pack : root->packs) packs += pack.bytes;
  for (const auto& page : root->pages) pages += page.bytes;
  EXPECT_LT(packs, pages * 100 / 30 + 1);
}

TEST(BlockMapTest, ADamagedPageIsNamedAndNeverGuessed) {
  MapWorld w(9, 2 * blocks_per_page, 64 * MiB);
  w.change(200);
  ASSERT_TRUE(w.begin_checkpoint());
  w.adopt();
  w.restart();
  for (const auto& key : w.store.keys("m/")) {
    if (key.ends_with("/root")) continue;
    auto body = w.store.peek(key)->body;
    body[100] ^= std::byte{1};
    ASSERT_TRUE(*sim::run_in(w.process, w.client.put(key, std::make_shared<const Bytes>(std::move(body)),
                                                     PutCondition::always())));
  }
  auto pieces = *sim::run_in(w.process, w.map->find(0, 100));
  ASSERT_FALSE(pieces);
  EXPECT_EQ(pieces.error().code, Code::corrupt);
  EXPECT_NE(pieces.error().message.find("map page"), std::string::npos) << pieces.error().message;
}

}  // namespace
}  // namespace ebb::disk
