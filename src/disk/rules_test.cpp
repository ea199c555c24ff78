// The engine's rules, by number, where no story of another test is exactly theirs
// (docs/internals/disk-rules.md).
#include "disk/cleaning/reclaim.h"
#include "disk/keys.h"
#include "disk/testing/disk_world.h"

namespace ebb::disk {
namespace {
using namespace testing;

Head head_of(const DiskWorld& w, const DiskId& disk = disk_id) {
  return decode_head(w.store.peek(head_key(disk))->body, disk).value();
}

bool is_fence_at(const DiskWorld& w, DiskEpoch epoch, std::uint64_t seq) {
  const auto* object = w.store.peek(segment_key(disk_id, epoch, seq));
  if (!object) return false;
  auto head = ByteView(object->body).first(log_object_head_bytes(object->body).value());
  auto decoded = decode_log_object(head, disk_id, epoch, seq);
  return decoded && std::holds_alternative<Fence>(*decoded);
}

// In a process of its own.
template <class T>
Result<T> apart(DiskWorld& w, std::function<Task<Result<T>>(StoreAccess, ObjectRemover*)> task) {
  auto& process = w.world.start_process("control", "apart");
  auto& client = process.make<sim::SimStoreClient>(process, w.store);
  auto& trouble = process.make<Trouble>(process.loop());
  auto done = sim::run_in(process, task({&process.loop(), &client, &trouble}, &client));
  process.kill();
  return done ? std::move(*done) : fail(Code::internal, "did not end");
}

// All of a small write-ahead log's chains that would survive a power cut.
std::vector<ChainLink> synced_links(const SimWorker& worker) {
  std::vector<ChainLink> links;
  auto folder = fmt::format("/state/disks/{}", disk_id);
  auto names = worker.drive->list(folder).value();
  for (const auto& name : names) {
    auto inode = worker.drive->find(fmt::format("{}/{}/chain", folder, name));
    if (!inode) continue;
    auto chain =
        read_text_object<LogChain>(inode->durable.read(0, inode->durable.size()), "ebb-chain", "a chain")
            .value();
    links.insert(links.end(), chain.openers.begin(), chain.openers.end());
  }
  return links;
}

// Segment 1 of a disk whose first write is this one; all such are equally long.
Bytes first_segment(Stamp stamp) {
  DiskWorld w;
  SimWorker a{"worker-a"};
  EXPECT_TRUE(w.create_disk() && w.boot(a) && w.open(a, 1) && w.write(a, 1, stamp) && w.flush(a));
  return w.store.peek(segment_key(disk_id, {1, 1}, 1))->body;
}

Task<Result<ObjectTag>> put_segment(StoreAccess access, Bytes body) {
  co_return co_await access.store->put(segment_key(disk_id, {1, 1}, 1),
                                       std::make_shared<const Bytes>(std::move(body)),
                                       PutCondition::if_absent());
}

TEST(Rules, Rule01AnotherSegmentOfThatLengthIsNotOurs) {
  const auto ours = first_segment(11), another = first_segment(12);
  ASSERT_EQ(ours.size(), another.size());
  ASSERT_NE(ours, another);
  for (bool is_ours : {true, false}) {
    DiskWorld w;
    ASSERT_TRUE(w.create_disk());
    SimWorker a{"worker-a"};
    ASSERT_TRUE(w.boot(a) && w.open(a, 1));
    ASSERT_TRUE(w.apart<ObjectTag>(
        [&](StoreAccess access, ObjectRemover*) { return put_segment(access, is_ours ? ours : another); }));
    ASSERT_TRUE(w.write(a, 1, 11));
    EXPECT_EQ(w.flush(a).has_value(), is_ours) << "the whole body counts";
    EXPECT_EQ(DiskWorld::state_of(a), is_ours ? DiskSeen::open : DiskSeen::failed);
  }
}

// Remembers what is sent, whatever becomes of it.
class HeardStore final : public ObjectStore {
 public:
  using Sent = std::map<std::string, std::set<Bytes>>;
  HeardStore(ObjectStore& store, Sent& sent) : store_(store), sent_(sent) {}
  Task<Result<ObjectTag>> put(std::string key, SharedBytes body, PutCondition condition) override {
    sent_[key].insert(*body), ++tries;
    return store_.put(std::move(key), std::move(body), std::move(condition));
  }
  Task<Result<StoredObject>> get(std::string key) override { return store_.get(std::move(key)); }
  Task<Result<Bytes>> get_range(std::string key, std::uint64_t offset, std::size_t length) override {
    return store_.get_range(std::move(key), offset, length);
  }
  std::size_t tries = 0;

