#include "disk/offline/rebuild.h"

#include "disk/cleaning/reclaim.h"
#include "disk/keys.h"
#include "disk/offline/scrub.h"
#include "disk/testing/disk_world.h"

namespace ebb::disk {
namespace {
using namespace testing;

class RebuildTest : public ::testing::Test {
 protected:
  void start(std::uint64_t seed = 1, std::uint64_t blocks = 1500) {
    random_ = Random(seed), blocks_ = blocks;
    ASSERT_TRUE(w_.create_disk(DiskClass::remote, disk_id, blocks_));
    ASSERT_TRUE(w_.boot(a_));
    ASSERT_TRUE(w_.open(a_, 1));
    model_.assign(blocks_, 0);
  }
  void TearDown() override {
    for (const auto& violation : w_.world.violations()) ADD_FAILURE() << violation;
  }
  // Overwrites and trims until there are several checkpoints and cleaned objects.
  void live_through(int writes) {
    for (int i = 0; i < writes; ++i) {
      auto count = 1 + random_.below(random_.chance(0.2) ? 40 : 3);
      auto block = random_.below(blocks_ - count);
      if (random_.chance(0.15)) {
        for (auto b = block; b < block + count; ++b) model_[b] = 0;
        ASSERT_TRUE(
            w_.io(a_, [=](BlockDevice& d) { return d.trim(block * block_bytes, count * block_bytes); }));
      } else {
        Bytes data;
        ++stamp_;
        for (auto b = block; b < block + count; ++b) append(data, stamped(stamp_, b)), model_[b] = stamp_;
        ASSERT_TRUE(w_.io(a_, [&](BlockDevice& d) { return d.write(block * block_bytes, data); }));
      }
      if (i % 200 == 199) {
        w_.run_for(2s);
        ASSERT_TRUE(reclaim_now());
      }
    }
    ASSERT_TRUE(w_.flush(a_));
  }
  Result<Reclaimed> reclaim_now() {
    return w_.apart<Reclaimed>(
        [](StoreAccess access, ObjectRemover* remover) { return reclaim(access, remover, disk_id); });
  }
  Result<RebuildReport> rebuild_now(DiskId id = disk_id) {
    return w_.apart<RebuildReport>(
        [&](StoreAccess access, ObjectRemover*) { return rebuild(access, id, w_.tuning); });
  }
  Result<ScrubReport> scrub_now(DiskId id = disk_id) {
    return w_.apart<ScrubReport>([&](StoreAccess access, ObjectRemover*) { return scrub(access, id); });
  }
  void snapshot(const std::string& name) {
    ASSERT_TRUE(w_.admin<Result<NamedRoot>>(
        [&](PoolAdmin& p) { return p.snapshot(disk_id, {name, "r-" + name}, w_.tuning); }));
  }
  // Every byte of an object's data, so that no frame of it can be read either.
  void damage_data(const DataObject& object) {
    auto key = data_object_key(object);
    auto body = w_.store.peek(key)->body;
    for (auto at = std::size_t{object.data_offset}; at < body.size(); ++at) body[at] ^= std::byte{1};
    ASSERT_TRUE(remove_object(key));
    put_object(key, body);
  }
  CheckpointRoot root_of(const CheckpointRef& c) {
    return decode_checkpoint_root(w_.store.peek(checkpoint_root_key(c.disk, c.epoch, c.number))->body)
        .value();
  }
  Status remove_object(std::string key) {
    auto done = w_.apart<bool>([&](StoreAccess, ObjectRemover* remover) { return removed(remover, key); });
    return done ? Status{} : Status(fail(std::move(done).error()));
  }
  void put_object(const std::string& key, const Bytes& body) {
    auto& vandal = w_.world.start_process("vandal", "vandal");
    auto& client = vandal.make<sim::SimStoreClient>(vandal, w_.store);
    ASSERT_TRUE(
        *sim::run_in(vandal, client.put(key, std::make_shared<const Bytes>(body), PutCondition::always())));
  }
  static Task<Result<bool>> removed(ObjectRemover* remover, std::string key) {
    EBB_CO_CHECKED(co_await remover->remove(std::move(key)));
    co_return true;
  }
  // All map pages of the disk, also those of older checkpoints; roots stay.
  std::size_t lose_pages() {
    std::size_t lost = 0;
    for (const auto& key : w_.store.keys(fmt::format("m/{}/", disk_id))) {
      if (key.contains("/root") || key.ends_with("/hints")) continue;
      EXPECT_TRUE(remove_object(key));
      ++lost;
    }
    return lost;
  }
  Head head() { return decode_head(w_.store.peek(head_key(disk_id))->body, disk_id).value(); }
  void expect_content(DiskId id = disk_id) {
    auto content = w_.read_offline(id);
    ASSERT_TRUE(content) << content.error().message;
    EXPECT_EQ(*content, model_);
    auto scrubbed = scrub_now(id);
    ASSERT_TRUE(scrubbed) << scrubbed.error().message;
    EXPECT_TRUE(scrubbed->bad.empty()) << scrubbed->bad[0].block << ": " << scrubbed->bad[0].what;
  }

