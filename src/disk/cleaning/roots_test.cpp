// One root set in HEAD, exhaustively: whoever adds or drops a root, at whatever moment of a reclaim, nothing
// is removed that HEAD or a root needs. The actors and their steps are those of the model that found the
// rule.
#include "disk/cleaning/reclaim.h"
#include "disk/testing/gated_store.h"
#include "disk/testing/snapshots.h"

namespace ebb::disk {
namespace {
using namespace testing;

constexpr std::uint64_t small_blocks = 8;

// A snapshot reads what HEAD holds, and then adds that as a root: two steps. `drop` follows `restore`.
enum class Step { advance, read_for_snapshot, add_snapshot, restore, drop };
using Steps = std::vector<Step>;
constexpr std::array all_steps{Step::advance, Step::read_for_snapshot, Step::add_snapshot, Step::restore,
                               Step::drop};

std::string text(const Steps& steps) {
  constexpr std::array names{"advance", "read-for-snapshot", "add-snapshot", "restore", "drop"};
  std::string out;
  for (auto step : steps) out += fmt::format("{} ", names[static_cast<std::size_t>(step)]);
  return out;
}

// A disk with a snapshot of old, and newer data: what the first step finds.
class RootsWorld {
 public:
  RootsWorld() {
    w_.tuning.detach_checkpoint_segments = 0;  // each tenure that wrote ends with a checkpoint
    w_.store.on_removed([this](const std::string& key, const Bytes&) { check_unneeded(key); });
    EXPECT_TRUE(w_.create_disk(DiskClass::remote, disk_id, small_blocks) && w_.boot(a_));
    advance();
    EXPECT_TRUE(s_.take_detached("s0", "of-s0"));
    advance();
  }
  ~RootsWorld() {
    for (const auto& violation : w_.world.violations()) ADD_FAILURE() << violation;
  }

  void play(Step step) {
    switch (step) {
      case Step::advance:
        return advance();
      case Step::read_for_snapshot:
        return begin_snapshot();
      case Step::add_snapshot:
        return end_snapshot();
      case Step::restore:
        EXPECT_TRUE(s_.restore("s0", "restore"));
        stamp_now_ = 1;
        return;
      case Step::drop:
        EXPECT_TRUE(s_.remove("s0"));
        return;
    }
  }

  // Runs it with `meanwhile` played before its nth request; false: it has fewer.
  bool reclaim_stopped_before(std::uint64_t nth, const std::function<void()>& meanwhile) {
    auto& process = w_.world.start_process("control", "reclaim");
    auto& client = process.make<sim::SimStoreClient>(process, w_.store);
    auto& gated = process.make<GatedStore>(process.loop(), client, [nth](auto n) { return n == nth; });
    auto& trouble = process.make<Trouble>(process.loop());
    bool has_ended = false;
    process.make<Scope>(process.loop())
        .spawn([](StoreAccess access, ObjectRemover* remover, bool* ended) -> Task<void> {
          (void)co_await reclaim(access, remover, disk_id);
          *ended = true;
        }({&process.loop(), &gated, &trouble}, &gated, &has_ended));
    EXPECT_TRUE(w_.world.loop().run_until([&] { return has_ended || gated.has_stopped(); }, 10min));
    const bool has_stopped = gated.has_stopped();
    meanwhile();  // or after it
    gated.open();
    EXPECT_TRUE(w_.world.loop().run_until([&] { return has_ended; }, 10min)) << w_.last_lines();
    process.kill();
    return has_stopped;
  }

  // The disk, and every snapshot, is whole; and what nothing needs is gone in the end.
  void check_end() {
    auto content = w_.read_offline();
    ASSERT_TRUE(content) << content.error().message;
    EXPECT_EQ(*content, Content(small_blocks, stamp_now_));
    reclaim_stopped_before(~std::uint64_t{0}, [] {});
    for (const auto& checkpoint : needed_checkpoints())
      for (const auto& key : keys_of(checkpoint)) EXPECT_TRUE(w_.store.peek(key)) << key;
  }

  std::uint64_t removals() const { return w_.store.removals_applied(); }

 private:
  // One tenure that overwrites the whole disk.
  void advance() {
    stamp_now_ = ++last_stamp_;
    ASSERT_TRUE(w_.open(a_, ++epoch_)) << w_.last_lines();
    Bytes data;
    for (std::uint64_t b = 0; b < small_blocks; ++b) append(data, stamped(stamp_now_, b));
    ASSERT_TRUE(w_.io(a_, [&](BlockDevice& d) { return d.write(0, data); }));
    ASSERT_TRUE(w_.seal(a_, epoch_));
  }
  void begin_snapshot() {
    snapshotter_ = &w_.world.start_process("control", "snapshot");
    auto& client = snapshotter_->make<sim::SimStoreClient>(*snapshotter_, w_.store);
    slow_ = &snapshotter_->make<GatedStore>(snapshotter_->loop(), client, GatedStore::Stops{});
    slow_->stop_only_puts([](const std::string& key) { return key == head_key(disk_id); });
    auto& admin = snapshotter_->make<PoolAdmin>(snapshotter_->loop(), *slow_);
    snapshotter_->make<Scope>(snapshotter_->loop())
        .spawn([](PoolAdmin* pool, DiskTuning tuning, bool* ended) -> Task<void> {
          (void)co_await pool->snapshot(disk_id, {"s1", "of-s1"}, tuning);
          *ended = true;
        }(&admin, w_.tuning, &has_snapshot_ended_));
    EXPECT_TRUE(w_.world.loop().run_until([&] { return slow_->has_stopped(); }, 10min));
  }
  // May be refused: the disk was opened, or restored, meanwhile.
  void end_snapshot() {
    slow_->open();
    EXPECT_TRUE(w_.world.loop().run_until([&] { return has_snapshot_ended_; }, 10min)) << w_.last_lines();
  }
  std::vector<CheckpointRef> needed_checkpoints() {
    auto head = s_.head();
    std::vector<CheckpointRef> needed;
    if (head.checkpoint) needed.push_back(*head.checkpoint);
    if (!head.roots) return needed;
    auto page = decode_roots(w_.store.peek(roots_key(disk_id, head.roots->nonce))->body).value();
    for (const auto& root : page.roots) needed.push_back(root.checkpoint);
    return needed;
  }
  std::set<std::string> keys_of(const CheckpointRef& c) {
    std::set<std::string> keys{checkpoint_root_key(c.disk, c.epoch, c.number),
                               checkpoint_root_copy_key(c.disk, c.epoch, c.number)};
    const auto* object = w_.store.peek(*keys.begin());
    if (!object) return keys;
    auto root = decode_checkpoint_root(object->body).value();
    for (const auto& o : root.objects) keys.insert(data_object_key(o.object));
    for (const auto& p : root.packs) keys.insert(map_pack_key(p.disk, p.epoch, p.checkpoint, p.number));
    return keys;
  }
  void check_unneeded(const std::string& key) {
    for (const auto& checkpoint : needed_checkpoints())
      EXPECT_FALSE(keys_of(checkpoint).contains(key)) << key << " was removed, and is needed";
  }

