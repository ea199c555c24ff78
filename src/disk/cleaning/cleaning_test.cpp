#include "disk/cache/hints.h"
#include "disk/cleaning/cleaner.h"
#include "disk/cleaning/reclaim.h"
#include "disk/format/packed_data.h"
#include "disk/keys.h"
#include "disk/offline/scrub.h"
#include "disk/testing/disk_world.h"

namespace ebb::disk {
namespace {
using namespace testing;

class CleaningTest : public ::testing::Test {
 protected:
  void start(std::uint64_t seed = 1, std::uint64_t size = 1500) {
    random_ = Random(seed), blocks_ = size;
    ASSERT_TRUE(w_.create_disk(DiskClass::remote, disk_id, blocks_));
    ASSERT_TRUE(w_.boot(a_));
    ASSERT_TRUE(w_.open(a_, 1));
    model_.assign(blocks_, 0);
  }
  void TearDown() override {
    for (const auto& violation : w_.world.violations()) ADD_FAILURE() << violation;
  }
  void write(std::uint64_t block, std::uint64_t count, Stamp stamp) {
    Bytes data;
    for (auto b = block; b < block + count; ++b) append(data, stamped(stamp, b)), model_[b] = stamp;
    ASSERT_TRUE(w_.io(a_, [&](BlockDevice& d) { return d.write(block * block_bytes, data); }));
  }
  void trim(std::uint64_t block, std::uint64_t count) {
    for (auto b = block; b < block + count; ++b) model_[b] = 0;
    ASSERT_TRUE(w_.io(a_, [=](BlockDevice& d) { return d.trim(block * block_bytes, count * block_bytes); }));
  }
  void write_all() {
    for (std::uint64_t b = 0; b < blocks_; b += 12)
      write(b, std::min<std::uint64_t>(12, blocks_ - b), ++stamp_);
  }
  void overwrite(int times) {
    for (int i = 0; i < times; ++i) write(random_.below(blocks_), 1, ++stamp_);
  }
  // In a process of its own, as the control plane does it.
  Result<Reclaimed> reclaim_now(DiskId id = disk_id) {
    return w_.apart<Reclaimed>(
        [&](StoreAccess access, ObjectRemover* remover) { return reclaim(access, remover, id); });
  }
  Result<ScrubReport> scrub_now() {
    return w_.apart<ScrubReport>([](StoreAccess access, ObjectRemover*) { return scrub(access, disk_id); });
  }
  static Task<Result<Hints>> newest_hints_of(StoreAccess access) {
    EBB_CO_TRY(at, co_await read_head(access, disk_id));
    auto found = co_await find_hints(access, at.head);
    co_return found ? Result<Hints>(std::move(*found)) : fail(Code::not_found, "no hints");
  }
  // Of data, as long as it is unpacked: with segments as small as here, heads would count for too much, and stamps pack too well.
  static std::size_t data_bytes(ByteView object, std::size_t head) {
    auto table = decode_frame_table(object.subspan(head));
    return table ? table->data_bytes : object.size() - head;
  }
  std::size_t stored_bytes() const {
    std::size_t bytes = 0;
    for (const auto& key : w_.store.keys("s/")) {
      const auto& body = w_.store.peek(key)->body;
      bytes += data_bytes(body, *log_object_head_bytes(body));
    }
    for (const auto& key : w_.store.keys("g/")) {
      const auto& body = w_.store.peek(key)->body;
      bytes += data_bytes(body, *cleaned_head_bytes(body));
    }
    return bytes;
  }
  std::size_t live_bytes() const {
    return static_cast<std::size_t>(std::ranges::count_if(model_, [](Stamp s) { return s != 0; })) *
           block_bytes;
  }
  Head head() { return decode_head(w_.store.peek(head_key(disk_id))->body, disk_id).value(); }
  CheckpointRoot root() {
    auto c = *head().checkpoint;
    return decode_checkpoint_root(w_.store.peek(checkpoint_root_key(c.disk, c.epoch, c.number))->body)
        .value();
  }
  void expect_content() {
    auto content = w_.read_offline();
    ASSERT_TRUE(content) << content.error().message;
    EXPECT_EQ(*content, model_);
    auto scrubbed = scrub_now();
    ASSERT_TRUE(scrubbed) << scrubbed.error().message;
    EXPECT_TRUE(scrubbed->bad.empty()) << scrubbed->bad[0].block << ": " << scrubbed->bad[0].what;
    EXPECT_EQ(scrubbed->live_bytes, live_bytes());
  }

