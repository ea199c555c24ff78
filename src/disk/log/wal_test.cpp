#include "disk/log/wal.h"

#include <gtest/gtest.h>

#include "disk/block_device.h"
#include "sim/run_in.h"
#include "sim/sim_files.h"

namespace ebb::disk {
namespace {

const std::string folder = "/log";
const LogChain chain{DiskId("d1"), PoolId("main"), "log-1", {}};
constexpr std::uint64_t file_bytes = 128 * KiB;

Bytes content_of(std::uint64_t write_seq) {
  Bytes data((1 + write_seq % 3) * block_bytes);
  Random random(write_seq);
  for (std::size_t at = 0; at < data.size(); at += 8) store_le<std::uint64_t>(data, at, random.next());
  return data;
}

// A log, the process that writes it, and what was promised of it.
class LogWorld {
 public:
  explicit LogWorld(std::uint64_t seed) : world({.seed = seed}) { start_process(); }

  void start_process() {
    process = &world.start_process("host", "program");
    files = &process->make<sim::SimFiles>(*process, drive, options);
    trouble = &process->make<Trouble>(process->loop());
    (void)sim::run_in(*process, files->make_dirs(folder));
  }
  void end_process() {
    wal = nullptr;
    process->kill();
    ASSERT_TRUE(world.loop().run_for(1ms));
  }
  Result<LogScan> scan() { return *sim::run_in(*process, scan_log(files, folder, chain, trimmed), 10min); }
  // Reads the log and goes on writing it.
  Status open() {
    EBB_TRY(found, scan());
    check(found);
    next = trimmed_seq + found.records.size() + 1;
    written = acknowledged = synced = next - 1;
    std::erase_if(ends, [&](const auto& end) { return end.first >= next; });
    for (const auto& found_record : found.records)
      ends[found_record.record.write_seq] = found_record.record.end();
    wal = &process->make<Wal>(process->loop(), *files, *trouble, folder, chain, file_bytes);
    return *sim::run_in(*process, wal->start(std::move(found)), 10min);
  }
  // What was promised is there, in order, and nothing that was never written.
  void check(const LogScan& found) {
    auto last = trimmed_seq;
    for (const auto& record : found.records) {
      ASSERT_EQ(record.record.write_seq, last + 1);
      last = record.record.write_seq;
      ASSERT_EQ(record.record.block, last * 10);
      ASSERT_EQ(record.data, content_of(last)) << "write " << last;
    }
    EXPECT_GE(last, least) << "lost";
    EXPECT_LE(last, written) << "invented";
  }

  // False if the log refused.
  static Task<bool> append_group(LogWorld* w, std::uint64_t count) {
    std::vector<Bytes> contents;
    std::vector<Wal::Entry> entries;
    for (; count > 0; --count) {
      contents.push_back(content_of(w->next));
      auto blocks = static_cast<std::uint32_t>(contents.back().size() / block_bytes);
      entries.push_back({WalKind::data, w->next, w->next * 10, blocks, {}, 0});
      ++w->next;
    }
    for (std::size_t n = 0; n < entries.size(); ++n) entries[n].data = contents[n];
    w->written = w->next - 1;
    if (!co_await w->wal->append(&entries)) co_return false;
    EXPECT_EQ(entries.front().write_seq, w->acknowledged + 1) << "not in their order";
    w->acknowledged = entries.back().write_seq;
    for (const auto& entry : entries) w->ends[entry.write_seq] = entry.end;
    co_return true;
  }
  static Task<bool> sync(LogWorld* w) {
    auto upto = w->acknowledged;
    if (!co_await w->wal->sync_through(w->wal->end())) co_return false;
    w->synced = std::max(w->synced, upto);
    co_return true;
  }
  // Writes in groups, some at the same time, syncs and trims, as the seed has it, for as long as it is left
  // alone. False if the log refused.
  static Task<bool> work(LogWorld* w, Random random, int rounds) {
    for (int i = 0; i < rounds; ++i) {
      std::vector<Task<bool>> appends;
      for (auto count = random.chance(0.5) ? 1 : 1 + random.below(4); count > 0; --count)
        appends.push_back(append_group(w, 1 + random.below(5)));
      if (random.chance(0.3)) appends.push_back(sync(w));  // beside them
      for (bool is_written : co_await when_all(w->process->loop(), std::move(appends)))
        if (!is_written) co_return false;
      if (random.chance(0.4) && !co_await sync(w)) co_return false;
      if (random.chance(0.3) && w->synced > w->trimmed_seq) {
        w->trimmed_seq += 1 + random.below(w->synced - w->trimmed_seq);
        w->trimmed = w->ends.at(w->trimmed_seq);
        co_await w->wal->trim(w->trimmed);
      }
      if (random.chance(0.2)) co_await sleep_for(w->process->loop(), 2ms);
    }
    co_return true;
  }
  // In the background; `work_ended` tells when. Dies with the process, before the log.
  void begin_work(Random random, int groups) {
    work_ended = false;
    process->make<Scope>(process->loop()).spawn([](LogWorld* w, Random r, int n) -> Task<void> {
      w->work_ended = co_await work(w, r, n);
    }(this, random, groups));
  }
  void run_until_worked(Duration limit) {
    (void)world.loop().run_until([&] { return !process->is_alive() || work_ended; }, limit);
  }
  std::uint64_t last_file() {
    std::uint64_t last = 0;
    for (auto& name : names())
      if (name.ends_with(".wal")) last = std::max<std::uint64_t>(last, std::stoull(name));
    return last;
  }
  std::vector<std::string> names() { return *drive->list(folder); }

