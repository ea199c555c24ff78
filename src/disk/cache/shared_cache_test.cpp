#include "base/checksum.h"
#include "disk/cache/disk_tier_format.h"
#include "disk/daemon_metrics.h"
#include "disk/testing/disk_world.h"

namespace ebb::disk {
namespace {
using namespace testing;

constexpr std::uint64_t blocks = 512, disks = 4;

// Several disks of one worker, over one small memory and one file.
class SharedCache : public ::testing::Test {
 protected:
  static DiskId disk(std::uint64_t i) { return DiskId(fmt::format("disk-{}", i)); }
  static Stamp stamp_of(std::uint64_t i, std::uint64_t block) { return i * 100000 + block + 1; }

  void SetUp() override {
    w_.cache_disk_bytes = 16 * MiB;
    for (std::uint64_t i = 0; i < disks; ++i) ASSERT_TRUE(w_.create_disk(DiskClass::remote, disk(i), blocks));
    ASSERT_TRUE(w_.boot(a_));
    for (std::uint64_t i = 0; i < disks; ++i) {
      ASSERT_TRUE(w_.open(a_, 1, false, disk(i)));
      for (std::uint64_t b = 0; b < blocks; b += 8) {
        Bytes data;
        for (auto block = b; block < b + 8; ++block) append(data, stamped(stamp_of(i, block), block));
        ASSERT_TRUE(w_.io(a_, [&](BlockDevice& d) { return d.write(b * block_bytes, data); }, disk(i)));
      }
      ASSERT_TRUE(w_.flush(a_, disk(i)));
    }
    // Under another process, so that nothing is in memory because it was written here.
    for (std::uint64_t i = 0; i < disks; ++i) ASSERT_TRUE(w_.seal(a_, 1, disk(i)));
    open_all(2);
  }
  void TearDown() override {
    for (const auto& violation : w_.world.violations()) ADD_FAILURE() << violation;
  }
  void open_all(Epoch epoch) {
    ASSERT_TRUE(w_.boot(a_));
    w_.run_for(100ms);
    for (std::uint64_t i = 0; i < disks; ++i) ASSERT_TRUE(w_.open(a_, epoch, false, disk(i)));
  }
  // Every block of every disk, at random, a few at a time.
  void expect_content(std::uint64_t seed) {
    Random random(seed);
    for (int n = 0; n < 1500; ++n) {
      auto i = random.below(disks), count = 1 + random.below(20), block = random.below(blocks - count);
      ASSERT_TRUE(w_.io(a_, [=](BlockDevice& d) { return read_and_compare(&d, i, block, count); }, disk(i)));
    }
  }
  static Task<Status> read_and_compare(BlockDevice* device, std::uint64_t i, std::uint64_t block,
                                       std::uint64_t count) {
    EBB_CO_TRY(got, co_await device->read(block * block_bytes, count * block_bytes));
    for (auto b = block; b < block + count; ++b) {
      auto expected = stamped(stamp_of(i, b), b);
      if (!std::ranges::equal(ByteView(got).subspan((b - block) * block_bytes, block_bytes), expected))
        co_return fail(Code::corrupt, "other bytes in block {} of disk {}", b, i);
    }
    co_return Status{};
  }
  const PieceCache& cache() const { return *a_.daemon->memory().pieces; }
  Bytes cache_file() const {
    auto file = a_.drive->find("/state/cache");
    return file->seen.read(0, file->seen.size());
  }

