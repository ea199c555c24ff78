// How often the store is asked in a row, and how often at all: that depends on no size, age or history.
#include "disk/testing/snapshots.h"

namespace ebb::disk {
namespace {
using namespace testing;

constexpr std::uint64_t large_blocks = 1024 * GiB / block_bytes;

// A disk of 1 TiB that moves between two workers, written here and there.
class RoundsTest : public ::testing::Test {
 protected:
  static constexpr int clean_max = 3, crash_max = 5;

  void start() {
    w_.settle = 0s;
    w_.rounds = &rounds_;
    ASSERT_TRUE(w_.create_disk(DiskClass::remote, disk_id, large_blocks));
    ASSERT_TRUE(w_.boot(*owner_) && w_.open(*owner_, epoch_));
  }
  void write(std::uint64_t block, DiskId id = disk_id) {
    ASSERT_TRUE(w_.write(*owner_, block, ++stamp_, id));
    holds_[id][block] = stamp_;
  }
  void write_anywhere(int count, DiskId id = disk_id) {
    for (int i = 0; i < count; ++i) write(random_.below(large_blocks), id);
  }
  // A segment each.
  void write_segments(int count, DiskId id = disk_id) {
    for (int i = 0; i < count; ++i) {
      write(static_cast<std::uint64_t>(i % 3), id);
      ASSERT_TRUE(w_.flush(*owner_, id));
    }
  }
  // Opened by the other worker; the rounds that took.
  int open_elsewhere(bool take_over, DiskId id = disk_id) {
    if (take_over) owner_->process->kill();
    std::swap(owner_, other_);
    EXPECT_TRUE(w_.boot(*owner_));
    w_.run_for(2s);
    rounds_ = {};
    auto opened = w_.open(*owner_, ++epoch_, take_over, id);
    EXPECT_TRUE(opened) << opened.error().message;
    auto deepest = rounds_.deepest();
    expect_content(id);
    return deepest;
  }
  int move(DiskId id = disk_id) {
    EXPECT_TRUE(w_.seal(*owner_, epoch_, id));
    return open_elsewhere(false, id);
  }
  void expect_content(DiskId id) {
    const auto& holds = holds_[id];
    for (int i = 0; i < 20 && !holds.empty(); ++i) {
      auto [block, stamp] =
          *std::next(holds.begin(), static_cast<std::ptrdiff_t>(random_.below(holds.size())));
      EXPECT_TRUE(w_.io(
          *owner_,
          [&](BlockDevice& d) -> Task<Status> {
            EBB_CO_TRY(bytes, co_await d.read(block * block_bytes, block_bytes));
            co_return bytes == stamped(stamp, block) ? Status{} : fail(Code::corrupt, "other bytes");
          },
          id))
          << block;
    }
  }

