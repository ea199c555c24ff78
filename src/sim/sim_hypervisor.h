// Machines in virtual time. SimMachines are a host's: they run on when the agent dies, and end with the host.
// Their guests append numbered records to their disk, each flushed, and tell the ledger. SimHypervisor is one
// agent process's view. Crash points: "machine.start before|after", "machine.stop before|after".
#pragma once
#include "env/hypervisor.h"
#include "env/scope.h"
#include "sim/sim_ledger.h"

namespace ebb::sim {

// A guest's disk as its block driver sees it: waits through restarts of the disk daemon, fails only when a
// real guest would see an I/O error. Given by the test, which knows the disk daemon.
class GuestDisk {
 public:
  virtual ~GuestDisk() = default;
  virtual Task<Status> write(GuestRecord record) = 0;
  virtual Task<Status> flush() = 0;
  // The records from the first on, as far as they are whole and in order.
  virtual Task<Result<std::vector<GuestRecord>>> read_all() = 0;
};
// Called in the machine's process, once a boot and writable disk.
using GuestDiskPort =
    std::function<std::shared_ptr<GuestDisk>(SimProcess&, const MachineSpec&, const MachineDisk&)>;

struct SimMachinesOptions {
  Duration start = 50ms, boot = 2s, stop = 150ms, write_every = 200ms;
};

class SimMachines final {
 public:
  SimMachines(SimWorld& world, std::string host, GuestLedger& ledger, GuestDiskPort port,
              SimMachinesOptions options = {});
  SimMachines(const SimMachines&) = delete;
  ~SimMachines();

  // The host goes down: all machines with it, and what was kept about them.
  void power_off();
  // Faults. The guest dies; the next starts fail; booting never ends, or ends with an exit; a stop request is
  // ignored.
  void crash(const VmId& vm);
  // Its guest names a status, and is gone `after` that.
  void end_guest(const VmId& vm, std::uint32_t status, Duration after = {});
  // Called when a guest has ended by itself and named its status.
  void on_guest_end(std::function<void(const VmId&, std::uint32_t status)> callback) {
    on_guest_end_ = std::move(callback);
  }
  // Called in the machine's process once its guest is up: what it serves lives there.
  void on_guest_ready(std::function<void(SimProcess&, const MachineStatus&)> callback) {
    on_guest_ready_ = std::move(callback);
  }
  void fail_starts(std::uint32_t count, Error error) { failing_starts_ = {count, std::move(error)}; }
  enum class GuestFault { none, never_ready, exits_at_boot, ignores_stop };
  void set_guest_fault(const VmId& vm, GuestFault fault) { guest_faults_[vm] = fault; }

  // What guests print under an epoch: "boot N of epoch E on HOST", "record N", "typed TEXT". All of it is kept, and outlives the
  // host's power.
  const std::string& printed(const VmId& vm, std::uint64_t epoch) { return consoles_[{vm, epoch}]; }

  std::vector<MachineStatus> list() const;
  std::size_t running() const;
  // As that machine has them; null: there is none that runs.
  const std::vector<MachineDisk>* disks_of(const VmId& vm) const;
  std::size_t resizes() const { return resizes_; }  // of disks under machines that ran
  const std::string& host() const { return host_; }

 private:
  friend class SimHypervisor;
  struct Machine;
  Result<MachineStatus> start(MachineSpec spec);
  Task<void> guest(std::shared_ptr<Machine> machine);
  Task<void> write_until_stopped(std::shared_ptr<Machine> machine, std::shared_ptr<GuestDisk> disk,
                                 std::uint64_t next);
  void fail_in_guest(Machine& machine, Error error);
  void changed();
  void print(const Machine& machine, std::string line);
  Result<ConsolePiece> read_console(const VmId& vm, std::uint64_t epoch, ConsoleFrom from,
                                    std::size_t bytes_max) const;
  GuestFault fault_of(const VmId& vm) const;
  std::shared_ptr<Machine> find(const VmId& vm) const;

  SimWorld& world_;
  std::string host_;
  GuestLedger& ledger_;
  GuestDiskPort port_;
  SimMachinesOptions options_;
  std::map<VmId, std::shared_ptr<Machine>> machines_;
  std::vector<std::pair<SimProcess*, std::function<void()>>> listeners_;
  std::map<VmId, GuestFault> guest_faults_;
  std::map<std::pair<VmId, std::uint64_t>, std::string> consoles_;
  std::function<void(const VmId&, std::uint32_t)> on_guest_end_;
  std::function<void(SimProcess&, const MachineStatus&)> on_guest_ready_;
  struct {
    std::uint32_t left = 0;
    Error error;
  } failing_starts_;
  std::uint16_t last_port_ = 20'000;
  std::size_t resizes_ = 0;
};

// How many records its guest writes between two lines on its console.
inline constexpr std::uint64_t records_per_line = 5;

class SimHypervisor final : public Hypervisor {
 public:
  SimHypervisor(SimProcess& process, SimMachines& machines) : process_(process), machines_(machines) {}

  Task<Result<MachineStatus>> start(MachineSpec spec) override;
  Status can_boot(std::optional<Firmware>) const override { return {}; }
  std::vector<std::string> cpu_features() const override { return {"avx2", "sse2"}; }
  Status has_bridge(const std::string&) const override { return {}; }
  Task<Result<bool>> stop(VmId vm, StopWish wish) override;
  Task<Status> pause(VmId vm) override;
  Task<Status> resume(VmId vm) override;
  Task<Status> resize_disk(VmId vm, std::string serial, std::uint64_t bytes) override;
  Task<Result<std::vector<MachineStatus>>> list() override;
  Task<Status> forget(VmId vm) override;
  Task<Result<ConsolePiece>> read_console(VmId vm, std::uint64_t epoch, ConsoleFrom from,
                                          std::size_t bytes_max) override;
  Task<Result<std::size_t>> type_at_console(VmId vm, std::string bytes) override;
  void on_change(std::function<void()> callback) override;

 private:
  SimProcess& process_;
  SimMachines& machines_;
};

}  // namespace ebb::sim
