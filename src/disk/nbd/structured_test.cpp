#include "disk/nbd/request_rules.h"
#include "disk/nbd/testing_client.h"

namespace ebb::disk {
namespace {

using namespace nbd;
using namespace testing;

struct StructuredTest : NbdTest {
  void fill(std::uint64_t offset, std::size_t length) {
    std::fill_n(memory->data.begin() + static_cast<std::ptrdiff_t>(offset), length, std::byte{5});
    for (auto at = offset; at < offset + length; at += block_bytes)
      memory->allocated[at / block_bytes] = true;
  }
  static std::uint64_t offset_of(const Answer& answer) { return load_be<std::uint64_t>(answer.data); }
};

TEST_F(StructuredTest, ZeroesTravelAsAHoleUnlessTheClientMindsFragments) {
  enter(true);
  send(request(cmd_read, 1, 0, 65536));
  auto hole = chunk(1);
  EXPECT_EQ(hole.chunk, chunk_hole);
  EXPECT_EQ(load_be<std::uint32_t>(hole.data, 8), 65536u);
  send(request(cmd_read, 2, 0, 65536, cmd_df));
  EXPECT_EQ(chunk(2).data.size(), 65536u + 8);
}

TEST_F(StructuredTest, BlockStatusTellsHoles) {
  enter(true, true);
  send(request(cmd_write, 1, 8192, 4096).raw(Bytes(4096, std::byte{1})));
  EXPECT_EQ(simple(1).error, nbd_ok);
  send(request(cmd_block_status, 2, 0, 1 * MiB));
  auto status = chunk(2);
  EXPECT_EQ(status.chunk, chunk_block_status);
  Wire expected;
  expected.u32(allocation_context_id).u32(8192).u32(3).u32(4096).u32(0).u32(1 * MiB - 12288).u32(3);
  EXPECT_EQ(status.data, expected.bytes);
  send(request(cmd_block_status, 3, 100, 1 * MiB - 100, cmd_req_one));
  EXPECT_EQ(chunk(3).data, Wire().u32(allocation_context_id).u32(8092).u32(3).bytes);
}

TEST_F(StructuredTest, HolesOfALargeReadAreNeitherReadNorSent) {
  fill(4096, 4096);
  fill(512 * KiB, 128 * KiB);
  enter(true);
  send(request(cmd_read, 1, 100, 1 * MiB - 200));
  auto all = chunks(1);
  ASSERT_EQ(all.size(), 5u);
  Bytes assembled(1 * MiB - 200, std::byte{0xff});
  for (const auto& piece : all) {
    if (piece.chunk == chunk_none) continue;
    auto at = assembled.begin() + static_cast<std::ptrdiff_t>(offset_of(piece) - 100);
    if (piece.chunk == chunk_hole)
      std::fill_n(at, load_be<std::uint32_t>(piece.data, 8), std::byte{0});
    else
      std::copy(piece.data.begin() + 8, piece.data.end(), at);
  }
  EXPECT_TRUE(std::equal(assembled.begin(), assembled.end(), memory->data.begin() + 100));
  EXPECT_EQ(all.back().chunk, chunk_none);
  EXPECT_EQ(memory->log, (std::vector<std::string>{"read 0 8192", "read 524288 131072"}));
  memory->log.clear();
  send(request(cmd_read, 2, 100, 1 * MiB - 200, cmd_df));
  EXPECT_EQ(chunk(2).chunk, chunk_data) << "one chunk if the client minds";
}

TEST_F(StructuredTest, ABrokenPlaceIsNamedAndTheRestIsStillRead) {
  resize(12 * MiB);
  fill(0, 12 * MiB);
  memory->broken_at = 5 * MiB;
  memory->delay_at = [](std::uint64_t offset) { return offset == 4 * MiB ? Duration(100ms) : Duration(1ms); };
  reconnect();
  enter(true);
  send(request(cmd_read, 1, 0, 12 * MiB));
  auto all = chunks(1);
  ASSERT_EQ(all.size(), 4u);
  EXPECT_EQ(offset_of(all[0]), 0u);
  EXPECT_EQ(offset_of(all[1]), 8 * MiB) << "overtakes what is slow";
  EXPECT_EQ(all[2].chunk, chunk_error_offset);
  EXPECT_EQ(all[2].error, nbd_eio);
  auto text = load_be<std::uint16_t>(all[2].data, 4);
  EXPECT_EQ(as_text(ByteView(all[2].data).subspan(6, text)), "block 1280 is damaged");
  EXPECT_EQ(load_be<std::uint64_t>(all[2].data, 6 + text), 4 * MiB);
  EXPECT_EQ(all[3].chunk, chunk_none);
  send(request(cmd_read, 2, 0, 4096));
  EXPECT_EQ(chunk(2).chunk, chunk_data) << "and the connection lives on";
}

TEST_F(StructuredTest, RefusalsOfReadsAreChunksWithAText) {
  enter(true);
  for (const auto& [wire, why] :
       {std::pair(request(cmd_read, 1, 0, 1, 0x100), "flags 0x100 do not fit the command"),
        std::pair(request(cmd_read, 1, disk_bytes, 1), "the range ends beyond the disk")}) {
    send(wire);
    auto refused = chunk(1);
    EXPECT_EQ(refused.chunk, chunk_error);
    EXPECT_EQ(refused.error, nbd_einval);
    EXPECT_EQ(as_text(ByteView(refused.data).subspan(6)), why);
  }
  send(request(cmd_read, 2, 0, 0));
  EXPECT_EQ(chunk(2).chunk, chunk_none) << "nothing is read in no content chunk";
}

TEST_F(StructuredTest, BlockStatusIsOneExtentHoweverItWasLookedUp) {
  resize(100 * MiB);
  reconnect();
  enter(true, true);
  send(request(cmd_block_status, 1, 1, 100 * MiB - 1));
  EXPECT_EQ(chunk(1).data, Wire().u32(allocation_context_id).u32(100 * MiB - 1).u32(3).bytes);
}

TEST_F(StructuredTest, BlockStatusStopsWhenItHasEnough) {
  resize(100 * MiB);
  for (std::uint64_t at = 0; at < 100 * MiB; at += 2 * block_bytes) fill(at, block_bytes);
  reconnect();
  enter(true, true);
  memory->extents_bytes = 0;
  send(request(cmd_block_status, 1, 0, 100 * MiB));
  auto status = chunk(1);
  EXPECT_EQ(status.data.size(), 4 + 8 * 4096u);
  EXPECT_EQ(load_be<std::uint32_t>(status.data, 4 + 8 * 4095), block_bytes) << "the last one is cut nowhere";
  send(request(cmd_block_status, 2, 4096, 100 * MiB - 4096, cmd_req_one));
  EXPECT_EQ(chunk(2).data, Wire().u32(allocation_context_id).u32(4096).u32(3).bytes);
  EXPECT_LE(memory->extents_bytes, 64 * MiB);
  memory->failure = Error{Code::unavailable, "no answer", {}};
  send(request(cmd_block_status, 3, 0, 4096));
  EXPECT_EQ(chunk(3).error, nbd_eio);
}

TEST(ReadPlanTest, DataIsCutAtWholeBlocksAndSmallHolesTravelInIt) {
  using Pieces = std::vector<ReadPiece>;
  EXPECT_EQ(plan_read({{0, 4096, false}, {4096, 4096, true}, {8192, 100, false}}),
            (Pieces{{0, 8292, false}}));
  EXPECT_EQ(plan_read({{100, 64 * KiB, true}}), (Pieces{{100, 64 * KiB, true}}));
  EXPECT_EQ(plan_read({{0, 1 * MiB, true}, {1 * MiB, 1 * MiB, true}}), (Pieces{{0, 2 * MiB, true}}));
  EXPECT_EQ(plan_read({{1, 9 * MiB, false}}),
            (Pieces{{1, 4 * MiB - 1, false}, {4 * MiB, 4 * MiB, false}, {8 * MiB, 1 * MiB + 1, false}}));
  for (std::uint64_t seed = 1; seed <= 300; ++seed) {
    SCOPED_TRACE(seed);
    Random random(seed);
    std::vector<Extent> extents;
    std::uint64_t begin = random.below(10'000), at = begin;
    for (int i = 0; i < 20; ++i) {
      extents.push_back({at, 1 + random.below(random.below(2) ? 200'000 : 3'000'000), random.below(2) == 0});
      at += extents.back().length;
    }
    for (const auto& piece : plan_read(extents)) {
      ASSERT_EQ(piece.offset, begin);
      ASSERT_GT(piece.length, 0u);
      ASSERT_TRUE(piece.is_hole || piece.length <= piece_bytes_max);
      begin += piece.length;
    }
    ASSERT_EQ(begin, at);
  }
}

}  // namespace
}  // namespace ebb::disk
