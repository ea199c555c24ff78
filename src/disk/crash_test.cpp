#include "disk/testing/disk_world.h"

namespace ebb::disk {
namespace {
using namespace testing;

// How the first owner ends, and where the disk is opened next.
enum class After {
  restart,         // kill -9; the same worker opens: all that was acknowledged is there
  power_cut_all,   // everything unsynced is gone; the same worker opens
  power_cut_some,  // some of it is
  elsewhere,       // the worker is dead; another one takes over: what was flushed is there
};

std::size_t promised(const History& history, DiskClass disk_class, After after) {
  switch (after) {
    case After::restart:
      return history.acknowledged();
    case After::power_cut_all:
    case After::power_cut_some:
      return history.flushed();
    case After::elsewhere:
      return disk_class == DiskClass::remote ? history.flushed() : 0;
  }
  return 0;
}

struct Case {
  std::uint64_t seed = 1;
  DiskClass disk_class = DiskClass::remote;
  After after = After::restart;
  std::uint64_t nth = sim::CrashPoints::never;
};

// One life of a disk: a workload, a death at the nth crash point, a successor. Returns how many points there
// were.
std::uint64_t run_case(Case c) {
  SCOPED_TRACE(fmt::format("seed {} class {} after {} nth {}", c.seed, json::name_of(c.disk_class),
                           static_cast<int>(c.after), c.nth));
  DiskWorld w(c.seed);
  w.disk_class = c.disk_class;
  EXPECT_TRUE(w.create_disk(c.disk_class));
  SimWorker a{"worker-a"}, b{"worker-b"};
  EXPECT_TRUE(w.boot(a));
  auto opened = w.open(a, 1);
  EXPECT_TRUE(opened);
  History history(Content(disk_blocks, 0));
  w.world.crash_points().arm([&](const sim::CrashPoint& p) { return p.process.host() == "worker-a"; }, c.nth);
  Scope work(a.process->loop());
  work.spawn(run_workload(&a.process->loop(), a.daemon->device(disk_id), &history, {c.seed, 1}));
  (void)w.world.loop().run_until([&] { return !a.process->is_alive() || work.size() == 0; }, 5min);
  auto points = w.world.crash_points().count();
  w.world.crash_points().disarm();
  EXPECT_TRUE(history.acknowledged_in_order());
  work.cancel();

  a.process->kill();
  w.run_for(1ms);
  if (c.after == After::power_cut_all) a.drive->power_cut(sim::PowerCut::lose_all, w.world.fault_random());
  if (c.after == After::power_cut_some) a.drive->power_cut(sim::PowerCut::lose_some, w.world.fault_random());
  auto& next = c.after == After::elsewhere ? b : a;
  auto booted = w.boot(next);
  EXPECT_TRUE(booted) << booted.error().message;
  auto reopened = w.open(next, c.after == After::elsewhere ? 2 : 1, c.after == After::elsewhere);
  EXPECT_TRUE(reopened) << reopened.error().message << "\n" << w.last_lines();
  auto content = w.read_all(next);
  EXPECT_TRUE(content) << content.error().message;
  if (!content) return points;
  auto least = promised(history, c.disk_class, c.after);
  auto prefix = history.prefix_of(*content, least);
  EXPECT_TRUE(prefix) << "no prefix of at least " << least << " of " << history.issued()
                      << " writes (any: " << (history.prefix_of(*content, 0) ? "yes" : "no") << ")\n"
                      << w.last_lines();
  // And the successor goes on: what it flushes is in the store.
  History second(*content);
  Scope more(next.process->loop());
  more.spawn(run_workload(&next.process->loop(), next.daemon->device(disk_id), &second, {c.seed + 1, 2, 15}));
  EXPECT_TRUE(w.world.loop().run_until([&] { return more.size() == 0; }, 5min));
  EXPECT_EQ(second.acknowledged(), second.issued());
  EXPECT_TRUE(w.seal(next, c.after == After::elsewhere ? 2 : 1));
  auto stored = w.read_offline();
  EXPECT_TRUE(stored) << stored.error().message;
  if (stored) {
    EXPECT_EQ(second.prefix_of(*stored, second.issued()), second.issued()) << "a clean detach loses nothing";
  }
  EXPECT_TRUE(next.daemon->status().unsent_logs.empty()) << w.last_lines();
  EXPECT_TRUE(w.world.violations().empty()) << w.world.violations()[0];
  return points;
}

// Every crash point of one run, each followed by one of the four ways to go on; other seeds shift which.
void crash_everywhere(DiskClass disk_class, std::uint64_t seeds) {
  for (std::uint64_t seed = 1; seed <= seeds; ++seed) {
    auto points = run_case({seed, disk_class, After::restart, sim::CrashPoints::never});
    ASSERT_GT(points, 50u);
    for (std::uint64_t nth = 0; nth < points; ++nth) {
      run_case({seed, disk_class, static_cast<After>((nth + seed) % 4), nth});
      if (::testing::Test::HasFailure()) return;
    }
  }
}

TEST(Crash, AnywhereARemoteDiskKeepsWhatItPromised) { crash_everywhere(DiskClass::remote, times_seeds(4)); }
TEST(Crash, AnywhereALocalDiskKeepsWhatItPromised) { crash_everywhere(DiskClass::local, times_seeds(4)); }

TEST(Crash, OfTheSuccessorWhileItOpensLosesNothingEither) {
  for (std::uint64_t nth = 0;; ++nth) {
    SCOPED_TRACE(nth);
    DiskWorld w(nth + 1);
    w.disk_class = DiskClass::local;
    ASSERT_TRUE(w.create_disk(DiskClass::local));
    SimWorker a{"worker-a"};
    ASSERT_TRUE(w.boot(a));
    ASSERT_TRUE(w.open(a, 1));
    History history(Content(disk_blocks, 0));
    Scope work(a.process->loop());
    work.spawn(run_workload(&a.process->loop(), a.daemon->device(disk_id), &history, {nth + 1, 1}));
    (void)w.world.loop().run_until([&] { return work.size() == 0; }, 150ms);
    work.cancel();
    auto acknowledged = history.acknowledged();
    // The successor dies at its nth step, and so does every second try after it.
    w.begin_boot(a);
    w.world.crash_points().arm([&](const sim::CrashPoint& p) { return p.process.host() == "worker-a"; }, nth);
    Scope opening(a.process->loop());
    opening.spawn([](DiskDaemon* d, OpenDisk request) -> Task<void> {
      if (co_await d->start()) (void)co_await d->open(request);
    }(a.daemon, w.open_request(1)));
    (void)w.world.loop().run_until([&] { return !a.process->is_alive() || opening.size() == 0; }, 1min);
    bool died = w.world.crash_points().fired().has_value();
    w.world.crash_points().disarm();
    opening.cancel();
    ASSERT_TRUE(w.boot(a));
    auto opened = w.open(a, 1);
    ASSERT_TRUE(opened) << opened.error().message << w.last_lines();
    auto content = w.read_all(a);
    ASSERT_TRUE(content) << content.error().message;
    ASSERT_TRUE(history.prefix_of(*content, acknowledged)) << w.last_lines();
    if (!died) break;
    ASSERT_LT(nth, 500u);
  }
}

TEST(Crash, ManyTimesInARowStillLosesNothing) {
  for (std::uint64_t seed = 1; seed <= 60; ++seed) {
    SCOPED_TRACE(seed);
    DiskWorld w(seed);
    w.disk_class = seed % 2 ? DiskClass::local : DiskClass::remote;
    ASSERT_TRUE(w.create_disk(w.disk_class));
    SimWorker a{"worker-a"};
    Random random(seed);
    Content content(disk_blocks, 0);
    std::size_t least = 0;
    std::optional<History> history;
    for (Stamp life = 1; life <= 5; ++life) {
      ASSERT_TRUE(w.boot(a));
      auto opened = w.open(a, 1);
      ASSERT_TRUE(opened) << opened.error().message << w.last_lines();
      auto found = w.read_all(a);
      ASSERT_TRUE(found);
      if (history) {
        ASSERT_TRUE(history->prefix_of(*found, least)) << "life " << life << w.last_lines();
      }
      history.emplace(*found);
      Scope work(a.process->loop());
      work.spawn(
          run_workload(&a.process->loop(), a.daemon->device(disk_id), &*history, {random.next(), life}));
      (void)w.world.loop().run_until([&] { return work.size() == 0; },
                                     Duration(static_cast<std::int64_t>(random.below(300'000'000))));
      work.cancel();
      a.process->kill();
      w.run_for(1ms);
      least = history->acknowledged();
      if (random.chance(0.3)) {
        a.drive->power_cut(sim::PowerCut::lose_some, w.world.fault_random());
        least = history->flushed();
      }
    }
  }
}

}  // namespace
}  // namespace ebb::disk
