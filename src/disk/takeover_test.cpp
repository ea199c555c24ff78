#include "disk/keys.h"
#include "disk/testing/disk_world.h"

namespace ebb::disk {
namespace {
using namespace testing;

// One tenure: from a disk being served to whatever ended it.
struct Session {
  std::string worker;
  DiskEpoch epoch;
  std::shared_ptr<BlockDevice> device;  // to tell tenures apart; reset before its process dies
  Content initial;
  std::unique_ptr<History> history;
};

Task<void> live(Loop* loop, std::shared_ptr<BlockDevice> device, Session* session, std::uint64_t seed,
                Stamp owner) {
  auto initial = co_await read_all_stamps(device);
  if (!initial) co_return;
  session->initial = *initial;
  session->history = std::make_unique<History>(*initial);
  co_await run_workload(loop, device, session->history.get(), {seed, owner, 150, 20ms, 0.2});
}

// Several workers fight for one disk while the store misbehaves; zombies are paused and continue; processes
// die.
class Fight {
 public:
  Fight(std::uint64_t seed, DiskClass disk_class) : random_(seed), w_(seed) {
    w_.disk_class = disk_class;
    w_.settle = 200ms;
    EXPECT_TRUE(w_.create_disk(disk_class));
    for (auto name : {"worker-a", "worker-b", "worker-c"}) workers_.push_back({name});
    for (auto& worker : workers_) EXPECT_TRUE(w_.boot(worker));
  }

  void run() {
    auto& options = w_.store.options();
    for (auto* p :
         {&options.lose_request, &options.lose_reply, &options.delay, &options.repeat, &options.busy})
      *p = random_.unit() * 0.08;
    ask_open(workers_[0], 1);
    Epoch next = 2;
    for (int step = 0; step < 60; ++step) {
      step_for(Duration(static_cast<std::int64_t>(random_.below(150'000'000))));
      auto& worker = workers_[random_.below(workers_.size())];
      switch (random_.below(12)) {
        case 0:
          worker.process->pause();
          break;
        case 1:
        case 2:
          worker.process->resume();
          break;
        case 3:
          reboot(worker);
          break;
        case 4:
        case 5:
          if (next <= 6) ask_open(worker, next++);
          break;
        case 6:  // two at nearly the same time
          if (next <= 5) ask_open(workers_[0], next++), ask_open(workers_[1], next++);
          break;
        default:
          break;
      }
    }
    w_.store.heal();
    for (auto& worker : workers_) worker.process->resume();
    step_for(20s);
  }

  void check() {
    SimWorker last{"worker-z"};
    ASSERT_TRUE(w_.boot(last));
    auto opened = w_.open(last, 99, true);
    ASSERT_TRUE(opened) << opened.error().message << w_.last_lines();
    auto final_content = w_.read_all(last);
    ASSERT_TRUE(final_content) << final_content.error().message;
    std::vector<Session*> order;
    for (auto& s : sessions_) {
      if (s->history) order.push_back(s.get());
    }
    std::sort(order.begin(), order.end(), [](auto* x, auto* y) { return x->epoch < y->epoch; });
    ASSERT_FALSE(order.empty());
    History so_far(Content(disk_blocks, 0));  // of the last worker, over its restarts: its log carries them
    const Session* before = nullptr;
    for (const auto* session : order) {
      bool is_restart = before && before->epoch.placement == session->epoch.placement;
      auto length = follow(so_far, session->initial, is_restart, session->epoch.text());
      if (::testing::Test::HasFailure()) return;
      if (before && before->worker == session->worker)
        so_far.go_on(length, *session->history);
      else
        so_far = *session->history;
      before = session;
    }
    follow(so_far, *final_content, false, "the last");
    if (::testing::Test::HasFailure()) return;
    ASSERT_TRUE(w_.world.violations().empty()) << w_.world.violations()[0];
    tenures_ = order.size();
  }
  std::size_t tenures() const { return tenures_; }

 private:
  // How much of the history so far the next owner found, which must be a prefix and all that was promised.
  std::size_t follow(const History& so_far, const Content& found, bool is_restart, const std::string& next) {
    auto flushed = w_.disk_class == DiskClass::remote ? so_far.flushed() : 0;
    auto least = is_restart ? std::max(flushed, so_far.acknowledged()) : flushed;
    auto length = so_far.prefix_of(found, least);
    EXPECT_TRUE(length) << next << " does not hold a prefix of at least " << least << " of "
                        << so_far.issued() << " writes; any: " << so_far.prefix_of(found, 0).has_value()
                        << "\n"
                        << w_.last_lines(400);
    return length.value_or(0);
  }
  void ask_open(SimWorker& worker, Epoch epoch) {
    if (!worker.process->is_alive()) return;
    scope_of(worker).spawn([](DiskDaemon* d, OpenDisk request) -> Task<void> {
      (void)co_await d->open(std::move(request));
    }(worker.daemon, w_.open_request(epoch, true)));
  }
  void reboot(SimWorker& worker) {
    for (auto& s : sessions_) {
      if (s->worker == worker.name) s->device.reset();
    }
    scopes_.erase(worker.name);
    w_.begin_boot(worker);
    scope_of(worker).spawn([](DiskDaemon* d) -> Task<void> { (void)co_await d->start(); }(worker.daemon));
  }
  Scope& scope_of(SimWorker& worker) {
    auto& scope = scopes_[worker.name];
    if (!scope) scope = std::make_unique<Scope>(worker.process->loop());
    return *scope;
  }

