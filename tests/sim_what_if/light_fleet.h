// Workers that need nothing but a few bytes a VM: each gets its wanted set and does what is wanted, which takes as long as it took real
// workers; and reports, as agents do. They look at the clock in ticks, so that a control plane that serves many hears of many at once.
#pragma once
#include <functional>
#include <queue>

#include "base/random.h"
#include "env/http.h"
#include "env/scope.h"
#include "fleet_records.h"
#include "numbered.h"

namespace ebb::what_if {

// Who watches what really runs.
class GuestWatch {
 public:
  virtual ~GuestWatch() = default;
  virtual void guest_started(std::uint32_t vm, std::uint32_t worker) = 0;
  virtual void guest_stopped(std::uint32_t vm, std::uint32_t worker) = 0;
};

struct LightFleetOptions {
  Duration tick = 100ms;        // that events wait for at most
  Duration heartbeat = 5s;      // between reports when nothing changes
  Duration message = 20ms;      // on its way between a worker and the control plane
  double spread = 0.15;         // of how long a phase takes: sigma of the logarithm
  double boot_failures = 0;     // so many VMs do not boot on the first worker that they are moved to
  double standby_failures = 0;  // or cannot be prepared there
  std::uint64_t seed = 1;
};

class LightFleet final {
 public:
  using Ask = std::function<Task<HttpResponse>(HttpRequest)>;
  // All of these outlive it.
  LightFleet(Loop& loop, const FleetRecords& records, const Numbered<WorkerId>& workers,
             const Numbered<VmId>& vms, GuestWatch& watch, Ask ask, LightFleetOptions options);
  LightFleet(const LightFleet&) = delete;

  // Everything runs that shall; every worker reports, at `revision` of its wanted set, and goes on doing so.
  void start(std::uint64_t revision);
  // What is wanted of it may have changed.
  void poke(std::uint32_t worker);
  // Its power fails: all that runs there is gone.
  void kill(std::uint32_t worker);
  // It is powered on again, with nothing running.
  void boot(std::uint32_t worker);
  bool is_alive(std::uint32_t worker) const { return workers_[worker].alive; }

  // Who holds a VM's disks open, and under which epoch; nobody: it is closed.
  struct Holder {
    std::uint32_t worker = nobody;
    Epoch epoch = 0;
  };
  Holder holder_of(std::uint32_t vm) const { return holders_[vm]; }
  std::uint64_t reports() const { return reports_; }

 private:
  enum class Step : std::uint8_t { none, preparing, opening, booting, resting, stopping };
  struct LightVm {
    std::uint32_t vm = nobody;
    Epoch epoch = 0, wanted_epoch = 0;
    VmSeen state = VmSeen::absent;
    Wanted wanted = Wanted::absent;
    Step step = Step::none;
    bool machine = false, disk_open = false, has_disks = false;
    std::uint32_t failures = 0;
    std::uint32_t token = 0;  // of the step under way
    std::vector<SeenSnapshot> snapshots{};
  };
  struct LightWorker {
    bool alive = true, asks = false, asks_again = false;
    std::uint32_t life = 0;  // how often it was powered on again
    std::uint64_t revision = 0, sequence = 0;
    Instant reported_at{};
    std::vector<LightVm> vms{};  // few
  };
  struct Due {
    Instant at;
    std::uint64_t order = 0;
    std::uint32_t worker = nobody, life = 0, vm = nobody, token = 0;  // without a VM: it asks or reports
    bool asks = false;
    bool operator>(const Due& o) const { return at != o.at ? at > o.at : order > o.order; }
  };

  void schedule(Duration after, Due due);
  void arm();
  void tick();
  void heartbeat(std::uint32_t worker);
  Task<void> exchange(std::uint32_t worker, bool asks);
  void take(std::uint32_t worker, const WantedSet& set);
  AgentReport report_of(std::uint32_t worker);
  Registration registration_of(std::uint32_t worker) const;

  LightVm* find(std::uint32_t worker, std::uint32_t vm);
  void decide(std::uint32_t worker, LightVm& vm);
  void begin(std::uint32_t worker, LightVm& vm, Step step, Duration takes);
  void end_step(std::uint32_t worker, LightVm& vm);
  void power_off(std::uint32_t worker, LightVm& vm);
  void set_open(std::uint32_t worker, LightVm& vm, bool open);
  bool fails(std::uint32_t worker, std::uint32_t vm, double share, std::uint64_t what) const;
  Duration drawn(std::uint32_t median_ms);
  const drain::PhaseTimes& phases_of(const LightVm& vm) const;

  Loop& loop_;
  const FleetRecords& records_;
  const Numbered<WorkerId>& names_;
  const Numbered<VmId>& vm_names_;
  GuestWatch& watch_;
  Ask ask_;
  const LightFleetOptions options_;
  Random random_;
  std::vector<LightWorker> workers_;
  std::vector<Holder> holders_;         // by VM
  std::vector<std::uint32_t> at_home_;  // by VM: where it was at first, and fails nowhere
  std::priority_queue<Due, std::vector<Due>, std::greater<>> due_;
  std::optional<Instant> armed_;
  std::uint64_t last_order_ = 0, reports_ = 0;
  std::uint32_t last_token_ = 0;
  std::vector<std::uint32_t> dirty_;  // workers that report in this tick
  Scope scope_;                       // last: its tasks end before what they use
};

}  // namespace ebb::what_if
