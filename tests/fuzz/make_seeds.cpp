// Writes the seeds: small objects of every format, by the writers themselves. Run again when a format gets a
// new version, with new names: the old ones stay.
#include <filesystem>
#include <fstream>

#include "base/checksum.h"
#include "disk/block_device.h"
#include "disk/cache/disk_tier_format.h"
#include "disk/cache/hints.h"
#include "disk/format/blob_types.h"
#include "disk/format/checkpoint_types.h"
#include "disk/format/cleaned_types.h"
#include "disk/format/hash.h"
#include "disk/format/packed_data.h"
#include "disk/format/pool_format.h"
#include "disk/format/segment_types.h"
#include "disk/log/wal.h"
#include "disk/served_disk.h"
#include "formats.h"
#include "sim/run_in.h"
#include "sim/sim_files.h"

using namespace ebb;
using namespace ebb::disk;

namespace {

const DiskId disk_id("d1"), parent("parent");
constexpr DiskEpoch epoch{7, 2};
constexpr std::uint64_t number = 5;
const std::string chain = sha256_hex(as_bytes("chain"));
const LogChain log_chain{disk_id, PoolId("main"), "log-1", {{{6, 1}, "opener-6"}, {epoch, "opener"}}};

class Seeds {
 public:
  explicit Seeds(std::filesystem::path folder) : folder_(std::move(folder)) {}
  void add(std::string_view format, std::string_view name, ByteView bytes) {
    auto found = std::ranges::find(fuzz::formats(), format, &fuzz::Format::name);
    CHECK(found != fuzz::formats().end());
    Bytes seed{std::byte(found - fuzz::formats().begin())};
    append(seed, bytes);
    std::ofstream(folder_ / fmt::format("{}_{}", format, name), std::ios::binary) << as_text(seed);
  }