  sim::SimWorld world;
  sim::SimFilesOptions options;
  std::shared_ptr<sim::SimDrive> drive = std::make_shared<sim::SimDrive>();
  sim::SimProcess* process = nullptr;
  sim::SimFiles* files = nullptr;
  Trouble* trouble = nullptr;
  Wal* wal = nullptr;
  bool work_ended = false;
  std::uint64_t next = 1, written = 0, acknowledged = 0, synced = 0, least = 0;
  std::uint64_t trimmed_seq = 0, trimmed = 0;
  std::map<std::uint64_t, std::uint64_t> ends;
};

std::size_t count_of(const std::vector<std::string>& names, std::string_view part) {
  return static_cast<std::size_t>(
      std::count_if(names.begin(), names.end(), [&](const auto& name) { return name.contains(part); }));
}

TEST(Wal, OfManyLivesAndDeathsLosesNothingThatItPromised) {
  std::uint64_t files_begun = 0;
  for (std::uint64_t seed = 1; seed <= 300; ++seed) {
    SCOPED_TRACE(seed);
    LogWorld w(seed);
    Random random(seed);
    // On a slow drive much is under way when a process dies, and lands in the next one's life.
    bool is_slow = seed % 2 == 0;
    if (is_slow) w.options.direct_write = 2ms, w.options.late_max = 60ms;
    for (int life = 0; life < 8; ++life) {
      SCOPED_TRACE(life);
      auto opened = w.open();
      ASSERT_TRUE(opened) << opened.error().message;
      if (::testing::Test::HasFailure()) return;
      // Some die of a crash point, some of the clock.
      if (random.chance(0.5))
        w.world.crash_points().arm([](const sim::CrashPoint&) { return true; }, random.below(150));
      w.begin_work(Random(random.next()), 60);
      w.run_until_worked(
          Duration(static_cast<std::int64_t>(random.below(is_slow ? 200'000'000 : 30'000'000))));
      w.world.crash_points().disarm();
      files_begun = std::max(files_begun, w.last_file());
      w.end_process();
      w.least = w.acknowledged;
      if (random.chance(0.6)) {
        w.drive->power_cut(random.chance(0.3) ? sim::PowerCut::lose_all : sim::PowerCut::lose_some,
                           w.world.fault_random());
        w.least = w.synced;
      }
      w.start_process();
    }
  }
  EXPECT_GT(files_begun, 15u) << "or nothing was recycled";
}

Task<bool> trim_all(LogWorld* w) {
  if (!co_await w->wal->sync_through(w->wal->end())) co_return false;
  w->synced = w->acknowledged, w->trimmed_seq = w->synced, w->trimmed = w->wal->end();
  co_await w->wal->trim(w->trimmed);
  co_return true;
}

TEST(Wal, FilesAreRecycledAndTheirNumberIsBounded) {
  LogWorld w(1);
  ASSERT_TRUE(w.open());
  std::set<std::string> spares;
  for (int i = 0; i < 40; ++i) {
    ASSERT_EQ(sim::run_in(*w.process, LogWorld::work(&w, Random(static_cast<std::uint64_t>(i)), 20)), true);
    ASSERT_EQ(sim::run_in(*w.process, trim_all(&w)), true);
    for (auto& name : w.names())
      if (name.starts_with("spare-")) spares.insert(name);
    ASSERT_LE(count_of(w.names(), "spare-"), 3u);
    ASSERT_LE(count_of(w.names(), ".wal"), 4u);
  }
  EXPECT_GT(spares.size(), 8u) << "trimmed files became spares";
  EXPECT_LE(w.drive->used(), 6 * file_bytes + 64 * KiB);
  w.end_process(), w.start_process();
  ASSERT_TRUE(w.open());
  EXPECT_EQ(count_of(w.names(), "spare-"), 0u) << "those of a dead process are not trusted";
}

// One record, then many who want it synced at the same time.
Task<bool> append_and_sync(LogWorld* w, std::size_t callers) {
  auto content = content_of(w->next);
  const auto seq = w->next++;
  const auto count = static_cast<std::uint32_t>(content.size() / block_bytes);
  std::vector<Wal::Entry> entries{{WalKind::data, seq, seq * 10, count, content, 0}};
  if (!co_await w->wal->append(&entries)) co_return false;
  std::vector<Task<Status>> syncs;
  for (std::size_t i = 0; i < callers; ++i) syncs.push_back(w->wal->sync_through(w->wal->end()));
  for (const auto& synced : co_await when_all(w->process->loop(), std::move(syncs)))
    if (!synced) co_return false;
  co_return true;
}

TEST(Wal, FlushesAtTheSameTimeShareASync) {
  LogWorld w(1);
  ASSERT_TRUE(w.open());
  ASSERT_EQ(sim::run_in(*w.process, append_and_sync(&w, 1)), true);
  // Of the log's files; those that are made ready for later are synced too.
  w.world.crash_points().arm(
      [](const sim::CrashPoint& at) { return at.kind == "file.sync before" && at.subject.ends_with(".wal"); },
      sim::CrashPoints::never);
  const auto before = w.world.crash_points().count();
  ASSERT_EQ(sim::run_in(*w.process, append_and_sync(&w, 32)), true);
  EXPECT_EQ(w.world.crash_points().count() - before, 1u);
}

Task<Status> write_file(Files* files, std::string path, Bytes bytes) {
  EBB_CO_TRY(file, co_await files->open(path, OpenMode::create));
  EBB_CO_CHECKED(co_await file->resize(0));
  EBB_CO_CHECKED(co_await file->write(0, std::move(bytes)));
  co_return co_await file->sync();
}

// The bytes of a file, record by record, as any version may have written it.
class FileMaker {
 public:
  FileMaker(std::uint64_t number, std::uint64_t position, std::uint32_t seed)
      : bytes(encode(WalFileHeader{chain.disk, chain.log_id, number, position, seed})),
        position_(position),
        seed_(seed) {}
  FileMaker& record(std::uint64_t write_seq, std::uint64_t synced, WalKind kind = WalKind::data,
                    std::size_t zeroes = 0) {
    return record(write_seq, synced, kind == WalKind::data ? content_of(write_seq) : Bytes(), kind, zeroes);
  }
  FileMaker& record(std::uint64_t write_seq, std::uint64_t synced, Bytes data, WalKind kind,
                    std::size_t zeroes) {
    auto size = data.empty() ? zeroes : data.size();
    auto at = bytes.size();
    bytes.resize(at + wal_record_bytes + size);
    WalRecord r{kind,
                position_,
                synced,
                write_seq,
                write_seq * 10,
                static_cast<std::uint32_t>(data.size() / block_bytes),
                static_cast<std::uint32_t>(size)};
    write_record(MutableBytes(bytes).subspan(at), r, data, seed_);
    position_ = r.end();
    return *this;
  }
  std::uint64_t position() const { return position_; }
  Bytes bytes;

