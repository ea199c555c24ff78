// A worker as in production: the real agent and the real disk daemon, over the simulated drive, pool and
// network. Guests reach their disks through the daemon's devices, as if by NBD.
#include "agent/agent.h"
#include "base/checksum.h"
#include "disk/daemon.h"
#include "disk/keys.h"
#include "fleet_sim.h"
#include "make_worker.h"
#include "sim/run_in.h"

namespace ebb::fleet_sim {
namespace {

constexpr std::string_view daemon_address = "unix:/run/ebb-diskd.sock";

// One block a record: number, boot, checksum of both; the rest is zeroes.
Bytes encode_record(sim::GuestRecord record) {
  Bytes block(disk::block_bytes);
  store_le(MutableBytes(block), 0, record.number);
  store_le(MutableBytes(block), 8, record.boot);
  store_le(MutableBytes(block), 16, crc32c(ByteView(block).first(16)));
  return block;
}

std::optional<sim::GuestRecord> decode_record(ByteView block) {
  if (load_le<std::uint32_t>(block, 16) != crc32c(block.first(16))) return std::nullopt;
  sim::GuestRecord record{load_le<std::uint64_t>(block, 0), load_le<std::uint64_t>(block, 8)};
  return record.number == 0 ? std::nullopt : std::optional(record);
}

using Device = std::shared_ptr<disk::BlockDevice>;

// Run in the daemon's process; each holds the device as a connection does.
Task<Status> write_record(Device device, sim::GuestRecord record) {
  const auto offset = (record.number - 1) * disk::block_bytes;
  if (offset >= device->size_bytes()) co_return fail(Code::invalid, "the guest's disk is full");
  co_return co_await device->write(offset, encode_record(record));
}
Task<Status> flush_device(Device device) { co_return co_await device->flush(); }
Task<Result<std::vector<sim::GuestRecord>>> read_records(Device device) {
  std::vector<sim::GuestRecord> records;
  constexpr std::uint64_t blocks_at_once = 16;
  for (std::uint64_t at = 0; at < device->size_bytes(); at += blocks_at_once * disk::block_bytes) {
    EBB_CO_TRY(piece,
               co_await device->read(at, static_cast<std::size_t>(std::min(blocks_at_once * disk::block_bytes,
                                                                           device->size_bytes() - at))));
    for (std::size_t i = 0; i < piece.size(); i += disk::block_bytes) {
      auto record = decode_record(ByteView(piece).subspan(i, disk::block_bytes));
      if (!record || record->number != records.size() + 1) co_return records;
      records.push_back(*record);
    }
  }
  co_return records;
}

// An export on a socket. A disk that its HEAD calls detached is no longer exported: the daemon leaves that to
// us.
class SimExport final : public disk::Published {
 public:
  SimExport(FleetSim& sim, DiskId disk) : sim_(sim), disk_(std::move(disk)) {}
  std::string socket() const override {
    auto head = sim_.heads().find("pool-1/" + disk::head_key(disk_));
    const bool is_detached =
        head != sim_.heads().end() && head->second.state == disk::HeadState::detached_clean;
    return is_detached ? "" : "/run/ebb-nbd.sock";
  }
  std::string export_name() const override { return disk_.value; }

 private:
  FleetSim& sim_;
  DiskId disk_;
};

class ProductionWorker final : public FleetWorker {
 public:
  using FleetWorker::FleetWorker;

  struct Served {
    sim::SimProcess* process = nullptr;  // null: not served now
    Scope* scope = nullptr;
    Device device;
  };
  Served served(const DiskId& disk) {
    auto* process = process_of(Program::disk_daemon);
    if (!process || !process->is_alive()) return {};
    auto device = daemon_->device(disk);
    return device ? Served{process, guests_, device} : Served{};
  }
  Task<Result<std::vector<sim::GuestRecord>>> read_disk(sim::SimProcess& asker, DiskId disk) override {
    auto at = served(disk);
    if (!at.process) co_return fail(Code::unavailable, "{} does not serve it", id());
    auto found = co_await sim::call_across(asker, *at.process, *at.scope, read_records(at.device));
    if (!found) co_return fail(Code::unavailable, "the disk daemon died");
    co_return std::move(*found);
  }

 protected:
  void start_program(Program program, sim::SimProcess& process) override {
    auto& files = process.make<sim::SimFiles>(process, drive_);
    auto& http = process.make<sim::SimHttp>(process, sim_.http());
    auto& pool = process.make<sim::SimStoreClient>(process, sim_.store(), "pool-1/");
    if (program == Program::disk_daemon)
      start_disk_daemon(process, files, http, pool);
    else
      start_agent(process, files, http, pool);
  }
  std::shared_ptr<sim::GuestDisk> open_guest_disk(sim::SimProcess& machine, const MachineSpec&,
                                                  const MachineDisk& disk) override;

