// A worker with a sketched agent and disk daemon: fast, for what is asked of the control plane.
#include "fleet_sim.h"
#include "make_worker.h"
#include "sim/run_in.h"
#include "sketch_agent.h"

namespace ebb::fleet_sim {
namespace {

class SketchWorker;

// Waits through the death of the daemon and asks the next one again, as QEMU's NBD client does.
class SketchGuestDisk final : public sim::GuestDisk {
 public:
  SketchGuestDisk(SketchWorker& worker, sim::SimProcess& machine, DiskId disk)
      : worker_(worker), machine_(machine), disk_(std::move(disk)) {}
  Task<Status> write(sim::GuestRecord record) override;
  Task<Status> flush() override { co_return Status{}; }  // an append is in the store
  Task<Result<std::vector<sim::GuestRecord>>> read_all() override;

 private:
  SketchWorker& worker_;
  sim::SimProcess& machine_;
  DiskId disk_;
};

class SketchWorker final : public FleetWorker {
 public:
  using FleetWorker::FleetWorker;
  std::pair<sim::SimProcess*, SketchDaemon*> daemon() {
    auto* process = process_of(Program::disk_daemon);
    if (!process || !process->is_alive()) return {};
    return {process, daemon_};
  }
  Task<Result<std::vector<sim::GuestRecord>>> read_disk(sim::SimProcess& asker, DiskId disk) override {
    auto [process, at] = daemon();
    if (!process) co_return fail(Code::unavailable, "the disk daemon does not run");
    auto records = co_await sim::call_across(asker, *process, at->scope, at->read(std::move(disk)));
    if (!records) co_return fail(Code::unavailable, "the disk daemon died");
    co_return std::move(*records);
  }

 protected:
  void start_program(Program program, sim::SimProcess& process) override {
    if (program == Program::disk_daemon) {
      auto& pool = process.make<sim::SimStoreClient>(process, sim_.store(), "pool-1/");
      daemon_ = &process.make<SketchDaemon>(process.loop(), pool, id().value, attached_);
      return;
    }
    auto& http = process.make<sim::SimHttp>(process, sim_.http());
    auto& hypervisor = process.make<sim::SimHypervisor>(process, machines());
    Registration registration;
    registration.worker = id(), registration.boot_id = boot_id(), registration.version = "sketch";
    registration.capacity = sim_.capacity();
    registration.pools = {PoolId("pool-1")};
    registration.networks = {NetworkId("lan")};
    process.make<SketchAgent>(SketchAgent::Parts{process, http, hypervisor, [this] { return daemon(); },
                                                 std::string(FleetSim::control_address),
                                                 std::string(FleetSim::join_token), std::move(registration)});
  }
  std::shared_ptr<sim::GuestDisk> open_guest_disk(sim::SimProcess& machine, const MachineSpec&,
                                                  const MachineDisk& disk) override {
    return std::make_shared<SketchGuestDisk>(*this, machine, DiskId(disk.serial));
  }

 private:
  SketchDaemon* daemon_ = nullptr;
  std::set<DiskId> attached_;
};

Task<Status> SketchGuestDisk::write(sim::GuestRecord record) {
  while (true) {
    if (auto [process, daemon] = worker_.daemon(); process) {
      auto done = co_await sim::call_across(machine_, *process, daemon->scope, daemon->append(disk_, record));
      // A disk that is not served (any more) is a stall in the guest, never an error.
      if (done && (*done || done->error().code == Code::corrupt)) co_return std::move(*done);
    }
    co_await sleep_for(machine_.loop(), 200ms);
  }
}

Task<Result<std::vector<sim::GuestRecord>>> SketchGuestDisk::read_all() {
  while (true) {
    if (auto [process, daemon] = worker_.daemon(); process) {
      auto found = co_await sim::call_across(machine_, *process, daemon->scope, daemon->read(disk_));
      if (found && *found) co_return std::move(*found);
    }
    co_await sleep_for(machine_.loop(), 200ms);
  }
}

}  // namespace

std::unique_ptr<FleetWorker> make_sketch_worker(FleetSim& sim, WorkerId id) {
  return std::make_unique<SketchWorker>(sim, std::move(id));
}

}  // namespace ebb::fleet_sim