 private:
  ObjectStore& store_;
  Sent& sent_;
};

TEST(Rules, Rule01ASegmentIsSentAgainAsItWas) {
  DiskWorld w;
  HeardStore::Sent sent;
  HeardStore* heard = nullptr;
  w.wrap_store = [&](sim::SimProcess& process, ObjectStore& store) -> ObjectStore* {
    return heard = &process.make<HeardStore>(store, sent);
  };
  ASSERT_TRUE(w.create_disk());
  SimWorker a{"worker-a"};
  ASSERT_TRUE(w.boot(a) && w.open(a, 1));
  auto& options = w.store.options();
  options.lose_request = 0.2, options.lose_reply = 0.2, options.delay = 0.2, options.time_out = 50ms;
  for (Stamp i = 1; i <= 60; ++i) ASSERT_TRUE(w.write(a, i % 20, i) && (i % 3 || w.flush(a)));
  std::size_t segments = 0;
  for (const auto& [key, bodies] : sent) {
    if (!key.starts_with("s/")) continue;
    ++segments;
    EXPECT_EQ(bodies.size(), 1u) << key;
  }
  EXPECT_GE(segments, 20u);
  EXPECT_GT(heard->tries, segments * 3 / 2) << "hardly any was sent again";
}

TEST(Rules, Rule02AnOpenerStandsInTheSyncedChainOfItsLogBeforeHeadSaysAttached) {
  DiskWorld w;
  ASSERT_TRUE(w.create_disk());
  SimWorker a{"worker-a"};
  int attached = 0;
  w.store.on_applied([&](const std::string& key, const Bytes& body) {
    if (key != head_key(disk_id)) return;
    auto head = decode_head(body, disk_id).value();
    if (head.state != HeadState::attached) return;
    ++attached;
    auto links = synced_links(a);
    EXPECT_NE(std::ranges::find(links, ChainLink{head.epoch, head.opener}), links.end()) << head.epoch.text();
  });
  ASSERT_TRUE(w.boot(a));
  ASSERT_TRUE(w.open(a, 1));
  for (Stamp life = 1; life <= 4; ++life) {
    ASSERT_TRUE(w.write(a, life, life));
    a.process->kill();
    w.run_for(1ms);
    ASSERT_TRUE(w.boot(a));
    ASSERT_TRUE(w.wait_open(a));
  }
  EXPECT_GE(attached, 5);
  auto content = w.read_all(a);
  for (Stamp life = 1; life <= 4; ++life) EXPECT_EQ((*content)[life], life);
}

TEST(Rules, Rule03AnEpochIsProbedFromItsCheckpointOnForWhatLiesBelowMayBeGone) {
  DiskWorld w;
  ASSERT_TRUE(w.create_disk());
  SimWorker a{"worker-a"}, b{"worker-b"}, c{"worker-c"};
  ASSERT_TRUE(w.boot(a) && w.boot(b) && w.boot(c) && w.open(a, 1));
  for (Stamp i = 1; i <= 200; ++i) ASSERT_TRUE(w.write(a, i % 20, i) && w.flush(a));
  w.run_for(10s);
  ASSERT_TRUE(apart<Reclaimed>(
      w, [](StoreAccess access, ObjectRemover* remover) { return reclaim(access, remover, disk_id); }));
  ASSERT_FALSE(w.store.peek(segment_key(disk_id, {1, 1}, 1))) << "or there is nothing to prove";
  a.process->kill();
  const auto first = head_of(w).unsealed;
  ASSERT_GT(first.back().seq, 0u);
  // b dies half way: what it learnt from HEAD stays in it.
  auto is_of_b = [](const sim::CrashPoint& p) {
    return p.process.host() == "worker-b" && p.kind == "store.put after";
  };
  w.world.crash_points().arm(is_of_b, 0);
  (void)w.call(b, b.daemon->open(w.open_request(2, true)));
  ASSERT_FALSE(b.process->is_alive());
  w.world.crash_points().disarm();
  EXPECT_EQ(head_of(w).unsealed, first);
  auto opened = w.open(c, 3, true);
  ASSERT_TRUE(opened) << opened.error().message;
  auto content = w.read_all(c);
  ASSERT_TRUE(content) << content.error().message;
  for (Stamp i = 181; i <= 200; ++i) EXPECT_EQ((*content)[i % 20], i);
}

TEST(Rules, Rule04AFenceWithoutAnAnswerIsRepeatedUntilItIsDecided) {
  for (std::uint64_t seed = 1; seed <= 60; ++seed) {
    SCOPED_TRACE(seed);
    DiskWorld w(seed);
    w.settle = 0ns;
    ASSERT_TRUE(w.create_disk());
    SimWorker a{"worker-a"}, b{"worker-b"};
    ASSERT_TRUE(w.boot(a) && w.boot(b) && w.open(a, 1));
    ASSERT_TRUE(w.write(a, 1, 11) && w.flush(a));
    a.process->pause();
    auto& options = w.store.options();
    options.lose_request = 0.5, options.time_out = 50ms;
    ASSERT_TRUE(w.open(b, 2, true));
    auto lineage = head_of(w).lineage;
    ASSERT_FALSE(lineage.empty());
    for (const auto& end : lineage) ASSERT_TRUE(is_fence_at(w, end.epoch, end.seq + 1)) << end.epoch.text();
  }
}

TEST(Rules, Rule05ReclaimLeavesTheFenceThatHoldsAZombieOff) {
  DiskWorld w;
  ASSERT_TRUE(w.create_disk());
  SimWorker a{"worker-a"}, b{"worker-b"};
  ASSERT_TRUE(w.boot(a) && w.boot(b) && w.open(a, 1));
  ASSERT_TRUE(w.write(a, 1, 11) && w.flush(a));
  a.process->pause();
  ASSERT_TRUE(w.open(b, 2, true));
  for (Stamp i = 1; i <= 200; ++i) ASSERT_TRUE(w.write(b, i % 20, i) && w.flush(b));
  w.run_for(10s);
  auto done = apart<Reclaimed>(
      w, [](StoreAccess access, ObjectRemover* remover) { return reclaim(access, remover, disk_id); });
  ASSERT_TRUE(done);
  ASSERT_FALSE(w.store.peek(segment_key(disk_id, {1, 1}, 1))) << "or there is nothing to prove";
  EXPECT_TRUE(is_fence_at(w, {1, 1}, 2));
  a.process->resume();
  (void)w.write(a, 1, 33);
  EXPECT_FALSE(w.flush(a));
  EXPECT_EQ((*w.read_all(b))[1], 181u);
}

Task<Result<HeadAt>> rename_owner(StoreAccess access) {
  EBB_CO_TRY(at, co_await read_head(access, disk_id));
  co_return co_await change_head(access, at, [](const Head& head) -> Result<Head> {
    Head next = head;
    next.owner = "somebody";
    return next;
  });
}

TEST(Rules, Rule06AnUnansweredChangeOfHeadIsSettledOnlyWhenHeadHasChanged) {
  for (std::uint64_t seed = 1; seed <= 80; ++seed) {
    SCOPED_TRACE(seed);
    DiskWorld w(seed);
    ASSERT_TRUE(w.create_disk());
    auto before = w.store.peek(head_key(disk_id))->tag;
    auto& options = w.store.options();
    options.lose_request = 0.25, options.lose_reply = 0.25, options.delay = 0.25, options.time_out = 50ms;
    auto changed = apart<HeadAt>(w, [](StoreAccess access, ObjectRemover*) { return rename_owner(access); });
    auto settled = w.store.peek(head_key(disk_id))->tag;
    ASSERT_NE(settled, before) << "it gave up, and its change may still come";
    ASSERT_TRUE(changed) << changed.error().message;
    EXPECT_EQ(changed->tag, settled);
    w.store.heal();
    w.run_for(1min);
    EXPECT_EQ(w.store.peek(head_key(disk_id))->tag, settled)
        << "a try that came late has changed it after all";
  }
}

TEST(Rules, Rule06ADetachFencesItsOwnNextPlaceBeforeHeadSaysSo) {
  DiskWorld w;
  ASSERT_TRUE(w.create_disk());
  SimWorker a{"worker-a"}, b{"worker-b"};
  int detached = 0;
  w.store.on_applied([&](const std::string& key, const Bytes& body) {
    if (key != head_key(disk_id)) return;
    auto head = decode_head(body, disk_id).value();
    if (head.state != HeadState::detached_clean || head.unsealed.empty()) return;
    ++detached;
    EXPECT_TRUE(is_fence_at(w, head.epoch, head.unsealed.back().seq + 1)) << head.epoch.text();
  });
  ASSERT_TRUE(w.boot(a) && w.boot(b) && w.open(a, 1));
  ASSERT_TRUE(w.write(a, 1, 11) && w.seal(a, 1));
  ASSERT_TRUE(w.open(b, 2) && w.seal(b, 2)) << "also an epoch without a segment";
  EXPECT_EQ(detached, 2);
}

Task<Status> make_image_and_fork(StoreAccess access, DiskId image, DiskId fork) {
  ImageWriter writer(*access.loop, *access.store, small_tuning());
  EBB_CO_CHECKED(co_await writer.begin(image, 8 * block_bytes));
  EBB_CO_CHECKED(co_await writer.write(0, stamped(7, 0)));
  EBB_CO_CHECKED(co_await writer.finish());
  PoolAdmin admin(*access.loop, *access.store);
  co_return co_await admin.create_fork(image, fork, 8 * block_bytes, DiskClass::remote);
}

TEST(Rules, Rule07AForkIsPinnedBeforeItsHeadExists) {
  const DiskId image("image-1"), fork("fork-1");
  DiskWorld w;
  bool is_made = false;
  w.store.on_applied([&](const std::string& key, const Bytes&) {
    if (key != head_key(fork)) return;
    is_made = true;
    auto roots = head_of(w, image).roots.value();
    auto page = decode_roots(w.store.peek(roots_key(image, roots.nonce))->body).value();
    EXPECT_NE(std::ranges::find(page.forks, fork, &ForkPin::disk), page.forks.end())
        << "what it shares looks unused";
  });
  auto& process = w.world.start_process("control", "admin");
  auto& client = process.make<sim::SimStoreClient>(process, w.store);
  auto& trouble = process.make<Trouble>(process.loop());
  ASSERT_TRUE(*sim::run_in(process, make_image_and_fork({&process.loop(), &client, &trouble}, image, fork)));
  EXPECT_TRUE(is_made);
}

TEST(Rules, Rule09ARestoreCutsTheLineageAndKeepsThePresentInOneChangeOfHead) {
  DiskWorld w;
  ASSERT_TRUE(w.create_disk());
  SimWorker a{"worker-a"};
  ASSERT_TRUE(w.boot(a) && w.open(a, 1));
  ASSERT_TRUE(w.write(a, 1, 11) && w.seal(a, 1));
  auto as_admin = [&](auto ask) {
    return w.admin<Status>([=, &w](PoolAdmin& p) -> Task<Status> {
      auto done = co_await ask(p, w.tuning);
      co_return done ? Status{} : Status(fail(std::move(done).error()));
    });
  };
  ASSERT_TRUE(as_admin([](PoolAdmin& p, DiskTuning t) { return p.snapshot(disk_id, {"old", "of-old"}, t); }));
  ASSERT_TRUE(w.open(a, 2) && w.write(a, 1, 22) && w.seal(a, 2));
  const auto present = head_of(w).unsealed.back().write_seq;
  int cuts = 0;
  w.store.on_applied([&](const std::string& key, const Bytes& body) {
    if (key != head_key(disk_id)) return;
    auto head = decode_head(body, disk_id).value();
    auto page = decode_roots(w.store.peek(roots_key(disk_id, head.roots->nonce))->body).value();
    auto is_present = [&](const NamedRoot& root) { return root.checkpoint.position.write_seq == present; };
    auto points = head.unsealed;
    points.insert(points.end(), head.lineage.begin(), head.lineage.end());
    const bool is_back =
        std::ranges::none_of(points, [&](const LogPoint& p) { return p.write_seq >= present; });
    const bool is_kept = std::ranges::any_of(page.roots, is_present);
    EXPECT_EQ(is_back, is_kept) << "between the two a crash would lose one of them";
    cuts += is_back;
  });
  ASSERT_TRUE(
      as_admin([](PoolAdmin& p, DiskTuning t) { return p.restore(disk_id, {"old", "back", {}}, t); }));
  EXPECT_EQ(cuts, 1);
  ASSERT_TRUE(w.open(a, 3));
  EXPECT_EQ((*w.read_all(a))[1], 11u);
}

TEST(Rules, Rule10AStandbyOwnsNothingAndFollowsHeadAlsoFromBeforeTheCheckpoint) {
  constexpr std::uint64_t blocks = 600;
  DiskWorld w;
  ASSERT_TRUE(w.create_disk(DiskClass::remote, disk_id, blocks));
  SimWorker a{"worker-a"}, b{"worker-b"};
  ASSERT_TRUE(w.boot(a) && w.boot(b) && w.open(a, 1));
  auto write_all = [&](Stamp stamp) {
    for (std::uint64_t block = 0; block < blocks; block += 12) {
      Bytes data;
      for (auto at = block; at < block + 12; ++at) append(data, stamped(stamp + at, at));
      ASSERT_TRUE(w.io(a, [&](BlockDevice& d) { return d.write(block * block_bytes, data); }));
    }
    ASSERT_TRUE(w.flush(a));
    w.run_for(10s);
  };
  write_all(1000);
  auto known = head_of(w).checkpoint.value();
  auto before = w.store.puts_applied();
  ASSERT_TRUE(w.call(b, b.daemon->standby({disk_id, pool_id, 2})));
  w.run_for(5s);
  EXPECT_EQ(DiskWorld::state_of(b), DiskSeen::standby);
  EXPECT_EQ(w.store.puts_applied(), before) << "it only reads";
  EXPECT_EQ(b.daemon->device(disk_id), nullptr);

  for (Stamp stamp : {2000, 3000}) write_all(stamp);
  ASSERT_TRUE(apart<Reclaimed>(
      w, [](StoreAccess access, ObjectRemover* remover) { return reclaim(access, remover, disk_id); }));
  ASSERT_FALSE(w.store.peek(checkpoint_root_key(known.disk, known.epoch, known.number)))
      << "what the standby knows is gone";
  ASSERT_TRUE(w.seal(a, 1));
  auto opened = w.open(b, 2);
  ASSERT_TRUE(opened) << opened.error().message;
  auto content = w.read_all(b);
  ASSERT_TRUE(content) << content.error().message;
  for (std::uint64_t block = 0; block < blocks; ++block) ASSERT_EQ((*content)[block], 3000 + block);
}

}  // namespace
}  // namespace ebb::disk