  DiskWorld w_;
  SimWorker a_{"worker-a"};
  Snapshots s_{w_};
  sim::SimProcess* snapshotter_ = nullptr;
  GatedStore* slow_ = nullptr;
  bool has_snapshot_ended_ = false;
  Epoch epoch_ = 0;
  Stamp last_stamp_ = 0, stamp_now_ = 0;
};

// All sequences of different steps.
std::vector<Steps> all_sequences() {
  std::vector<Steps> all{{}};
  for (std::size_t i = 0; i < all.size(); ++i) {
    for (auto step : all_steps) {
      auto is_in = [&](Step one) { return std::ranges::find(all[i], one) != all[i].end(); };
      if (is_in(step) || (step == Step::drop && !is_in(Step::restore)) ||
          (step == Step::add_snapshot && !is_in(Step::read_for_snapshot)))
        continue;
      auto longer = all[i];
      longer.push_back(step);
      all.push_back(std::move(longer));
    }
  }
  // A snapshot that never ends adds nothing to what it interrupts.
  std::erase_if(all, [](const Steps& one) {
    auto has = [&](Step step) { return std::ranges::find(one, step) != one.end(); };
    return one.empty() || (has(Step::read_for_snapshot) && !has(Step::add_snapshot));
  });
  return all;
}

TEST(Roots, Rule08EveryInterleavingOfSnapshotRestoreDropAndReclaimKeepsWhatARootNeeds) {
  std::uint64_t interleavings = 0, removals = 0;
  for (const auto& steps : all_sequences()) {
    for (std::size_t before = 0; before < steps.size(); ++before) {
      bool has_stopped = true;
      for (std::uint64_t nth = 0; has_stopped; ++nth) {
        SCOPED_TRACE(fmt::format("{}: {} of them before the reclaim, the others before its request {}",
                                 text(steps), before, nth));
        RootsWorld world;
        for (std::size_t i = 0; i < before; ++i) world.play(steps[i]);
        has_stopped = world.reclaim_stopped_before(nth, [&] {
          for (auto i = before; i < steps.size(); ++i) world.play(steps[i]);
        });
        world.check_end();
        ++interleavings, removals += world.removals();
        if (::testing::Test::HasFailure()) return;
      }
    }
  }
  EXPECT_GT(interleavings, 700u);
  EXPECT_GT(removals, 700u) << "a reclaim that removes nothing proves nothing";
  fmt::print("{} interleavings, {} removals\n", interleavings, removals);
}

// Its steps are apart: it reads what HEAD holds, and then adds that as a root. Meanwhile its disk is
// written on, and reclaimed.
TEST(Roots, Rule07WhatASlowSnapshotNamesIsStillThere) {
  DiskWorld w;
  GatedStore* gated = nullptr;
  w.wrap_store = [&](sim::SimProcess& process, ObjectStore& store) -> ObjectStore* {
    auto& client = dynamic_cast<ReclaimableStore&>(store);
    return gated = &process.make<GatedStore>(process.loop(), client, GatedStore::Stops{});
  };
  SimWorker a{"worker-a"};
  Snapshots s{w};
  ASSERT_TRUE(w.create_disk() && w.boot(a) && w.open(a, 1));
  auto overwrite = [&](Stamp stamp) {
    for (std::uint64_t b = 0; b < disk_blocks; ++b) ASSERT_TRUE(w.write(a, b, stamp));
    ASSERT_TRUE(w.flush(a));
    w.run_for(3s);
  };
  overwrite(1);
  gated->stop_only([](const std::string& key) { return key.starts_with("r/"); });
  auto ask = [&] { return s.take(a, 1, "s1", "of-s1"); };
  (void)ask();  // it answers that it is at it
  ASSERT_TRUE(gated->has_stopped());
  for (Stamp stamp = 2; stamp < 8; ++stamp) overwrite(stamp);
  ASSERT_TRUE(w.apart<Reclaimed>(
      [](StoreAccess access, ObjectRemover* remover) { return reclaim(access, remover, disk_id); }));
  gated->open();
  w.run_for(1s);
  ASSERT_TRUE(ask());
  EXPECT_EQ(s.content("s1"), Content(disk_blocks, 1));
}

}  // namespace
}  // namespace ebb::disk
