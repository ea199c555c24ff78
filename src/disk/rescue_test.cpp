// The second half of rule 2: what a returning host's log holds beyond a take-over's cut becomes a disk of its own.
#include "disk/testing/snapshots.h"

namespace ebb::disk {
namespace {
using namespace testing;

const DiskId kept_id("d1-lost-1");
const WantedSnapshot cut{"cut-2", "cut-request"};

// worker-a writes, is cut off from the store in the midst of it, and dies; worker-b takes over and writes on; worker-a returns.
struct Story {
  explicit Story(std::uint64_t seed, std::size_t cut_off_after = 20) : w(seed), random(seed) {
    w.disk_class = DiskClass::local;
    EXPECT_TRUE(w.create_disk(DiskClass::local));
    EXPECT_TRUE(w.boot(a) && w.boot(b) && w.open(a, 1));
    Scope work(a.process->loop());
    work.spawn(run_workload(&a.process->loop(), a.daemon->device(disk_id), &history, {seed, 1}));
    (void)w.world.loop().run_until([&] { return history.issued() >= cut_off_after; }, 1min);
    w.world.links().isolate("worker-a");
    (void)w.world.loop().run_until([&] { return work.size() == 0; }, 2s);
    work.cancel();
    acknowledged = history.acknowledged();
    a.process->kill();
  }
  void take_over(std::vector<WantedSnapshot> cuts = {cut}) {
    auto request = w.open_request(2, true);
    request.cuts = std::move(cuts);
    EXPECT_TRUE(w.call(b, b.daemon->open(request)) && w.wait_open(b)) << w.last_lines();
    auto found = w.read_all(b);
    ASSERT_TRUE(found);
    at_cut = *found;
    for (Stamp i = 0; i < 30; ++i) ASSERT_TRUE(w.write(b, random.below(disk_blocks), 1'000'000 + i));
    ASSERT_TRUE(w.flush(b));
    after_b = *w.read_all(b);
  }
  void return_host() {
    w.world.links().rejoin("worker-a");
    ASSERT_TRUE(w.boot(a));
    ASSERT_TRUE(w.world.loop().run_until([&] { return a.daemon->status().unread_logs.empty(); }, 1min));
  }
  OrphanLog orphan() const {
    auto logs = a.daemon->status().orphan_logs;
    return logs.empty() ? OrphanLog{} : logs.front();
  }
  Status fork(const std::string& root = cut.name) {
    return w.admin<Status>([=](PoolAdmin& p) {
      return p.create_fork(disk_id, kept_id, disk_blocks * block_bytes, DiskClass::local, root);
    });
  }
  RescueLog wish() const { return {disk_id, pool_id, log_id, kept_id, 3, DiskClass::local}; }
  // Until it is done or refused; an answer that it is under way counts as neither.
  Status rescue() {
    for (int i = 0; i < 300; ++i) {
      auto done = w.call(a, a.daemon->rescue(wish()));
      if (done) return {};
      if (done.error().code != Code::unavailable) return fail(done.error());
    }
    return fail(Code::internal, "no end");
  }
  // Whether the disk that was made is all that worker-a ever acknowledged, and the old one what worker-b left.
  void check_kept() {
    auto kept = w.read_offline(kept_id);
    ASSERT_TRUE(kept) << kept.error().message;
    EXPECT_TRUE(history.prefix_of(*kept, acknowledged)) << w.last_lines();
    EXPECT_EQ(*w.read_all(b), after_b);
    EXPECT_TRUE(a.daemon->status().orphan_logs.empty() && a.daemon->status().unsent_logs.empty())
        << w.last_lines();
    EXPECT_EQ(w.admin<Result<HeadSummary>>([](PoolAdmin& p) { return p.read_head(kept_id); })->state,
              HeadState::detached_clean);
  }

