#include "disk_scenario.h"

#include "disk_client.h"
#include "disk_control.h"
#include "disk_snapshots.h"
#include "disk_troubles.h"

namespace ebb::disk_sim {
namespace {

constexpr Duration act_one = 20s, act_two_limit = 3min;
const DiskId image_id("image");

class Scenario final {
 public:
  explicit Scenario(const FleetOptions& options)
      : random_(sim::fnv1a("disk scenario", options.seed)),
        fleet_(with_workers(options, random_)),
        control_(fleet_, random_.next(), random_.chance(0.4)),
        snapshots_(fleet_, control_, random_.next()) {
    guests_.oracle = &fleet_.oracle(), guests_.world = &fleet_.world();
    guests_.status = [this](const Tenure& tenure) -> std::optional<DiskStatus> {
      for (auto& worker : fleet_.workers()) {
        if (worker.name == tenure.worker) return DiskFleet::status_of(worker, tenure.disk);
      }
      return std::nullopt;
    };
    fleet_.on_served = [this](SimWorker& worker, Tenure& tenure, Device device) {
      WorkPlan plan;
      plan.seed = random_.next();
      plan.pause = random_.chance(0.2) ? between(random_, 100ms, 800ms) : between(random_, 2ms, 60ms);
      plan.flush = 0.01 + 0.3 * random_.unit(), plan.burst = 0.5 * random_.unit();
      worker.process->make<Guest>(worker.process->loop(), guests_, tenure, std::move(device), plan);
    };
  }

  RunResult play() {
    if (auto status = set_up(); !status) fleet_.world().violation("set-up: " + status.error().message);
    if (is_well()) play_act_one();
    if (is_well()) play_act_two();
    return result();
  }

 private:
  static FleetOptions with_workers(FleetOptions options, Random& random) {
    options.workers = 3 + random.below(2);
    options.cache_disk_bytes = 1 * MiB;
    return options;
  }
  bool is_well() { return fleet_.world().violations().empty(); }
  DiskClass draw_class() { return random_.chance(0.5) ? DiskClass::remote : DiskClass::local; }

  Status set_up();
  void play_act_one();
  void play_act_two();
  void check_end();
  void rescue_logs();
  void begin_fork();
  void end_forks();
  bool wait_for(std::string_view what, Duration limit, const std::function<bool()>& done);
  bool tick();
  bool makes_progress(const DiskId& disk, Instant since);
  std::string why_not_open(const DiskId& disk);
  RunResult result();

