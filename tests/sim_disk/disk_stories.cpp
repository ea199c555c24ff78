#include "disk_stories.h"

#include <array>

namespace ebb::disk_sim {
namespace {

const DiskId disk_id("d1");
constexpr std::uint64_t blocks = 8;

class Stage final {
 public:
  explicit Stage(DiskClass disk_class) : fleet_({.seed = 1, .workers = 2}), disk_class_(disk_class) {
    fleet_.on_served = [this](SimWorker&, Tenure& tenure, Device device) {
      tenure_ = &tenure;
      device_ = std::move(device);
    };
  }

  StoryResult play(const Story& story) {
    StoryResult result;
    expect(fleet_.create_disk(disk_id, disk_class_, blocks).has_value(), "the disk is made");
    for (auto& worker : fleet_.workers()) boot(worker);
    open(owner_, false);
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
      fleet_.oracle().begin(*tenure_, **found);
    else
      expect(false, "the disk can be read");
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
    }
  }
  void write(std::uint64_t block, std::uint64_t count, Stamp stamp) {
    auto op = fleet_.oracle().issue(*tenure_, {block, count, stamp});
    Bytes data;
    for (auto b = block; stamp != 0 && b < block + count; ++b) append(data, disk::testing::stamped(stamp, b));
    auto offset = block * disk::block_bytes, length = count * disk::block_bytes;
    auto sent = stamp == 0 ? device_->trim(offset, length) : device_->write(offset, std::move(data));
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
    forget();
    auto source = owner_;
    fleet_.ask_seal(worker(source), disk_id, epoch_);
    auto is_sealed = [&] {
      auto status = DiskFleet::status_of(worker(source), disk_id);
      return status && status->state == DiskSeen::sealed;
    };
    wait_for([&] { return !worker(source).is_up() || is_sealed(); });
    if (!worker(source).is_up()) return;
    expect(is_sealed(), "the disk is sealed");
    open(1 - source, false);
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
    write(0, 8, ++last_stamp_);
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
    if (stored) fleet_.oracle().check_final(disk_id, stored->content);
    (void)fleet_.run_for(700ms);
    fleet_.check_logs(disk_id);
  }

  DiskFleet fleet_;
  DiskClass disk_class_;
  std::size_t owner_ = 0, dead_ = 0;
  Epoch epoch_ = 0;
  Tenure* tenure_ = nullptr;
  Device device_;
  Stamp last_stamp_ = 0;
  Instant started_looking_{};
};

std::vector<std::vector<Step>> all_sequences(std::size_t length_max) {
  std::vector<std::vector<Step>> all{{}};
  for (std::size_t i = 0; i < all.size(); ++i) {
    if (all[i].size() == length_max) continue;
    for (std::size_t kind = 0; kind < step_kinds; ++kind) {
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
  constexpr std::array names{"write a", "write b", "trim", "flush", "restart", "elsewhere", "move"};
  constexpr std::array recoveries{"the same worker", "the other worker", "power cut"};
  std::string out = fmt::format("{}:", json::name_of(disk_class));
  for (auto step : steps) out += fmt::format(" {},", names[static_cast<std::size_t>(step)]);
  if (crash_at == sim::CrashPoints::never) return out + " no crash";
  return out + fmt::format(" crash at point {} of that, {}", crash_at,
                           recoveries[static_cast<std::size_t>(recovery)]);
}

StoryResult play_story(const Story& story) { return Stage(story.disk_class).play(story); }

StoriesResult play_all_stories(std::size_t length_max) {
  constexpr std::size_t failures_max = 10;
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
  for (auto& steps : all_sequences(length_max)) {
    for (auto disk_class : {DiskClass::remote, DiskClass::local}) {
      Story story{steps, disk_class};
      auto points = play(story).points;
      for (story.crash_at = 0; story.crash_at < points; ++story.crash_at) {
        story.recovery = static_cast<Recovery>(turn++ % 3);
        play(story);
        if (result.violations.size() > failures_max) return result;
      }
    }
  }
  return result;
}

}  // namespace ebb::disk_sim
