#include "sim/sim_hypervisor.h"

namespace ebb::sim {

struct SimMachines::Machine {
  Machine(SimProcess& p, MachineSpec s) : process(p), spec(std::move(s)), poked(p.loop()) {}
  SimProcess& process;
  MachineSpec spec;
  MachineStatus status;
  std::uint64_t boot = 0;
  MachineState state_before_hold = MachineState::booting;
  bool stop_asked = false, stopped_itself = false;
  std::optional<std::uint32_t> named_status;
  Notify poked;
  std::vector<std::function<void(bool)>> on_exit;  // called with whether it stopped by itself
};

SimMachines::SimMachines(SimWorld& world, std::string host, GuestLedger& ledger, GuestDiskPort port,
                         SimMachinesOptions options)
    : world_(world), host_(std::move(host)), ledger_(ledger), port_(std::move(port)), options_(options) {}

SimMachines::~SimMachines() { power_off(); }

void SimMachines::power_off() {
  // Their last notifications must not find them in the list.
  for (auto& [vm, machine] : std::exchange(machines_, {})) {
    machine->on_exit.clear();
    ledger_.end(machine->boot);
    machine->process.kill();
  }
}

void SimMachines::crash(const VmId& vm) {
  auto machine = find(vm);
  if (!machine) return;
  machine->status.error = "the guest crashed";
  machine->process.kill();
}

void SimMachines::end_guest(const VmId& vm, std::uint32_t status, Duration after) {
  auto machine = find(vm);
  if (!machine || machine->status.state == MachineState::exited) return;
  machine->named_status = status;
  if (after == Duration(0)) return machine->process.kill();
  world_.loop().call_at(world_.loop().now() + after, [machine] { machine->process.kill(); });
}

void SimMachines::print(const Machine& machine, std::string line) {
  consoles_[{machine.spec.vm, machine.spec.epoch}] += line + "\n";
}

Result<ConsolePiece> SimMachines::read_console(const VmId& vm, std::uint64_t epoch, ConsoleFrom from,
                                               std::size_t bytes_max) const {
  auto found = consoles_.find({vm, epoch});
  if (found == consoles_.end())
    return fail(Code::not_found, "{} has said nothing here under epoch {}", vm, epoch);
  const auto& said = found->second;
  std::size_t position = 0;
  if (from.position) {
    position = std::min<std::size_t>(*from.position, said.size());
  } else if (from.lines) {
    position = said.size();
    for (auto lines = *from.lines; lines > 0 && position > 0; --lines)
      position = position < 2 ? 0 : said.rfind('\n', position - 2) + 1;  // none: npos + 1 is 0
  }
  return ConsolePiece{position, said.substr(position, bytes_max), said.size()};
}

std::shared_ptr<SimMachines::Machine> SimMachines::find(const VmId& vm) const {
  auto found = machines_.find(vm);
  return found == machines_.end() ? nullptr : found->second;
}

SimMachines::GuestFault SimMachines::fault_of(const VmId& vm) const {
  auto found = guest_faults_.find(vm);
  return found == guest_faults_.end() ? GuestFault::none : found->second;
}

std::vector<MachineStatus> SimMachines::list() const {
  std::vector<MachineStatus> all;
  for (auto& [vm, machine] : machines_) all.push_back(machine->status);
  return all;
}

std::size_t SimMachines::running() const {
  auto runs = [](auto& item) { return item.second->status.state != MachineState::exited; };
  return static_cast<std::size_t>(std::ranges::count_if(machines_, runs));
}

void SimMachines::changed() {
  std::erase_if(listeners_, [](auto& listener) { return !listener.first->is_alive(); });
  for (auto& [process, callback] : listeners_) process->loop().post([callback] { callback(); });
}

Result<MachineStatus> SimMachines::start(MachineSpec spec) {
  if (find(spec.vm)) return fail(Code::conflict, "{} has a machine here already", spec.vm);
  if (failing_starts_.left > 0) {
    --failing_starts_.left;
    return fail(failing_starts_.error);
  }
  auto& process = world_.start_process(host_, "machine-" + spec.vm.str());
  auto machine = std::make_shared<Machine>(process, std::move(spec));
  machine->boot = ledger_.begin(machine->spec.vm, machine->spec.epoch, host_);
  machine->status = {
      .vm = machine->spec.vm, .epoch = machine->spec.epoch, .ports = {}, .accel = "sim", .error = {}};
  for (auto& port : machine->spec.ports) machine->status.ports[port.name] = ++last_port_;
  machines_[machine->spec.vm] = machine;
  // Whatever ends the process is the end of the machine.
  process.on_death([this, machine] {
    ledger_.end(machine->boot);
    if (find(machine->spec.vm) != machine) return;
    machine->status.state = MachineState::exited;
    machine->status.is_held = false;
    machine->status.was_stopped = machine->stop_asked && !machine->named_status;
    if (machine->named_status) {
      machine->status.exit_status = machine->named_status;
      machine->status.error = fmt::format("the guest ended with status {}", *machine->named_status);
      if (on_guest_end_) on_guest_end_(machine->spec.vm, *machine->named_status);
    }
    for (auto& callback : std::exchange(machine->on_exit, {})) callback(machine->stopped_itself);
    changed();
  });
  process.make<Scope>(process.loop()).spawn(guest(machine));
  return machine->status;
}

Task<void> SimMachines::guest(std::shared_ptr<Machine> machine) {
  auto& process = machine->process;
  co_await sleep_for(process.loop(), world_.vary(options_.boot));
  auto fault = fault_of(machine->spec.vm);
  if (fault == GuestFault::never_ready) co_await process.hang();
  if (fault == GuestFault::exits_at_boot) {
    machine->status.error = "the guest kernel panicked";
    process.kill();
    co_await process.stop_here_if_dead();
  }
  std::shared_ptr<GuestDisk> disk;
  // Its own is the first; others are only lent to it.
  const auto& disks = machine->spec.disks;
  if (!disks.empty() && !disks[0].read_only && !disks[0].nbd_socket.empty())
    disk = port_(process, machine->spec, disks[0]);
  std::uint64_t next = 1;
  if (disk) {
    auto found = co_await disk->read_all();
    if (!found) co_return fail_in_guest(*machine, std::move(found).error());
    // What was read must stay, whether or not it had been acknowledged.
    if (auto flushed = co_await disk->flush(); !flushed)
      co_return fail_in_guest(*machine, std::move(flushed).error());
    ledger_.recovered(machine->boot, *found);
    next = found->size() + 1;
  }
  machine->status.state = MachineState::ready;
  if (on_guest_ready_) on_guest_ready_(process, machine->status);
  print(*machine, fmt::format("boot {} of epoch {} on {}", machine->boot, machine->spec.epoch, host_));
  changed();
  co_await write_until_stopped(machine, std::move(disk), next);
}

Task<void> SimMachines::write_until_stopped(std::shared_ptr<Machine> machine, std::shared_ptr<GuestDisk> disk,
                                            std::uint64_t next) {
  auto& process = machine->process;
  while (!machine->stop_asked || fault_of(machine->spec.vm) == GuestFault::ignores_stop) {
    if (disk) {
      auto status = co_await disk->write({next, machine->boot});
      if (status) status = co_await disk->flush();
      if (!status) co_return fail_in_guest(*machine, std::move(status).error());
      if (next % records_per_line == 0) print(*machine, fmt::format("record {}", next));
      ledger_.acknowledge(machine->boot, next++);
    }
    if (!machine->stop_asked) co_await machine->poked.wait_for(world_.vary(options_.write_every));
    if (machine->stop_asked) co_await sleep_for(process.loop(), world_.vary(options_.stop));
  }
  machine->stopped_itself = true;
  process.kill();
  co_await process.stop_here_if_dead();
}

void SimMachines::fail_in_guest(Machine& machine, Error error) {
  ledger_.io_error(machine.boot, error);
  machine.status.state = MachineState::paused;
  machine.status.error = error.message;
  changed();
}

namespace {

// What a process asks of its host: it happens after a while, also when the process dies meanwhile - or, as
// the seed has it, does not.
template <class T>
Task<T> ask_host(SimProcess& process, Duration typical, std::function<T()> act) {
  auto& world = process.world();
  OneShot<T> shot(process.loop());
  bool outlives = world.fault_random().chance(0.5);
  world.loop().call_at(world.loop().now() + world.vary(typical),
                       [&process, outlives, done = shot.completer(), act = std::move(act)] {
                         if (process.is_alive() || outlives) done(act());
                       });
  co_return co_await shot;
}

constexpr Duration ask = 2ms;

}  // namespace

Task<Result<MachineStatus>> SimHypervisor::start(MachineSpec spec) {
  auto& points = process_.world().crash_points();
  auto vm = spec.vm.str();
  points.pass(process_, "machine.start before", vm);
  co_await process_.stop_here_if_dead();
  auto started = co_await ask_host<Result<MachineStatus>>(
      process_, machines_.options_.start,
      [machines = &machines_, spec = std::move(spec)]() mutable { return machines->start(std::move(spec)); });
  points.pass(process_, "machine.start after", vm);
  co_await process_.stop_here_if_dead();
  co_return started;
}

Task<Result<bool>> SimHypervisor::stop(VmId vm, StopWish wish) {
  auto& points = process_.world().crash_points();
  points.pass(process_, "machine.stop before", vm.str());
  co_await process_.stop_here_if_dead();
  OneShot<bool> exited(process_.loop());
  auto machine = machines_.find(vm);
  if (!machine || machine->status.state == MachineState::exited) co_return machine && machine->stopped_itself;
  machine->on_exit.push_back(exited.completer());
  machine->stop_asked = true;
  machine->poked.notify_all();
  struct Timer {
    Loop& loop;
    std::uint64_t id;
    ~Timer() { loop.cancel(id); }
  } timer{process_.loop(), process_.loop().call_at(process_.loop().now() + wish.grace,
                                                   [machine] { machine->process.kill(); })};
  bool by_itself = co_await exited;
  points.pass(process_, "machine.stop after", vm.str());
  co_await process_.stop_here_if_dead();
  co_return by_itself;
}

Task<Status> SimHypervisor::pause(VmId vm) {
  return ask_host<Status>(process_, ask, [machines = &machines_, vm]() -> Status {
    auto machine = machines->find(vm);
    if (!machine || machine->status.state == MachineState::exited)
      return fail(Code::not_found, "{} has no machine here", vm);
    if (machine->status.is_held) return {};
    machine->process.pause();
    machine->state_before_hold = std::exchange(machine->status.state, MachineState::paused);
    machine->status.is_held = true;
    machines->changed();
    return {};
  });
}

Task<Status> SimHypervisor::resume(VmId vm) {
  return ask_host<Status>(process_, ask, [machines = &machines_, vm]() -> Status {
    auto machine = machines->find(vm);
    if (!machine || machine->status.state == MachineState::exited)
      return fail(Code::not_found, "{} has no machine here", vm);
    if (!machine->status.is_held) return {};
    machine->status.is_held = false;
    machine->status.state = machine->state_before_hold;
    machine->process.resume();
    machines->changed();
    return {};
  });
}

const std::vector<MachineDisk>* SimMachines::disks_of(const VmId& vm) const {
  auto machine = find(vm);
  return machine && machine->status.state != MachineState::exited ? &machine->spec.disks : nullptr;
}

Task<Status> SimHypervisor::resize_disk(VmId vm, std::string serial, std::uint64_t bytes) {
  return ask_host<Status>(process_, ask, [machines = &machines_, vm, serial, bytes]() -> Status {
    auto machine = machines->find(vm);
    if (!machine || machine->status.state == MachineState::exited)
      return fail(Code::not_found, "{} has no machine here", vm);
    auto disk = std::ranges::find(machine->spec.disks, serial, &MachineDisk::serial);
    if (disk == machine->spec.disks.end()) return fail(Code::not_found, "{} has no disk {}", vm, serial);
    if (bytes < disk->bytes) return fail(Code::invalid, "disk {} does not shrink", serial);
    disk->bytes = bytes;
    ++machines->resizes_;
    return {};
  });
}

Task<Result<std::vector<MachineStatus>>> SimHypervisor::list() {
  return ask_host<Result<std::vector<MachineStatus>>>(process_, ask,
                                                      [machines = &machines_] { return machines->list(); });
}

Task<Status> SimHypervisor::forget(VmId vm) {
  return ask_host<Status>(process_, ask, [machines = &machines_, vm]() -> Status {
    auto machine = machines->find(vm);
    if (machine && machine->status.state != MachineState::exited)
      return fail(Code::busy, "the machine of {} has not exited", vm);
    machines->machines_.erase(vm);
    return {};
  });
}

Task<Result<ConsolePiece>> SimHypervisor::read_console(VmId vm, std::uint64_t epoch, ConsoleFrom from,
                                                       std::size_t bytes_max) {
  return ask_host<Result<ConsolePiece>>(process_, ask, [machines = &machines_, vm, epoch, from, bytes_max] {
    return machines->read_console(vm, epoch, from, bytes_max);
  });
}

Task<Result<std::size_t>> SimHypervisor::type_at_console(VmId vm, std::string bytes) {
  return ask_host<Result<std::size_t>>(process_, ask,
                                       [machines = &machines_, vm, bytes]() -> Result<std::size_t> {
                                         auto machine = machines->find(vm);
                                         if (!machine || machine->status.state == MachineState::exited)
                                           return fail(Code::not_found, "{} has no machine here", vm);
                                         machines->print(*machine, "typed " + bytes);
                                         return bytes.size();
                                       });
}

void SimHypervisor::on_change(std::function<void()> callback) {
  machines_.listeners_.emplace_back(&process_, std::move(callback));
}

}  // namespace ebb::sim