  DiskWorld w_;
  SimWorker a_{"worker-a"};
  Random random_{1};
  std::uint64_t blocks_ = 0;
  Content model_;
  Stamp stamp_ = 0;
};

TEST_F(CleaningTest, SpaceIsAtMost135PercentOfLiveDataUnderRandomOverwrite) {
  start(1, 6000);
  write_all();
  std::size_t worst = 0;
  for (int round = 0; round < 400; ++round) {
    overwrite(60);
    ASSERT_TRUE(w_.flush(a_));
    w_.run_for(1s);
    ASSERT_TRUE(reclaim_now());
    if (round >= 100) worst = std::max(worst, stored_bytes());
  }
  EXPECT_GT(w_.store.keys("g/").size(), 0u);
  EXPECT_GE(worst, live_bytes());
  EXPECT_LE(static_cast<double>(worst) / static_cast<double>(live_bytes()), 1.35);
  expect_content();
}

TEST_F(CleaningTest, TrimsAreKeptWhileOlderDataLiesAbout) {
  for (std::uint64_t seed : {1, 2, 3, 4, 5}) {
    SCOPED_TRACE(seed);
    w_.~DiskWorld();
    new (&w_) DiskWorld(seed);
    a_ = SimWorker{"worker-a"};
    start(seed);
    write_all();
    for (int round = 0; round < 40; ++round) {
      overwrite(40);
      auto block = random_.below(blocks_ - 40);
      trim(block, 1 + random_.below(40));
      if (round % 4 == 0) ASSERT_TRUE(reclaim_now());
      if (round % 10 != 9) continue;
      ASSERT_TRUE(w_.flush(a_));
      expect_content();
    }
    w_.run_for(20s);
    ASSERT_TRUE(w_.seal(a_, 1));
    ASSERT_TRUE(reclaim_now());
    expect_content();
  }
}

TEST_F(CleaningTest, ASegmentOfNothingButTrimsStays) {
  start();
  write_all();
  ASSERT_TRUE(w_.flush(a_));
  trim(30, 3);  // within a write whose other blocks live on
  ASSERT_TRUE(w_.flush(a_));
  for (std::uint64_t b = 600; b < 1200; ++b) write(b, 1, ++stamp_);  // and a checkpoint, or several
  ASSERT_TRUE(w_.flush(a_));
  w_.run_for(20s);
  ASSERT_TRUE(reclaim_now());
  ASSERT_GT(head().checkpoint->position.seq, 50u);
  expect_content();
}

TEST_F(CleaningTest, AnIdleDiskGivesBackWhatCleaningGained) {
  start();
  write_all();
  overwrite(900);
  ASSERT_TRUE(w_.flush(a_));
  w_.run_for(60s);
  ASSERT_TRUE(reclaim_now());
  w_.run_for(60s);
  EXPECT_LE(static_cast<double>(stored_bytes()) / static_cast<double>(live_bytes()), 1.6);
  expect_content();
}

TEST_F(CleaningTest, ACleanedObjectIsNotTakenForTheSegmentOfItsNumber) {
  start();
  write_all();
  overwrite(700);
  ASSERT_TRUE(w_.seal(a_, 1) && w_.open(a_, 2));
  ASSERT_TRUE(*sim::run_in(*a_.process, a_.daemon->snapshot({disk_id, pool_id, 2, "early", "r1"})))
      << "and then it cleans";
  w_.run_for(5s);
  const auto cleaned = std::ranges::count_if(
      w_.store.keys("g/"), [](const auto& key) { return key.starts_with("g/d1/000000000002-"); });
  ASSERT_GE(cleaned, 1) << "numbers that segments will have";
  for (std::uint64_t seq = 1; seq < 10; ++seq) {
    write(seq, 2, ++stamp_);  // in the open segment, which nobody has stored
    auto found = w_.read_all(a_);
    ASSERT_TRUE(found) << found.error().message;
    ASSERT_EQ(*found, model_);
    ASSERT_TRUE(w_.flush(a_));
  }
}

// Rule 8.
TEST_F(CleaningTest, WhatANamedRootHoldsIsNotReclaimed) {
  start();
  write_all();
  ASSERT_TRUE(w_.flush(a_));
  w_.run_for(10s);
  auto before = root();
  RootsPage roots;
  roots.roots = {{"kept", before.size_bytes, *head().checkpoint, "request", 1, "worker-a"}};
  ASSERT_TRUE(w_.apart<HeadAt>([&](StoreAccess access, ObjectRemover*) -> Task<Result<HeadAt>> {
    return [](StoreAccess store, RootsPage kept) -> Task<Result<HeadAt>> {
      EBB_CO_TRY(at, co_await read_head(store, disk_id));
      auto page = co_await store_roots(store, disk_id, std::move(kept));
      co_return co_await change_head(store, at, [page](const Head& h) -> Result<Head> {
        Head next = h;
        next.roots = page;
        return next;
      });
    }(access, roots);
  }));
  for (int i = 0; i < 10; ++i) {
    overwrite(600);
    ASSERT_TRUE(w_.flush(a_));
    w_.run_for(2s);
    ASSERT_TRUE(reclaim_now());
  }
  for (const auto& o : before.objects)
    EXPECT_TRUE(w_.store.peek(data_object_key(o.object))) << text_of(o.object);
  for (const auto& p : before.packs)
    EXPECT_TRUE(w_.store.peek(map_pack_key(p.disk, p.epoch, p.checkpoint, p.number)));
  EXPECT_TRUE(w_.store.peek(checkpoint_root_key(disk_id, before.epoch, before.number)));
  expect_content();
}

// Rule 8.
TEST_F(CleaningTest, ReclaimRemovesNothingWhenARootCannotBeRead) {
  start();
  write_all();
  overwrite(900);
  ASSERT_TRUE(w_.flush(a_));
  w_.run_for(10s);
  auto damaged = head();
  damaged.roots = RootsRef{"nowhere", 10, 1};
  ASSERT_TRUE(w_.apart<HeadAt>([&](StoreAccess access, ObjectRemover*) -> Task<Result<HeadAt>> {
    return [](StoreAccess store, Head head) -> Task<Result<HeadAt>> {
      EBB_CO_TRY(at, co_await read_head(store, disk_id));
      co_return co_await change_head(store, at, [head](const Head& h) -> Result<Head> {
        Head next = h;
        next.roots = head.roots;
        return next;
      });
    }(access, damaged);
  }));
  auto removed = w_.store.removals_applied();
  EXPECT_FALSE(reclaim_now());
  EXPECT_EQ(w_.store.removals_applied(), removed);
}

// Rule 5.
TEST_F(CleaningTest, OfADeletedDiskOnlyTombstoneAndFencesStay) {
  start();
  write_all();
  overwrite(300);
  ASSERT_TRUE(w_.flush(a_));
  ASSERT_TRUE(w_.admin<Status>([](PoolAdmin& p) { return p.delete_disk(disk_id); }));
  auto ends = head().lineage;
  auto done = reclaim_now();
  ASSERT_TRUE(done) << done.error().message;
  EXPECT_TRUE(done->is_disk_gone);
  ASSERT_FALSE(ends.empty());
  for (const auto& end : ends)
    EXPECT_TRUE(w_.store.peek(segment_key(disk_id, end.epoch, end.seq + 1))) << "the fence that decides";
  EXPECT_GT(done->objects, 0u);
  for (auto kind : {"g/", "m/"}) EXPECT_TRUE(w_.store.keys(kind).empty()) << w_.store.keys(kind)[0];
  for (const auto& key : w_.store.keys("s/"))
    EXPECT_TRUE(as_text(w_.store.peek(key)->body).starts_with("EBBFENC")) << key;
  EXPECT_EQ(head().state, HeadState::deleted);
  EXPECT_TRUE(reclaim_now()) << "again";
}

TEST_F(CleaningTest, HintsGoWithTheirEpochsAndTheNewestOfThemStay) {
  start();
  write_all();
  auto epochs_with_hints = [&] {
    std::set<std::string> epochs;
    for (const auto& key : w_.store.keys("m/"))
      if (key.ends_with("/hints")) epochs.insert(key);
    return epochs.size();
  };
  std::uint64_t removed_for_hints = 0;
  w_.store.on_removed(
      [&](const std::string& key, const Bytes&) { removed_for_hints += key.ends_with("/hints"); });
  for (Epoch epoch = 1; epoch <= 8; ++epoch) {
    SCOPED_TRACE(epoch);
    if (epoch > 1) {
      ASSERT_TRUE(w_.boot(a_));
      ASSERT_TRUE(w_.open(a_, epoch));
    }
    ASSERT_TRUE(w_.io(a_, [&](BlockDevice& d) -> Task<Status> {
      auto got = co_await d.read(random_.below(blocks_) * block_bytes, block_bytes);
      co_return got ? Status{} : fail(got.error());
    }));
    overwrite(200);
    ASSERT_TRUE(w_.flush(a_));
    w_.run_for(70s);  // the first hints, and checkpoints
    ASSERT_TRUE(reclaim_now());
    EXPECT_LE(epochs_with_hints(), hints_epochs_max);
    EXPECT_GE(epochs_with_hints(), std::min<std::size_t>(epoch, hints_epochs_max));
    ASSERT_TRUE(w_.seal(a_, epoch));
    auto newest = w_.apart<Hints>([](StoreAccess access, ObjectRemover*) { return newest_hints_of(access); });
    ASSERT_TRUE(newest) << newest.error().message;
    EXPECT_EQ(newest->epoch, head().epoch);
  }
  EXPECT_GT(removed_for_hints, 4u);
  // Reclaimed again under the same epoch, nothing is asked to be removed.
  ASSERT_TRUE(reclaim_now());
  ASSERT_TRUE(w_.admin<Status>([](PoolAdmin& p) { return p.delete_disk(disk_id); }));
  auto done = reclaim_now();
  ASSERT_TRUE(done && done->is_disk_gone);
  EXPECT_EQ(epochs_with_hints(), 0u);
}

TEST_F(CleaningTest, WhatACrashLeftIsReclaimedUnderTheNextEpoch) {
  start();
  write_all();
  ASSERT_TRUE(w_.flush(a_));
  w_.run_for(5s);
  // Dies between the objects of a checkpoint and HEAD, several times.
  for (Epoch epoch = 2; epoch < 6; ++epoch) {
    w_.world.crash_points().arm(
        [](const sim::CrashPoint& at) {
          return at.process.host() == "worker-a" && at.subject.ends_with("/root");
        },
        0);
    for (int i = 0; i < 600 && a_.process->is_alive(); ++i) {
      auto block = random_.below(blocks_);
      auto data = stamped(++stamp_, block);
      if (w_.io(a_, [&](BlockDevice& d) { return d.write(block * block_bytes, data); }))
        model_[block] = stamp_;
    }
    w_.world.crash_points().disarm();
    ASSERT_FALSE(a_.process->is_alive());
    ASSERT_TRUE(w_.boot(a_));
    ASSERT_TRUE(w_.open(a_, epoch, true));
    overwrite(200);
    ASSERT_TRUE(w_.flush(a_));
    w_.run_for(5s);
    ASSERT_TRUE(reclaim_now());
  }
  ASSERT_TRUE(w_.seal(a_, 5));
  ASSERT_TRUE(reclaim_now());
  std::set<std::string> needed;
  auto last = root();
  for (const auto& p : last.packs) needed.insert(map_pack_key(p.disk, p.epoch, p.checkpoint, p.number));
  for (auto key_of : {checkpoint_root_key, checkpoint_root_copy_key})
    needed.insert(key_of(disk_id, last.epoch, last.number));
  for (const auto& key : w_.store.keys("m/"))
    EXPECT_TRUE(needed.contains(key) || key.ends_with("/hints")) << "left behind: " << key;
  auto content = w_.read_offline();
  ASSERT_TRUE(content) << content.error().message;
}

// Whoever reads without a lease has read HEAD, and then comes late: the log that HEAD named is in a
// checkpoint by now, and gone.
TEST_F(CleaningTest, AReaderOfALogThatIsReclaimedMeanwhileReadsNoOlderState) {
  struct LateStore final : ObjectStore {
    LateStore(ObjectStore& s, Loop& l, const bool& late) : store(s), loop(l), is_late(late) {}
    Task<Result<ObjectTag>> put(std::string key, SharedBytes body, PutCondition condition) override {
      return store.put(std::move(key), std::move(body), std::move(condition));
    }
    Task<Result<StoredObject>> get(std::string key) override { return store.get(std::move(key)); }
    Task<Result<Bytes>> get_range(std::string key, std::uint64_t offset, std::size_t length) override {
      while (is_late && key.starts_with("s/")) co_await sleep_for(loop, 10ms);
      co_return co_await store.get_range(std::move(key), offset, length);
    }
    ObjectStore& store;
    Loop& loop;
    const bool& is_late;
  };
  for (bool is_in_the_lineage : {false, true}) {
    SCOPED_TRACE(is_in_the_lineage);
    w_.~DiskWorld();
    new (&w_) DiskWorld(1);
    a_ = SimWorker{"worker-a"};
    start(1, 400);
    write(7, 5, ++stamp_);
    ASSERT_TRUE(w_.flush(a_));
    if (is_in_the_lineage) {
      ASSERT_TRUE(w_.seal(a_, 1));
      ASSERT_TRUE(w_.boot(a_));
      ASSERT_TRUE(w_.open(a_, 2));
    }
    ASSERT_FALSE(head().checkpoint);
    ASSERT_EQ(head().lineage.size(), is_in_the_lineage ? 1u : 0u);
    auto first = segment_key(disk_id, is_in_the_lineage ? head().lineage[0].epoch : head().epoch, 1);
    ASSERT_TRUE(w_.store.peek(first));

    auto& process = w_.world.start_process("reader", "reader");
    auto& client = process.make<sim::SimStoreClient>(process, w_.store);
    bool is_late = true;
    auto& late = process.make<LateStore>(client, process.loop(), is_late);
    auto& trouble = process.make<Trouble>(process.loop());
    std::optional<Result<Content>> found;
    Scope reading(process.loop());
    reading.spawn([](StoreAccess access, std::optional<Result<Content>>* out) -> Task<void> {
      out->emplace(co_await DiskWorld::offline_stamps(access, disk_id));
    }({&process.loop(), &late, &trouble}, &found));
    w_.run_for(100ms);
    write_all();
    ASSERT_TRUE(w_.flush(a_));
    w_.run_for(5s);
    ASSERT_TRUE(reclaim_now());
    ASSERT_FALSE(w_.store.peek(first)) << "nothing was reclaimed";
    is_late = false;
    w_.run_for(5s);
    ASSERT_TRUE(found);
    ASSERT_TRUE(*found) << found->error().message;
    EXPECT_EQ(**found, model_);
  }
}

// Of a segment of epoch 1: one byte of what is stored for that block of its data; the first of its frame, if it is packed.
class Damage {
 public:
  explicit Damage(const sim::SimStore& store) : store_(store) {}
  void damage(std::uint64_t seq, std::size_t data_block, bool is_packed) {
    auto& body = body_of(seq);
    const auto head = *log_object_head_bytes(body);
    auto at = head + data_block * block_bytes + 100;
    auto table = decode_frame_table(ByteView(body).subspan(head));
    ASSERT_EQ(table.has_value(), is_packed) << seq;
    if (table) at = head + frame_table_bytes + table->begins[data_block * block_bytes / frame_bytes];
    body.at(at) ^= std::byte{1};
  }
  // Of its table of frames.
  void damage_table(std::uint64_t seq) {
    auto& body = body_of(seq);
    body.at(*log_object_head_bytes(body) + 20) ^= std::byte{1};
  }

