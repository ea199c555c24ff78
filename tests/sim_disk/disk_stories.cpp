#include "disk_stories.h"

#include <array>

namespace ebb::disk_sim {
namespace {

const DiskId disk_id("d1");
constexpr std::uint64_t blocks = 8, blocks_more = 3;
// To the oracle a disk is always as large as it may become: what is not there yet counts as zeroes.
constexpr std::uint64_t blocks_max = blocks + 3 * blocks_more;

Content padded(Content content) {
  content.resize(std::max<std::size_t>(content.size(), blocks_max));
  return content;
}

class Stage final {
 public:
  Stage(DiskClass disk_class, Start start)
      : fleet_({.seed = 1, .workers = 2, .checkpoint_segments = start == Start::aged ? 1u : 0u}),
        disk_class_(disk_class),
        start_(start) {
    fleet_.on_served = [this](SimWorker&, Tenure& tenure, Device device) {
      tenure_ = &tenure;
      device_ = std::move(device);
    };
  }

  StoryResult play(const Story& story) {
    StoryResult result;
    expect(fleet_.create_disk(disk_id, disk_class_, blocks).has_value(), "the disk is made");
    fleet_.oracle().add_disk(disk_id, disk_class_, Content(blocks_max));
    for (auto& worker : fleet_.workers()) boot(worker);
    open(owner_, false);
    if (start_ == Start::aged) age();
    for (std::size_t i = 0; i < story.steps.size() && is_well(); ++i) {
      bool is_last = i + 1 == story.steps.size();
      auto workers_only = [](const sim::CrashPoint& at) { return at.process.host().starts_with("worker"); };
      auto die = [this](const sim::CrashPoint& at) {
        dead_ = at.process.host() == worker(0).name ? 0 : 1;
        at.process.kill();
      };
      if (is_last) fleet_.world().crash_points().arm(workers_only, story.crash_at, die);
      play_step(story.steps[i]);
      if (is_last) result.points = fleet_.world().crash_points().count();
      result.has_crashed = is_last && fleet_.world().crash_points().fired().has_value();
    }
    fleet_.world().crash_points().disarm();
    if (result.has_crashed) recover(story.recovery);
    check_end();
    result.violations = fleet_.world().violations();
    return result;
  }

 private:
  bool is_well() { return fleet_.world().violations().empty(); }
  bool has_crashed() { return fleet_.world().crash_points().fired().has_value(); }
  void expect(bool holds, std::string_view what) {
    if (!holds && !has_crashed()) fleet_.world().violation(fmt::format("not so: {}", what));
  }
  SimWorker& worker(std::size_t i) { return fleet_.workers()[i]; }
  bool wait_for(const std::function<bool()>& done) {
    return fleet_.world().loop().run_until(done, 30s).has_value();
  }

  void forget() { tenure_ = nullptr, device_.reset(); }
  void boot(SimWorker& which) {
    if (which.is_up()) return;
    fleet_.boot(which);
  }
  // What the new owner finds is held against the oracle.
  void begin() {
    if (!tenure_ || tenure_->has_begun) return;
    auto& process = *worker(owner_).process;
    auto found = sim::run_in(process, disk::testing::read_all_stamps(device_), 30s);
    if (found && *found)
      fleet_.oracle().begin(*tenure_, padded(std::move(**found)));
    else
      expect(false, "the disk can be read");
    const auto size = device_->size_bytes() / disk::block_bytes;
    if (size < blocks_promised_ || size > blocks_asked_)
      fleet_.world().violation(fmt::format("the disk has {} blocks; {} were promised, {} asked for", size,
                                           blocks_promised_, blocks_asked_));
  }
  void open(std::size_t where, bool take_over) {
    owner_ = where;
    boot(worker(where));
    fleet_.ask_open(worker(where), {disk_id, pool_id, ++epoch_, disk_class_, false, take_over});
    wait_for([&] { return tenure_ || !worker(where).is_up(); });
    if (!worker(where).is_up()) return;
    expect(tenure_, "the disk is served");
    begin();
  }