  DiskWorld w;
  SimWorker a{"worker-a"}, b{"worker-b"};
  Random random;
  History history{Content(disk_blocks, 0)};
  std::size_t acknowledged = 0;
  Content at_cut, after_b;
  std::string log_id;
};

TEST(Rescue, Rule02TheRestOfAReturningHostsLogBecomesADiskForkedAtTheCut) {
  std::size_t with_rest = 0;
  for (std::uint64_t seed = 1; seed <= 40; ++seed) {
    SCOPED_TRACE(seed);
    Story s(seed, 5 + seed);
    s.take_over();
    ASSERT_FALSE(::testing::Test::HasFailure()) << s.w.last_lines();
    auto status = s.b.daemon->status().disks.at(0);
    ASSERT_EQ(status.cuts.size(), 1u);
    EXPECT_TRUE(status.cuts[0].made_at > 0 && status.cuts[0].request == cut.request) << status.cuts[0].error;
    s.return_host();
    if (s.orphan().records == 0) continue;
    ++with_rest;
    EXPECT_EQ(s.orphan().epoch, 1u);
    s.log_id = s.orphan().log_id;
    ASSERT_TRUE(s.fork());
    EXPECT_EQ(*s.w.read_offline(kept_id), s.at_cut) << "before anything of the log is in it";
    auto done = s.rescue();
    ASSERT_TRUE(done) << done.error().message << s.w.last_lines();
    s.check_kept();
    ASSERT_TRUE(s.rescue()) << "asked again, because the answer was lost";
    ASSERT_FALSE(::testing::Test::HasFailure()) << s.w.last_lines();
  }
  EXPECT_GT(with_rest, 20u);
}

// The turn whose log it is had sent nothing: no segment tells of it. Then the disk is restored, and what it was is removed.
TEST(Rescue, Rule02ACutKeepsWhereALogEndedThatHadSentNothing) {
  Story s(7, 30);
  Snapshots snapshots{s.w};
  s.w.world.links().rejoin("worker-a");
  ASSERT_TRUE(s.w.boot(s.a) && s.w.open(s.a, 2) && s.w.flush(s.a));
  s.w.run_for(20s);
  ASSERT_TRUE(snapshots.take(s.a, 2, "monday", "r1"));
  ASSERT_TRUE(s.w.seal(s.a, 2) && s.w.open(s.a, 3));
  auto expected = *s.w.read_all(s.a);
  s.w.world.links().isolate("worker-a");
  for (Stamp stamp = 1; stamp <= 5; ++stamp) {
    ASSERT_TRUE(s.w.write(s.a, stamp, stamp));
    expected[stamp] = stamp;
  }
  s.a.process->kill();

  auto taking_over = s.w.open_request(4, true);
  taking_over.cuts = {cut};
  ASSERT_TRUE(s.w.call(s.b, s.b.daemon->open(taking_over)) && s.w.wait_open(s.b)) << s.w.last_lines();
  ASSERT_TRUE(s.w.seal(s.b, 4));
  auto restored = snapshots.restore("monday", "r2");
  ASSERT_TRUE(restored) << restored.error().message;
  ASSERT_TRUE(snapshots.remove(restored->kept_as));

  s.return_host();
  s.log_id = s.orphan().log_id;
  ASSERT_EQ(s.orphan().records, 5u);
  ASSERT_TRUE(s.fork());
  auto done = s.rescue();
  ASSERT_TRUE(done) << done.error().message << s.w.last_lines();
  EXPECT_EQ(*s.w.read_offline(kept_id), expected);
}

TEST(Rescue, Rule02ADeathAnywhereInARescueLosesNothingOfTheLog) {
  for (std::uint64_t nth = 0;; ++nth) {
    SCOPED_TRACE(nth);
    Story s(7, 30);
    s.take_over();
    s.return_host();
    s.log_id = s.orphan().log_id;
    ASSERT_GT(s.orphan().records, 3u);
    ASSERT_TRUE(s.fork());
    auto& points = s.w.world.crash_points();
    points.arm([](const sim::CrashPoint& p) { return p.process.host() == "worker-a"; }, nth);
    Scope asking(s.a.process->loop());
    asking.spawn([](DiskDaemon* d, RescueLog wish) -> Task<void> { (void)co_await d->rescue(wish); }(
                                                       s.a.daemon, s.wish()));
    (void)s.w.world.loop().run_until([&] { return !s.a.process->is_alive() || asking.size() == 0; }, 1min);
    const bool died = points.fired().has_value();
    points.disarm();
    asking.cancel();
    if (died && nth % 2) {
      s.a.drive->power_cut(sim::PowerCut::lose_some, s.w.world.fault_random());
      s.acknowledged = s.history.flushed();
    }
    if (died) ASSERT_TRUE(s.w.boot(s.a));
    auto done = s.rescue();
    ASSERT_TRUE(done) << done.error().message << s.w.last_lines();
    s.w.run_for(5s);
    s.check_kept();
    ASSERT_FALSE(::testing::Test::HasFailure());
    if (!died) break;
    ASSERT_LT(nth, 500u);
  }
}

TEST(Rescue, Rule02ALogIsWrittenOnlyWhereItGoesOn) {
  Story s(7, 30);
  s.take_over();
  const SnapshotRequest later{"later", "another"};
  ASSERT_TRUE(s.w.call(s.b, s.b.daemon->seal({disk_id, pool_id, 2})));
  s.w.run_for(5s);
  ASSERT_TRUE(s.w.admin<Result<NamedRoot>>([=](PoolAdmin& p) { return p.snapshot(disk_id, later); }));
  s.return_host();
  s.log_id = s.orphan().log_id;
  ASSERT_TRUE(s.fork("later"));
  auto refused = s.rescue();
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Code::conflict) << refused.error().message;
  EXPECT_TRUE(refused.error().message.ends_with("the log is kept")) << refused.error().message;
  EXPECT_EQ(s.orphan().log_id, s.log_id);
  EXPECT_EQ(*s.w.read_offline(kept_id), s.after_b) << "not one byte of it is written";
}

// A restore leaves the history as another branch of it: a place in the midst of the dead worker's turn is now where the disk
// goes on from, and not where its log was cut.
TEST(Rescue, Rule02ALogIsFoundToGoOnAlsoAfterARestoreIntoTheMidstOfItsTurn) {
  Story s(7, 0);  // nothing is written yet
  ASSERT_TRUE(s.w.boot(s.a));
  s.w.world.links().rejoin("worker-a");
  ASSERT_TRUE(s.w.open(s.a, 1));
  for (Stamp i = 1; i <= 10; ++i) ASSERT_TRUE(s.w.write(s.a, i, 100 + i));
  auto made =
      sim::run_in(*s.a.process, s.a.daemon->snapshot({disk_id, pool_id, 1, "early", "early-request"}));
  ASSERT_TRUE(made && *made);
  for (Stamp i = 1; i <= 10; ++i) ASSERT_TRUE(s.w.write(s.a, i, 200 + i));
  s.w.run_for(3s);
  auto found = s.w.read_all(s.a);
  ASSERT_TRUE(found);
  auto last = *found;
  s.w.world.links().isolate("worker-a");
  for (Stamp i = 1; i <= 5; ++i) {
    ASSERT_TRUE(s.w.write(s.a, i, 300 + i));
    last[i] = 300 + i;
  }
  s.a.process->kill();
  s.take_over();
  ASSERT_TRUE(s.w.seal(s.b, 2));
  const RestoreRequest back{"early", "back", {}};
  ASSERT_TRUE(s.w.admin<Result<RestoreRecord>>([=](PoolAdmin& p) { return p.restore(disk_id, back); }));
  s.return_host();
  s.log_id = s.orphan().log_id;
  EXPECT_EQ(s.orphan().records, 5u);
  ASSERT_TRUE(s.fork());
  auto done = s.rescue();
  ASSERT_TRUE(done) << done.error().message;
  auto kept = s.w.read_offline(kept_id);
  ASSERT_TRUE(kept) << kept.error().message;
  EXPECT_EQ(*kept, last);
}

TEST(Rescue, ALogOfADiskThatWasDeletedGoesWithIt) {
  Story s(7, 30);
  s.take_over();
  ASSERT_TRUE(s.w.admin<Status>([](PoolAdmin& p) { return p.delete_disk(disk_id); }));
  s.return_host();
  EXPECT_TRUE(s.a.daemon->status().unsent_logs.empty() && s.a.daemon->status().orphan_logs.empty());
}

TEST(Rescue, Rule02AForkOfAnotherDiskOrAnUnknownLogIsRefused) {
  Story s(7, 30);
  s.take_over();
  s.return_host();
  s.log_id = s.orphan().log_id;
  ASSERT_TRUE(s.w.create_disk(DiskClass::local, kept_id));
  EXPECT_EQ(s.rescue().error().code, Code::conflict);
  const auto log_id = std::exchange(s.log_id, "no-such-log");
  EXPECT_EQ(s.rescue().error().code, Code::not_found);
  EXPECT_EQ(s.orphan().log_id, log_id);
}

TEST(Rescue, ACutThatCannotBeTakenKeepsNobodyFromServing) {
  Story s(7);
  s.take_over({{"not a name!", "r"}});
  auto cuts = s.b.daemon->status().disks.at(0).cuts;
  ASSERT_EQ(cuts.size(), 1u);
  EXPECT_TRUE(cuts[0].made_at == 0 && !cuts[0].error.empty());
}

TEST(Rescue, ACutIsToldOfAfterARestartAndTakenOnlyByATakeOver) {
  Story s(7);
  s.take_over();
  const auto told = s.b.daemon->status().disks.at(0).cuts;
  s.b.process->kill();
  ASSERT_TRUE(s.w.boot(s.b) && s.w.wait_open(s.b));
  EXPECT_EQ(s.b.daemon->status().disks.at(0).cuts, told);
  ASSERT_TRUE(s.w.seal(s.b, 2));
  auto request = s.w.open_request(3);
  request.cuts = {{"cut-3", "another"}};
  ASSERT_TRUE(s.w.call(s.b, s.b.daemon->open(request)) && s.w.wait_open(s.b));
  auto cuts = s.b.daemon->status().disks.at(0).cuts;
  ASSERT_EQ(cuts.size(), 1u);
  EXPECT_EQ(cuts[0].error, "nobody held the disk: nothing was cut");
}

// The successor dies before it serves: whoever opens next takes the cut at the same place.
TEST(Rescue, Rule02ADeathAnywhereInATakeOverLeavesTheCutWhereTheLogWasCut) {
  for (std::uint64_t nth = 0;; ++nth) {
    SCOPED_TRACE(nth);
    Story s(7, 30);
    auto request = s.w.open_request(2, true);
    request.cuts = {cut};
    auto& points = s.w.world.crash_points();
    points.arm([](const sim::CrashPoint& p) { return p.process.host() == "worker-b"; }, nth);
    Scope opening(s.b.process->loop());
    opening.spawn(
        [](DiskDaemon* d, OpenDisk r) -> Task<void> { (void)co_await d->open(r); }(s.b.daemon, request));
    (void)s.w.world.loop().run_until(
        [&] { return !s.b.process->is_alive() || s.w.state_of(s.b) == DiskSeen::open; }, 1min);
    const bool died = points.fired().has_value();
    points.disarm();
    opening.cancel();
    if (died) ASSERT_TRUE(s.w.boot(s.b));
    s.take_over();
    s.return_host();
    s.log_id = s.orphan().log_id;
    ASSERT_TRUE(s.fork()) << s.w.last_lines();
    auto done = s.rescue();
    ASSERT_TRUE(done) << done.error().message << s.w.last_lines();
    s.check_kept();
    ASSERT_FALSE(::testing::Test::HasFailure());
    if (!died) break;
    ASSERT_LT(nth, 500u);
  }
}

}  // namespace
}  // namespace ebb::disk
