#include "disk/keys.h"
#include "disk/testing/snapshots.h"

namespace ebb::disk {
namespace {
using namespace testing;

// How many segments are on their way.
class InFlight final : public ObjectStore {
 public:
  InFlight(ObjectStore& store, std::uint64_t& now, std::uint64_t& most)
      : store_(store), now_(now), most_(most) {}
  Task<Result<ObjectTag>> put(std::string key, SharedBytes body, PutCondition condition) override {
    const bool is_segment = key.starts_with("s/");
    if (is_segment) most_ = std::max(most_, ++now_);
    auto done = co_await store_.put(std::move(key), std::move(body), std::move(condition));
    if (is_segment) --now_;
    co_return done;
  }
  Task<Result<StoredObject>> get(std::string key) override { return store_.get(std::move(key)); }
  Task<Result<Bytes>> get_range(std::string key, std::uint64_t offset, std::size_t length) override {
    return store_.get_range(std::move(key), offset, length);
  }

 private:
  ObjectStore& store_;
  std::uint64_t &now_, &most_;
};

// A fork of the snapshot "now", by a control plane of its own whose requests are counted.
Task<Status> fork_counted(DiskWorld* w, DiskId fork, std::uint64_t blocks, Rounds* rounds) {
  auto& process = w->world.start_process("control", "counted");
  auto& client = process.make<sim::SimStoreClient>(process, w->store);
  auto& counted = process.make<CountedStore>(process.loop(), client, *rounds);
  auto& admin = process.make<PoolAdmin>(process.loop(), counted);
  co_return co_await admin.create_fork(disk_id, fork, blocks * block_bytes, DiskClass::remote, "now");
}

class ObjectDiskTest : public ::testing::Test {
 protected:
  void start(DiskClass disk_class = DiskClass::remote) {
    w_.disk_class = disk_class;
    ASSERT_TRUE(w_.create_disk(disk_class));
    ASSERT_TRUE(w_.boot(a_) && w_.boot(b_));
    auto opened = w_.open(a_, 1);
    ASSERT_TRUE(opened) << opened.error().message;
  }
  std::string metrics() {
    auto answer = sim::run_in(*a_.process, a_.daemon->handler()({"GET", "/metrics", {}, {}}));
    EXPECT_EQ(answer->status, 200);
    return answer->body;
  }
  DiskStatus status(SimWorker& worker) { return worker.daemon->status().disks.at(0); }
  Status head_state(HeadState wanted) {
    auto head = w_.admin<Result<HeadSummary>>([](PoolAdmin& p) { return p.read_head(disk_id); });
    EXPECT_TRUE(head && head->state == wanted);
    return {};
  }

  static std::string first_log_file(const SimWorker& worker) {
    auto names = worker.drive->list("/state/disks/d1").value();
    auto log = std::ranges::find_if(names, [](const auto& name) { return name.starts_with("log-"); });
    return fmt::format("/state/disks/d1/{}/000001.wal", *log);
  }

