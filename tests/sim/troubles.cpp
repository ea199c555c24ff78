#include "troubles.h"

#include "fleet_sim.h"

namespace ebb::fleet_sim {
namespace {

FleetWorker& any_worker(FleetSim& sim, Random& random) {
  return *sim.workers()[random.below(sim.workers().size())];
}

Duration between(Random& random, Duration low, Duration high) {
  return low + Duration(static_cast<Duration::rep>(
                   random.below(static_cast<std::uint64_t>((high - low).count()) + 1)));
}

void later(FleetSim& sim, Duration after, std::function<void()> act) {
  sim.world().loop().call_at(sim.now() + after, [act = std::move(act)] { act(); });
}

class ControlDies final : public Trouble {
 public:
  std::string_view name() const override { return "control-dies"; }
  void strike(FleetSim& sim, Random& random) override {
    // At one of the next commits, or just anywhere.
    if (random.chance(0.5)) return sim.kill_control();
    auto kind = random.chance(0.5) ? "commit before" : "commit after";
    sim.world().crash_points().arm(sim::CrashPoints::of_kind(kind), random.below(10));
  }
};

class AgentsDie final : public Trouble {
 public:
  std::string_view name() const override { return "agents-die"; }
  void strike(FleetSim& sim, Random& random) override { any_worker(sim, random).kill(Program::agent); }
};

class DiskDaemonsDie final : public Trouble {
 public:
  std::string_view name() const override { return "disk-daemons-die"; }
  void strike(FleetSim& sim, Random& random) override { any_worker(sim, random).kill(Program::disk_daemon); }
};

class Zombies final : public Trouble {
 public:
  std::string_view name() const override { return "zombies"; }
  void strike(FleetSim& sim, Random& random) override {
    auto& worker = any_worker(sim, random);
    if (worker.is_paused()) return;
    worker.pause();
    later(sim, between(random, 5s, 60s), [&worker] { worker.resume(); });
  }
};

class RepliesGetLost final : public Trouble {
 public:
  std::string_view name() const override { return "replies-get-lost"; }
  void begin(FleetSim& sim, Random& random) override {
    auto& options = sim.http().options();
    options.lose_request = 0.05 * random.unit(), options.lose_reply = 0.1 * random.unit();
    options.repeat = 0.1 * random.unit(), options.delay = 0.03 * random.unit();
  }
};

class StoreIsFlaky final : public Trouble {
 public:
  std::string_view name() const override { return "store-is-flaky"; }
  void begin(FleetSim& sim, Random& random) override {
    auto& options = sim.store().options();
    options.refuse = 0.05 * random.unit(), options.busy = 0.05 * random.unit();
    options.lose_request = 0.03 * random.unit(), options.lose_reply = 0.05 * random.unit();
    options.delay = 0.02 * random.unit(), options.repeat = 0.05 * random.unit();
  }
};

class StoreOutages final : public Trouble {
 public:
  std::string_view name() const override { return "store-outages"; }
  void strike(FleetSim& sim, Random& random) override {
    sim.store().set_outage(true);
    later(sim, between(random, 1s, 20s), [&sim] { sim.store().set_outage(false); });
  }
};

class Partitions final : public Trouble {
 public:
  std::string_view name() const override { return "partitions"; }
  void strike(FleetSim& sim, Random& random) override {
    auto host = any_worker(sim, random).id().value;
    auto& links = sim.world().links();
    auto length = between(random, 1s, 60s);
    if (random.chance(0.3)) {
      links.isolate(host);
      return later(sim, length, [&links, host] { links.rejoin(host); });
    }
    std::string other(random.chance(0.6) ? "control" : "store");
    links.cut(host, other);
    later(sim, length, [&links, host, other] { links.mend(host, other); });
  }
};

class GuestsCrash final : public Trouble {
 public:
  std::string_view name() const override { return "guests-crash"; }
  void strike(FleetSim& sim, Random& random) override {
    auto& machines = any_worker(sim, random).machines();
    auto all = machines.list();
    if (!all.empty()) machines.crash(all[random.below(all.size())].vm);
  }
};

// Each ends as a guest that powers itself off, well or with a failure of its own.
class GuestsEnd final : public Trouble {
 public:
  std::string_view name() const override { return "guests-end"; }
  void strike(FleetSim& sim, Random& random) override {
    auto& machines = any_worker(sim, random).machines();
    for (const auto& machine : machines.list())
      if (machine.state == MachineState::ready && random.chance(0.3))
        machines.end_guest(machine.vm, random.chance(0.6) ? 0 : 1, between(random, 0s, 3s));
  }
};

class HostsLosePower final : public Trouble {
 public:
  std::string_view name() const override { return "hosts-lose-power"; }
  void strike(FleetSim& sim, Random& random) override {
    if (random.chance(0.7)) return;
    auto& worker = any_worker(sim, random);
    auto how = random.chance(0.5) ? sim::PowerCut::lose_all : sim::PowerCut::lose_some;
    worker.power_cut(how, between(random, 5s, 40s));
  }
};

// A worker vanishes, is declared dead and emptied, and comes back as a zombie.
class DeclaredDead final : public Trouble {
 public:
  std::string_view name() const override { return "declared-dead"; }
  void strike(FleetSim& sim, Random& random) override {
    auto& worker = any_worker(sim, random);
    if (!worker.is_up() || worker.is_paused() || sim.fleet().active_drain_of(worker.id())) return;
    // As many drains at once as the fleet has room for.
    const auto is_active = [](const auto& item) { return !is_ended(item.second.state); };
    if (std::ranges::count_if(sim.fleet().drains(), is_active) >= 2) return;
    auto& links = sim.world().links();
    const auto host = worker.id().value;
    const auto gone = between(random, 20s, 90s);
    if (random.chance(0.5)) {
      worker.pause();
      later(sim, gone, [&worker] { worker.resume(); });
    } else {
      links.isolate(host);
      later(sim, gone, [&links, host] { links.rejoin(host); });
    }
    (void)sim.run_for(between(random, 1s, 15s));
    if (!sim.is_unreachable(worker.id())) return;
    DrainOptions options;
    options.source_dead = true;
    (void)sim.start_drain(worker.id(), options);
  }
};

}  // namespace

std::vector<std::unique_ptr<Trouble>> all_troubles() {
  std::vector<std::unique_ptr<Trouble>> all;
  all.push_back(std::make_unique<ControlDies>());
  all.push_back(std::make_unique<AgentsDie>());
  all.push_back(std::make_unique<DiskDaemonsDie>());
  all.push_back(std::make_unique<Zombies>());
  all.push_back(std::make_unique<RepliesGetLost>());
  all.push_back(std::make_unique<StoreIsFlaky>());
  all.push_back(std::make_unique<StoreOutages>());
  all.push_back(std::make_unique<Partitions>());
  all.push_back(std::make_unique<GuestsCrash>());
  all.push_back(std::make_unique<GuestsEnd>());
  all.push_back(std::make_unique<HostsLosePower>());
  all.push_back(std::make_unique<DeclaredDead>());
  return all;
}

}  // namespace ebb::fleet_sim