 private:
  Bytes& body_of(std::uint64_t seq) {
    return const_cast<StoredObject*>(store_.peek(segment_key(disk_id, {1, 1}, seq)))->body;
  }
  const sim::SimStore& store_;
};

TEST_F(CleaningTest, ScrubNamesEachBadExtent) {
  start();
  write_all();  // segment n holds twelve blocks, packed in three frames, from block 12 * (n - 1) on
  ASSERT_TRUE(w_.flush(a_));
  const auto packed = blocks_ / 12;
  auto write_plain = [&](std::uint64_t block, std::uint64_t count) {  // too little to be packed
    write(block, count, ++stamp_);
    ASSERT_TRUE(w_.flush(a_));
  };
  write_plain(97, 1), write_plain(600, 3), write_plain(700, 3), write_plain(701, 1), write_plain(1200, 3);
  ASSERT_TRUE(w_.seal(a_, 1));
  auto good = scrub_now();
  ASSERT_TRUE(good && good->bad.empty());
  EXPECT_EQ(good->live_bytes, blocks_ * block_bytes);

  std::map<std::uint64_t, std::uint64_t>
      expected;  // block -> number of the segment that must be named for it
  auto expect = [&](std::uint64_t seq, std::initializer_list<std::uint64_t> blocks) {
    for (auto block : blocks) expected[block] = seq;
  };
  Damage store(w_.store);
  store.damage(5, 6, true), expect(5, {52, 53, 54, 55});
  // 97 lives in a plain segment by now.
  store.damage(9, 0, true), store.damage(9, 11, true), expect(9, {96, 98, 99, 104, 105, 106, 107});
  store.damage_table(20), expect(20, {228, 229, 230, 231, 232, 233, 234, 235, 236, 237, 238, 239});
  store.damage(packed + 2, 1, false), expect(packed + 2, {601});
  store.damage(packed + 3, 1, false);  // 701, which was overwritten
  store.damage(packed + 5, 0, false), store.damage(packed + 5, 2, false), expect(packed + 5, {1200, 1202});

  auto damaged = scrub_now();
  ASSERT_TRUE(damaged) << damaged.error().message;
  std::map<std::uint64_t, std::uint64_t> found;
  for (const auto& extent : damaged->bad) {
    for (auto block = extent.block; block < extent.block + extent.count; ++block) {
      ASSERT_TRUE(expected.contains(block)) << block << " is sound: " << extent.what;
      found[block] = expected[block];
      auto segment = text_of(DataObject{disk_id, {1, 1}, expected[block], 0});
      EXPECT_TRUE(extent.what.ends_with(segment + " has a wrong checksum")) << block << ": " << extent.what;
    }
  }
  EXPECT_EQ(found, expected);

  auto& process = w_.world.start_process("vandal", "vandal");
  auto& client = process.make<sim::SimStoreClient>(process, w_.store);
  ASSERT_TRUE(*sim::run_in(process, client.remove(segment_key(disk_id, {1, 1}, packed + 2))));
  auto lost = scrub_now();
  ASSERT_TRUE(lost) << lost.error().message;
  std::vector<std::uint64_t> gone;
  for (const auto& extent : lost->bad)
    for (std::uint64_t i = 0; i < extent.count && extent.what.contains("is not there"); ++i)
      gone.push_back(extent.block + i);
  EXPECT_EQ(gone, (std::vector<std::uint64_t>{600, 601, 602}));
}

}  // namespace
}  // namespace ebb::disk