 private:
  std::filesystem::path folder_;
};

LogPoint point(std::uint64_t placement, std::uint64_t seq) {
  return {{placement, 1}, "opener", seq, 10 * seq, seq ? chain : "", "log-1", 100 * seq};
}

Head attached_head() {
  Head head;
  head.disk = disk_id, head.size_bytes = 64 * MiB, head.disk_class = DiskClass::local,
  head.state = HeadState::attached;
  head.epoch = epoch, head.owner = "worker-1", head.opener = "worker-1/opener", head.nonce = "nonce";
  head.checkpoint = CheckpointRef{parent, {3, 1}, 4, 500, 17, point(3, 9)};
  head.lineage = {point(5, 3), point(6, 2)};
  head.unsealed = {{epoch, "worker-1/opener", 0, 30, chain, "", 0}};
  head.roots = RootsRef{"abc", 5, 6};
  head.parent = ParentRef{parent, "image"};
  head.reclaimed = CheckpointId{{5, 1}, 2};
  return head;
}

void add_texts(Seeds& seeds) {
  auto head = attached_head();
  seeds.add("head", "attached", encode(head));
  head.state = HeadState::attaching, head.unsealed = {point(6, 4)}, head.lineage.pop_back();
  seeds.add("head", "attaching", encode(head));
  head.state = HeadState::sealed, head.unsealed.clear();
  seeds.add("head", "sealed", encode(head));
  head.state = HeadState::deleted;
  seeds.add("head", "deleted", encode(head));
  Head fresh;
  fresh.disk = disk_id, fresh.size_bytes = 1 * MiB, fresh.nonce = "nonce";
  seeds.add("head", "fresh", encode(fresh));
  auto checkpoint = *attached_head().checkpoint;
  RootsPage page;
  page.roots = {{"image", 1 * MiB, checkpoint, "r1", 1'700'000'000'000, "worker-1"},
                {"before", 2 * MiB, checkpoint, "r2", 0, {}}};
  page.forks = {{DiskId("fork-1"), "image"}};
  page.restores = {{"image", "before", "r2", 1'700'000'000'001, {7, 3}, point(7, 5), point(5, 3)}};
  page.dropped = {checkpoint}, page.removed = {"r0"}, page.replaced = {"nonce1"};
  seeds.add("roots", "page", encode(page));
  seeds.add("roots", "empty", encode(RootsPage{}));
  OpenRecord record{{disk_id, PoolId("main"), 7, DiskClass::local, false, true}, true};
  seeds.add("open-record", "settled", write_text_object("ebb-open", record));
  seeds.add("chain", "two", write_text_object("ebb-chain", log_chain));
  seeds.add("pool-format", "new", encode(PoolFormat{pool_shards, 1'700'000'000'000}));
}

void add_log_objects(Seeds& seeds) {
  SegmentHead s;
  s.disk = disk_id, s.epoch = epoch, s.seq = number, s.opener = "opener", s.previous = chain,
  s.log_id = "log-1";
  s.log_position = 12345, s.first_write_seq = 8, s.last_write_seq = 11;
  s.extents = {
      {0, 2, ExtentKind::data, 8, 0}, {7, 100, ExtentKind::zeroes, 9, 0}, {9, 1, ExtentKind::data, 11, 2}};
  s.crcs = {1, 2, 3};
  auto object = encode(s);
  seeds.add("log-object", "head", object);
  object.resize(object.size() + 64, std::byte{9});  // some of its data
  seeds.add("log-object", "with_data", object);
  s.extents = {{16000, 384, ExtentKind::zeroes, 8, 0}}, s.crcs.clear();
  seeds.add("log-object", "trims", encode(s));
  seeds.add("log-object", "fence", encode(Fence{disk_id, epoch, number, {8, 1}, "worker-2", "opener-2"}));
  CleanedHead cleaned{
      disk_id,
      epoch,
      number,
      {{0, 2, ExtentKind::data, 8, 0}, {9, 1, ExtentKind::data, 3, 2}, {4, 100, ExtentKind::zeroes, 9, 0}},
      {1, 2, 3}};
  seeds.add("cleaned", "head", encode(cleaned));
  Bytes compressible(3 * frame_bytes + block_bytes, std::byte{7});
  for (std::size_t at = frame_bytes; at < 2 * frame_bytes; ++at)
    compressible[at] = static_cast<std::byte>(at * at >> 3);
  seeds.add("packed-data", "frames", pack(compressible));
  cleaned.is_packed = true;
  seeds.add("cleaned", "packed", encode(cleaned));
}

void add_map(Seeds& seeds) {
  CheckpointRoot root{disk_id, epoch, 3, 64 * MiB, point(7, 5), {point(5, 3)}, 12, {}, {}, {}, 4, {}};
  root.objects = {{2, {parent, {3, 1}, 1, 8192}, 100, 1, 0},
                  {11, {disk_id, epoch, 5, 4096, ObjectKind::cleaned}, 20, 20, 3}};
  root.condemned = {
      {{{7, 1}, 2}, {{Condemned::Kind::segment, {7, 1}, 9, 0}, {Condemned::Kind::pack, {7, 1}, 1, 2}}},
      {{epoch, 3}, {{Condemned::Kind::lost_cleaned, {7, 1}, 5, 0}}}};
  root.packs = {{parent, {3, 1}, 4, 1, 500}, {disk_id, epoch, 3, 1, 90}};
  root.pages = {{0, 0, 400, 100}, {1, 1, 0, 90}};
  seeds.add("checkpoint-root", "small", encode(root));
  for (ObjectId id = 12; id < 40; ++id) root.objects.push_back({id, {disk_id, epoch, id, 4096}, 50, 50, 0});
  root.next_object = 40;
  seeds.add("checkpoint-root", "packed", encode(root));
  seeds.add("map-page", "small", encode(MapPage{disk_id, 1, {{0, 2, 2, 0}, {5, 1, 11, 9}}, {11, 12, 13}}));
  MapPage page{disk_id, 7, {}, {}};
  for (std::uint32_t i = 0; i < 60; ++i)
    page.runs.push_back({i * 2, 1, 1 + i / 50, i}), page.crcs.push_back(i * 77);
  seeds.add("map-page", "packed", encode(page));
  seeds.add("blob-chunk", "last", encode_blob_chunk("kernel", number, as_bytes("content")));
}

void add_records(Seeds& seeds) {
  seeds.add("log-header", "third", encode(WalFileHeader{disk_id, "log-1", 3, 4096, 17}));
  auto add = [&](std::string_view name, const WalRecord& record, ByteView data) {
    Bytes bytes(wal_record_bytes + record.data_bytes);
    std::uint32_t seed = 5;
    write_record(bytes, record, data, seed);
    seeds.add("log-record", name, bytes);
  };
  add("data", {WalKind::data, 100, 50, 9, 3, 1, block_bytes}, Bytes(block_bytes, std::byte{7}));
  add("zeroes", {WalKind::zeroes, 100, 50, 9, 3, 1000, 0}, {});
  add("padding", {WalKind::padding, 100, 50, 0, 0, 0, 960}, {});
}

// A log as a process leaves it that is killed. Positions after each append.
struct Written {
  std::vector<std::uint64_t> ends;
  std::vector<Bytes> files;
};

Task<Status> write_log(Loop* loop, Files* files, Wal* wal, Written* out) {
  EBB_CO_CHECKED(co_await files->make_dirs(wal->folder()));
  EBB_CO_CHECKED(co_await wal->start({}));
  for (std::uint64_t seq = 1; seq <= 4; ++seq) {
    Bytes data(seq % 2 == 0 ? block_bytes : 0, std::byte(seq));
    std::vector<Wal::Entry> entries{
        {data.empty() ? WalKind::zeroes : WalKind::data, seq, seq * 10, 1, data, 0}};
    if (seq == 3) entries.push_back({WalKind::zeroes, ++seq, 2, 100, {}, 0});
    EBB_CO_CHECKED(co_await wal->append(&entries));
    EBB_CO_CHECKED(co_await wal->sync_through(wal->end()));
    out->ends.push_back(wal->end());
    co_await sleep_for(*loop, 100ms);  // until there is a spare to go on with
  }
  EBB_CO_TRY(names, co_await files->list(wal->folder()));
  for (const auto& name : names) {
    if (!name.ends_with(".wal")) continue;
    EBB_CO_TRY(bytes, co_await files->read_all(fmt::format("{}/{}", wal->folder(), name)));
    out->files.push_back(std::move(bytes));
  }
  co_return Status{};
}

Bytes log_input(std::uint64_t from, const std::vector<Bytes>& files) {
  Bytes out;
  append_le(out, from);
  for (const auto& file : files) {
    append_le(out, static_cast<std::uint32_t>(file.size()));
    append(out, file);
  }
  return out;
}

void add_logs(Seeds& seeds) {
  sim::SimWorld world({.seed = 1});
  auto& process = world.start_process("host", "program");
  auto& files = process.make<sim::SimFiles>(process, std::make_shared<sim::SimDrive>());
  auto& trouble = process.make<Trouble>(process.loop());
  auto& wal = process.make<Wal>(process.loop(), files, trouble, "/log",
                                LogChain{disk_id, PoolId("main"), "log-1", {}}, 16 * KiB);
  Written written;
  CHECK(*sim::run_in(process, write_log(&process.loop(), &files, &wal, &written)));
  CHECK(written.files.size() > 1 && written.files.size() < 4);
  seeds.add("log", "all", log_input(0, written.files));
  seeds.add("log", "tail", log_input(written.ends[0], written.files));
  seeds.add("log", "nothing_needed", log_input(written.ends.back(), written.files));
  std::vector<Bytes> torn{written.files[0]};
  torn[0][wal_file_header_bytes + 100] ^= std::byte{1};
  torn[0].resize(wal_file_header_bytes + 4096);
  seeds.add("log", "torn", log_input(0, torn));
  seeds.add("log", "none", log_input(0, {}));
}

void add_cache(Seeds& seeds) {
  seeds.add("hints", "none", encode(Hints{disk_id, epoch, 1, {}}));
  seeds.add("hints", "three", encode(Hints{disk_id, epoch, 9, {{40, 3}, {0, 1}, {7, 100}}}));
  // Two pieces behind the index, of which the first is short, and a slot that is free.
  const CacheLayout layout{fuzz::cache_slots_of_inputs(), "token"};
  auto file = encode(layout);
  const Bytes piece(300, std::byte{9}), zeroes(piece_bytes);
  append_entry(file, layout, 0, {{{1, 2}, 3}, 300, crc32c(piece)});
  append_entry(file, layout, 1, {{{1, 2}, 4}, static_cast<std::uint32_t>(piece_bytes), crc32c(zeroes)});
  file.resize(layout.entry_offset(layout.slots));
  append(file, piece);
  seeds.add("cache-file", "two", file);
  seeds.add("cache-file", "empty", encode(layout));
}

void add_s3_answers(Seeds& seeds) {
  auto add = [&](std::string_view name, std::uint16_t status, std::uint8_t verb, std::uint8_t condition,
                 std::string_view text) {
    Bytes bytes;
    append_le(bytes, status);
    append_le(bytes, verb);
    append_le(bytes, condition);
    append(bytes, as_bytes(text));
    seeds.add("s3-answer", name, bytes);
  };
  add("missing", 404, 0, 0,
      "\n<?xml version=\"1.0\"?><Error><Code>NoSuchKey</Code><Message>It does not exist.</Message></Error>");
  add("condition", 412, 1, 1,
      "etag: \"abc\"\n\n<Error><Code>PreconditionFailed</Code><Message>&lt;no&gt;</Message></Error>");
  add("slow_down", 503, 1, 0, "retry-after: 3\n\n<Error><Code>SlowDown</Code></Error>");
  add("moved", 301, 0, 0, "x-amz-bucket-region: eu-1\n\n<Error><Code>PermanentRedirect</Code></Error>");
  add("old_keys", 403, 2, 0, "\n<Error><Code>ExpiredToken</Code><Message>old</Message></Error>");
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) return fmt::print(stderr, "usage: {} FOLDER\n", argv[0]), 2;
  Seeds seeds(argv[1]);
  add_texts(seeds);
  add_log_objects(seeds);
  add_map(seeds);
  add_records(seeds);
  add_logs(seeds);
  add_cache(seeds);
  add_s3_answers(seeds);
  return 0;
}
