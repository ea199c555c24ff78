#include "disk/cache/hints.h"

#include "disk/testing/disk_world.h"

namespace ebb::disk {
namespace {
using namespace testing;

TEST(Hints, AreReadAsTheyWereWrittenAndNoFlippedBitGoesUnnoticed) {
  Hints hints{DiskId("d1"), {3, 4}, 2, {{100, 7}, {3, 1}}};
  auto bytes = encode(hints);
  auto read = decode_hints(bytes);
  ASSERT_TRUE(read);
  EXPECT_EQ(*read, hints);
  for (std::size_t bit = 0; bit < bytes.size() * 8; ++bit) {
    auto damaged = bytes;
    damaged[bit / 8] ^= std::byte(1u << bit % 8);
    EXPECT_FALSE(decode_hints(damaged)) << bit;
  }
  for (std::size_t length = 0; length < bytes.size(); ++length)
    EXPECT_FALSE(decode_hints(ByteView(bytes).first(length)));
  EXPECT_FALSE(decode_hints(encode(Hints{DiskId("d1"), {3, 4}, 2, {{0, 0}}})));
  EXPECT_FALSE(decode_hints(encode(Hints{DiskId("d1"), {3, 4}, 2, {{0xffffffff, 1}}})));
  EXPECT_FALSE(decode_hints(encode(Hints{DiskId("d1"), {3, 4}, 2, {{0, 0xffffffff}}})));
}

class HintsTest : public ::testing::Test {
 protected:
  static constexpr std::uint64_t blocks = 64 * MiB / block_bytes;
  static constexpr std::uint64_t boot_reads = 200;

  static std::uint64_t boot_block(std::uint64_t i) { return i * 7919 % (blocks / 16) * 16; }

  // Written at the source; read there as a guest does that boots.
  void start() {
    w_.tuning = {};
    ASSERT_TRUE(w_.create_disk(DiskClass::remote, disk_id, blocks));
    ASSERT_TRUE(w_.boot(a_) && w_.boot(b_));
    ASSERT_TRUE(w_.open(a_, 1));
    for (std::uint64_t at = 0; at < 64 * MiB; at += 1 * MiB)
      ASSERT_TRUE(
          w_.io(a_, [at](BlockDevice& d) { return d.write(at, Bytes(1 * MiB, std::byte(at >> 20 | 1))); }));
    ASSERT_TRUE(w_.flush(a_));
    w_.store.options().get = 30ms;
  }
  // Seconds that the boot's reads take, one after the other.
  double boot_guest(SimWorker& worker) {
    auto began = w_.world.loop().now();
    for (std::uint64_t i = 0; i < boot_reads; ++i) {
      EXPECT_TRUE(w_.io(worker, [i](BlockDevice& d) -> Task<Status> {
        auto got = co_await d.read(boot_block(i) * block_bytes, 4096);
        if (!got) co_return fail(got.error());
        co_return (*got)[7] == std::byte(boot_block(i) * block_bytes >> 20 | 1)
            ? Status{}
            : fail(Code::corrupt, "other bytes");
      }));
    }
    return to_seconds(w_.world.loop().now() - began);
  }
  // Puts of hints fail at once, or never end; everything else is as it is.
  struct NoHints final : ObjectStore {
    NoHints(ObjectStore& s, Loop& l, const bool& hang) : store(s), loop(l), hangs(hang) {}
    Task<Result<ObjectTag>> put(std::string key, SharedBytes body, PutCondition condition) override {
      bool is_hint = key.ends_with("/hints");
      if (is_hint && hangs) co_await sleep_for(loop, 10h);
      if (is_hint) co_return fail(Code::unavailable, "no hints here");
      co_return co_await store.put(std::move(key), std::move(body), std::move(condition));
    }
    Task<Result<StoredObject>> get(std::string key) override {
      bool is_hint = key.ends_with("/hints");
      if (is_hint && hangs) co_await sleep_for(loop, 10h);
      if (is_hint) co_return fail(Code::unavailable, "no hints here");
      co_return co_await store.get(std::move(key));
    }
    Task<Result<Bytes>> get_range(std::string key, std::uint64_t offset, std::size_t length) override {
      return store.get_range(std::move(key), offset, length);
    }
    ObjectStore& store;
    Loop& loop;
    const bool& hangs;
  };
  // The number of the newest list; 0: there is none.
  std::uint32_t newest_hints() const {
    std::uint32_t number = 0;
    for (const auto& key : w_.store.keys("m/"))
      if (key.ends_with("/hints")) number = decode_hints(w_.store.peek(key)->body).value().number;
    return number;
  }
  double seconds_of(std::function<void()> work) {
    auto began = w_.world.loop().now();
    work();
    return to_seconds(w_.world.loop().now() - began);
  }