  Rounds rounds_;
  DiskWorld w_;
  SimWorker a_{"worker-a"}, b_{"worker-b"};
  SimWorker *owner_ = &a_, *other_ = &b_;
  Snapshots s_{w_};
  Random random_{1};
  Epoch epoch_ = 1;
  Stamp stamp_ = 0;
  std::map<DiskId, std::map<std::uint64_t, Stamp>> holds_;
};

TEST_F(RoundsTest, AnAttachOfALargeOldDiskTakesNoMoreThanThatOfASmallNewOne) {
  start();
  for (int tenure = 0; tenure < 12; ++tenure) {
    SCOPED_TRACE(tenure);
    write_anywhere(300);
    EXPECT_EQ(move(), clean_max);
    write_segments(1);  // too little for a checkpoint
    EXPECT_EQ(move(), clean_max);
    write_anywhere(20);
    ASSERT_TRUE(w_.flush(*owner_));
    EXPECT_LE(open_elsewhere(true), crash_max);
  }
}

TEST_F(RoundsTest, NorDoesOneAfterManyTurnsThatNoCheckpointHasInItself) {
  w_.tuning.detach_checkpoint_segments = 100, w_.tuning.lineage_max = 100;
  start();
  write_anywhere(500);
  for (int tenure = 0; tenure < 40; ++tenure) {
    SCOPED_TRACE(tenure);
    write_segments(1);
    EXPECT_EQ(move(), clean_max);
  }
  EXPECT_GT(s_.head().lineage.size(), 30u);
  write_segments(1);
  EXPECT_LE(open_elsewhere(true), crash_max);
}

// Whoever reads HEAD reads it whole, and it is written anew at each turn.
TEST_F(RoundsTest, HeadStaysSmallHoweverManyTurnsADiskHasSeen) {
  start();
  write_anywhere(50);
  std::size_t longest = 0;
  auto look = [&] { longest = std::max(longest, s_.head().lineage.size()); };
  for (int turn = 0; turn < 100; ++turn) {
    ASSERT_TRUE(w_.seal(*owner_, epoch_) && w_.open(*owner_, ++epoch_)) << turn;
    if (turn % 10 == 0) write_segments(1);
    look();
  }
  const auto until_now = longest;
  EXPECT_GE(until_now, 20u) << "a turn is no reason for a checkpoint";
  for (int turn = 0; turn < 60; ++turn) {
    open_elsewhere(true);
    w_.run_for(3s);
    look();
  }
  EXPECT_LE(longest, 2 * w_.tuning.lineage_max);
  EXPECT_LE(encode(s_.head()).size(), 16 * KiB);
  expect_content(disk_id);
}

// The larger the map, the older its checkpoint may be: a thousand segments, if the same few blocks are written all the time.
TEST_F(RoundsTest, NorDoesOneAfterACrashHoweverLongTheLogSinceTheCheckpoint) {
  w_.tuning.checkpoint_segments = DiskTuning{}.checkpoint_segments;
  start();
  write_anywhere(3000);
  for (int segments : {10, 63, 64, 65, 127, 128, 129, 300, 900}) {
    SCOPED_TRACE(segments);
    ASSERT_TRUE(s_.take(*owner_, epoch_, fmt::format("before-{}", segments), fmt::format("r{}", segments)));
    const auto checkpoint = s_.head().checkpoint;
    write_segments(segments);
    EXPECT_TRUE(s_.head().checkpoint == checkpoint) << "the log is not as long as it should be";
    EXPECT_LE(open_elsewhere(true), crash_max);
    EXPECT_LE(move(), clean_max);
    write_anywhere(1000);
  }
}

TEST_F(RoundsTest, NorDoesOneOfARestoredDiskOrOfAForkWithAHistory) {
  const DiskId fork("fork-1");
  start();
  for (int tenure = 0; tenure < 5; ++tenure) {
    write_anywhere(200);
    EXPECT_EQ(move(), clean_max);
  }
  ASSERT_TRUE(s_.take(*owner_, epoch_, "early", "r1"));
  const auto early = holds_[disk_id];
  write_anywhere(500);
  ASSERT_TRUE(w_.seal(*owner_, epoch_) && s_.restore("early", "r2"));
  holds_[disk_id] = early;
  EXPECT_EQ(open_elsewhere(false), clean_max);
  write_segments(2);
  EXPECT_LE(open_elsewhere(true), crash_max);
  write_anywhere(100);
  EXPECT_EQ(move(), clean_max);

  ASSERT_TRUE(s_.take(*owner_, epoch_, "late", "r3") && w_.seal(*owner_, epoch_));
  holds_[fork] = holds_[disk_id];
  ASSERT_TRUE(w_.admin<Status>([=](PoolAdmin& p) {
    return p.create_fork(disk_id, fork, large_blocks * block_bytes, DiskClass::remote, "late");
  }));
  EXPECT_EQ(open_elsewhere(false, fork), clean_max);
  for (int tenure = 0; tenure < 4; ++tenure) {
    SCOPED_TRACE(tenure);
    write_segments(tenure, fork);
    EXPECT_EQ(move(fork), clean_max);
    write_segments(2, fork);
    EXPECT_LE(open_elsewhere(true, fork), crash_max);
  }
  write_anywhere(300, fork);
  EXPECT_EQ(move(fork), clean_max);
}

// By a control plane of its own whose requests are counted.
template <class T>
T admin_counted(DiskWorld& w, int* requests, std::function<Task<T>(PoolAdmin&)> task) {
  Rounds rounds;
  auto& process = w.world.start_process("control", "counted");
  auto& client = process.make<sim::SimStoreClient>(process, w.store);
  auto& counted = process.make<CountedStore>(process.loop(), client, rounds);
  auto& admin = process.make<PoolAdmin>(process.loop(), counted);
  auto done = sim::run_in(process, task(admin));
  process.kill();
  EXPECT_TRUE(done) << "did not end";
  *requests = rounds.requests;
  return done ? std::move(*done) : T(fail(Code::internal, "did not end"));
}

struct Asked {  // the store, how often
  int by_owner = 0, detached = 0, again = 0, restore = 0;
  bool operator==(const Asked&) const = default;
};

// Whatever was written before, three blocks were written since the last snapshot.
Asked snapshots_and_restore(std::uint64_t blocks, int writes) {
  Asked asked;
  Rounds rounds;
  DiskWorld w;
  SimWorker a{"worker-a"};
  Snapshots s{w};
  Random random(1);
  auto write_three = [&](std::uint64_t at) {
    for (auto b = at; b < at + 3; ++b) EXPECT_TRUE(w.write(a, b, 1000 + b));
  };
  w.rounds = &rounds;
  EXPECT_TRUE(w.create_disk(DiskClass::remote, disk_id, blocks) && w.boot(a) && w.open(a, 1));
  EXPECT_TRUE(w.write(a, 16, 1)) << "the page that is changed later is there";
  for (int i = 0; i < writes; ++i)
    EXPECT_TRUE(w.write(a, 16 + random.below(blocks - 16), static_cast<Stamp>(i + 2)));
  EXPECT_TRUE(w.seal(a, 1) && s.take_detached("base", "r1"));
  EXPECT_TRUE(w.boot(a) && w.open(a, 2)) << "with no page in memory";

  write_three(0);
  EXPECT_TRUE(w.flush(a));
  rounds = {};
  EXPECT_TRUE(s.take(a, 2, "by-owner", "r2"));
  asked.by_owner = rounds.requests;

  write_three(3);
  EXPECT_TRUE(w.seal(a, 2));
  auto take = [&](std::string name, int* requests) {
    auto made = admin_counted<Result<NamedRoot>>(
        w, requests, [&](PoolAdmin& p) { return p.snapshot(disk_id, {name, name}, w.tuning); });
    EXPECT_TRUE(made) << made.error().message;
  };
  take("detached", &asked.detached);
  take("again", &asked.again);
  EXPECT_TRUE(w.open(a, 3));
  write_three(6);
  EXPECT_TRUE(w.seal(a, 3));
  auto restored = admin_counted<Result<RestoreRecord>>(
      w, &asked.restore, [&](PoolAdmin& p) { return p.restore(disk_id, {"base", "r3", {}}, w.tuning); });
  EXPECT_TRUE(restored) << restored.error().message;
  return asked;
}

TEST(Requests, OfASnapshotAndOfARestoreAreAsManyHoweverLargeTheDisk) {
  auto small = snapshots_and_restore(disk_blocks, 3);
  auto large = snapshots_and_restore(large_blocks, 600);
  EXPECT_EQ(small, large);
  EXPECT_LE(large.by_owner, 12);
  EXPECT_LE(large.detached, 30) << "the disk is opened, and sealed again";
  EXPECT_LE(large.again, 6) << "a root that is there gets another name";
  EXPECT_LE(large.restore, 30);
}

}  // namespace
}  // namespace ebb::disk