 private:
  void start_disk_daemon(sim::SimProcess& process, Files& files, sim::SimHttp& http, ObjectStore& pool) {
    disk::DaemonOptions options;
    options.state_dir = "/var/lib/ebb-diskd", options.worker = id().value;
    options.pools = {{PoolId("pool-1"), &pool}};
    auto publish = [this](DiskId disk, Device) -> Result<std::unique_ptr<disk::Published>> {
      return std::make_unique<SimExport>(sim_, std::move(disk));
    };
    daemon_ = &process.make<disk::DiskDaemon>(process.loop(), files, std::move(options), publish,
                                              sim_.world().logger(process.name()));
    guests_ = &process.make<Scope>(process.loop());
    process.make<Scope>(process.loop()).spawn(serve(&process, daemon_, &http));
  }
  Task<void> serve(sim::SimProcess* process, disk::DiskDaemon* daemon, sim::SimHttp* http) {
    if (auto started = co_await daemon->start(); !started) {
      sim_.note("{} cannot start: {}", process->name(), started.error());
      process->kill();
      co_return co_await process->hang();
    }
    auto server = http->serve(std::string(daemon_address), daemon->handler(), 1 * MiB);
    CHECK(server);
    process->own(std::move(*server));
  }
  void start_agent(sim::SimProcess& process, Files& files, sim::SimHttp& http, ObjectStore& pool) {
    auto& hypervisor = process.make<sim::SimHypervisor>(process, machines());
    agent::AgentConfig config;
    config.worker = id(), config.boot_id = boot_id();
    config.control = FleetSim::control_address, config.join_token = FleetSim::join_token;
    config.capacity = sim_.capacity();
    if (auto labels = sim_.options().labels.find(id()); labels != sim_.options().labels.end())
      config.labels = labels->second;
    config.pools = {{PoolId("pool-1"), &pool}};
    config.networks = {{NetworkId("lan"), "br0"}};
    config.state_dir = "/var/lib/ebb-agent", config.disk_daemon = daemon_address;
    auto& made = process.make<agent::Agent>(
        std::move(config),
        agent::AgentEnv{process.loop(), files, http, process.make<sim::SimNetwork>(process, sim_.sockets()),
                        hypervisor, sim_.world().logger(process.name())});
    process.make<Scope>(process.loop()).spawn(run(&process, &made));
  }
  Task<void> run(sim::SimProcess* process, agent::Agent* made) {
    auto ended = co_await made->run();
    sim_.note("{} ended: {}", process->name(), ended ? std::string("well") : ended.error().message);
    process->kill();
    co_await process->hang();
  }

  disk::DiskDaemon* daemon_ = nullptr;
  Scope* guests_ = nullptr;
};

// As QEMU with a reconnect delay and werror=stop: waits while nobody serves the disk, sends unanswered
// requests again to the next daemon, and stands still (not: fails) when the disk has a new owner.
class DeviceGuestDisk final : public sim::GuestDisk {
 public:
  DeviceGuestDisk(ProductionWorker& worker, sim::SimProcess& machine, DiskId disk)
      : worker_(worker), machine_(machine), disk_(std::move(disk)) {}

  Task<Status> write(sim::GuestRecord record) override {
    while (true) {
      if (auto at = worker_.served(disk_); at.process) {
        auto done =
            co_await sim::call_across(machine_, *at.process, *at.scope, write_record(at.device, record));
        if (done && *done) co_return Status{};
        if (done) EBB_CO_CHECKED(co_await judge(at.device, done->error()));
      }
      co_await sleep_for(machine_.loop(), 100ms);
    }
  }
  Task<Status> flush() override {
    while (true) {
      if (auto at = worker_.served(disk_); at.process) {
        auto done = co_await sim::call_across(machine_, *at.process, *at.scope, flush_device(at.device));
        if (done && *done) co_return Status{};
        if (done) EBB_CO_CHECKED(co_await judge(at.device, done->error()));
      }
      co_await sleep_for(machine_.loop(), 100ms);
    }
  }
  Task<Result<std::vector<sim::GuestRecord>>> read_all() override {
    while (true) {
      if (auto at = worker_.served(disk_); at.process) {
        auto done = co_await sim::call_across(machine_, *at.process, *at.scope, read_records(at.device));
        if (done && *done) co_return std::move(**done);
        if (done) EBB_CO_CHECKED(co_await judge(at.device, done->error()));
      }
      co_await sleep_for(machine_.loop(), 100ms);
    }
  }

 private:
  // Never ends for a fenced disk. An error is one that the guest sees.
  Task<Status> judge(Device device, Error error) {
    if (error.code == Code::fenced) co_await machine_.hang();
    // What was being closed breaks the connection instead of answering.
    if (worker_.served(disk_).device != device) co_return Status{};
    if (error.code == Code::unavailable || error.code == Code::busy) co_return Status{};
    co_return fail(std::move(error));
  }

  ProductionWorker& worker_;
  sim::SimProcess& machine_;
  DiskId disk_;
};

std::shared_ptr<sim::GuestDisk> ProductionWorker::open_guest_disk(sim::SimProcess& machine,
                                                                  const MachineSpec&,
                                                                  const MachineDisk& disk) {
  return std::make_shared<DeviceGuestDisk>(*this, machine, DiskId(disk.serial));
}

}  // namespace

std::unique_ptr<FleetWorker> make_production_worker(FleetSim& sim, WorkerId id) {
  return std::make_unique<ProductionWorker>(sim, std::move(id));
}

}  // namespace ebb::fleet_sim