  bool hangs_ = false;
  DiskWorld w_;
  SimWorker a_{"worker-a"}, b_{"worker-b"};
};

TEST_F(HintsTest, AStandbyFetchesWhatTheGuestUsesSoThatTheMovedGuestIsWarm) {
  start();
  boot_guest(a_);
  w_.run_for(2min);  // the source leaves its hints
  ASSERT_TRUE(w_.call(b_, b_.daemon->standby({disk_id, pool_id, 2})));
  w_.run_for(10s);
  ASSERT_TRUE(w_.seal(a_, 1));
  ASSERT_TRUE(w_.open(b_, 2));
  auto warm = boot_guest(b_);

  SimWorker c{"worker-c"};
  ASSERT_TRUE(w_.seal(b_, 2));
  w_.wrap_store = [this](sim::SimProcess& process, ObjectStore& store) -> ObjectStore* {
    return &process.make<NoHints>(store, process.loop(), hangs_);
  };
  ASSERT_TRUE(w_.boot(c));
  ASSERT_TRUE(w_.open(c, 3));
  auto cold = boot_guest(c);
  fmt::print("{} reads of a boot over 30 ms, in virtual time: {:.2f} s cold, {:.2f} s after hints\n",
             boot_reads, cold, warm);
  EXPECT_GT(cold, 4);
  EXPECT_LT(warm, cold / 10);
}

// A guest that boots, and then works on something else; all the while it writes where nobody reads.
struct Guest {
  std::uint64_t first = 0, end = 0;  // of the boot's reads
  std::uint64_t reads = 0, writes = 0;
  bool is_well = true;
};
Task<void> run_guest(Loop* loop, std::shared_ptr<BlockDevice> device,
                     std::uint64_t (*block_of)(std::uint64_t), std::uint64_t written, Guest* guest) {
  for (;;) {
    for (auto i = guest->first; i < guest->end; ++i) {
      auto got = co_await device->read(block_of(i) * block_bytes, block_bytes);
      guest->is_well &= got.has_value(), ++guest->reads;
      if (i % 10 == 0) {
        auto stamp = guest->writes + 1;
        guest->is_well &=
            (co_await device->write(written * block_bytes, stamped(stamp, written))).has_value();
        guest->is_well &= (co_await device->flush()).has_value();
        guest->writes = stamp;
      }
      co_await sleep_for(*loop, 5ms);
    }
  }
}

// The move of a guest that is never still: the target fetches what it uses now, not what it used when it booted.
TEST_F(HintsTest, AStandbyIsWarmBeforeTheSourceIsSealedWhileItsGuestWorksOn) {
  start();
  const auto written = boot_block(blocks / 16 - 1);
  Guest guest{0, boot_reads / 2};
  Scope running(a_.process->loop());
  running.spawn(run_guest(&a_.process->loop(), a_.daemon->device(disk_id), boot_block, written, &guest));
  w_.run_for(70s);
  ASSERT_EQ(newest_hints(), 1u);
  guest.first = boot_reads / 2, guest.end = boot_reads;
  w_.run_for(180s);
  ASSERT_EQ(newest_hints(), 2u) << "fresh ones";

  ASSERT_TRUE(w_.call(b_, b_.daemon->standby({disk_id, pool_id, 2})));
  const auto& cache = *b_.daemon->memory().pieces;
  const auto reads = guest.reads, writes = guest.writes;
  w_.run_for(10s);
  EXPECT_EQ(DiskWorld::state_of(a_), DiskSeen::open) << "and it serves";
  EXPECT_GT(guest.reads, reads + 500);
  EXPECT_GT(guest.writes, writes + 50);
  EXPECT_TRUE(guest.is_well);
  EXPECT_GE(cache.stats().warmed_bytes, boot_reads * HotRegions::region_bytes);
  running.cancel();

  ASSERT_TRUE(w_.seal(a_, 1) && w_.open(b_, 2));
  const auto before = cache.stats();
  EXPECT_LT(boot_guest(b_), 0.5);
  EXPECT_EQ(cache.stats().fetches, before.fetches) << "all of it was in the cache";
  EXPECT_GE(cache.stats().memory_hits, before.memory_hits + boot_reads);
  Bytes last;
  ASSERT_TRUE(w_.io(b_, [&](BlockDevice& d) -> Task<Status> {
    EBB_CO_TRY(bytes, co_await d.read(written * block_bytes, block_bytes));
    last = std::move(bytes);
    co_return Status{};
  }));
  EXPECT_EQ(last, stamped(guest.writes, written)) << "what was written after the list is as new as ever";
}

// A drain: the guest has turned to something else since the last list, and is asked to stop now.
TEST_F(HintsTest, WhatAGuestUsesAsItStopsIsWarmBeforeItHasStopped) {
  start();
  boot_guest(a_);
  w_.run_for(70s);
  ASSERT_EQ(newest_hints(), 1u);
  ASSERT_TRUE(w_.call(b_, b_.daemon->standby({disk_id, pool_id, 2})));
  w_.run_for(5s);
  auto read_anew = [&](SimWorker& worker) {
    for (std::uint64_t i = boot_reads; i < 2 * boot_reads; ++i)
      ASSERT_TRUE(w_.io(worker, [i](BlockDevice& d) -> Task<Status> {
        auto got = co_await d.read(boot_block(i) * block_bytes, 4096);
        co_return got ? Status{} : fail(got.error());
      }));
  };
  read_anew(a_);
  ASSERT_EQ(newest_hints(), 1u);
  ASSERT_TRUE(a_.daemon->hint({disk_id, pool_id, 1}));
  w_.run_for(4s);  // that a guest takes to stop
  EXPECT_EQ(newest_hints(), 2u);
  EXPECT_EQ(DiskWorld::state_of(a_), DiskSeen::open);
  const auto& cache = *b_.daemon->memory().pieces;
  ASSERT_TRUE(w_.seal(a_, 1) && w_.open(b_, 2));
  const auto before = cache.stats().fetches;
  read_anew(b_);
  EXPECT_EQ(cache.stats().fetches, before) << "all of it was in the cache";
  // Of nobody's, or of somebody else's by now: nothing happens.
  ASSERT_TRUE(a_.daemon->hint({disk_id, pool_id, 1}));
  EXPECT_EQ(newest_hints(), 2u);
}

// Whoever stands by for long, before there is any list, is as warm as whoever came late.
TEST_F(HintsTest, AStandbyLooksAgainForAsLongAsItStandsBy) {
  start();
  ASSERT_TRUE(w_.call(b_, b_.daemon->standby({disk_id, pool_id, 2})));
  w_.run_for(20s);
  const auto& cache = *b_.daemon->memory().pieces;
  ASSERT_EQ(cache.stats().warmed_bytes, 0u);
  boot_guest(a_);
  w_.run_for(1min);
  ASSERT_EQ(newest_hints(), 1u);
  EXPECT_GE(cache.stats().warmed_bytes, boot_reads * HotRegions::region_bytes);
  const auto once = cache.stats().warmed_bytes;
  w_.run_for(1min);
  EXPECT_EQ(cache.stats().warmed_bytes, once) << "the same list is not fetched twice";
}

// A guest on a worker for days: what it reads now is known, not what it read on its first day.
TEST_F(HintsTest, AreLeftForAsLongAsTheDiskIsServed) {
  start();
  boot_guest(a_);
  w_.run_for(24h);
  const auto before = newest_hints();
  ASSERT_GE(before, 1u);
  w_.run_for(5min);
  EXPECT_EQ(newest_hints(), before) << "nothing new to say";
  ASSERT_TRUE(w_.io(a_, [](BlockDevice& d) -> Task<Status> {
    auto got = co_await d.read(boot_block(boot_reads) * block_bytes, block_bytes);
    co_return got ? Status{} : fail(got.error());
  }));
  w_.run_for(5min);
  EXPECT_EQ(newest_hints(), before + 1);
}

// Nobody stood by: the move of a VM that was started elsewhere, or the take-over of a dead worker's disk.
TEST_F(HintsTest, ADiskFromAnotherWorkerIsFetchedOnceItIsOpen) {
  start();
  boot_guest(a_);
  ASSERT_TRUE(w_.seal(a_, 1));
  w_.run_for(1s);
  ASSERT_TRUE(w_.open(b_, 2));
  w_.run_for(10s);
  EXPECT_LT(boot_guest(b_), 0.5);
  EXPECT_GE(b_.daemon->memory().pieces->stats().warmed_bytes, boot_reads * HotRegions::region_bytes);

  // One that was here all the time is as warm as it was left.
  ASSERT_TRUE(w_.seal(b_, 2));
  w_.run_for(1s);
  ASSERT_TRUE(w_.boot(b_));
  ASSERT_TRUE(w_.open(b_, 3));
  w_.run_for(10s);
  EXPECT_EQ(b_.daemon->memory().pieces->stats().warmed_bytes, 0u);
}

// Of a worker that died: what is taken over is kept as a cut, and the cut's checkpoint makes HEAD forget the epochs before.
TEST_F(HintsTest, ATakeOverWithACutFindsWhatTheDeadWorkersGuestRead) {
  start();
  boot_guest(a_);
  w_.run_for(70s);
  ASSERT_EQ(newest_hints(), 1u);
  a_.process->kill();
  auto request = w_.open_request(2, true);
  request.cuts = {{"cut-2", "request"}};
  ASSERT_TRUE(w_.call(b_, b_.daemon->open(request)) && w_.wait_open(b_)) << w_.last_lines();
  w_.run_for(10s);
  EXPECT_LT(boot_guest(b_), 0.5);
}

// The source's daemon was started anew: its lists are of another epoch, and its map goes on.
TEST_F(HintsTest, AStandbyFollowsASourceThatWasStartedAnew) {
  start();
  ASSERT_TRUE(w_.call(b_, b_.daemon->standby({disk_id, pool_id, 2})));
  w_.run_for(10s);
  ASSERT_TRUE(w_.boot(a_));
  ASSERT_TRUE(w_.world.loop().run_until([&] { return w_.state_of(a_) == DiskSeen::open; }, 1min));
  boot_guest(a_);
  w_.run_for(2min);
  EXPECT_GE(b_.daemon->memory().pieces->stats().warmed_bytes, boot_reads * HotRegions::region_bytes);
}

// A guest that read its whole disk from end to end leaves one long run.
TEST_F(HintsTest, HoweverLongARunIsFewRequestsAreUnderWayAtATime) {
  struct Counting final : ObjectStore {
    Counting(ObjectStore& s, std::size_t& n, std::size_t& m) : store(s), now(n), most(m) {}
    Task<Result<ObjectTag>> put(std::string key, SharedBytes body, PutCondition condition) override {
      return store.put(std::move(key), std::move(body), std::move(condition));
    }
    Task<Result<StoredObject>> get(std::string key) override { return store.get(std::move(key)); }
    Task<Result<Bytes>> get_range(std::string key, std::uint64_t offset, std::size_t length) override {
      bool is_data = key.starts_with("s/");
      most = std::max(most, now += is_data);
      auto got = co_await store.get_range(std::move(key), offset, length);
      now -= is_data;
      co_return got;
    }
    ObjectStore& store;
    std::size_t &now, &most;
  };
  start();
  for (std::uint64_t at = 0; at < 64 * MiB; at += 1 * MiB) {
    ASSERT_TRUE(w_.io(a_, [at](BlockDevice& d) -> Task<Status> {
      auto got = co_await d.read(at, 1 * MiB);
      co_return got ? Status{} : fail(got.error());
    }));
  }
  ASSERT_TRUE(w_.seal(a_, 1));
  w_.run_for(1s);
  std::size_t now = 0, most = 0;
  w_.wrap_store = [&](sim::SimProcess& process, ObjectStore& store) -> ObjectStore* {
    return &process.make<Counting>(store, now, most);
  };
  ASSERT_TRUE(w_.boot(b_));
  ASSERT_TRUE(w_.call(b_, b_.daemon->standby({disk_id, pool_id, 2})));
  most = 0;  // what loading the map asked for
  w_.run_for(10s);
  EXPECT_GT(b_.daemon->memory().pieces->stats().warmed_bytes, 24 * MiB);
  EXPECT_LE(b_.daemon->memory().pieces->stats().warmed_bytes, 34 * MiB)
      << "half of the memory, there being no file";
  EXPECT_GT(most, 4u);
  EXPECT_LE(most, WarmingLimits().requests);
}

// Opened for less than a minute: only the seal leaves a list.
TEST_F(HintsTest, TheSealLeavesThemAndWhoeverStandsByAfterwardsIsWarm) {
  start();
  boot_guest(a_);
  ASSERT_EQ(newest_hints(), 0u);
  ASSERT_TRUE(w_.seal(a_, 1));
  w_.run_for(1s);
  ASSERT_EQ(newest_hints(), 1u);
  ASSERT_TRUE(w_.call(b_, b_.daemon->standby({disk_id, pool_id, 2})));
  w_.run_for(10s);
  ASSERT_TRUE(w_.open(b_, 2));
  EXPECT_LT(boot_guest(b_), 0.5);
}

// They are of its epoch: also the next but one finds them, if nobody read anything in between.
TEST_F(HintsTest, AnEpochThatReadNothingHandsOnThoseBeforeIt) {
  start();
  boot_guest(a_);
  ASSERT_TRUE(w_.seal(a_, 1));
  w_.run_for(1s);
  ASSERT_TRUE(w_.open(b_, 2));
  ASSERT_TRUE(w_.seal(b_, 2));
  ASSERT_TRUE(w_.boot(a_));
  ASSERT_TRUE(w_.call(a_, a_.daemon->standby({disk_id, pool_id, 3})));
  w_.run_for(10s);
  ASSERT_TRUE(w_.open(a_, 3));
  EXPECT_LT(boot_guest(a_), 0.5);
}

// Neither a store that refuses them nor one that never answers costs a move any time, or anything else.
TEST_F(HintsTest, AStoreThatFailsThemDelaysNothing) {
  double standby[3] = {}, seal[3] = {}, open[3] = {};
  for (int how : {0, 1, 2}) {
    SCOPED_TRACE(how);
    w_.~DiskWorld();
    new (&w_) DiskWorld(1);
    a_ = SimWorker{"worker-a"}, b_ = SimWorker{"worker-b"};
    hangs_ = how == 2;
    if (how > 0) {
      w_.wrap_store = [this](sim::SimProcess& process, ObjectStore& store) -> ObjectStore* {
        return &process.make<NoHints>(store, process.loop(), hangs_);
      };
    }
    start();
    boot_guest(a_);
    w_.run_for(2min);
    EXPECT_EQ(newest_hints() > 0, how == 0);
    standby[how] = seconds_of([&] { ASSERT_TRUE(w_.call(b_, b_.daemon->standby({disk_id, pool_id, 2}))); });
    EXPECT_EQ(w_.state_of(b_), DiskSeen::standby);
    boot_guest(a_);
    ASSERT_TRUE(w_.write(a_, 3, 77));
    seal[how] = seconds_of([&] { ASSERT_TRUE(w_.seal(a_, 1)); });
    EXPECT_EQ(w_.state_of(a_), DiskSeen::sealed);
    ASSERT_TRUE(w_.call(a_, a_.daemon->close({disk_id, pool_id, 1})));
    open[how] = seconds_of([&] { ASSERT_TRUE(w_.open(b_, 2)); });
  }
  for (int how : {1, 2}) {
    EXPECT_LT(standby[how], standby[0] * 1.5 + 0.01);
    EXPECT_LT(seal[how], seal[0] * 1.5 + 0.01);
    EXPECT_LT(open[how], open[0] * 1.5 + 0.01);
  }
}

TEST_F(HintsTest, WithoutAStoreThatTakesThemNothingIsDifferent) {
  start();
  boot_guest(a_);
  w_.store.options().refuse = 0.7;
  w_.run_for(2min);
  w_.store.options().refuse = 0;
  auto sealed = w_.seal(a_, 1);
  ASSERT_TRUE(sealed) << sealed.error().message;
  ASSERT_TRUE(w_.call(b_, b_.daemon->standby({disk_id, pool_id, 2})));
  w_.run_for(10s);
  ASSERT_TRUE(w_.open(b_, 2));
  boot_guest(b_);
}

}  // namespace
}  // namespace ebb::disk