  DiskWorld w_;
  SimWorker a_{"worker-a"};
};

TEST_F(SharedCache, ManyDisksShareOneFileAndEachReadsItsOwnAlsoAfterARestart) {
  expect_content(1);
  w_.run_for(1s);
  expect_content(2);
  EXPECT_GT(cache().disk_stats()->hits, 500u);
  auto fetched = cache().stats().fetches;
  EXPECT_GT(fetched, 0u);
  a_.process->kill();
  ASSERT_TRUE(w_.boot(a_));  // opens again what was open
  for (std::uint64_t i = 0; i < disks; ++i) ASSERT_TRUE(w_.wait_open(a_, disk(i)));
  expect_content(3);
  EXPECT_GT(cache().disk_stats()->hits, 500u);
  EXPECT_LT(cache().stats().fetches, fetched / 5) << "it starts warm";
}

// A file that vouches for bytes that were never in the object: the map is asked last.
Task<Status> make_forks(StoreAccess access, DiskId image, std::vector<DiskId> forks) {
  ImageWriter writer(*access.loop, *access.store, small_tuning());
  EBB_CO_CHECKED(co_await writer.begin(image, 64 * block_bytes));
  for (std::uint64_t b = 0; b < 64; ++b)
    EBB_CO_CHECKED(co_await writer.write(b * block_bytes, stamped(7 + b, b)));
  EBB_CO_CHECKED(co_await writer.finish());
  PoolAdmin admin(*access.loop, *access.store);
  for (const auto& fork : forks)
    EBB_CO_CHECKED(co_await admin.create_fork(image, fork, 64 * block_bytes, DiskClass::remote));
  co_return Status{};
}

TEST_F(SharedCache, WhatOneForkHasReadTheOtherNeedNotFetch) {
  const DiskId first("fork-1"), second("fork-2");
  ASSERT_TRUE(w_.apart<void>([&](StoreAccess access, ObjectRemover*) {
    return make_forks(access, DiskId("image"), {first, second});
  }));
  ASSERT_TRUE(w_.open(a_, 1, false, first) && w_.open(a_, 1, false, second));
  const auto none = cache().stats().fetches;
  auto content = w_.read_all(a_, first);
  ASSERT_TRUE(content) << content.error().message;
  const auto fetched = cache().stats().fetches;
  EXPECT_GT(fetched, none);
  EXPECT_EQ(w_.read_all(a_, second).value(), *content);
  EXPECT_EQ(cache().stats().fetches, fetched);
}

TEST_F(SharedCache, WrongBytesThatTheFileVouchesForAreRefusedByTheMapAndReadAgain) {
  expect_content(1);
  w_.run_for(1s);
  a_.process->kill();
  auto file = cache_file();
  auto layout = decode_cache_layout(ByteView(file).first(cache_header_bytes));
  ASSERT_TRUE(layout);
  int forged = 0;
  for (std::uint32_t slot = 0; slot < layout->slots; ++slot) {
    auto entry =
        decode_entry(ByteView(file).subspan(layout->entry_offset(slot), cache_entry_bytes), *layout, slot);
    if (!entry) continue;
    auto data = MutableBytes(file).subspan(layout->slot_offset(slot), entry->length);
    for (std::size_t at = 0; at < data.size(); at += block_bytes)
      data[at + slot % block_bytes] ^= std::byte{1};
    if (slot % 3 == 0) entry->length -= 1 + slot % 100;
    entry->crc = crc32c(data.first(entry->length));
    Bytes encoded;
    append_entry(encoded, *layout, slot, *entry);
    std::ranges::copy(encoded, file.begin() + static_cast<std::ptrdiff_t>(layout->entry_offset(slot)));
    ++forged;
  }
  ASSERT_GT(forged, 50);
  ASSERT_TRUE(a_.drive->replace("/state/cache", std::move(file)));
  ASSERT_TRUE(w_.boot(a_));
  for (std::uint64_t i = 0; i < disks; ++i) ASSERT_TRUE(w_.wait_open(a_, disk(i)));
  expect_content(4);
  EXPECT_GT(cache().stats().refreshed, 30u);
  EXPECT_EQ(cache().disk_stats()->damaged, 0u) << "the file itself saw nothing wrong";
  w_.run_for(1s);
  auto refreshed = cache().stats().refreshed;
  expect_content(5);
  EXPECT_LE(cache().stats().refreshed, refreshed + 5) << "what was wrong has been replaced";
}

TEST_F(SharedCache, ItsMetricsSayWhatItIsWorth) {
  expect_content(1);
  auto text = metrics_text(a_.daemon->status(), a_.daemon->memory());
  auto value = [&](const std::string& name) {
    auto at = text.find("\n" + name + " ");
    return at == std::string::npos ? -1.0 : std::stod(text.substr(at + 2 + name.size()));
  };
  auto stats = cache().stats();
  auto on_disk = *cache().disk_stats();
  EXPECT_EQ(value("ebb_cache_fetches_total"), static_cast<double>(stats.fetches));
  EXPECT_EQ(value("ebb_cache_memory_hits_total"), static_cast<double>(stats.memory_hits));
  EXPECT_EQ(value("ebb_cache_disk_hits_total"), static_cast<double>(on_disk.hits));
  EXPECT_EQ(value("ebb_cache_disk_bytes"), static_cast<double>(on_disk.bytes));
  EXPECT_EQ(value("ebb_cache_disk_ready"), 1);
  EXPECT_GT(on_disk.bytes, 1 * MiB);
}

TEST_F(SharedCache, WithoutTheOptionTheFileIsRemoved) {
  expect_content(1);
  ASSERT_TRUE(a_.drive->find("/state/cache"));
  w_.cache_disk_bytes = 0;
  ASSERT_TRUE(w_.boot(a_));
  EXPECT_FALSE(a_.drive->find("/state/cache"));
  for (std::uint64_t i = 0; i < disks; ++i) ASSERT_TRUE(w_.wait_open(a_, disk(i)));
  expect_content(2);
}

}  // namespace
}  // namespace ebb::disk