  void step_for(Duration duration) {
    auto until = w_.world.loop().now() + duration;
    while (w_.world.loop().now() < until) {
      w_.run_for(5ms);
      check_head();
      for (auto& worker : workers_) begin_session(worker);
    }
  }
  void begin_session(SimWorker& worker) {
    if (!worker.process->is_alive() || worker.process->is_paused()) return;
    auto device = worker.daemon->device(disk_id);
    if (!device) return;
    for (auto& s : sessions_) {
      if (s->device == device) return;
    }
    auto status = worker.daemon->status().disks.at(0);
    auto& session = *sessions_.emplace_back(std::make_unique<Session>());
    session.worker = worker.name, session.epoch = {status.epoch, status.incarnation}, session.device = device;
    scope_of(worker).spawn(live(&worker.process->loop(), device, &session, random_.next(), sessions_.size()));
  }
  void check_head() {
    const auto* object = w_.store.peek(head_key(disk_id));
    auto head = decode_head(object->body, disk_id);
    ASSERT_TRUE(head) << head.error().message;
    ASSERT_GE(head->epoch, highest_) << "an epoch went back";
    highest_ = head->epoch;
  }

  Random random_;
  DiskWorld w_;
  std::vector<SimWorker> workers_;
  std::vector<std::unique_ptr<Session>> sessions_;
  std::map<std::string, std::unique_ptr<Scope>> scopes_;
  DiskEpoch highest_;
  std::size_t tenures_ = 0;
};

void fight(DiskClass disk_class, std::uint64_t seeds) {
  seeds = times_seeds(seeds);
  std::size_t tenures = 0;
  for (std::uint64_t seed = 1; seed <= seeds; ++seed) {
    SCOPED_TRACE(fmt::format("seed {}", seed));
    Fight one(seed, disk_class);
    one.run();
    one.check();
    tenures += one.tenures();
    if (::testing::Test::HasFailure()) return;
  }
  EXPECT_GT(tenures, seeds * 2) << "the fights were no fights";
}

TEST(Takeover, FightsOverARemoteDiskLoseNothingThatWasFlushed) { fight(DiskClass::remote, 80); }
TEST(Takeover, FightsOverALocalDiskAlwaysLeaveAPrefix) { fight(DiskClass::local, 50); }

// Rule 6: what came back as 412 is read and compared.
// A zombie that was stopped for a while and goes on does not make one more write durable.
TEST(Takeover, AZombieMakesNothingDurableAndItsFlushIsNeverAcknowledged) {
  DiskWorld w;
  ASSERT_TRUE(w.create_disk());
  SimWorker a{"worker-a"}, b{"worker-b"};
  ASSERT_TRUE(w.boot(a) && w.boot(b));
  ASSERT_TRUE(w.open(a, 1));
  ASSERT_TRUE(w.write(a, 1, 11) && w.flush(a));
  a.process->pause();
  ASSERT_TRUE(w.open(b, 2, true));
  ASSERT_TRUE(w.write(b, 2, 22) && w.flush(b));
  a.process->resume();
  auto device = a.daemon->device(disk_id);
  ASSERT_TRUE(device) << "the zombie does not know yet";
  auto written = w.write(a, 1, 33);
  auto flushed = w.flush(a);
  EXPECT_FALSE(flushed);
  EXPECT_EQ(DiskWorld::state_of(a), DiskSeen::fenced);
  auto now = w.read_offline();
  ASSERT_TRUE(now);
  EXPECT_EQ((*now)[1], 11u);
  EXPECT_EQ((*now)[2], 22u);
}

// Rule 4.
TEST(Takeover, OnlyTheLowestFenceDecidesWhatASlowSegmentIsWorth) {
  // The zombie's segments 1 and 2 were sent and are still on their way while the opener fences.
  for (std::uint64_t seed = 1; seed <= 200; ++seed) {
    SCOPED_TRACE(seed);
    DiskWorld w(seed);
    ASSERT_TRUE(w.create_disk());
    SimWorker a{"worker-a"}, b{"worker-b"};
    ASSERT_TRUE(w.boot(a) && w.boot(b));
    ASSERT_TRUE(w.open(a, 1));
    History history(Content(disk_blocks, 0));
    Scope work(a.process->loop());
    work.spawn(
        run_workload(&a.process->loop(), a.daemon->device(disk_id), &history, {seed, 1, 200, 2ms, 0.5}));
    Random random(seed);
    w.run_for(Duration(static_cast<std::int64_t>(random.below(200'000'000))));
    w.settle = 0ns;
    auto& options = w.store.options();
    options.put = 40ms;  // slow: orders differ from seed to seed
    ASSERT_TRUE(w.open(b, 2, true));
    auto found = w.read_all(b);
    ASSERT_TRUE(found);
    w.run_for(5s);
    ASSERT_TRUE(history.prefix_of(*found, history.flushed())) << history.flushed() << w.last_lines();
    auto stored = w.read_offline();
    ASSERT_TRUE(stored);
    ASSERT_EQ(*stored, *found);
    work.cancel();
  }
}

// Rule 3.
TEST(Takeover, AnAttachThatDiedHalfWayLeavesAllEpochsToBeSealed) {
  DiskWorld w;
  ASSERT_TRUE(w.create_disk());
  SimWorker a{"worker-a"}, b{"worker-b"}, c{"worker-c"};
  ASSERT_TRUE(w.boot(a) && w.boot(b) && w.boot(c));
  ASSERT_TRUE(w.open(a, 1));
  ASSERT_TRUE(w.write(a, 1, 11) && w.flush(a));
  a.process->pause();
  // b dies right after HEAD says that it is attaching.
  w.world.crash_points().arm(
      [](const sim::CrashPoint& p) { return p.process.host() == "worker-b" && p.kind == "store.put after"; },
      0);
  (void)w.call(b, b.daemon->open(w.open_request(2, true)));
  ASSERT_FALSE(b.process->is_alive());
  w.world.crash_points().disarm();
  auto head = w.admin<Result<HeadSummary>>([](PoolAdmin& p) { return p.read_head(disk_id); });
  ASSERT_EQ(head->state, HeadState::attaching);
  ASSERT_TRUE(w.open(c, 3, true));
  ASSERT_TRUE(w.write(c, 2, 22) && w.flush(c));
  a.process->resume();
  (void)w.write(a, 1, 33);
  EXPECT_FALSE(w.flush(a));
  auto now = w.read_offline();
  ASSERT_TRUE(now) << now.error().message;
  EXPECT_EQ((*now)[1], 11u);
  EXPECT_EQ((*now)[2], 22u);
}

// Rule 6.
TEST(Takeover, ADetachedHeadIsNotTrustedWithoutLookingAtItsFence) {
  // HEAD says detached, and (as after a detach whose compare-and-set came through late) its epoch has one
  // more segment.
  DiskWorld w;
  ASSERT_TRUE(w.create_disk());
  SimWorker a{"worker-a"}, b{"worker-b"};
  ASSERT_TRUE(w.boot(a) && w.boot(b));
  ASSERT_TRUE(w.open(a, 1));
  ASSERT_TRUE(w.write(a, 1, 11) && w.flush(a));
  w.admin<Status>([&](PoolAdmin&) -> Task<Status> {
    auto& process = w.world.start_process("fault", "fault");
    auto& client = process.make<sim::SimStoreClient>(process, w.store);
    auto& trouble = process.make<Trouble>(process.loop());
    StoreAccess access{&process.loop(), &client, &trouble};
    auto at = co_await read_head(access, disk_id);
    auto changed = co_await change_head(access, *at, [](const Head& h) -> Result<Head> {
      auto next = h;
      next.state = HeadState::detached_clean;
      return next;
    });
    co_return changed ? Status{} : Status(fail(changed.error()));
  });
  ASSERT_TRUE(w.open(b, 2));
  auto content = w.read_all(b);
  ASSERT_TRUE(content);
  EXPECT_EQ((*content)[1], 11u);
  (void)w.write(a, 1, 33);
  EXPECT_FALSE(w.flush(a)) << "its place must have been fenced";
}

TEST(Takeover, LostRepliesAndRepeatsChangeNothing) {
  for (std::uint64_t seed = 1; seed <= 60; ++seed) {
    SCOPED_TRACE(seed);
    DiskWorld w(seed);
    ASSERT_TRUE(w.create_disk());
    SimWorker a{"worker-a"}, b{"worker-b"};
    ASSERT_TRUE(w.boot(a) && w.boot(b));
    auto& options = w.store.options();
    options.lose_reply = 0.4, options.repeat = 0.3, options.time_out = 50ms;
    ASSERT_TRUE(w.open(a, 1));
    History history(Content(disk_blocks, 0));
    Scope work(a.process->loop());
    work.spawn(run_workload(&a.process->loop(), a.daemon->device(disk_id), &history, {seed, 1, 40}));
    ASSERT_TRUE(w.world.loop().run_until([&] { return work.size() == 0; }, 10min));
    ASSERT_EQ(history.acknowledged(), history.issued());
    auto sealed = w.seal(a, 1);
    ASSERT_TRUE(sealed) << sealed.error().message << w.last_lines();
    ASSERT_TRUE(w.open(b, 2));
    auto content = w.read_all(b);
    ASSERT_TRUE(content);
    ASSERT_EQ(history.prefix_of(*content, history.issued()), history.issued());
  }
}

}  // namespace
}  // namespace ebb::disk
