#include "disk/testing/snapshots.h"

namespace ebb::disk {
namespace {
using namespace testing;

const DiskId fork_1("fork-1"), fork_2("fork-2");

class SnapshotTest : public ::testing::Test {
 protected:
  void start(DiskClass disk_class = DiskClass::remote) {
    w_.disk_class = disk_class;
    ASSERT_TRUE(w_.create_disk(disk_class) && w_.boot(a_) && w_.boot(b_) && w_.open(a_, 1));
  }
  // Blocks [0, count) hold `stamp` + block.
  void fill(SimWorker& worker, Stamp stamp, std::uint64_t count) {
    for (std::uint64_t b = 0; b < count; ++b) ASSERT_TRUE(w_.write(worker, b, stamp + b));
  }
  Content now() {
    auto found = w_.read_offline();
    EXPECT_TRUE(found) << found.error().message;
    return found.value_or(Content{});
  }

  DiskWorld w_;
  SimWorker a_{"worker-a"}, b_{"worker-b"};
  Snapshots s_{w_};
};

TEST_F(SnapshotTest, ASnapshotHoldsWhatWasAcknowledgedAndNothingThatCameLater) {
  for (auto disk_class : {DiskClass::remote, DiskClass::local}) {
    DiskWorld w;
    SimWorker a{"worker-a"};
    Snapshots s{w};
    w.disk_class = disk_class;
    ASSERT_TRUE(w.create_disk(disk_class) && w.boot(a) && w.open(a, 1));
    for (std::uint64_t b = 0; b < 30; ++b) ASSERT_TRUE(w.write(a, b, 100 + b));
    auto made = s.take(a, 1, "monday", "r1");
    ASSERT_TRUE(made) << made.error().message;
    EXPECT_EQ(made->write_seq, 30u);
    for (std::uint64_t b = 10; b < 40; ++b) ASSERT_TRUE(w.write(a, b, 500 + b));
    ASSERT_TRUE(w.flush(a));
    auto content = s.content("monday");
    for (std::uint64_t b = 0; b < disk_blocks; ++b) EXPECT_EQ(content[b], b < 30 ? 100 + b : 0) << b;
    EXPECT_EQ((*w.read_all(a))[20], 520u);
  }
}

TEST_F(SnapshotTest, TheSameRequestFindsWhatItMadeAndAnotherOfThatNameIsRefused) {
  start();
  fill(a_, 100, 10);
  auto first = s_.take(a_, 1, "monday", "r1");
  fill(a_, 200, 10);
  auto again = s_.take(a_, 1, "monday", "r1");
  ASSERT_TRUE(first && again);
  EXPECT_EQ(*first, *again);
  auto before = s_.head();
  auto other = s_.take(a_, 1, "monday", "r2");
  ASSERT_FALSE(other);
  EXPECT_EQ(other.error().code, Code::conflict);
  EXPECT_EQ(s_.head(), before) << "a refusal changes nothing";
  EXPECT_EQ(s_.content("monday")[3], 103u);
  EXPECT_EQ(s_.take(a_, 1, "No name", "r3").error().field, "name");
  EXPECT_EQ(s_.take(a_, 2, "tuesday", "r4").error().code, Code::busy) << "not open under that epoch";
  EXPECT_EQ(s_.take(a_, 0, "tuesday", "r4").error().code, Code::fenced);
}

TEST_F(SnapshotTest, SnapshotsWhileTheGuestWritesArePrefixesWithAllThatWasAcknowledged) {
  for (std::uint64_t seed = 1; seed <= times_seeds(30); ++seed) {
    SCOPED_TRACE(seed);
    DiskWorld w(seed);
    SimWorker a{"worker-a"};
    Snapshots s{w};
    w.disk_class = seed % 2 ? DiskClass::remote : DiskClass::local;
    ASSERT_TRUE(w.create_disk(w.disk_class) && w.boot(a) && w.open(a, 1));
    History history(Content(disk_blocks, 0));
    auto& scope = a.process->make<Scope>(a.process->loop());
    scope.spawn(
        run_workload(&a.process->loop(), a.daemon->device(disk_id), &history, {seed, 1, 300, 5ms, 0.1}));
    std::vector<std::size_t> least;
    for (int n = 0; n < 4; ++n) {
      w.run_for(Duration(static_cast<std::int64_t>(1 + seed * 37 % 90) * 1'000'000));
      least.push_back(history.acknowledged());
      auto made = s.take(a, 1, fmt::format("s{}", n), fmt::format("r{}", n));
      for (int tries = 0; !made && tries < 20; ++tries)
        made = s.take(a, 1, fmt::format("s{}", n), fmt::format("r{}", n));
      ASSERT_TRUE(made) << made.error().message;
    }
    ASSERT_TRUE(w.world.loop().run_until([&] { return scope.size() == 0; }, 5min));
    EXPECT_EQ(history.acknowledged(), history.issued()) << "the guest was not held up for good";
    for (int n = 0; n < 4; ++n) {
      auto content = s.content(fmt::format("s{}", n));
      ASSERT_TRUE(history.prefix_of(content, least[static_cast<std::size_t>(n)])) << n << "\n"
                                                                                  << w.last_lines();
    }
  }
}

TEST_F(SnapshotTest, ASnapshotThatDiedAnywhereIsMadeOnceWhenAskedAgain) {
  for (std::uint64_t nth = 0;; ++nth) {
    SCOPED_TRACE(nth);
    DiskWorld w(nth + 1);
    SimWorker a{"worker-a"};
    Snapshots s{w};
    ASSERT_TRUE(w.create_disk() && w.boot(a) && w.open(a, 1));
    for (std::uint64_t b = 0; b < 20; ++b) ASSERT_TRUE(w.write(a, b, 100 + b));
    w.world.crash_points().arm([](const sim::CrashPoint& p) { return p.process.host() == "worker-a"; }, nth);
    (void)s.take(a, 1, "monday", "r1");
    bool died = w.world.crash_points().fired().has_value();
    w.world.crash_points().disarm();
    if (died) {
      ASSERT_TRUE(w.boot(a));
      ASSERT_TRUE(w.wait_open(a)) << w.last_lines();
    }
    auto made = s.take(a, 1, "monday", "r1");
    for (int tries = 0; !made && tries < 20; ++tries) made = s.take(a, 1, "monday", "r1");
    ASSERT_TRUE(made) << made.error().message << w.last_lines();
    EXPECT_EQ(s.page().roots.size(), 1u);
    for (std::uint64_t b = 0; b < 20; ++b) ASSERT_EQ(s.content("monday")[b], 100 + b);
    ASSERT_TRUE(w.write(a, 50, 7) && w.flush(a) && w.seal(a, 1));
    ASSERT_EQ((*w.read_offline())[50], 7u);
    if (!died) break;
    ASSERT_LT(nth, 100u);
  }
}

TEST_F(SnapshotTest, ATakeOverWinsOverASnapshotOrHasIt) {
  for (std::uint64_t ms = 0; ms < 60; ms += 3) {
    SCOPED_TRACE(ms);
    DiskWorld w(ms + 1);
    SimWorker a{"worker-a"}, b{"worker-b"};
    Snapshots s{w};
    w.settle = 0s;
    ASSERT_TRUE(w.create_disk() && w.boot(a) && w.boot(b) && w.open(a, 1));
    for (std::uint64_t i = 0; i < 20; ++i) ASSERT_TRUE(w.write(a, i, 100 + i));
    std::optional<Result<SnapshotMade>> made;
    auto& scope = a.process->make<Scope>(a.process->loop());
    scope.spawn([](DiskDaemon* d, std::optional<Result<SnapshotMade>>* out) -> Task<void> {
      out->emplace(co_await d->snapshot({disk_id, pool_id, 1, "monday", "r1"}));
    }(a.daemon, &made));
    w.run_for(Duration(static_cast<std::int64_t>(ms) * 1'000'000));
    ASSERT_TRUE(w.open(b, 2, true));
    w.run_for(5s);
    ASSERT_TRUE(made);
    const bool is_there = s.page().find("monday") != nullptr;
    if (*made) EXPECT_TRUE(is_there) << "what was reported stays, whoever owns the disk";
    if (is_there) {
      for (std::uint64_t i = 0; i < 20; ++i) ASSERT_EQ(s.content("monday")[i], 100 + i);
    }
    ASSERT_TRUE(w.write(b, 60, 5) && w.flush(b)) << "the new owner is not disturbed";
    for (std::uint64_t i = 0; i < 20; ++i) ASSERT_EQ((*w.read_all(b))[i], 100 + i);
  }
}

TEST_F(SnapshotTest, ASealOrAnotherSnapshotAtTheSameTimeDoesNoHarm) {
  for (std::uint64_t ms = 0; ms < 60; ms += 3) {
    SCOPED_TRACE(ms);
    DiskWorld w(ms + 1);
    SimWorker a{"worker-a"}, b{"worker-b"};
    Snapshots s{w};
    ASSERT_TRUE(w.create_disk() && w.boot(a) && w.boot(b) && w.open(a, 1));
    for (std::uint64_t i = 0; i < 20; ++i) ASSERT_TRUE(w.write(a, i, 100 + i));
    std::vector<Result<SnapshotMade>> made;
    auto& scope = a.process->make<Scope>(a.process->loop());
    for (int n = 0; n < 3; ++n) {
      scope.spawn([](DiskDaemon* d, std::string name, std::vector<Result<SnapshotMade>>* out) -> Task<void> {
        out->push_back(co_await d->snapshot({disk_id, pool_id, 1, name, "r-" + name}));
      }(a.daemon, n == 2 ? "s0" : fmt::format("s{}", n), &made));
    }
    w.run_for(Duration(static_cast<std::int64_t>(ms) * 1'000'000));
    ASSERT_TRUE(w.seal(a, 1)) << w.last_lines();
    w.run_for(3s);
    ASSERT_EQ(DiskWorld::state_of(a), DiskSeen::sealed) << w.last_lines();
    ASSERT_EQ(made.size(), 3u);
    for (const auto& root : s.page().roots) {
      for (std::uint64_t i = 0; i < 20; ++i) ASSERT_EQ(s.content(root.name)[i], 100 + i);
    }
    for (const auto& m : made)
      if (m) EXPECT_TRUE(s.page().find(m->name));
    ASSERT_TRUE(s.take_detached("s0", "r-s0") && s.take_detached("s1", "r-s1"))
        << "asked again where nobody holds the disk";
    EXPECT_EQ(s.page().roots.size(), 2u);
    ASSERT_TRUE(w.open(b, 2)) << "no take-over is needed";
    for (std::uint64_t i = 0; i < 20; ++i) ASSERT_EQ((*w.read_all(b))[i], 100 + i);
  }
}

TEST_F(SnapshotTest, ASnapshotWaitsOutAnOutageOfTheStoreAndTheGuestWritesOn) {
  start();
  fill(a_, 100, 10);
  w_.store.set_outage(true);
  EXPECT_EQ(s_.take(a_, 1, "monday", "r1").error().code, Code::unavailable);
  ASSERT_TRUE(w_.write(a_, 1, 7)) << "a write needs only the log";
  w_.store.set_outage(false);
  w_.run_for(5s);
  EXPECT_TRUE(s_.take(a_, 1, "monday", "r1"));
  EXPECT_EQ(s_.page().roots.size(), 1u);
}

TEST_F(SnapshotTest, ADetachedDiskIsSnapshotByTheControlPlaneAlone) {
  start();
  fill(a_, 100, 30);
  ASSERT_TRUE(w_.seal(a_, 1));
  ASSERT_TRUE(s_.take_detached("one", "r1") && s_.take_detached("two", "r2"));
  EXPECT_EQ(s_.head().state, HeadState::detached_clean);
  auto checkpoints = w_.store.keys("m/").size();
  const auto epoch = s_.head().epoch;
  ASSERT_TRUE(s_.take_detached("three", "r3"));
  EXPECT_EQ(s_.head().epoch, epoch) << "the checkpoint is the whole disk: only HEAD is changed";
  EXPECT_EQ(w_.store.keys("m/").size(), checkpoints);
  EXPECT_EQ(s_.content("one"), s_.content("three"));
  EXPECT_EQ(s_.take_detached("three", "other").error().code, Code::conflict);
  ASSERT_TRUE(w_.open(a_, 1)) << "the same placement goes on";
  EXPECT_EQ(s_.take_detached("four", "r4").error().code, Code::conflict) << "a worker holds it";
  EXPECT_TRUE(w_.write(a_, 1, 1) && w_.flush(a_)) << "and was not disturbed";
}

TEST_F(SnapshotTest, ForksOfASnapshotDivergeFromALivingDisk) {
  start();
  fill(a_, 100, 20);
  ASSERT_TRUE(s_.take(a_, 1, "monday", "r1"));
  auto objects = w_.store.keys("s/").size();
  ASSERT_TRUE(s_.fork("monday", fork_1) && s_.fork("monday", fork_1)) << "asked twice";
  EXPECT_EQ(w_.store.keys("s/").size(), objects) << "a fork copies nothing";
  ASSERT_TRUE(w_.write(a_, 1, 7) && w_.flush(a_));
  ASSERT_TRUE(w_.open(b_, 1, false, fork_1) && w_.write(b_, 2, 8, fork_1) && w_.flush(b_, fork_1));
  EXPECT_EQ((*w_.read_all(a_))[2], 102u);
  EXPECT_EQ((*w_.read_all(b_, fork_1))[1], 101u);
  EXPECT_EQ(s_.fork("tuesday", fork_2).error().code, Code::not_found);
  EXPECT_EQ(s_.fork("image", fork_2).error().code, Code::invalid);
}

TEST_F(SnapshotTest, ASnapshotIsRemovedOnlyWhenNoForkOfItLives) {
  start();
  fill(a_, 100, 20);
  ASSERT_TRUE(s_.take(a_, 1, "monday", "r1") && s_.take(a_, 1, "tuesday", "r2") && s_.fork("monday", fork_1));
  EXPECT_EQ(s_.remove("monday").error().code, Code::busy);
  EXPECT_EQ(s_.remove_disk(disk_id).error().code, Code::busy);
  EXPECT_TRUE(s_.remove("tuesday") && s_.remove("tuesday")) << "that of others, and again";
  ASSERT_TRUE(s_.remove_disk(fork_1));
  EXPECT_TRUE(s_.page().forks.empty()) << "the pin fell with the fork";
  EXPECT_TRUE(s_.remove("monday"));
  EXPECT_TRUE(s_.page().roots.empty());
  EXPECT_TRUE(w_.write(a_, 1, 1) && w_.flush(a_)) << "all beside the owner";
  ASSERT_TRUE(s_.take(a_, 1, "monday", "r3")) << "the name is free";
  EXPECT_EQ(s_.content("monday")[1], 1u);
}

// Rule 9.
TEST_F(SnapshotTest, ARestoreBringsTheSnapshotBackAndKeepsThePresent) {
  start();
  fill(a_, 100, 30);
  ASSERT_TRUE(s_.take(a_, 1, "monday", "r1"));
  fill(a_, 500, 40);
  EXPECT_EQ(s_.restore("monday", "x1").error().code, Code::conflict) << "a worker holds it";
  ASSERT_TRUE(w_.write(a_, 90, 9) && w_.seal(a_, 1));
  EXPECT_EQ(s_.restore("sunday", "x1").error().code, Code::not_found);
  auto plan = s_.plan("monday");
  ASSERT_TRUE(plan) << plan.error().message;
  EXPECT_EQ(plan->writes_undone, 41u);
  EXPECT_EQ(plan->writes_back, 0u);
  EXPECT_GT(plan->segments_undone, 0u);

  const auto before = now();
  auto restored = s_.restore("monday", "x1");
  ASSERT_TRUE(restored) << restored.error().message;
  EXPECT_EQ(now(), s_.content("monday"));
  EXPECT_EQ(s_.content(restored->kept_as), before);
  EXPECT_EQ(s_.restore("monday", "x1")->kept_as, restored->kept_as) << "asked again: once";
  EXPECT_EQ(s_.page().roots.size(), 2u);

  ASSERT_TRUE(w_.open(b_, 2)) << "as any detached disk";
  EXPECT_EQ((*w_.read_all(b_))[20], 120u);
  ASSERT_TRUE(w_.write(b_, 5, 5) && w_.flush(b_));
  b_.process->kill();
  ASSERT_TRUE(w_.open(a_, 3, true)) << "after a crash it rolls forward along the new lineage only";
  auto content = *w_.read_all(a_);
  EXPECT_EQ(content[5], 5u);
  EXPECT_EQ(content[20], 120u);
  EXPECT_EQ(content[90], 0u);
  ASSERT_TRUE(w_.seal(a_, 3));
  auto back = s_.plan(restored->kept_as);
  ASSERT_TRUE(back);
  EXPECT_EQ(back->writes_undone, 1u);
  EXPECT_EQ(back->writes_back, 41u);
  ASSERT_TRUE(s_.restore(restored->kept_as, "x2"));
  EXPECT_EQ(now(), before) << "a restore is undone by a restore";
  w_.run_for(10s);
  EXPECT_TRUE(a_.daemon->status().unsent_logs.empty()) << "what a restore left is in the store";
}

TEST_F(SnapshotTest, ARestoreThatDiedAnywhereHasHappenedOrNotAndIsDoneOnceWhenAskedAgain) {
  for (std::uint64_t nth = 0;; ++nth) {
    SCOPED_TRACE(nth);
    DiskWorld w(nth + 1);
    SimWorker a{"worker-a"};
    Snapshots s{w};
    ASSERT_TRUE(w.create_disk() && w.boot(a) && w.open(a, 1));
    for (std::uint64_t b = 0; b < 20; ++b) ASSERT_TRUE(w.write(a, b, 100 + b));
    ASSERT_TRUE(s.take(a, 1, "monday", "r1"));
    for (std::uint64_t b = 0; b < 7; ++b) ASSERT_TRUE(w.write(a, b, 500 + b));
    ASSERT_TRUE(w.seal(a, 1));
    const auto before = *w.read_offline(), past = s.content("monday");
    auto& process = w.world.start_process("control", "restore");
    auto& client = process.make<sim::SimStoreClient>(process, w.store);
    auto& admin = process.make<PoolAdmin>(process.loop(), client);
    w.world.crash_points().arm([](const sim::CrashPoint&) { return true; }, nth);
    (void)sim::run_in(process, admin.restore(disk_id, {"monday", "x1", {}}, w.tuning));
    bool died = w.world.crash_points().fired().has_value();
    w.world.crash_points().disarm();
    process.kill();
    auto content = w.read_offline();
    ASSERT_TRUE(content) << content.error().message;
    ASSERT_TRUE(*content == before || *content == past);
    if (nth % 2) {  // somebody opens it before it is asked again
      ASSERT_TRUE(w.open(a, 2)) << w.last_lines();
      ASSERT_EQ(*w.read_all(a), *content);
      ASSERT_TRUE(w.seal(a, 2));
    }
    auto again = s.restore("monday", "x1");
    ASSERT_TRUE(again) << again.error().message;
    ASSERT_EQ(*w.read_offline(), past);
    ASSERT_EQ(s.content(again->kept_as), before);
    ASSERT_EQ(s.page().restores.size(), 1u);
    ASSERT_TRUE(w.open(a, 3) && w.write(a, 1, 1) && w.seal(a, 3)) << w.last_lines();
    if (!died) break;
    ASSERT_LT(nth, 100u);
  }
}

TEST_F(SnapshotTest, AForkIsSnapshotRestoredAndForkedInTurn) {
  start();
  fill(a_, 100, 20);
  ASSERT_TRUE(s_.take(a_, 1, "monday", "r1") && s_.fork("monday", fork_1));
  auto snap = [&](std::string name) {
    return w_.admin<Result<NamedRoot>>(
        [=, this](PoolAdmin& p) { return p.snapshot(fork_1, {name, name}, w_.tuning); });
  };
  ASSERT_TRUE(snap("untouched")) << "never opened by anybody";
  ASSERT_TRUE(w_.open(b_, 5, false, fork_1) && w_.write(b_, 1, 7, fork_1) && w_.seal(b_, 5, fork_1) &&
              snap("touched"));
  auto plan = w_.admin<Result<RestorePlan>>([](PoolAdmin& p) { return p.plan_restore(fork_1, "untouched"); });
  ASSERT_TRUE(plan);
  EXPECT_EQ(plan->writes_undone, 1u);
  ASSERT_TRUE(w_.admin<Status>([](PoolAdmin& p) {
    return p.create_fork(fork_1, fork_2, disk_blocks * block_bytes, DiskClass::remote, "touched");
  }));
  auto restored = w_.admin<Result<RestoreRecord>>(
      [this](PoolAdmin& p) { return p.restore(fork_1, {"untouched", "x", {}}, w_.tuning); });
  ASSERT_TRUE(restored) << restored.error().message;
  EXPECT_EQ((*w_.read_offline(fork_1))[1], 101u);
  EXPECT_EQ((*w_.read_offline(fork_2))[1], 7u);
  EXPECT_EQ(s_.remove_disk(fork_1).error().code, Code::busy);
  EXPECT_TRUE(s_.remove_disk(fork_2) && s_.remove_disk(fork_1) && s_.remove("monday"));
}

TEST_F(SnapshotTest, RootsOfTheFirstVersionAreRead) {
  std::string json =
      R"({"roots": [{"name": "image", "size_bytes": 4096, "checkpoint": {"disk": "d1", "epoch": {"placement": 0,
    "incarnation": 1}, "number": 1, "bytes": 10, "crc32c": 7, "position": {"epoch": {"placement": 0, "incarnation": 1},
    "opener": "abc", "seq": 0, "write_seq": 0, "chain": "", "log_id": "", "log_position": 0}}}],
    "forks": [{"disk": "fork-1", "root": "image"}]})";
  auto page = decode_roots(encode_text("ebb-roots", json));
  ASSERT_TRUE(page) << page.error().message;
  EXPECT_EQ(page->roots.at(0).name, "image");
  EXPECT_EQ(page->forks.at(0).disk, fork_1);
  EXPECT_EQ(decode_roots(encode_text("ebb-roots", json, 5)).error().code, Code::invalid)
      << "a newer one is refused";
  EXPECT_EQ(decode_roots(encode(*page)), page);
}

}  // namespace
}  // namespace ebb::disk
