#include <gtest/gtest.h>

#include "base/checksum.h"
#include "base/random.h"
#include "disk/block_device.h"
#include "disk/format/blob_types.h"
#include "disk/format/checkpoint_types.h"
#include "disk/format/cleaned_types.h"
#include "disk/format/hash.h"
#include "disk/format/limits.h"
#include "disk/format/packed_data.h"
#include "disk/format/segment_types.h"
#include "disk/format/wal_types.h"
#include "disk/format/wire.h"

namespace ebb::disk {
namespace {

const DiskId disk("d1");
const std::string chain = sha256_hex(as_bytes("chain"));

LogPoint point(std::uint64_t placement, std::uint64_t seq) {
  return {{placement, 1}, "opener", seq, 10 * seq, seq ? chain : "", "log", 100 * seq};
}

Head sample_head() {
  Head head;
  head.disk = disk, head.size_bytes = 1 * MiB, head.state = HeadState::attached;
  head.epoch = {7, 2}, head.owner = "worker-1", head.opener = "worker-1/opener", head.nonce = "nonce";
  head.checkpoint = CheckpointRef{DiskId("parent"), {3, 1}, 4, 500, 17, point(3, 9)};
  head.lineage = {point(5, 3)};
  head.unsealed = {{{7, 2}, "worker-1/opener", 0, 30, chain, "", 0}};
  head.roots = RootsRef{"abc", 5, 6};
  head.parent = ParentRef{DiskId("parent"), "image"};
  return head;
}

SegmentHead sample_segment() {
  SegmentHead s;
  s.disk = disk, s.epoch = {7, 2}, s.seq = 5, s.opener = "opener", s.previous = chain, s.log_id = "log",
  s.log_position = 12345;
  s.first_write_seq = 8, s.last_write_seq = 11;
  s.extents = {
      {0, 2, ExtentKind::data, 8, 0}, {7, 100, ExtentKind::zeroes, 9, 0}, {9, 1, ExtentKind::data, 11, 2}};
  s.crcs = {1, 2, 3};
  return s;
}

CheckpointRoot sample_root() {
  CheckpointRoot root{disk, {7, 2}, 3, 64 * MiB, point(7, 5), {point(5, 3)}, 12, {}, {}, {}, 4, {}};
  root.objects = {{2, {DiskId("parent"), {3, 1}, 1, 8192}, 100, 1, 0},
                  {11, {disk, {7, 2}, 5, 4096, ObjectKind::cleaned}, 20, 20, 3}};
  root.condemned = {
      {{{7, 1}, 2}, {{Condemned::Kind::segment, {7, 1}, 9, 0}, {Condemned::Kind::pack, {7, 1}, 1, 2}}},
      {{{7, 2}, 3}, {{Condemned::Kind::lost_cleaned, {7, 1}, 5, 0}}}};
  root.packs = {{DiskId("parent"), {3, 1}, 4, 1, 500}, {disk, {7, 2}, 3, 1, 90}};
  root.pages = {{0, 0, 400, 100}, {1, 1, 0, 90}};
  return root;
}

CleanedHead sample_cleaned() {
  return {
      disk,
      {7, 2},
      4,
      {{0, 2, ExtentKind::data, 8, 0}, {9, 1, ExtentKind::data, 3, 2}, {4, 100, ExtentKind::zeroes, 9, 0}},
      {1, 2, 3}};
}

MapPage sample_page() { return {disk, 1, {{0, 2, 2, 0}, {5, 1, 11, 9}}, {11, 12, 13}}; }

// Every shorter object, every object with one bit changed and one with a byte more must be refused.
void expect_damage_is_refused(const Bytes& good, const std::function<bool(ByteView)>& accepts) {
  ASSERT_TRUE(accepts(good));
  for (std::size_t length = 0; length < good.size(); ++length) {
    ASSERT_FALSE(accepts(ByteView(good).first(length))) << "cut at " << length;
  }
  for (std::size_t bit = 0; bit < good.size() * 8; ++bit) {
    auto bad = good;
    bad[bit / 8] ^= std::byte(1u << (bit % 8));
    ASSERT_FALSE(accepts(bad)) << "bit " << bit;
  }
  auto longer = good;
  longer.push_back(std::byte{0});
  ASSERT_FALSE(accepts(longer));
}

TEST(Formats, CleanedObjectsReadBackAndNoDamageIsAccepted) {
  auto bytes = encode(sample_cleaned());
  auto read = decode_cleaned(bytes, disk, {7, 2}, 4);
  ASSERT_TRUE(read) << read.error().message;
  EXPECT_EQ(read->head, sample_cleaned());
  EXPECT_EQ(read->data_offset, bytes.size());
  EXPECT_EQ(cleaned_head_bytes(bytes).value(), bytes.size());
  EXPECT_FALSE(decode_cleaned(bytes, disk, {7, 2}, 5)) << "another one's";
  EXPECT_FALSE(decode_log_object(bytes, disk, {7, 2}, 4)) << "not part of the log";
  auto out_of_order = sample_cleaned();
  std::swap(out_of_order.extents[0].block, out_of_order.extents[1].block);
  EXPECT_FALSE(decode_cleaned(encode(out_of_order), disk, {7, 2}, 4));
  bytes.resize(1024);  // damage below is looked for bit by bit
  EXPECT_FALSE(decode_cleaned(bytes, disk, {7, 2}, 4));
}

TEST(Formats, HeadReadsBackAndNoDamageIsAccepted) {
  auto head = sample_head();
  auto bytes = encode(head);
  auto read = decode_head(bytes, disk);
  ASSERT_TRUE(read) << read.error().message;
  EXPECT_EQ(*read, head);
  EXPECT_FALSE(decode_head(bytes, DiskId("d2"))) << "another disk's HEAD";
  expect_damage_is_refused(bytes, [](ByteView b) { return decode_head(b, disk).has_value(); });
}

TEST(Formats, HeadsThatContradictThemselvesAreRefused) {
  auto refused = [](auto change) {
    auto head = sample_head();
    change(head);
    return !decode_head(encode(head), disk);
  };
  EXPECT_FALSE(refused([](Head&) {}));
  EXPECT_TRUE(refused([](Head& h) { h.size_bytes = 1000; }));
  EXPECT_TRUE(refused([](Head& h) { h.nonce = ""; }));
  EXPECT_TRUE(refused([](Head& h) { h.unsealed.clear(); })) << "attached without its epoch";
  EXPECT_TRUE(refused([](Head& h) { h.state = HeadState::attaching; }))
      << "attaching with segments of its own";
  EXPECT_TRUE(refused([](Head& h) { h.lineage.push_back(point(5, 4)); })) << "epochs out of order";
  EXPECT_TRUE(refused([](Head& h) { h.lineage[0].chain = "zz"; }));
  EXPECT_TRUE(refused([](Head& h) { h.key_id = 1; })) << "encrypted";
  EXPECT_TRUE(refused([](Head& h) { h.state = HeadState::sealed; })) << "sealed with an unsealed epoch";
}

TEST(Formats, ANewerVersionIsSaidToBeNewerAndNotDamaged) {
  auto text = std::string(as_text(encode(sample_head())));
  text.replace(text.find(" 2 "), 3, " 3 ");
  auto read = decode_head(as_bytes(text), disk);
  ASSERT_FALSE(read);
  EXPECT_EQ(read.error().code, Code::invalid);
  EXPECT_NE(read.error().message.find("version 3"), std::string::npos) << read.error().message;
}

TEST(Formats, AHeadOfTheVersionBeforeNamesOpenersByTheirTokenAlone) {
  auto head = sample_head();
  head.opener = head.unsealed[0].opener = "opener";
  auto text = std::string(as_text(encode(head)));
  text.replace(text.find(" 2 "), 3, " 1 ");
  auto read = decode_head(as_bytes(text), disk);
  ASSERT_TRUE(read) << read.error().message;
  EXPECT_EQ(*read, head);
  head.opener = head.unsealed[0].opener = std::string(65, 'w') + "/opener";
  EXPECT_FALSE(decode_head(encode(head), disk)) << "no name of a worker";
}

TEST(Formats, RootsReadBackAndNoDamageIsAccepted) {
  RootsPage page{{{"image", 1 * MiB, *sample_head().checkpoint, "r1", 1'700'000'000'000, "worker-1"}},
                 {{DiskId("fork-1"), "image"}},
                 {{"monday", "before-restore-1", "r2", 1'700'000'000'001, {7, 3}, point(7, 5), point(5, 3)}},
                 {*sample_head().checkpoint},
                 {"r0"},
                 {"nonce1"}};
  auto bytes = encode(page);
  EXPECT_EQ(decode_roots(bytes), page);
  expect_damage_is_refused(bytes, [](ByteView b) { return decode_roots(b).has_value(); });
}

TEST(Formats, SegmentsReadBackAndNoDamageIsAccepted) {
  auto bytes = encode(sample_segment());
  EXPECT_EQ(bytes.size() % block_bytes, 0u);
  EXPECT_EQ(log_object_head_bytes(ByteView(bytes).first(32)), bytes.size());
  auto read = decode_log_object(bytes, disk, {7, 2}, 5);
  ASSERT_TRUE(read) << read.error().message;
  const auto& segment = std::get<ReadSegment>(*read);
  EXPECT_EQ(segment.head, sample_segment());
  EXPECT_EQ(segment.data_offset, bytes.size());
  EXPECT_EQ(segment.chain, sha256_hex(bytes));
  expect_damage_is_refused(bytes,
                           [](ByteView b) { return decode_log_object(b, disk, {7, 2}, 5).has_value(); });
}

TEST(Formats, ASegmentInAnotherPlaceIsRefused) {
  auto bytes = encode(sample_segment());
  EXPECT_FALSE(decode_log_object(bytes, disk, {7, 2}, 6));
  EXPECT_FALSE(decode_log_object(bytes, disk, {7, 3}, 5));
  EXPECT_FALSE(decode_log_object(bytes, DiskId("d2"), {7, 2}, 5));
}

TEST(Formats, SegmentsThatContradictThemselvesAreRefused) {
  auto refused = [](auto change) {
    auto s = sample_segment();
    change(s);
    return !decode_log_object(encode(s), disk, {7, 2}, 5);
  };
  EXPECT_FALSE(refused([](SegmentHead&) {}));
  EXPECT_TRUE(refused([](SegmentHead& s) { s.crcs.pop_back(); }));
  EXPECT_TRUE(refused([](SegmentHead& s) { s.extents[0].count = 0; }));
  EXPECT_TRUE(refused([](SegmentHead& s) { s.extents[2].data_block = 1; }))
      << "two extents on one block of data";
  EXPECT_TRUE(refused([](SegmentHead& s) { s.extents[1].write_seq = 12; })) << "beyond the last";
  EXPECT_TRUE(refused([](SegmentHead& s) { s.extents[1].kind = static_cast<ExtentKind>(9); }));
}

TEST(Formats, FencesReadBackAndNoDamageIsAccepted) {
  Fence fence{disk, {7, 2}, 5, {8, 1}, "worker-2", "opener-2"};
  auto bytes = encode(fence);
  EXPECT_EQ(std::get<Fence>(*decode_log_object(bytes, disk, {7, 2}, 5)), fence);
  expect_damage_is_refused(bytes,
                           [](ByteView b) { return decode_log_object(b, disk, {7, 2}, 5).has_value(); });
}

TEST(Formats, CheckpointsReadBackAndNoDamageIsAccepted) {
  auto root = encode(sample_root());
  EXPECT_EQ(decode_checkpoint_root(root), sample_root());
  expect_damage_is_refused(root, [](ByteView b) { return decode_checkpoint_root(b).has_value(); });
  auto page = encode(sample_page());
  EXPECT_EQ(decode_map_page(page), sample_page());
  expect_damage_is_refused(page, [](ByteView b) { return decode_map_page(b).has_value(); });
}

TEST(Formats, MapPagesOutOfRangeAreRefused) {
  auto refused = [](auto change) {
    auto p = sample_page();
    change(p);
    return !decode_map_page(encode(p));
  };
  EXPECT_FALSE(refused([](MapPage&) {}));
  EXPECT_TRUE(refused([](MapPage& p) { p.runs[1].block = 1; })) << "overlapping runs";
  EXPECT_TRUE(refused([](MapPage& p) { p.runs[1].object = 0; }));
  EXPECT_TRUE(refused([](MapPage& p) { p.runs[1].block = blocks_per_page; }));
  EXPECT_TRUE(refused([](MapPage& p) { p.crcs.push_back(0); }));
}

TEST(Formats, RootsOutOfRangeAreRefused) {
  auto refused = [](auto change) {
    auto r = sample_root();
    change(r);
    return !decode_checkpoint_root(encode(r));
  };
  EXPECT_FALSE(refused([](CheckpointRoot&) {}));
  EXPECT_TRUE(refused([](CheckpointRoot& r) { r.objects[0].object.data_offset = 100; }));
  EXPECT_TRUE(refused([](CheckpointRoot& r) { r.objects[0].live = 101; })) << "more live than there are";
  EXPECT_TRUE(refused([](CheckpointRoot& r) { r.objects[1].id = 2; })) << "an id twice";
  EXPECT_TRUE(refused([](CheckpointRoot& r) { r.next_object = 11; })) << "an id to come";
  EXPECT_TRUE(refused([](CheckpointRoot& r) { r.pages[1].pack = 2; }));
  EXPECT_TRUE(refused([](CheckpointRoot& r) { r.pages[1].bytes = 91; })) << "beyond the pack";
  EXPECT_TRUE(refused([](CheckpointRoot& r) { r.pages[1].page = 0; })) << "a page twice";
  EXPECT_TRUE(refused([](CheckpointRoot& r) { r.pages[1].page = 2; })) << "beyond the disk";
}

TEST(Formats, LargePagesArePackedAndReadBack) {
  MapPage page{disk, 7, {}, {}};
  for (std::uint32_t i = 0; i < 2000; ++i)
    page.runs.push_back({i * 2, 1, 1 + i / 500, i}), page.crcs.push_back(i * 77);
  auto body = encode(page);
  EXPECT_LT(body.size(), 2000 * 20 * 3 / 4);
  EXPECT_EQ(decode_map_page(body), page);
}

TEST(Formats, APackedObjectThatSaysMoreThanItCanHoldIsRefusedBeforeThereIsRoomForIt) {
  auto object = encode(sample_root());
  object.resize(envelope_bytes + 4);
  constexpr std::size_t flags_at = 28;
  store_le(object, flags_at, std::uint32_t{1});
  store_le(object, envelope_bytes, static_cast<std::uint32_t>(500 * MiB));
  finish_object(object);
  auto read = decode_checkpoint_root(object);
  ASSERT_FALSE(read);
  EXPECT_TRUE(read.error().message.contains("cannot hold")) << read.error().message;
}

TEST(Formats, LogFileHeadersReadBackAndNoDamageIsAccepted) {
  WalFileHeader header{disk, "log", 3, 4096, 17};
  auto bytes = encode(header);
  EXPECT_EQ(decode_wal_file_header(bytes), header);
  expect_damage_is_refused(bytes, [](ByteView b) { return decode_wal_file_header(b).has_value(); });
}

TEST(Formats, ALogFileHeaderThatIsShorterIsRefusedThoughItSaysSo) {
  auto bytes = encode(WalFileHeader{disk, "log", 3, 4096, 17});
  bytes.resize(200);
  finish_object(bytes);
  EXPECT_FALSE(decode_wal_file_header(bytes));
}

TEST(Formats, ALogFileAtAPositionThatNoLogReachesIsRefused) {
  EXPECT_TRUE(decode_wal_file_header(encode(WalFileHeader{disk, "log", 3, log_position_max, 17})));
  EXPECT_FALSE(decode_wal_file_header(encode(WalFileHeader{disk, "log", 3, ~std::uint64_t{0} - 4096, 17})));
}

TEST(Formats, LogRecordsReadBackAndNoDamageIsAccepted) {
  Bytes bytes(wal_record_bytes + block_bytes);
  std::uint32_t seed = 5;
  Bytes data(block_bytes, std::byte{7});
  EXPECT_TRUE(write_record(bytes, {WalKind::data, 100, 50, 9, 3, 1, block_bytes}, data, seed).empty());
  auto found = find_record(bytes);
  ASSERT_TRUE(found);
  EXPECT_EQ(found->seed, 5u);
  EXPECT_EQ(found->crc, seed);
  EXPECT_EQ(found->record, (WalRecord{WalKind::data, 100, 50, 9, 3, 1, block_bytes}));
  for (std::size_t length = 0; length < bytes.size(); ++length)
    ASSERT_FALSE(find_record(ByteView(bytes).first(length)));
  for (std::size_t bit = 0; bit < bytes.size() * 8; ++bit) {
    auto bad = bytes;
    bad[bit / 8] ^= std::byte(1u << (bit % 8));
    ASSERT_FALSE(find_record(bad)) << bit;
  }
}

TEST(Formats, BlobChunksReadBackAndNoDamageIsAccepted) {
  auto bytes = encode_blob_chunk("kernel", 2, as_bytes("content"));
  EXPECT_EQ(decode_blob_chunk(bytes, "kernel", 2), to_bytes("content"));
  EXPECT_FALSE(decode_blob_chunk(bytes, "kernel", 3));
  EXPECT_FALSE(decode_blob_chunk(bytes, "initrd", 2));
  expect_damage_is_refused(bytes, [](ByteView b) { return decode_blob_chunk(b, "kernel", 2).has_value(); });
}

// Blocks that compress well, badly and not at all, and how many there are: whole frames, a part of one, none.
Bytes data_of_blocks(std::size_t blocks, Random& random) {
  Bytes data(blocks * block_bytes);
  for (std::size_t b = 0; b < blocks; ++b) {
    const auto kind = random.below(3);
    for (std::size_t i = 0; i < block_bytes; ++i)
      data[b * block_bytes + i] = static_cast<std::byte>(kind == 0   ? b
                                                         : kind == 1 ? random.below(40)
                                                                     : random.below(256));
  }
  return data;
}

TEST(Formats, PackedDataReadsBackByAnyOfItsFrames) {
  Random random(1);
  for (std::size_t blocks : {1, 3, 4, 5, 8, 63, 64, 65, 500, 4096}) {
    SCOPED_TRACE(blocks);
    const auto data = data_of_blocks(blocks, random);
    const auto packed = pack(data);
    EXPECT_LE(packed.size(), frame_table_bytes + data.size());
    EXPECT_EQ(unpack_all(packed, data.size()), data);
    auto table = decode_frame_table(packed);
    ASSERT_TRUE(table) << table.error().message;
    EXPECT_EQ(table->data_bytes, data.size());
    for (int i = 0; i < 20; ++i) {
      const auto first = random.below(table->count()), end = first + 1 + random.below(table->count() - first);
      auto stored = ByteView(packed).subspan(frame_table_bytes + table->begins[first],
                                             table->begins[end] - table->begins[first]);
      auto expected = ByteView(data).subspan(first * frame_bytes);
      expected = expected.first(std::min(expected.size(), (end - first) * frame_bytes));
      EXPECT_TRUE(std::ranges::equal(unpack(*table, first, end, stored), expected)) << first << " to " << end;
    }
  }
}

TEST(Formats, OnlyDataThatGetsSmallerIsPacked) {
  Random random(2);
  Bytes noise(4 * MiB), text(4 * MiB);
  for (auto& b : noise) b = static_cast<std::byte>(random.below(256));
  for (auto& b : text) b = static_cast<std::byte>('a' + random.below(8));
  EXPECT_FALSE(is_worth_packing(noise));
  EXPECT_TRUE(is_worth_packing(text));
  EXPECT_FALSE(is_worth_packing(ByteView(text).first(2 * block_bytes))) << "its table would cost more";
  EXPECT_FALSE(is_worth_packing({}));
}

// The checksums of the blocks are elsewhere: damage may change what is read, and never how much, nor end in anything else.
TEST(Formats, DamagedPackedDataKeepsItsLength) {
  Random random(3);
  const auto data = data_of_blocks(21, random);
  const auto packed = pack(data);
  for (std::size_t at = 0; at < packed.size(); at += 1 + random.below(7)) {
    auto damaged = packed;
    damaged[at] ^= static_cast<std::byte>(1 + random.below(255));
    EXPECT_EQ(unpack_all(damaged, data.size()).size(), data.size()) << at;
    EXPECT_EQ(unpack_all(ByteView(packed).first(at), data.size()).size(), data.size()) << at;
  }
  EXPECT_EQ(unpack_all(packed, data.size() + block_bytes), Bytes(data.size() + block_bytes))
      << "of another length than its head says";
}

}  // namespace
}  // namespace ebb::disk