  void play_step(Step step) {
    switch (step) {
      case Step::write_a:
        return write(1, 2, ++last_stamp_);
      case Step::write_b:
        return write(2, 2, ++last_stamp_);
      case Step::trim:
        return write(2, 4, 0);
      case Step::flush:
        return flush();
      case Step::restart:
        return restart();
      case Step::elsewhere:
        return go_elsewhere();
      case Step::move:
        return move();
      case Step::snapshot:
        return snapshot();
      case Step::restore:
        return restore();
      case Step::reclaim:
        return reclaim();
      case Step::grow:
        return grow();
      case Step::fork:
        return fork();
    }
  }
  // Objects of which half is overwritten, checkpoints, and a snapshot that holds some of that.
  void age() {
    for (std::uint64_t i = 0; i < 12; ++i) {
      write((i * 3) % (blocks - 1), 2, ++last_stamp_), flush();
      if (i == 5) snapshot();
    }
    (void)fleet_.run_for(300ms);
  }
  void write(std::uint64_t block, std::uint64_t count, Stamp stamp) {
    auto op = fleet_.oracle().issue(*tenure_, {block, count, stamp});
    Bytes data;
    for (auto b = block; stamp != 0 && b < block + count; ++b) append(data, disk::testing::stamped(stamp, b));
    auto offset = block * disk::block_bytes, length = count * disk::block_bytes;
    const bool is_trim = stamp == 0 && ++zeroes_ % 2 == 1;
    auto sent = is_trim      ? device_->trim(offset, length)
                : stamp == 0 ? device_->write_zeroes(offset, length, disk::ZeroMode::may_unmap)
                             : device_->write(offset, std::move(data));
    auto done = sim::run_in(*worker(owner_).process, std::move(sent), 30s);
    expect(done && *done, "a write is acknowledged");
    if (done && *done) fleet_.oracle().acknowledge(*tenure_, op);
  }
  void flush() {
    auto covered = tenure_->acknowledged;
    auto done = sim::run_in(*worker(owner_).process, device_->flush(), 30s);
    expect(done && *done, "a flush is acknowledged");
    if (done && *done) fleet_.oracle().flush_acknowledged(*tenure_, covered);
  }
  void restart() {
    forget();
    fleet_.kill(worker(owner_));
    boot(worker(owner_));
    wait_for([&] { return tenure_ || !worker(owner_).is_up(); });
    if (!worker(owner_).is_up()) return;
    expect(tenure_, "a restarted daemon serves what it served");
    begin();
  }
  void go_elsewhere() {
    forget();
    auto gone = owner_;
    fleet_.kill(worker(gone));
    open(1 - gone, true);
    if (!has_crashed()) boot(worker(gone));
  }
  void move() {
    if (seal_here()) open(1 - owner_, false);
  }
  bool seal_here() {
    forget();
    auto& source = worker(owner_);
    fleet_.ask_seal(source, disk_id, epoch_);
    auto is_sealed = [&] {
      auto status = DiskFleet::status_of(source, disk_id);
      return status && status->state == DiskSeen::sealed;
    };
    wait_for([&] { return !source.is_up() || is_sealed(); });
    if (!source.is_up()) return false;
    expect(is_sealed(), "the disk is sealed");
    return is_sealed();
  }

  // It is asked for until the owner says that it is made, or is no more.
  void snapshot() {
    auto name = fmt::format("s{}", ++asked_);
    const auto least = disk_class_ == DiskClass::remote ? tenure_->flushed : tenure_->kept_anywhere;
    const auto of = tenure_->epoch;
    bool is_made = false;
    for (int tries = 0; tries < 50 && !is_made && worker(owner_).is_up(); ++tries) {
      auto made = sim::run_in(*worker(owner_).process,
                              worker(owner_).daemon->snapshot({disk_id, pool_id, epoch_, name, name}), 30s);
      is_made = made && *made;
      if (!is_made) (void)fleet_.run_for(50ms);
    }
    expect(is_made, "a snapshot is made");
    if (is_made) remember(name, of, least);
  }
  void remember(const std::string& name, DiskEpoch of, std::size_t least) {
    auto root = fleet_.read_root(disk_id, name);
    if (!root) return fleet_.world().violation(fmt::format("snapshot {}: {}", name, root.error()));
    fleet_.oracle().check_root(disk_id, name, root->position, padded(root->content), of, least);
    snapshots_.emplace_back(name, std::move(root->content));
  }
  void restore() {
    if (!seal_here()) return;
    const auto [name, content] = snapshots_.back();
    fleet_.oracle().expect_restore(disk_id, padded(content));
    auto request = fmt::format("r{}", ++asked_);
    auto tuning = fleet_.tuning();
    auto done = fleet_.admin<disk::RestoreRecord>(
        [=](disk::PoolAdmin& admin) { return admin.restore(disk_id, {name, request, {}}, tuning); });
    if (!done) return fleet_.world().violation(fmt::format("no restore: {}", done.error()));
    auto left = fleet_.read_root(disk_id, done->kept_as);
    if (!left) return fleet_.world().violation(fmt::format("what was left: {}", left.error()));
    fleet_.oracle().check_left(disk_id, done->epoch, padded(left->content));
    snapshots_.emplace_back(done->kept_as, std::move(left->content));
    open(owner_, false);
  }
  void reclaim() {
    fleet_.begin_reclaim(disk_id);
    expect(wait_for([&] { return !fleet_.is_reclaiming(); }), "a reclaim ends");
  }