  Random random_;
  GuestHouse guests_;
  DiskFleet fleet_;
  Control control_;
  Snapshots snapshots_;
  Content image_;
  std::string names_;
  struct Fork {
    DiskId disk;
    DiskClass disk_class;
    DiskId parent = image_id;
    std::string root = std::string(disk::image_root);
    std::shared_ptr<bool> is_made = std::make_shared<bool>(false);
    sim::SimProcess* process = nullptr;
  };
  std::vector<Fork> forks_;  // being made
  std::size_t forks_begun_ = 0, forks_made_ = 0;
  std::size_t orphans_ = 0, rescues_ = 0;
  double snapshot_chance_ = 0.03;
};

Status Scenario::set_up() {
  const DiskId disk("d1");
  EBB_CHECKED(fleet_.create_disk(disk, draw_class(), 128 + random_.below(192)));
  control_.add(disk);
  if (random_.chance(0.5)) {
    for (int b = 0; b < 48; ++b) image_.push_back(random_.chance(0.7) ? ++guests_.last_stamp : 0);
    EBB_CHECKED(fleet_.import_image(image_id, image_));
    begin_fork();
  }
  return {};
}

// A fork is made in the background, by a control plane that may die on the way and then tries again.
void Scenario::begin_fork() {
  constexpr std::size_t forks_max = 4;
  if (forks_begun_ >= forks_max) return;
  auto origin = random_.chance(0.5) ? snapshots_.draw_origin() : std::nullopt;
  if (!origin && image_.empty()) return;
  Fork fork{DiskId(fmt::format("fork-{}", ++forks_begun_)), draw_class()};
  auto initial = image_;
  if (origin) fork.parent = origin->disk, fork.root = origin->root, initial = origin->content;
  initial.resize(initial.size() + random_.below(64), 0);
  fleet_.oracle().add_disk(fork.disk, fork.disk_class, initial);
  forks_.push_back(fork);
}

void Scenario::end_forks() {
  for (auto& fork : forks_) {
    if (*fork.is_made) {
      control_.add(fork.disk);
      ++forks_made_;
      snapshots_.fork_is_made(fork.parent, fork.root);
      continue;
    }
    if (fork.process && fork.process->is_alive()) {
      if (random_.chance(0.05)) fork.process->kill();
      continue;
    }
    fork.process = &fleet_.world().start_process("control", "admin");
    auto& client = fork.process->make<sim::SimStoreClient>(*fork.process, fleet_.store());
    auto& admin = fork.process->make<disk::PoolAdmin>(fork.process->loop(), client);
    auto make = [](DiskFleet* fleet, disk::PoolAdmin* pool, Fork made, std::uint64_t bytes) -> Task<void> {
      auto status = co_await pool->create_fork(made.parent, made.disk, bytes, made.disk_class, made.root);
      if (status)
        *made.is_made = true;
      else
        fleet->world().violation(
            fmt::format("{}@{} cannot be forked: {}", made.parent, made.root, status.error()));
    };
    auto bytes = fleet_.oracle().initial(fork.disk).size() * disk::block_bytes;
    fork.process->make<Scope>(fork.process->loop()).spawn(make(&fleet_, &admin, fork, bytes));
  }
  std::erase_if(forks_, [](const Fork& fork) { return *fork.is_made; });
}

bool Scenario::tick() {
  control_.reconcile();
  snapshots_.tick();
  end_forks();
  if (auto status = fleet_.run_for(between(random_, 10ms, 60ms)); !status)
    fleet_.world().violation(status.error().message);
  return is_well();
}

void Scenario::play_act_one() {
  std::vector<std::unique_ptr<Trouble>> troubles;
  for (auto& trouble : all_troubles()) {
    if (!random_.chance(0.35)) continue;
    names_ += (names_.empty() ? "" : "+") + std::string(trouble->name());
    troubles.push_back(std::move(trouble));
  }
  fleet_.world().loop().note("act one: " + names_);
  for (auto& trouble : troubles) trouble->begin(fleet_, random_);
  const auto strikes = 0.02 + 0.08 * random_.unit(), acts = 0.01 + 0.05 * random_.unit();
  const auto reclaims = random_.chance(0.2) ? 0.0 : 0.3 * random_.unit();
  for (const auto end = fleet_.now() + act_one; fleet_.now() < end;) {
    if (!troubles.empty() && random_.chance(strikes))
      troubles[random_.below(troubles.size())]->strike(fleet_, random_);
    if (random_.chance(acts)) control_.act();
    if (random_.chance(0.005)) begin_fork();
    if (random_.chance(snapshot_chance_)) snapshots_.act();
    if (random_.chance(reclaims) && !control_.disks().empty())
      fleet_.begin_reclaim(control_.disks()[random_.below(control_.disks().size())]);
    if (random_.chance(0.01)) fleet_.begin_reclaim(image_.empty() ? control_.disks()[0] : image_id);
    if (random_.chance(0.02) && !control_.disks().empty()) {
      const auto& disk = control_.disks()[random_.below(control_.disks().size())];
      if (!snapshots_.is_restoring(disk)) fleet_.begin_offline_check(disk);
    }
    if (!tick()) return;
  }
}

bool Scenario::wait_for(std::string_view what, Duration limit, const std::function<bool()>& done) {
  for (const auto end = fleet_.now() + limit; !done();) {
    if (!tick()) return false;
    if (fleet_.now() < end) continue;
    fleet_.world().violation(
        fmt::format("no progress although all is healed: {}; {}", what, snapshots_.waits_for()));
    for (const auto& disk : control_.disks()) fleet_.world().violation("  " + why_not_open(disk));
    return false;
  }
  return true;
}

std::string Scenario::why_not_open(const DiskId& disk) {
  auto& worker = control_.wanted_at(disk);
  auto status = DiskFleet::status_of(worker, disk);
  if (!status) return fmt::format("{} on {}: unknown there", disk, worker.name);
  return fmt::format("{} on {}: {} in epoch {}.{}; {} {}", disk, worker.name, json::name_of(status->state),
                     status->epoch, status->incarnation, status->error, status->waiting_for);
}

bool Scenario::makes_progress(const DiskId& disk, Instant since) {
  const auto* tenure = fleet_.oracle().newest(disk);
  return control_.is_open(disk) && tenure && tenure->epoch.placement == control_.epoch_of(disk) &&
         tenure->flushed_at && *tenure->flushed_at > since;
}

void Scenario::play_act_two() {
  auto& world = fleet_.world();
  world.loop().note("act two");
  fleet_.store().heal();
  world.links().mend_all();
  world.crash_points().disarm();
  for (auto& worker : fleet_.workers()) {
    if (worker.is_up()) fleet_.resume(worker);
  }
  fleet_.pause_reclaim(false);
  control_.settle();
  guests_.is_calm = true;
  if (!wait_for("snapshots and restores that were asked for end", act_two_limit,
                [&] { return snapshots_.is_idle(); }))
    return;
  const auto healed = fleet_.now();
  const auto& disks = control_.disks();
  auto all = [&](const std::function<bool(const DiskId&)>& holds) {
    return std::ranges::all_of(disks, holds);
  };
  if (!wait_for("forks are made, disks are open, and take writes and flushes", act_two_limit, [&] {
        return forks_.empty() && all([&](const DiskId& disk) { return makes_progress(disk, healed); });
      }))
    return;
  guests_.is_over = true;
  if (!wait_for("guests end", 1min, [&] {
        return all(
            [&](const DiskId& disk) { return guests_.at_rest.contains(fleet_.oracle().newest(disk)); });
      }))
    return;
  check_end();
}

void Scenario::check_end() {
  for (const auto& disk : control_.disks()) {
    for (const auto end = fleet_.now() + 1min; !control_.seal(disk);) {
      (void)fleet_.run_for(20ms);
      if (fleet_.now() > end) return fleet_.world().violation("not sealed: " + why_not_open(disk));
    }
    fleet_.begin_reclaim(disk);
    (void)fleet_.run_for(2s);
    auto stored = fleet_.offline(disk);
    if (!stored) return fleet_.world().violation(fmt::format("the scrub of {}: {}", disk, stored.error()));
    fleet_.oracle().check_final(disk, stored->content);
    auto rebuilt = fleet_.rebuilt(disk);
    if (!rebuilt)
      fleet_.world().violation(fmt::format("the rebuilding of {}: {}", disk, rebuilt.error()));
    else if (rebuilt->content != stored->content)
      fleet_.world().violation(fmt::format("{} is another disk when it has been rebuilt", disk));
  }
  snapshots_.check_end();
  if (!image_.empty()) {
    auto stored = fleet_.offline(image_id);
    if (!stored)
      fleet_.world().violation(fmt::format("the scrub of {}: {}", image_id, stored.error()));
    else if (stored->content != image_)
      fleet_.world().violation("the image has changed");
  }
  (void)fleet_.run_for(5s);  // for workers to look at the logs that lie there
  for (const auto& disk : control_.disks()) fleet_.check_logs(disk);
  if (is_well()) rescue_logs();
}

void Scenario::rescue_logs() {
  for (auto& worker : fleet_.workers()) {
    for (const auto& log : worker.daemon->status().orphan_logs) {
      (void)fleet_.run_for(500ms);  // it may have been started anew, and reads its logs
      const auto now = worker.daemon->status().orphan_logs;
      if (std::ranges::find(now, log.log_id, &OrphanLog::log_id) == now.end())
        continue;  // a power cut took it
      ++orphans_;
      if (fleet_.rescue(worker, log, random_)) ++rescues_;
    }
  }
}

RunResult Scenario::result() {
  RunResult result;
  auto& oracle = fleet_.oracle();
  result.violations = fleet_.world().violations();
  result.state_hash = fleet_.state_hash();
  result.events = fleet_.world().loop().events();
  auto& c = result.counts;
  c.tenures = oracle.tenures(), c.writes = oracle.writes(), c.lost_writes = oracle.lost_writes();
  c.snapshots = snapshots_.taken(), c.snapshots_removed = snapshots_.removed();
  c.restores = snapshots_.restores(), c.forks = forks_made_;
  c.orphans = orphans_, c.rescues = rescues_;
  c.cleaned = fleet_.cleaned(), c.reclaimed = fleet_.reclaimed();
  c.offline_checks = fleet_.offline_checks(), c.cache_disk_hits = fleet_.cache_disk_hits();
  c.zombies = fleet_.zombies();
  std::string zombies;
  for (const auto& [state, count] : c.zombies)
    zombies += fmt::format(", {} zombies ({})", count, json::name_of(state));
  result.summary = fmt::format(
      "{}; {} disks, {} tenures, {} writes, {} lost with their worker, {} read offline, {} snapshots, {} "
      "removed, {} restores, {} forks, {} of {} logs rescued, {} objects cleaned, {} reclaimed, {} found in "
      "caches{}, {} virtual",
      names_.empty() ? "no troubles" : names_, control_.disks().size(), c.tenures, c.writes, c.lost_writes,
      c.offline_checks, c.snapshots, c.snapshots_removed, c.restores, c.forks, c.rescues, c.orphans,
      c.cleaned, c.reclaimed, c.cache_disk_hits, zombies, format_duration(fleet_.now().time_since_epoch()));
  return result;
}

}  // namespace

void RunCounts::add(const RunCounts& other) {
  for (auto count : {&RunCounts::tenures, &RunCounts::writes, &RunCounts::lost_writes, &RunCounts::snapshots,
                     &RunCounts::snapshots_removed, &RunCounts::restores, &RunCounts::forks,
                     &RunCounts::orphans, &RunCounts::rescues, &RunCounts::cleaned, &RunCounts::reclaimed,
                     &RunCounts::offline_checks, &RunCounts::cache_disk_hits})
    this->*count += other.*count;
  for (const auto& [state, count] : other.zombies) zombies[state] += count;
}

RunResult play_seed(FleetOptions options) { return Scenario(options).play(); }

}  // namespace ebb::disk_sim