  DiskWorld w_;
  SimWorker a_{"worker-a"};
  Random random_{1};
  std::uint64_t blocks_ = 0;
  Content model_;
  Stamp stamp_ = 0;
};

TEST_F(RebuildTest, AMapWhosePagesAreGoneIsMadeAnewFromSegmentsAndCleanedDataAlone) {
  for (std::uint64_t seed : {1, 2, 3}) {
    SCOPED_TRACE(seed);
    w_.~DiskWorld();
    new (&w_) DiskWorld(seed);
    a_ = SimWorker{"worker-a"};
    start(seed);
    live_through(1000);
    w_.run_for(20s);
    ASSERT_FALSE(w_.store.keys("g/").empty());
    ASSERT_TRUE(w_.seal(a_, 1));
    expect_content();
    ASSERT_GT(lose_pages(), 0u);
    ASSERT_FALSE(w_.read_offline()) << "the map was not needed";

    auto rebuilt = rebuild_now();
    ASSERT_TRUE(rebuilt) << rebuilt.error().message;
    EXPECT_EQ(rebuilt->bad_extents, 0u);
    EXPECT_EQ(rebuilt->live_bytes,
              static_cast<std::uint64_t>(std::ranges::count_if(model_, [](Stamp s) { return s != 0; })) *
                  block_bytes);
    EXPECT_EQ(head().state, HeadState::detached_clean);
    expect_content();

    // And it is a disk like any other: written on, cleaned, reclaimed.
    ASSERT_TRUE(w_.open(a_, 2));
    live_through(400);
    w_.run_for(20s);
    ASSERT_TRUE(w_.seal(a_, 2));
    ASSERT_TRUE(reclaim_now());
    expect_content();
  }
}

TEST_F(RebuildTest, WhatTheOldMapLayInIsReclaimed) {
  start();
  live_through(600);
  ASSERT_TRUE(w_.seal(a_, 1));
  auto before = w_.store.keys(fmt::format("m/{}/", disk_id));
  ASSERT_TRUE(rebuild_now());
  ASSERT_TRUE(reclaim_now());
  for (const auto& key : before)
    if (!key.ends_with("/hints")) EXPECT_FALSE(w_.store.peek(key)) << key;
  expect_content();
}

TEST_F(RebuildTest, TheLastWritesOfAHostThatDiedAreInIt) {
  start();
  live_through(300);
  a_.process->kill();
  w_.run_for(20s);
  auto refused = rebuild_now();
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Code::conflict);
  EXPECT_TRUE(refused.error().message.contains("worker-a")) << refused.error().message;
  // Elsewhere, without a checkpoint of its own at the end.
  SimWorker b{"worker-b"};
  ASSERT_TRUE(w_.boot(b));
  ASSERT_TRUE(w_.open(b, 2, true));
  ASSERT_TRUE(w_.seal(b, 2));
  lose_pages();
  auto rebuilt = rebuild_now();
  ASSERT_TRUE(rebuilt) << rebuilt.error().message;
  expect_content();
}

TEST_F(RebuildTest, AForkIsRebuiltFromItsParentsObjectsAndItsOwn) {
  start(1, disk_blocks);
  live_through(100);
  ASSERT_TRUE(w_.seal(a_, 1));
  snapshot("s");
  DiskId fork("fork");
  ASSERT_TRUE(w_.admin<Status>([&](PoolAdmin& p) {
    return p.create_fork(disk_id, fork, blocks_ * block_bytes, DiskClass::remote, "s");
  }));
  ASSERT_TRUE(w_.open(a_, 2, false, fork));
  ASSERT_TRUE(w_.write(a_, 3, 777, fork));
  model_[3] = 777;
  ASSERT_TRUE(w_.seal(a_, 2, fork));
  lose_pages();
  auto rebuilt = rebuild_now(fork);
  ASSERT_TRUE(rebuilt) << rebuilt.error().message;
  expect_content(fork);
}

TEST_F(RebuildTest, NothingIsChangedWhenTheNewestDataOfABlockIsDamaged) {
  start();
  live_through(600);
  ASSERT_TRUE(w_.seal(a_, 1));
  auto root = root_of(*head().checkpoint);
  auto victim = std::ranges::find_if(root.objects, [](const MapObject& o) { return o.live > 0; });
  ASSERT_TRUE(victim != root.objects.end());
  auto key = data_object_key(victim->object);
  auto body = w_.store.peek(key)->body;
  for (auto at = std::size_t{victim->object.data_offset} + 5; at < body.size(); at += block_bytes)
    body[at] ^= std::byte{1};
  ASSERT_TRUE(remove_object(key));
  put_object(key, body);

  auto before = w_.store.peek(head_key(disk_id))->body;
  auto puts = w_.store.puts_applied();
  auto damaged = rebuild_now();
  ASSERT_TRUE(damaged) << damaged.error().message;
  EXPECT_GT(damaged->bad_extents, 0u);
  EXPECT_TRUE(damaged->bad[0].what.contains(text_of(victim->object))) << damaged->bad[0].what;
  ASSERT_TRUE(remove_object(key));
  auto lost = rebuild_now();
  ASSERT_TRUE(lost) << lost.error().message;
  EXPECT_GT(lost->bad_extents, 0u);
  EXPECT_TRUE(lost->bad[0].what.contains("is not there")) << lost->bad[0].what;
  EXPECT_EQ(w_.store.puts_applied(), puts);
  EXPECT_EQ(w_.store.peek(head_key(disk_id))->body, before);
}

// All objects of a disk are found by its checkpoint's root.
TEST_F(RebuildTest, ADiskIsReadOpenedAndRebuiltByEitherCopyOfItsRootAndNotByNone) {
  start();
  live_through(600);
  ASSERT_TRUE(w_.seal(a_, 1));
  const auto c = *head().checkpoint;
  const auto key = checkpoint_root_key(c.disk, c.epoch, c.number),
             copy = checkpoint_root_copy_key(c.disk, c.epoch, c.number);
  const auto whole = w_.store.peek(key)->body;
  EXPECT_EQ(w_.store.peek(copy)->body, whole);
  auto damaged = whole;
  damaged[damaged.size() / 2] ^= std::byte{1};
  for (const auto& victim : {key, copy}) {
    for (bool is_lost : {true, false}) {
      SCOPED_TRACE(fmt::format("{} {}", victim, is_lost ? "lost" : "damaged"));
      ASSERT_TRUE(remove_object(victim));
      if (!is_lost) put_object(victim, damaged);
      EXPECT_EQ(w_.read_offline().value(), model_);
      auto scrubbed = scrub_now();
      ASSERT_TRUE(scrubbed) << scrubbed.error().message;
      EXPECT_EQ(scrubbed->bad_extents, 1u);
      EXPECT_TRUE(scrubbed->bad.at(0).what.contains(victim)) << scrubbed->bad.at(0).what;
      ASSERT_TRUE(remove_object(victim));
      put_object(victim, whole);
    }
  }
  ASSERT_TRUE(remove_object(key));
  auto rebuilt = rebuild_now();
  ASSERT_TRUE(rebuilt) << rebuilt.error().message;
  EXPECT_NE(rebuilt->checkpoint, c);
  for (auto key_of : {checkpoint_root_key, checkpoint_root_copy_key}) {
    const auto& made = rebuilt->checkpoint;
    EXPECT_TRUE(w_.store.peek(key_of(made.disk, made.epoch, made.number))) << "both are there again";
  }
  expect_content(disk_id);

  const auto& last = rebuilt->checkpoint;
  for (auto key_of : {checkpoint_root_key, checkpoint_root_copy_key})
    ASSERT_TRUE(remove_object(key_of(last.disk, last.epoch, last.number)));
  auto none = rebuild_now();
  ASSERT_FALSE(none);
  EXPECT_TRUE(none.error().message.contains(checkpoint_root_key(last.disk, last.epoch, last.number)))
      << none.error().message;
}

// A lost page hides no damage: what the objects say is told all the same.
TEST_F(RebuildTest, ScrubGoesOnWithoutThePagesOfTheMap) {
  start();
  live_through(600);
  ASSERT_TRUE(w_.seal(a_, 1));
  const auto live = scrub_now()->live_bytes;
  ASSERT_GT(lose_pages(), 0u);
  auto scrubbed = scrub_now();
  ASSERT_TRUE(scrubbed) << scrubbed.error().message;
  ASSERT_EQ(scrubbed->bad_extents, 1u);
  EXPECT_EQ(scrubbed->bad[0].block, 0u);
  EXPECT_EQ(scrubbed->bad[0].count, blocks_);
  EXPECT_TRUE(scrubbed->bad[0].what.contains("its page of the map")) << scrubbed->bad[0].what;
  EXPECT_EQ(scrubbed->live_bytes, live);

  auto root = root_of(*head().checkpoint);
  auto victim = std::ranges::find_if(root.objects, [](const MapObject& o) { return o.live > 0; })->object;
  damage_data(victim);
  auto damaged = scrub_now();
  ASSERT_TRUE(damaged) << damaged.error().message;
  EXPECT_TRUE(std::ranges::any_of(damaged->bad, [&](const BadExtent& bad) {
    return bad.what.contains(text_of(victim)) && bad.what.contains("wrong checksum");
  }));
}

TEST_F(RebuildTest, ScrubChecksWhatOnlyASnapshotHolds) {
  start();
  live_through(300);
  ASSERT_TRUE(w_.seal(a_, 1));
  snapshot("monday");
  const auto monday = *head().checkpoint;
  ASSERT_TRUE(w_.open(a_, 2));
  for (std::uint64_t b = 0; b < blocks_; ++b) {
    ASSERT_TRUE(w_.write(a_, b, 5));
    model_[b] = 5;
  }
  ASSERT_TRUE(w_.flush(a_));
  w_.run_for(20s);
  ASSERT_TRUE(w_.seal(a_, 2));
  expect_content();
  ASSERT_EQ(scrub_now()->roots, 1u);
  EXPECT_EQ(scrub_now()->live_bytes, blocks_ * block_bytes) << "of the disk alone";

  auto expect_bad = [&](std::string_view what) {
    auto scrubbed = scrub_now();
    ASSERT_TRUE(scrubbed) << scrubbed.error().message;
    ASSERT_GT(scrubbed->bad_extents, 0u) << what;
    for (const auto& bad : scrubbed->bad) {
      EXPECT_TRUE(bad.what.starts_with("snapshot 'monday': ")) << bad.what;
      EXPECT_TRUE(bad.what.contains(what)) << bad.what;
    }
    EXPECT_EQ(w_.read_offline().value(), model_) << "the disk itself is well";
  };
  const auto root = root_of(monday);
  const auto newer = root_of(*head().checkpoint).objects;
  auto victim = std::ranges::find_if(root.objects, [&](const MapObject& o) {
    return o.live > 0 && std::ranges::none_of(newer, [&](const MapObject& n) {
             return text_of(n.object) == text_of(o.object);
           });
  });
  ASSERT_TRUE(victim != root.objects.end());
  const auto key = data_object_key(victim->object);
  const auto whole = w_.store.peek(key)->body;
  damage_data(victim->object);
  expect_bad("wrong checksum");
  ASSERT_TRUE(remove_object(key));
  expect_bad("is not there");
  put_object(key, whole);
  ASSERT_TRUE(scrub_now()->bad.empty());
  for (auto key_of : {checkpoint_root_key, checkpoint_root_copy_key})
    ASSERT_TRUE(remove_object(key_of(monday.disk, monday.epoch, monday.number)));
  expect_bad(checkpoint_root_key(monday.disk, monday.epoch, monday.number));
}

// The map of now is judged at the end of the log, and the snapshot's is an older one.
TEST_F(RebuildTest, ScrubChecksASnapshotAlsoWhereItsCheckpointIsTheDisksOwn) {
  start(1, 24);
  for (std::uint64_t b = 0; b < blocks_; ++b) ASSERT_TRUE(w_.write(a_, b, 100 + b));
  ASSERT_TRUE(w_.seal(a_, 1));
  snapshot("now");
  ASSERT_TRUE(w_.open(a_, 2));
  for (std::uint64_t b = 0; b < blocks_; ++b) ASSERT_TRUE(w_.write(a_, b, 9000 + b));
  ASSERT_TRUE(w_.flush(a_));
  ASSERT_TRUE(scrub_now()->bad.empty());
  ASSERT_EQ(scrub_now()->roots, 1u);
  const auto page = decode_roots(w_.store.peek(roots_key(disk_id, head().roots->nonce))->body).value();
  ASSERT_EQ(page.find("now")->checkpoint, *head().checkpoint);
  const auto old = root_of(*head().checkpoint);
  damage_data(std::ranges::find_if(old.objects, [](const MapObject& o) { return o.live > 0; })->object);
  auto scrubbed = scrub_now();
  ASSERT_TRUE(scrubbed) << scrubbed.error().message;
  ASSERT_GT(scrubbed->bad_extents, 0u);
  for (const auto& bad : scrubbed->bad) EXPECT_TRUE(bad.what.starts_with("snapshot 'now': ")) << bad.what;
}

// What was read whole and is wrong does not become right by a newer HEAD.
TEST_F(RebuildTest, ScrubNamesDamageAlsoWhileTheDiskGoesOn) {
  start();
  live_through(300);
  const auto root = root_of(*head().checkpoint);
  const auto victim = std::ranges::find_if(root.objects, [](const MapObject& o) { return o.live > 8; });
  ASSERT_TRUE(victim != root.objects.end());
  damage_data(victim->object);
  std::optional<Result<ScrubReport>> report;
  auto& process = w_.world.start_process("operator", "scrub");
  auto& client = process.make<sim::SimStoreClient>(process, w_.store);
  auto& trouble = process.make<Trouble>(process.loop());
  Scope reading(process.loop());
  reading.spawn([](StoreAccess access, std::optional<Result<ScrubReport>>* out) -> Task<void> {
    out->emplace(co_await scrub(access, disk_id));
  }({&process.loop(), &client, &trouble}, &report));
  for (int i = 0; i < 400 && !report; ++i) {  // each snapshot makes a new HEAD
    ASSERT_TRUE(w_.write(a_, blocks_ - 1, 7000 + static_cast<Stamp>(i)));
    (void)sim::run_in(*a_.process, a_.daemon->snapshot(
                                       {disk_id, pool_id, 1, fmt::format("s{}", i), fmt::format("r{}", i)}));
    w_.run_for(5ms);
  }
  ASSERT_TRUE(report) << "it reads again and again";
  ASSERT_TRUE(*report) << report->error().message;
  EXPECT_TRUE(std::ranges::any_of(
      (*report)->bad, [&](const BadExtent& bad) { return bad.what.contains(text_of(victim->object)); }));
}

}  // namespace
}  // namespace ebb::disk