  // Asked for until the owner says so, as for a snapshot; it may be larger already when its owner dies.
  void grow() {
    blocks_asked_ = device_->size_bytes() / disk::block_bytes + blocks_more;
    bool has_grown = false;
    for (int tries = 0; tries < 50 && !has_grown && worker(owner_).is_up(); ++tries) {
      auto grown = sim::run_in(
          *worker(owner_).process,
          worker(owner_).daemon->resize({disk_id, pool_id, epoch_, blocks_asked_ * disk::block_bytes}), 30s);
      has_grown = grown && *grown;
      if (!has_grown) (void)fleet_.run_for(50ms);
    }
    expect(has_grown, "the disk grows");
    if (!has_grown) return;
    blocks_promised_ = blocks_asked_;
    write(blocks_asked_ - 2, 2, ++last_stamp_);
  }
  void fork() {
    const auto [name, content] = snapshots_.back();
    const DiskId id(fmt::format("fork-{}", ++asked_));
    const auto size_bytes = content.size() * disk::block_bytes;
    fleet_.oracle().add_disk(id, disk_class_, content);
    auto made = fleet_.admin<bool>(
        [=, c = disk_class_](disk::PoolAdmin& admin) { return make_fork(&admin, id, size_bytes, c, name); });
    if (!made) return fleet_.world().violation(fmt::format("no fork: {}", made.error()));
    forks_.emplace_back(id, content);
  }
  static Task<Result<bool>> make_fork(disk::PoolAdmin* admin, DiskId id, std::uint64_t size_bytes,
                                      DiskClass disk_class, std::string root) {
    EBB_CO_CHECKED(co_await admin->create_fork(disk_id, id, size_bytes, disk_class, root));
    co_return true;
  }

  void recover(Recovery recovery) {
    forget();
    const auto dead = dead_;
    if (recovery == Recovery::power_cut) fleet_.power_cut(worker(dead), sim::PowerCut::lose_all);
    if (recovery == Recovery::other_worker) return open(1 - dead, true);
    owner_ = dead;
    started_looking_ = fleet_.now();
    boot(worker(dead));
    // What it served before it opens by itself.
    wait_for([&] { return tenure_ || !is_opening(worker(dead)); });
    if (!tenure_) return open(dead, true);
    begin();
  }
  // Also for the moment in which a daemon looks for what it served.
  bool is_opening(SimWorker& which) {
    auto status = DiskFleet::status_of(which, disk_id);
    if (!status) return fleet_.now() < started_looking_ + 50ms;
    return status->state == DiskSeen::opening;
  }