  DiskWorld w_;
  SimWorker a_{"worker-a"}, b_{"worker-b"};
};

TEST_F(ObjectDiskTest, ReadsSeeOwnWritesBeforeAndAfterTheyAreInTheStore) {
  start();
  ASSERT_TRUE(w_.write(a_, 3, 7));
  EXPECT_EQ((*w_.read_all(a_))[3], 7u);
  ASSERT_TRUE(w_.flush(a_));
  EXPECT_EQ((*w_.read_all(a_))[3], 7u);
  ASSERT_TRUE(w_.io(a_, [](BlockDevice& d) { return d.trim(3 * block_bytes, block_bytes); }));
  EXPECT_EQ((*w_.read_all(a_))[3], 0u);
}

// Rule 10.
TEST_F(ObjectDiskTest, AMoveByPointerKeepsEverything) {
  start();
  for (std::uint64_t i = 0; i < 50; ++i) ASSERT_TRUE(w_.write(a_, i, i + 1));
  auto sealed = w_.seal(a_, 1);
  ASSERT_TRUE(sealed) << sealed.error().message;
  EXPECT_EQ(sealed->state, DiskSeen::sealed);
  EXPECT_TRUE(a_.daemon->status().unsent_logs.empty());
  (void)head_state(HeadState::detached_clean);
  ASSERT_TRUE(w_.call(b_, b_.daemon->standby({disk_id, pool_id, 2})));
  ASSERT_TRUE(w_.open(b_, 2));
  auto content = w_.read_all(b_);
  for (std::uint64_t i = 0; i < 50; ++i) EXPECT_EQ((*content)[i], i + 1);
  EXPECT_EQ((*w_.read_all(a_))[7], 8u) << "a sealed source still answers reads";
  EXPECT_TRUE(w_.flush(a_));
  EXPECT_EQ(w_.write(a_, 1, 9).error().code, Code::fenced);
}

TEST_F(ObjectDiskTest, FlushOfARemoteDiskWaitsForTheStore) {
  start(DiskClass::remote);
  w_.store.set_outage(true);
  ASSERT_TRUE(w_.write(a_, 1, 1)) << "a write needs only the log";
  EXPECT_EQ(w_.flush(a_).error().code, Code::unavailable) << "not answered";
  w_.run_for(15s);
  EXPECT_NE(status(a_).waiting_for, "");
  EXPECT_EQ(status(a_).state, DiskSeen::open) << "waiting is not an error";
  EXPECT_GT(status(a_).unsent_bytes, 0u);
  w_.store.set_outage(false);
  EXPECT_TRUE(w_.flush(a_));
  EXPECT_EQ(status(a_).unsent_bytes, 0u);
  EXPECT_EQ((*w_.read_offline())[1], 1u);
}

TEST_F(ObjectDiskTest, TheLagBehindTheStoreIsInTheMetrics) {
  start(DiskClass::local);
  w_.store.set_outage(true);
  ASSERT_TRUE(w_.write(a_, 1, 1));
  w_.run_for(15s);
  EXPECT_EQ(metrics().find("ebb_disk_unsent_bytes{disk=\"d1\"} 0"), std::string::npos) << metrics();
  EXPECT_NE(metrics().find("ebb_disk_unsent_age_seconds{disk=\"d1\"} 15"), std::string::npos) << metrics();
  EXPECT_NE(metrics().find("ebb_disk_waiting{disk=\"d1\"} 1"), std::string::npos);
  EXPECT_NE(metrics().find("ebb_disks{state=\"open\"} 1"), std::string::npos);
  w_.store.set_outage(false);
  w_.run_for(10s);
  EXPECT_NE(metrics().find("ebb_disk_unsent_bytes{disk=\"d1\"} 0"), std::string::npos) << metrics();
  EXPECT_NE(metrics().find("ebb_disk_waiting{disk=\"d1\"} 0"), std::string::npos);
}

TEST_F(ObjectDiskTest, FlushOfALocalDiskNeedsNoStoreUntilTheBound) {
  w_.tuning.unsent_age_max = 20s;
  start(DiskClass::local);
  w_.store.set_outage(true);
  ASSERT_TRUE(w_.write(a_, 1, 1));
  EXPECT_TRUE(w_.flush(a_));
  w_.run_for(25s);
  ASSERT_TRUE(w_.write(a_, 2, 2));
  EXPECT_EQ(w_.flush(a_).error().code, Code::unavailable) << "acknowledged beyond the announced bound";
  w_.store.set_outage(false);
  EXPECT_TRUE(w_.flush(a_));
}

TEST_F(ObjectDiskTest, ALocalFlushIsNotAcknowledgedBeyondItsBoundInBytes) {
  w_.tuning.unsent_bytes_max = 64 * KiB;
  start(DiskClass::local);
  w_.run_for(3s);
  w_.store.set_outage(true);
  auto write_and_flush = [&](std::uint64_t block) {
    EXPECT_TRUE(w_.write(a_, block, block + 1));
    return w_.io(a_, [](BlockDevice& d) { return d.flush(); }, disk_id, 2s);  // HEAD is fresh enough for that
  };
  for (std::uint64_t block = 0; block < 8; ++block) EXPECT_TRUE(write_and_flush(block)) << block;
  for (std::uint64_t block = 8; block < 24; ++block) ASSERT_TRUE(w_.write(a_, block, block + 1));
  EXPECT_EQ(write_and_flush(24).error().code, Code::unavailable) << "acknowledged beyond the announced bound";
  w_.store.set_outage(false);
  EXPECT_TRUE(w_.flush(a_));
}

// How old those writes are is not known any more.
TEST_F(ObjectDiskTest, ALocalFlushAfterARestartWaitsForWhatTheLogBroughtAlong) {
  start(DiskClass::local);
  w_.store.set_outage(true);
  ASSERT_TRUE(w_.write(a_, 1, 1) && w_.flush(a_));
  w_.store.set_outage(false);
  ASSERT_TRUE(w_.boot(a_));
  ASSERT_TRUE(w_.wait_open(a_));
  w_.store.set_outage(true);
  EXPECT_EQ((*w_.read_all(a_))[1], 1u);
  EXPECT_EQ(w_.flush(a_).error().code, Code::unavailable) << "not answered";
  w_.store.set_outage(false);
  EXPECT_TRUE(w_.flush(a_));
  EXPECT_EQ((*w_.read_offline())[1], 1u);
}

TEST_F(ObjectDiskTest, ALocalDiskReachesTheStoreByItselfWithinTheAge) {
  start(DiskClass::local);
  ASSERT_TRUE(w_.write(a_, 1, 1));
  w_.run_for(1s);
  EXPECT_EQ((*w_.read_offline())[1], 1u);
  EXPECT_EQ(status(a_).unsent_bytes, 0u);
}

TEST_F(ObjectDiskTest, WritesWaitWhenTooMuchIsPendingAndGoOnAfterwards) {
  start();
  w_.store.set_outage(true);
  History history(Content(disk_blocks, 0));
  Scope work(a_.process->loop());
  work.spawn(run_workload(&a_.process->loop(), a_.daemon->device(disk_id), &history, {1, 1, 400, 1ms, 0}));
  w_.run_for(30s);
  EXPECT_GT(work.size(), 0u);
  EXPECT_LE(status(a_).unsent_bytes, w_.tuning.pending_bytes_max);
  w_.store.set_outage(false);
  ASSERT_TRUE(w_.world.loop().run_until([&] { return work.size() == 0; }, 5min));
  EXPECT_EQ(history.acknowledged(), history.issued());
}

TEST_F(ObjectDiskTest, AnAgedDiskIsAttachedFromItsCheckpoint) {
  start();
  for (Stamp i = 1; i <= 60; ++i) {
    ASSERT_TRUE(w_.write(a_, i % 20, i));
    ASSERT_TRUE(w_.flush(a_));
  }
  auto head = decode_head(w_.store.peek(head_key(disk_id))->body, disk_id);
  ASSERT_TRUE(head->checkpoint);
  EXPECT_GE(head->checkpoint->position.seq, 50u);
  // What lies below the checkpoint is not read for attaching, so its heads may be damaged unnoticed here.
  ASSERT_TRUE(w_.seal(a_, 1) && w_.open(b_, 2));
  auto content = w_.read_all(b_);
  for (Stamp i = 41; i <= 60; ++i) EXPECT_EQ((*content)[i % 20], i);
}

// Whatever was written before: HEAD, then all that it points to beside the claim, then the fences after a
// crash, then HEAD.
TEST_F(ObjectDiskTest, AnAttachTakesFewRoundsWhateverTheHistory) {
  w_.settle = 0s;
  start();
  Rounds rounds;
  auto expect_open_within = [&](int rounds_max, SimWorker& worker, Epoch epoch, bool take_over) {
    w_.rounds = &rounds;
    ASSERT_TRUE(w_.boot(worker));
    w_.run_for(2s);
    rounds = {};
    auto opened = w_.open(worker, epoch, take_over);
    ASSERT_TRUE(opened) << opened.error().message;
    EXPECT_LE(rounds.deepest(), rounds_max);
    EXPECT_GE(rounds.deepest(), 3);
  };
  Epoch epoch = 1;
  for (int writes : {0, 3, 40, 200}) {
    SCOPED_TRACE(writes);
    for (int i = 0; i < writes; ++i) {
      ASSERT_TRUE(w_.write(a_, static_cast<std::uint64_t>(i % 90), static_cast<Stamp>(i + 1)));
      ASSERT_TRUE(w_.flush(a_));
    }
    ASSERT_TRUE(w_.seal(a_, epoch));
    expect_open_within(3, b_, epoch + 1, false);
    ASSERT_TRUE(w_.write(b_, 5, 77) && w_.flush(b_));
    b_.process->kill();
    expect_open_within(5, a_, epoch + 2, true);
    epoch += 2;
  }
}

TEST_F(ObjectDiskTest, AForkAsksTheStoreAsOftenHoweverLargeTheDisk) {
  const DiskId fork("fork-1");
  std::vector<int> requests;
  for (std::uint64_t blocks : {disk_blocks, 1024 * GiB / block_bytes}) {
    DiskWorld w;
    SimWorker a{"worker-a"};
    Snapshots s{w};
    Random random(1);
    ASSERT_TRUE(w.create_disk(DiskClass::remote, disk_id, blocks) && w.boot(a) && w.open(a, 1));
    for (Stamp i = 1; i <= (blocks == disk_blocks ? 3 : 600); ++i)
      ASSERT_TRUE(w.write(a, random.below(blocks), i));
    ASSERT_TRUE(w.seal(a, 1) && s.take_detached("now", "of-now"));
    Rounds rounds;
    ASSERT_TRUE(w.admin<Status>([&](PoolAdmin&) { return fork_counted(&w, fork, blocks, &rounds); }));
    requests.push_back(rounds.requests);
  }
  EXPECT_EQ(requests[0], requests[1]);
  EXPECT_LE(requests[0], 12);
}

TEST_F(ObjectDiskTest, SegmentsGoToTheStoreWithAWholeWindowInFlight) {
  EXPECT_GE(DiskTuning{}.window, 8u);
  EXPECT_LE(DiskTuning{}.window, 16u);
  w_.tuning.window = DiskTuning{}.window;
  w_.tuning.pending_bytes_max = 4 * MiB;
  w_.store.options().put = 200ms;
  std::uint64_t in_flight = 0, most = 0;
  w_.wrap_store = [&](sim::SimProcess& process, ObjectStore& store) -> ObjectStore* {
    return &process.make<InFlight>(store, in_flight, most);
  };
  start();
  for (Stamp i = 1; i <= 40; ++i) {
    Bytes data;
    for (std::uint64_t b = 0; b < 12; ++b) append(data, stamped(i, b));
    ASSERT_TRUE(w_.io(a_, [&](BlockDevice& d) { return d.write(0, data); }));
  }
  ASSERT_TRUE(w_.flush(a_));
  EXPECT_EQ(most, DiskTuning{}.window);
}

TEST_F(ObjectDiskTest, OpeningUnderAnOlderEpochIsRefused) {
  start();
  EXPECT_EQ(w_.open(a_, 0).error().code, Code::fenced);
  ASSERT_TRUE(w_.seal(a_, 1) && w_.open(b_, 5));
  EXPECT_EQ(w_.open(a_, 4).error().code, Code::fenced);
  EXPECT_EQ(w_.open(a_, 5).error().code, Code::fenced) << "the same epoch, and another owner";
  EXPECT_TRUE(w_.flush(b_));
}

TEST_F(ObjectDiskTest, AHeldDiskIsOpenedElsewhereOnlyByAnExplicitTakeOver) {
  start();
  EXPECT_EQ(w_.open(b_, 2).error().code, Code::conflict);
  EXPECT_TRUE(w_.write(a_, 1, 1) && w_.flush(a_)) << "the refused one has changed nothing";
  auto before = w_.world.loop().now();
  ASSERT_TRUE(w_.open(b_, 2, true));
  EXPECT_GE(w_.world.loop().now() - before, w_.settle) << "the old owner may still run its guest";
  EXPECT_EQ((*w_.read_all(b_))[1], 1u);
}

// Whoever is wrong about the class would take a FLUSH for what it is not.
TEST_F(ObjectDiskTest, TheClassOfADiskIsNeverChangedByWhoOpensIt) {
  for (auto [made_as, other] :
       {std::pair(DiskClass::remote, DiskClass::local), std::pair(DiskClass::local, DiskClass::remote)}) {
    DiskWorld w;
    ASSERT_TRUE(w.create_disk(made_as));
    SimWorker a{"worker-a"};
    ASSERT_TRUE(w.boot(a));
    w.disk_class = other;
    auto refused = w.open(a, 1);
    ASSERT_FALSE(refused);
    EXPECT_TRUE(refused.error().message.contains(
        fmt::format("disk 'd1' is of class {}, not {}", json::name_of(made_as), json::name_of(other))))
        << refused.error().message;
    EXPECT_FALSE(a.daemon->device(disk_id));
    auto head = w.admin<Result<HeadSummary>>([](PoolAdmin& p) { return p.read_head(disk_id); });
    EXPECT_TRUE(head && head->epoch == DiskEpoch{}) << "nothing was taken";
    w.disk_class = made_as;
    EXPECT_TRUE(w.open(a, 2));
  }
}

TEST_F(ObjectDiskTest, OpeningTwiceUnderOneEpochIsOneOpening) {
  start();
  auto first = status(a_);
  auto again = w_.open(a_, 1);
  ASSERT_TRUE(again);
  EXPECT_EQ(again->incarnation, first.incarnation);
}

// Rule 1.
TEST_F(ObjectDiskTest, ARestartTakesANewIncarnationAndOpensByItself) {
  start();
  ASSERT_TRUE(w_.write(a_, 1, 1));
  auto before = status(a_);
  ASSERT_TRUE(w_.boot(a_));
  auto after = w_.wait_open(a_);
  ASSERT_TRUE(after) << after.error().message;
  EXPECT_EQ(after->epoch, before.epoch);
  EXPECT_GT(after->incarnation, before.incarnation);
  EXPECT_EQ((*w_.read_all(a_))[1], 1u) << "acknowledged, and only in the log";
}

TEST_F(ObjectDiskTest, ADamagedRecordOfOneDiskKeepsNoOtherFromBeingOpened) {
  const DiskId other("d2");
  ASSERT_TRUE(w_.create_disk() && w_.create_disk(DiskClass::remote, other) && w_.boot(a_) && w_.open(a_, 1) &&
              w_.open(a_, 2, false, other));
  ASSERT_TRUE(w_.write(a_, 3, 33) && w_.write(a_, 4, 44, other));
  a_.process->kill();
  ASSERT_TRUE(a_.drive->corrupt("/state/disks/d1/open", 40));
  ASSERT_TRUE(w_.boot(a_));
  ASSERT_TRUE(w_.wait_open(a_, other)) << w_.last_lines();
  EXPECT_EQ((*w_.read_all(a_, other))[4], 44u);
  EXPECT_FALSE(a_.daemon->device(disk_id)) << "not by itself";
  ASSERT_TRUE(w_.open(a_, 1)) << "the agent asks for it as before: " << w_.last_lines();
  EXPECT_EQ((*w_.read_all(a_))[3], 33u) << "from its log";
}

TEST_F(ObjectDiskTest, ASealedDiskStaysSealedAfterARestart) {
  start();
  ASSERT_TRUE(w_.seal(a_, 1));
  ASSERT_TRUE(w_.boot(a_));
  w_.run_for(5s);
  (void)head_state(HeadState::detached_clean);
  auto sealed = w_.seal(a_, 1);
  ASSERT_TRUE(sealed);
  EXPECT_EQ(sealed->state, DiskSeen::sealed) << "asked again, it is still so";
}

TEST_F(ObjectDiskTest, ASealInterruptedAnywhereIsFinishedByAskingAgain) {
  for (std::uint64_t nth = 0;; ++nth) {
    SCOPED_TRACE(nth);
    DiskWorld w(nth + 1);
    SimWorker a{"worker-a"}, b{"worker-b"};
    ASSERT_TRUE(w.create_disk() && w.boot(a) && w.boot(b) && w.open(a, 1));
    for (std::uint64_t i = 0; i < 30; ++i) ASSERT_TRUE(w.write(a, i, i + 1));
    w.world.crash_points().arm([](const sim::CrashPoint& p) { return p.process.host() == "worker-a"; }, nth);
    (void)w.seal(a, 1);
    bool died = w.world.crash_points().fired().has_value();
    w.world.crash_points().disarm();
    if (died) {
      ASSERT_TRUE(w.boot(a));
      for (int tries = 0; tries < 20 && DiskWorld::state_of(a) != DiskSeen::sealed; ++tries) {
        (void)w.seal(a, 1);
        w.run_for(500ms);
      }
    }
    ASSERT_EQ(DiskWorld::state_of(a), DiskSeen::sealed) << w.last_lines();
    ASSERT_TRUE(w.open(b, 2)) << w.last_lines();
    auto content = w.read_all(b);
    for (std::uint64_t i = 0; i < 30; ++i) ASSERT_EQ((*content)[i], i + 1);
    w.run_for(5s);
    ASSERT_TRUE(a.daemon->status().unsent_logs.empty()) << w.last_lines();
    if (!died) break;
    ASSERT_LT(nth, 300u);
  }
}

TEST_F(ObjectDiskTest, TheSameWorkerMayOpenAgainUnderTheSameEpochAfterASeal) {
  start();
  ASSERT_TRUE(w_.write(a_, 1, 1) && w_.seal(a_, 1));
  auto again = w_.open(a_, 1);
  ASSERT_TRUE(again) << again.error().message;
  ASSERT_TRUE(w_.write(a_, 2, 2) && w_.seal(a_, 1) && w_.open(b_, 2));
  EXPECT_EQ((*w_.read_all(b_))[1], 1u);
  EXPECT_EQ((*w_.read_all(b_))[2], 2u);
}

// Rule 2.
TEST_F(ObjectDiskTest, AReturningHostsLogIsKeptAndReportedAndNeverReplayed) {
  start(DiskClass::local);
  w_.world.links().isolate("worker-a");
  ASSERT_TRUE(w_.write(a_, 1, 11) && w_.flush(a_)) << "within the bound";
  EXPECT_EQ(status(a_).loss_bound, LossBound{}) << "as long as it can say so";
  EXPECT_GE(status(a_).unsent_bytes, block_bytes);
  a_.process->kill();
  ASSERT_TRUE(w_.open(b_, 2, true));
  ASSERT_TRUE(w_.write(b_, 1, 22) && w_.seal(b_, 2));
  ASSERT_TRUE(w_.boot(a_));
  w_.run_for(3s);
  EXPECT_EQ(a_.daemon->status().unsent_logs, std::vector{disk_id});
  EXPECT_TRUE(a_.daemon->status().orphan_logs.empty()) << "nothing is known before the store has been asked";
  w_.world.links().rejoin("worker-a");
  w_.run_for(10s);
  const auto exactly = a_.daemon->status().orphan_logs;
  ASSERT_EQ(exactly.size(), 1u);
  EXPECT_EQ(exactly[0], (OrphanLog{disk_id, 1, block_bytes, "", exactly[0].log_id, 1}));
  EXPECT_EQ(a_.daemon->status().unsent_logs, std::vector{disk_id});
  ASSERT_TRUE(w_.open(a_, 3));
  EXPECT_EQ((*w_.read_all(a_))[1], 22u) << "the diverged write must not come back";
  EXPECT_EQ(a_.daemon->status().unsent_logs, std::vector{disk_id}) << "nor may it be dropped";
  EXPECT_EQ(a_.daemon->status().orphan_logs, exactly);
  ASSERT_TRUE(w_.seal(a_, 3));
  ASSERT_TRUE(w_.boot(a_));
  w_.run_for(5s);
  EXPECT_EQ(a_.daemon->status().unsent_logs, std::vector{disk_id});
}

TEST_F(ObjectDiskTest, AnOwnerThatSeesAnotherEpochInHeadStopsByItself) {
  start();
  ASSERT_TRUE(w_.open(b_, 2, true));
  w_.run_for(5s);
  EXPECT_EQ(DiskWorld::state_of(a_), DiskSeen::fenced);
  EXPECT_EQ(a_.daemon->device(disk_id), nullptr);
}

TEST_F(ObjectDiskTest, DamageInTheStoreIsFoundWhereItIsAndNeverServed) {
  start();
  ASSERT_TRUE(w_.write(a_, 1, 11) && w_.seal(a_, 1));
  auto key = segment_key(disk_id, {1, 1}, 1);
  auto& body = const_cast<StoredObject*>(w_.store.peek(key))->body;
  body.back() ^= std::byte{1};
  ASSERT_TRUE(w_.open(b_, 2));
  auto read = w_.read_all(b_);
  ASSERT_FALSE(read);
  EXPECT_EQ(read.error().code, Code::corrupt);
  EXPECT_NE(read.error().message.find("segment d1/1.1/1"), std::string::npos) << read.error().message;
}

// Rule 4.
TEST_F(ObjectDiskTest, WhatIsNeitherSegmentNorFenceStopsTheAttach) {
  start();
  ASSERT_TRUE(w_.write(a_, 1, 11) && w_.flush(a_));
  a_.process->pause();
  auto& body = const_cast<StoredObject*>(w_.store.peek(segment_key(disk_id, {1, 1}, 1)))->body;
  body[40] ^= std::byte{1};
  auto opened = w_.open(b_, 2, true);
  ASSERT_FALSE(opened);
  EXPECT_EQ(opened.error().code, Code::corrupt) << "damage is not the end of the log";
}

TEST_F(ObjectDiskTest, DamageInsideSyncedLogBytesIsNotTakenForATornTail) {
  start(DiskClass::local);
  w_.store.set_outage(true);
  for (std::uint64_t i = 0; i < 6; ++i) ASSERT_TRUE(w_.write(a_, i, i + 1) && w_.flush(a_));
  auto folder = a_.daemon->status().disks.at(0);
  a_.process->kill();
  w_.run_for(1ms);
  ASSERT_TRUE(a_.drive->corrupt(first_log_file(a_), 4096 + 64 + 100)) << "inside the first record";
  w_.store.set_outage(false);
  ASSERT_TRUE(w_.boot(a_));
  auto opened = w_.wait_open(a_);
  ASSERT_FALSE(opened) << "a flush was acknowledged for what is damaged: fail closed";
  EXPECT_TRUE(opened.error().message.contains("synced bytes are damaged") ||
              opened.error().message.contains("had been synced"))
      << opened.error().message;
  EXPECT_EQ(a_.daemon->status().unsent_logs, std::vector{disk_id});
}

TEST_F(ObjectDiskTest, ALogThatWritesBeyondTheEndOfTheDiskIsRefusedAndKept) {
  for (auto block : {disk_blocks, ~std::uint64_t{0}}) {
    SCOPED_TRACE(block);
    w_.~DiskWorld();
    new (&w_) DiskWorld();
    a_ = SimWorker{"worker-a"}, b_ = SimWorker{"worker-b"};
    start(DiskClass::local);
    w_.store.set_outage(true);
    ASSERT_TRUE(w_.write(a_, 1, 1) && w_.flush(a_));
    a_.process->kill();
    w_.run_for(1ms);
    auto log = first_log_file(a_);
    auto inode = a_.drive->find(log);
    auto bytes = inode->durable.read(0, wal_file_header_bytes + wal_record_bytes + block_bytes);
    auto at = MutableBytes(bytes).subspan(wal_file_header_bytes);
    auto found = find_record(at);
    ASSERT_TRUE(found);
    auto record = found->record;
    record.block = block;
    auto data = Bytes(found->data.begin(), found->data.end());
    auto seed = found->seed;
    write_record(at, record, data, seed);
    ASSERT_TRUE(a_.drive->replace(log, bytes));
    w_.store.set_outage(false);
    ASSERT_TRUE(w_.boot(a_));
    auto opened = w_.wait_open(a_);
    ASSERT_FALSE(opened);
    EXPECT_TRUE(opened.error().message.contains("beyond the end of the disk")) << opened.error().message;
    EXPECT_EQ(a_.daemon->status().unsent_logs, std::vector{disk_id});
  }
}

TEST_F(ObjectDiskTest, AFailedSyncIsNeverAcknowledged) {
  start(DiskClass::local);
  ASSERT_TRUE(w_.write(a_, 1, 1));
  a_.drive->fail_syncs(".wal", 1);
  EXPECT_FALSE(w_.flush(a_));
  EXPECT_FALSE(w_.flush(a_)) << "nor when asked again";
}

TEST_F(ObjectDiskTest, AFullLogDriveIsBackPressureAndNotAnError) {
  start();
  a_.drive->set_capacity(a_.drive->used());
  EXPECT_EQ(w_.write(a_, 1, 1).error().code, Code::unavailable) << "not answered";
  EXPECT_NE(status(a_).waiting_for.find("the log"), std::string::npos) << status(a_).waiting_for;
  EXPECT_NE(metrics().find("ebb_disk_waiting{disk=\"d1\"} 1"), std::string::npos) << metrics();
  a_.drive->set_capacity(1 * GiB);
  w_.run_for(5s);
  EXPECT_EQ((*w_.read_all(a_))[1], 1u);
  EXPECT_NE(metrics().find("ebb_disk_waiting{disk=\"d1\"} 0"), std::string::npos) << metrics();
}

// Rule 1.
TEST_F(ObjectDiskTest, ASecondDaemonOnTheSameStateFolderIsRefused) {
  start();
  SimWorker twin{"worker-a", a_.drive};
  auto booted = w_.boot(twin);
  ASSERT_FALSE(booted);
  EXPECT_EQ(booted.error().code, Code::busy);
}

TEST_F(ObjectDiskTest, AStateFolderOfANewerVersionIsRefusedWithARemedy) {
  start();
  a_.process->kill();
  w_.run_for(1ms);
  auto refusal_of = [&](std::string_view version) {
    EXPECT_TRUE(a_.drive->replace("/state/version", to_bytes(version)));
    auto booted = w_.boot(a_);
    EXPECT_FALSE(booted);
    return booted ? Error{} : booted.error();
  };
  auto newer = refusal_of("ebb-diskd-state 2\n");
  EXPECT_EQ(newer.code, Code::invalid);
  EXPECT_NE(newer.message.find("newer version of this program (format 2; this one knows 1): install"),
            std::string::npos)
      << newer.message;
  auto foreign = refusal_of("the notes of somebody\n");
  EXPECT_EQ(foreign.code, Code::invalid);
  EXPECT_EQ(foreign.message.find("newer"), std::string::npos) << foreign.message;
}

TEST_F(ObjectDiskTest, UnknownPoolsAndDisksAreRefusedClearly) {
  start();
  EXPECT_EQ(w_.call(a_, a_.daemon->open({disk_id, PoolId("other"), 3, {}, false, false})).error().field,
            "pool");
  EXPECT_EQ(w_.call(a_, a_.daemon->open({DiskId("No/Name"), pool_id, 3, {}, false, false})).error().field,
            "disk");
  EXPECT_EQ(w_.call(a_, a_.daemon->open({DiskId("nothing"), pool_id, 3, {}, false, false})).error().code,
            Code::not_found);
}

TEST_F(ObjectDiskTest, TheFiveVerbsAnswerOverHttp) {
  start();
  auto ask = [&](std::string method, std::string target, std::string body) {
    return *sim::run_in(*a_.process, a_.daemon->handler()({method, target, {}, body}));
  };
  EXPECT_NE(ask("GET", "/status", "").body.find("\"state\":\"open\""), std::string::npos);
  EXPECT_EQ(ask("POST", "/open", "{").status, 400);
  EXPECT_EQ(ask("POST", "/open", R"({"disk":"d1","pool":"main","epoch":1,"wrong":1})").status, 400);
  EXPECT_EQ(ask("POST", "/open", R"({"disk":"d1","pool":"main","epoch":0})").status, 409);
  EXPECT_EQ(ask("GET", "/nothing", "").status, 404);
  EXPECT_EQ(ask("GET", "/seal", "").status, 405);
  auto sealed = ask("POST", "/seal", R"({"disk":"d1","pool":"main","epoch":1})");
  EXPECT_EQ(sealed.status, 200);
  EXPECT_NE(sealed.body.find("\"state\":\"sealed\""), std::string::npos) << sealed.body;
  EXPECT_EQ(ask("POST", "/close", R"({"disk":"d1","pool":"main","epoch":1})").status, 200);
  EXPECT_EQ(ask("GET", "/status", "").body.find("d1"), std::string::npos);
}

}  // namespace
}  // namespace ebb::disk
