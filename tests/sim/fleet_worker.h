// A worker of the simulated fleet: a host with its drive and machines, and the programs on it, which are
// started again when they die, as systemd does. What the programs are is said by who derives from it.
#pragma once
#include "sim/sim_files.h"
#include "sim/sim_hypervisor.h"
#include "sim/sim_world.h"

namespace ebb::fleet_sim {

class FleetSim;

enum class Program { agent, disk_daemon };

class FleetWorker {
 public:
  FleetWorker(FleetSim& sim, WorkerId id);
  FleetWorker(const FleetWorker&) = delete;
  virtual ~FleetWorker() = default;

  const WorkerId& id() const { return id_; }
  sim::SimMachines& machines() { return *machines_; }
  bool is_up() const { return is_up_; }
  bool is_paused() const { return is_paused_; }
  const std::string& boot_id() const { return boot_id_; }
  // Of the agent's process, without a pause; nullopt while there is none.
  std::optional<Instant> agent_works_since() const;

  void boot();
  // One program stands still, and goes on.
  void stop(Program program) { processes_.at(program)->pause(); }
  void go_on(Program program) { processes_.at(program)->resume(); }
  // kill -9; the program is back after a moment.
  void kill(Program program);
  // A zombie: agent and disk daemon stand still, machines run on (and wait for their disks), then everything
  // goes on.
  void pause();
  void resume();
  // The host goes down with everything on it and comes back after `off`, with another boot id.
  void power_cut(sim::PowerCut how, Duration off);

  // The records of a disk as its daemon here reads them now, asked from outside the guest.
  virtual Task<Result<std::vector<sim::GuestRecord>>> read_disk(sim::SimProcess& asker, DiskId disk) = 0;

 protected:
  virtual void start_program(Program program, sim::SimProcess& process) = 0;
  virtual std::shared_ptr<sim::GuestDisk> open_guest_disk(sim::SimProcess& machine, const MachineSpec& spec,
                                                          const MachineDisk& disk) = 0;
  sim::SimProcess* process_of(Program program) { return processes_[program]; }

  FleetSim& sim_;
  std::shared_ptr<sim::SimDrive> drive_ = std::make_shared<sim::SimDrive>();

 private:
  void start(Program program);

  WorkerId id_;
  std::string boot_id_;
  std::uint32_t boots_ = 0;
  bool is_up_ = false, is_paused_ = false;
  std::map<Program, sim::SimProcess*> processes_;
  Instant agent_since_{};
  std::unique_ptr<sim::SimMachines> machines_;
};

}  // namespace ebb::fleet_sim