  // The disk is still written, flushed and sealed; then the store alone has all of it, and no log is left for
  // nothing.
  void check_end() {
    if (!is_well()) return;
    if (!tenure_ || !worker(owner_).is_up())
      return fleet_.world().violation("nobody serves the disk in the end");
    write(0, device_->size_bytes() / disk::block_bytes, ++last_stamp_);
    flush();
    for (auto& each : fleet_.workers()) boot(each);
    fleet_.ask_seal(worker(owner_), disk_id, tenure_->epoch.placement);
    expect(wait_for([&] {
             auto status = DiskFleet::status_of(worker(owner_), disk_id);
             return status && status->state == DiskSeen::sealed;
           }),
           "the disk is sealed in the end");
    auto stored = fleet_.offline(disk_id);
    expect(stored.has_value(), "the scrub finds no error");
    if (stored) fleet_.oracle().check_final(disk_id, padded(stored->content));
    reclaim();
    for (const auto& [name, content] : snapshots_) {
      auto root = fleet_.read_root(disk_id, name);
      expect(root && root->content == content, "a snapshot is what it was");
    }
    for (const auto& [id, content] : forks_) {
      auto found = fleet_.offline(id);
      expect(found && found->content == content, "a fork is what it was made from");
    }
    (void)fleet_.run_for(700ms);
    fleet_.check_logs(disk_id);
  }

  DiskFleet fleet_;
  DiskClass disk_class_;
  Start start_;
  std::vector<std::pair<std::string, Content>> snapshots_;
  std::vector<std::pair<DiskId, Content>> forks_;
  int asked_ = 0;  // for snapshots, restores and forks
  int zeroes_ = 0;
  std::uint64_t blocks_promised_ = blocks, blocks_asked_ = blocks;
  std::size_t owner_ = 0, dead_ = 0;
  Epoch epoch_ = 0;
  Tenure* tenure_ = nullptr;
  Device device_;
  Stamp last_stamp_ = 0;
  Instant started_looking_{};
};

bool may_follow(const std::vector<Step>& steps, Step next, Start start) {
  const bool has_snapshot = start == Start::aged || std::ranges::count(steps, Step::snapshot) > 0;
  return (next != Step::restore && next != Step::fork) || has_snapshot;
}

std::vector<std::vector<Step>> all_sequences(std::size_t length_max, Start start) {
  std::vector<std::vector<Step>> all{{}};
  for (std::size_t i = 0; i < all.size(); ++i) {
    if (all[i].size() == length_max) continue;
    for (std::size_t kind = 0; kind < step_kinds; ++kind) {
      if (!may_follow(all[i], static_cast<Step>(kind), start)) continue;
      auto longer = all[i];
      longer.push_back(static_cast<Step>(kind));
      all.push_back(std::move(longer));
    }
  }
  all.erase(all.begin());
  return all;
}

}  // namespace

std::string Story::text() const {
  constexpr std::array names{"write a", "write b",  "trim",    "flush",   "restart", "elsewhere",
                             "move",    "snapshot", "restore", "reclaim", "grow",    "fork"};
  static_assert(names.size() == step_kinds);
  constexpr std::array recoveries{"the same worker", "the other worker", "power cut"};
  std::string out =
      fmt::format("{}, {}:", json::name_of(disk_class), start == Start::aged ? "aged" : "fresh");
  for (auto step : steps) out += fmt::format(" {},", names[static_cast<std::size_t>(step)]);
  if (crash_at == sim::CrashPoints::never) return out + " no crash";
  return out + fmt::format(" crash at point {} of that, {}", crash_at,
                           recoveries[static_cast<std::size_t>(recovery)]);
}

StoryResult play_story(const Story& story) { return Stage(story.disk_class, story.start).play(story); }

StoriesResult play_all_stories(StoriesPlan plan) {
  constexpr std::size_t failures_max = 10;
  constexpr std::array recoveries{Recovery::same_worker, Recovery::other_worker, Recovery::power_cut};
  StoriesResult result;
  auto play = [&](const Story& story) {
    auto played = play_story(story);
    ++result.stories;
    result.crashes += played.has_crashed;
    for (const auto& violation : played.violations)
      result.violations.push_back(story.text() + ": " + violation);
    return played;
  };
  std::uint64_t turn = 0;
  for (auto start : {Start::fresh, Start::aged}) {
    for (auto& steps : all_sequences(plan.length_max, start)) {
      for (auto disk_class : {DiskClass::remote, DiskClass::local}) {
        if (turn++ % plan.slices != plan.slice) continue;
        Story story{steps, disk_class, start};
        auto points = play(story).points;
        for (story.crash_at = 0; story.crash_at < points; ++story.crash_at) {
          for (auto recovery : recoveries) {
            story.recovery = recovery;
            play(story);
            if (result.violations.size() > failures_max) return result;
          }
        }
      }
    }
  }
  return result;
}

}  // namespace ebb::disk_sim
