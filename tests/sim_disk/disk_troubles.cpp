#include "disk_troubles.h"

namespace ebb::disk_sim {

Duration between(Random& random, Duration low, Duration high) {
  return low + Duration(static_cast<Duration::rep>(
                   random.below(static_cast<std::uint64_t>((high - low).count()) + 1)));
}

namespace {

SimWorker& any_worker(DiskFleet& fleet, Random& random) {
  return fleet.workers()[random.below(fleet.workers().size())];
}

void later(DiskFleet& fleet, Duration after, std::function<void()> act) {
  fleet.world().loop().call_at(fleet.now() + after, [act = std::move(act)] { act(); });
}

class DaemonsDie final : public Trouble {
 public:
  std::string_view name() const override { return "daemons-die"; }
  void strike(DiskFleet& fleet, Random& random) override { fleet.kill(any_worker(fleet, random)); }
};

// Who deletes is slow, dies half way, or goes on long after.
class ReclaimDies final : public Trouble {
 public:
  std::string_view name() const override { return "reclaim-dies"; }
  void strike(DiskFleet& fleet, Random& random) override {
    if (random.chance(0.4)) return fleet.kill_reclaim();
    fleet.pause_reclaim(true);
    later(fleet, between(random, 50ms, 6s), [&fleet] { fleet.pause_reclaim(false); });
  }
};

// Before or after a sync, a replacement of a file, a PUT, a change of HEAD.
class DeathAtAPoint final : public Trouble {
 public:
  std::string_view name() const override { return "death-at-a-point"; }
  void strike(DiskFleet& fleet, Random& random) override {
    auto host = any_worker(fleet, random).name;
    const bool at_head = random.chance(0.4);
    auto nth = random.below(at_head ? 6 : 60);
    fleet.world().crash_points().arm(
        [host, at_head](const sim::CrashPoint& at) {
          return at.process.host() == host && (!at_head || at.subject.ends_with("/HEAD"));
        },
        nth);
  }
};

class PowerCuts final : public Trouble {
 public:
  std::string_view name() const override { return "power-cuts"; }
  void strike(DiskFleet& fleet, Random& random) override {
    auto& worker = any_worker(fleet, random);
    if (worker.is_up())
      fleet.power_cut(worker, random.chance(0.5) ? sim::PowerCut::lose_all : sim::PowerCut::lose_some);
  }
};

class LogsLost final : public Trouble {
 public:
  std::string_view name() const override { return "logs-lost"; }
  void strike(DiskFleet& fleet, Random& random) override {
    auto& worker = any_worker(fleet, random);
    if (random.chance(0.4)) fleet.replace_drive(worker);
  }
};

// Bits flip in what a worker's cache has on its disk.
class CachesRot final : public Trouble {
 public:
  std::string_view name() const override { return "caches-rot"; }
  void strike(DiskFleet& fleet, Random& random) override {
    auto& worker = any_worker(fleet, random);
    for (int i = 0; i < 20; ++i)
      (void)worker.drive->corrupt("/state/cache", random.below(random.chance(0.3) ? 8 * KiB : 1 * MiB));
  }
};

class Zombies final : public Trouble {
 public:
  std::string_view name() const override { return "zombies"; }
  void strike(DiskFleet& fleet, Random& random) override {
    auto& worker = any_worker(fleet, random);
    if (!worker.is_running()) return;
    auto* process = worker.process;
    fleet.pause(worker);
    later(fleet, random.chance(0.3) ? between(random, 50ms, 1s) : between(random, 1s, 6s),
          [&fleet, &worker, process] {
            if (worker.process == process) fleet.resume(worker);
          });
  }
};

class Partitions final : public Trouble {
 public:
  std::string_view name() const override { return "partitions"; }
  void strike(DiskFleet& fleet, Random& random) override {
    auto host = any_worker(fleet, random).name;
    auto& links = fleet.world().links();
    links.cut(host, std::string(sim::SimStore::host));
    later(fleet, between(random, 100ms, 8s),
          [&links, host] { links.mend(host, std::string(sim::SimStore::host)); });
  }
};

class StoreIsFlaky final : public Trouble {
 public:
  std::string_view name() const override { return "store-is-flaky"; }
  void begin(DiskFleet& fleet, Random& random) override {
    auto& options = fleet.store().options();
    options.refuse = 0.1 * random.unit(), options.busy = 0.1 * random.unit();
    options.lose_request = 0.05 * random.unit(), options.lose_reply = 0.1 * random.unit();
    options.repeat = 0.1 * random.unit();
  }
};

// What was sent arrives long after its sender gave up, or died.
class LatePuts final : public Trouble {
 public:
  std::string_view name() const override { return "late-puts"; }
  void begin(DiskFleet& fleet, Random& random) override {
    auto& options = fleet.store().options();
    options.delay = 0.02 + 0.15 * random.unit();
    options.late_max = between(random, 500ms, 6s);
  }
};

class StoreOutages final : public Trouble {
 public:
  std::string_view name() const override { return "store-outages"; }
  void strike(DiskFleet& fleet, Random& random) override {
    if (random.chance(0.5)) return;
    fleet.store().set_outage(true);
    auto length = random.chance(0.05) ? between(random, 10s, 18s) : between(random, 200ms, 8s);
    later(fleet, length, [&fleet] { fleet.store().set_outage(false); });
  }
};

}  // namespace

std::vector<std::unique_ptr<Trouble>> all_troubles() {
  std::vector<std::unique_ptr<Trouble>> all;
  all.push_back(std::make_unique<DaemonsDie>());
  all.push_back(std::make_unique<ReclaimDies>());
  all.push_back(std::make_unique<DeathAtAPoint>());
  all.push_back(std::make_unique<PowerCuts>());
  all.push_back(std::make_unique<LogsLost>());
  all.push_back(std::make_unique<CachesRot>());
  all.push_back(std::make_unique<Zombies>());
  all.push_back(std::make_unique<Partitions>());
  all.push_back(std::make_unique<StoreIsFlaky>());
  all.push_back(std::make_unique<LatePuts>());
  all.push_back(std::make_unique<StoreOutages>());
  return all;
}

}  // namespace ebb::disk_sim
