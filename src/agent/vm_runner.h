// Makes one VM on this worker match what is wanted of it. Level-triggered: each step looks at the wish, at
// the machine and at its disks, does what is missing, and may be repeated or begun anew at any point.
//
// Start, in this order, and stop in the reverse one:   admission -> kernel and initrd -> disks -> machine ->
// guest ready
#pragma once
#include "agent/blob_cache.h"
#include "agent/health_checker.h"
#include "agent/isolation.h"
#include "agent/snapshot_taker.h"
#include "env/hypervisor.h"
#include "env/scope.h"
#include "model/agent_types.h"

namespace ebb::agent {

class VmRunner final {
 public:
  // What it works with; everything outlives it.
  struct Tools {
    Loop* loop = nullptr;
    Hypervisor* hypervisor = nullptr;
    Network* network = nullptr;
    GuestAgents* guest_agents = nullptr;
    DiskClient* disks = nullptr;
    BlobCache* blobs = nullptr;
    const std::map<NetworkId, std::string>* bridges =
        nullptr;  // of this worker, by the network that each leads to
    std::function<Status(const WantedVm&)> admit;
    std::function<bool(const VmId&, const DiskId&)> is_used_by_others;  // an image's disk serves many VMs
    std::function<Isolation::Verdict(const WantedVm&)> isolation;
    std::function<void()> changed;     // seen() is another
    std::function<void()> used_disks;  // the disk daemon has been told something
    Logger log;
  };
  enum class Origin {
    asked,  // the control plane wanted it, now or before a restart of the agent
    found,  // a machine runs and nobody knows why: left alone until a wanted set says more
  };
  VmRunner(Tools tools, WantedVm wish, Origin origin);
  VmRunner(const VmRunner&) = delete;
  ~VmRunner() { scope_.cancel(); }

  void ask(WantedVm wish);
  // Works until nothing of the VM is left here and nothing is wanted.
  Task<void> run();

  // Something may have changed: look.
  void look() { poke_.poke(); }
  // The disk daemon's status is news. A fenced machine is killed at once, one that is cut off is paused,
  // whatever is under way.
  void look_at_disks();

  SeenVm seen() const;
  const WantedVm& wish() const { return wish_; }
  // Counts against this worker's capacity.
  bool has_reserved() const { return reserved_; }
  bool has_machine() const { return seen_.machine; }
  bool is_gone() const { return gone_; }

 private:
  using Version = std::uint64_t;
  bool is_current(Version version) const { return version == version_; }

  Task<Duration> step();
  Task<Duration> step_found();
  Task<Duration> step_running(WantedVm wish);
  Task<Duration> step_standby(WantedVm wish);
  Task<Duration> step_down(WantedVm wish);
  Task<Duration> step_absent(WantedVm wish);

  Task<Status> start(WantedVm wish);
  Task<Status> fetch_blobs(WantedVm wish, MachineSpec* spec);
  Status add_interfaces(const WantedVm& wish, MachineSpec& spec) const;
  Task<Duration> tend(WantedVm wish, MachineStatus machine);
  Task<Status> keep_disks_open(WantedVm wish);
  static std::string serial_of(const DiskId& id);
  static bool is_too_small(const DiskStatus& status, const WantedDisk& disk);
  Task<Status> grow_disks(WantedVm wish);
  void tend_health(const WantedVm& wish, const MachineStatus& machine);
  bool waits_for_health(const WantedVm& wish) const;
  Task<Duration> bury(WantedVm wish, MachineStatus machine);
  bool note_end(const WantedVm& wish, const MachineStatus& machine);
  Duration on_start_failure(const Error& error);

  Task<Status> stop_machine(WantedVm wish);
  Task<Status> release_disks(WantedVm wish);
  Task<Status> seal_and_close(WantedVm wish, WantedDisk disk);
  Task<void> kill_fenced();
  void look_at_isolation();
  Task<void> heed_isolation();
  Task<Duration> keep_fenced(WantedVm wish);

  Task<void> leave_hints(WantedVm wish);
  enum class Verb { open, grow, standby, seal };
  Task<Result<DiskStatus>> ask_daemon(Verb verb, WantedVm wish, WantedDisk disk);
  Task<Result<DiskStatus>> drive(Verb verb, WantedVm wish, WantedDisk disk);
  Task<Result<std::optional<MachineStatus>>> find_machine();

  void begin(const WantedVm& wish);
  void enter(VmSeen state, std::string error = {});
  void no_machine();
  void wait_before_retry(std::uint32_t attempts);
  std::uint32_t ms_since(Instant then) const;

  Tools t_;
  WantedVm wish_;
  Version version_ = 1;  // of the wish
  Origin origin_;
  SeenVm seen_;
  bool reserved_ = false;
  bool gone_ = false;
  std::map<DiskId, std::uint64_t> machine_sizes_;  // of its disks, as the machine is known to have them
  std::string disk_waits_;                         // what a served disk waits for, for people
  Isolation::Verdict isolation_ = Isolation::Verdict::unknown;
  Epoch fenced_epoch_ = 0;    // a newer owner exists than this; 0: none known
  Version done_version_ = 0;  // the wish to be down that has been fulfilled
  std::uint32_t exits_ = 0;   // unexpected ones, since the guest was last up for a while
  std::string last_end_;      // the last of them, for people
  Instant retry_at_{};
  std::optional<Instant> boot_began_, ready_since_;
  bool was_healthy_ = false;            // the guest, once since it is up
  std::optional<HealthCheck> checked_;  // what seen_.health answers
  Poke poke_;
  SnapshotTaker snapshots_;
  std::unique_ptr<HealthChecker> health_;  // of the machine that is here, if it is asked for
  Scope scope_;
};

}  // namespace ebb::agent
