#include "fleet_worker.h"

#include "fleet_sim.h"

namespace ebb::fleet_sim {
namespace {

// Takes each connection to a port and holds it until the other side closes.
Task<void> hold(std::unique_ptr<Stream> stream) {
  Bytes buffer(64);
  for (;;) {
    auto size = co_await stream->read_some(buffer);
    if (!size || *size == 0) co_return;
  }
}

// A guest that is up begins to serve its ports a while later.
Task<void> serve_ports(sim::SimProcess* process, sim::SimSockets* sockets,
                       std::map<std::string, std::uint16_t> ports) {
  co_await sleep_for(process->loop(), process->world().vary(1s));
  auto& network = process->make<sim::SimNetwork>(*process, *sockets);
  for (const auto& [name, port] : ports) {
    auto listener = network.listen(fmt::format("127.0.0.1:{}", port), hold);
    if (listener) process->own(std::move(*listener));
  }
}

}  // namespace

FleetWorker::FleetWorker(FleetSim& sim, WorkerId id) : sim_(sim), id_(std::move(id)) {
  auto port = [this](sim::SimProcess& machine, const MachineSpec& spec, const MachineDisk& disk) {
    return open_guest_disk(machine, spec, disk);
  };
  machines_ =
      std::make_unique<sim::SimMachines>(sim.world(), id_.value, sim.ledger(), port, sim.options().machines);
  machines_->on_guest_ready([&sim](sim::SimProcess& process, const MachineStatus& status) {
    process.make<Scope>(process.loop()).spawn(serve_ports(&process, &sim.sockets(), status.ports));
  });
}

void FleetWorker::boot() {
  is_up_ = true;
  boot_id_ = fmt::format("{}-boot-{}", id_, ++boots_);
  start(Program::disk_daemon);
  start(Program::agent);
}

void FleetWorker::start(Program program) {
  if (!is_up_) return;
  auto& world = sim_.world();
  auto& process = world.start_process(id_.value, program == Program::agent ? "ebb-agent" : "ebb-diskd");
  processes_[program] = &process;
  process.on_death([this, program, &world, boot = boot_id_] {
    world.loop().call_at(world.loop().now() + world.vary(1s), [this, program, boot] {
      if (is_up_ && boot == boot_id_) start(program);
    });
  });
  if (program == Program::agent) agent_since_ = world.loop().now();
  start_program(program, process);
  if (is_paused_) process.pause();
}

void FleetWorker::kill(Program program) {
  if (is_up_ && processes_[program]) processes_[program]->kill();
}

void FleetWorker::pause() {
  is_paused_ = true;
  for (auto& [program, process] : processes_) process->pause();
}

std::optional<Instant> FleetWorker::agent_works_since() const {
  auto found = processes_.find(Program::agent);
  if (!is_up_ || is_paused_ || found == processes_.end() || !found->second->is_alive()) return std::nullopt;
  return agent_since_;
}

void FleetWorker::resume() {
  if (is_paused_) agent_since_ = sim_.now();
  is_paused_ = false;
  for (auto& [program, process] : processes_) process->resume();
}

void FleetWorker::power_cut(sim::PowerCut how, Duration off) {
  if (!is_up_) return;
  is_up_ = is_paused_ = false;
  auto& world = sim_.world();
  world.loop().note(fmt::format("{} loses power", id_));
  machines_->power_off();
  for (auto& [program, process] : processes_) process->kill();
  drive_->power_cut(how, world.fault_random());
  world.loop().call_at(world.loop().now() + off, [this] { boot(); });
}

}  // namespace ebb::fleet_sim