 private:
  std::uint64_t position_;
  std::uint32_t seed_;
};

class WalScanTest : public testing::Test {
 protected:
  void put(std::uint64_t number, Bytes bytes) {
    ASSERT_TRUE(*sim::run_in(
        *w.process, write_file(w.files, fmt::format("{}/{:06}.wal", folder, number), std::move(bytes))));
  }
  std::vector<std::uint64_t> found_writes() {
    auto found = w.scan();
    EXPECT_TRUE(found) << found.error().message;
    std::vector<std::uint64_t> writes;
    if (found)
      for (auto& record : found->records) writes.push_back(record.record.write_seq);
    return writes;
  }
  using Writes = std::vector<std::uint64_t>;
  LogWorld w{1};
};

TEST_F(WalScanTest, ALogOfAnOlderVersionWithoutPaddingIsRead) {
  FileMaker first(1, 0, 7), second(2, 0, 9);
  first.record(1, 0).record(2, 0).record(3, 4160);
  second = FileMaker(2, first.position(), 9);
  second.record(4, first.position());
  put(1, first.bytes), put(2, second.bytes);
  EXPECT_EQ(found_writes(), (Writes{1, 2, 3, 4}));
}

TEST_F(WalScanTest, WhatAFileHeldInAnEarlierLifeIsNotRead) {
  // Its earlier life began at the same position, as when a process ends before it wrote anything.
  FileMaker old(1, 0, 7), now(4, 0, 8);
  old.record(1, 0).record(2, 0).record(3, 0);
  auto bytes = old.bytes;
  std::ranges::copy(now.bytes, bytes.begin());
  put(4, bytes);
  EXPECT_EQ(found_writes(), Writes{});
  // One record of the new life, and the rest of the old one behind it, in step.
  now.record(1, 0);
  std::ranges::copy(now.bytes, bytes.begin());
  put(4, bytes);
  EXPECT_EQ(found_writes(), Writes{1});
}

TEST_F(WalScanTest, SyncedPositionsOfAnEarlierLifeDoNotMakeATornTailDamage) {
  FileMaker old(1, 1'000'000, 7), now(4, 900'000, 8);
  old.record(1, 999'000).record(2, 1'000'000).record(3, 1'000'000 + 3 * 4096);
  now.record(1, 0);
  auto bytes = old.bytes;
  std::ranges::copy(now.bytes, bytes.begin());
  bytes[now.bytes.size() - 10] ^= std::byte{1};
  put(4, bytes);
  w.trimmed = 900'000;
  EXPECT_EQ(found_writes(), Writes{});
}

TEST_F(WalScanTest, ALogInTheDataOfAGuestDoesNotMakeATornTailDamage) {
  FileMaker inner(1, 10'000'000, 3);
  inner.record(50, 10'000'000).record(51, 20'000'000);
  Bytes data(inner.bytes.begin() + wal_file_header_bytes, inner.bytes.end());
  data.resize((data.size() + block_bytes - 1) / block_bytes * block_bytes);
  FileMaker now(1, 0, 8);
  now.record(1, 0);
  auto torn_at = now.bytes.size() + 8;
  now.record(2, 0, data, WalKind::data, 0);
  now.bytes[torn_at] ^= std::byte{1};
  put(1, now.bytes);
  EXPECT_EQ(found_writes(), Writes{1});
}

TEST_F(WalScanTest, DamageBelowASyncedPositionIsFoundInARecycledFileToo) {
  FileMaker old(1, 0, 7), now(4, 500'000, 8);
  for (std::uint64_t i = 1; i <= 9; ++i) old.record(i, 0);
  now.record(1, 500'000);
  auto damaged = now.bytes.size() + 100;
  now.record(2, 500'000).record(3, 500'000, WalKind::padding, 960);
  now.record(4, now.position());
  auto bytes = old.bytes;
  ASSERT_GT(bytes.size(), now.bytes.size());
  std::ranges::copy(now.bytes, bytes.begin());
  put(4, bytes);
  w.trimmed = 500'000;
  EXPECT_EQ(found_writes(), (Writes{1, 2, 4}));
  bytes[damaged] ^= std::byte{1};
  put(4, bytes);
  EXPECT_EQ(w.scan().error().code, Code::corrupt);
}

TEST(Wal, WithoutRoomForASpareItGoesOnInFilesThatGrow) {
  LogWorld w(3);
  ASSERT_TRUE(w.open());
  w.drive->fail_syncs("spare-", 1000);
  ASSERT_TRUE(sim::run_in(*w.process,
                          [](LogWorld* world) -> Task<bool> {
                            std::vector<Wal::Entry> entries;
                            auto data = content_of(1);
                            entries.push_back({WalKind::data, 1, 10,
                                               static_cast<std::uint32_t>(data.size() / block_bytes), data,
                                               0});
                            for (int i = 0; i < 3; ++i)
                              if (!co_await world->wal->append(&entries)) co_return false;
                            co_await sleep_for(world->process->loop(), 1s);
                            co_return (co_await world->wal->sync_through(world->wal->end())).has_value();
                          }(&w))
                  .value_or(false));
  EXPECT_EQ(count_of(w.names(), "spare-"), 0u) << "what was begun of it is gone";
  EXPECT_EQ(count_of(w.names(), ".wal"), 1u);
}

TEST(Wal, AFileThatCannotBeBegunIsTriedAgainAndLosesNothing) {
  LogWorld w(4);
  ASSERT_TRUE(w.open());
  w.begin_work(Random(4), 200);
  (void)w.world.loop().run_until([&] { return w.acknowledged > 60; }, 1min);
  w.drive->fail_syncs("spare-", 3);
  w.run_until_worked(10min);
  EXPECT_TRUE(w.work_ended);
  EXPECT_EQ(w.acknowledged, w.written);
  w.least = w.acknowledged;
  w.end_process(), w.start_process();
  EXPECT_TRUE(w.open());
}

}  // namespace
}  // namespace ebb::disk
