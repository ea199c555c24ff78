#include "agent/vm_runner.h"

namespace ebb::agent {
namespace {

constexpr Duration look_period = 5s;  // without news
constexpr Duration failed_look_period = 1s;
constexpr Duration retry_first = 1s, retry_max = 60s;
constexpr Duration conflict_pause = 100ms;
constexpr Duration guest_agent_limit = 5s;  // to read that it shall power off
constexpr std::string_view cut_off_text =
    "this worker hears neither of the control plane nor of its disk's owner in the store";
constexpr Duration steady_after = 60s;  // up for so long, a guest's earlier exits are forgiven

VmSeen first_guess(Wanted wanted) {
  switch (wanted) {
    case Wanted::running:
      return VmSeen::starting;
    case Wanted::standby:
      return VmSeen::preparing;
    case Wanted::sealed:
    case Wanted::stopped:
    case Wanted::absent:
      return VmSeen::stopping;
  }
  return VmSeen::stopping;
}

std::string end_text(const MachineStatus& machine) {
  return machine.error.empty() ? "the machine has ended" : machine.error;
}

}  // namespace

VmRunner::VmRunner(Tools tools, WantedVm wish, Origin origin)
    : t_(std::move(tools)),
      wish_(std::move(wish)),
      origin_(origin),
      poke_(*t_.loop),
      snapshots_(*t_.loop, *t_.disks, [this] { t_.changed(); }),
      scope_(*t_.loop) {
  seen_.vm = wish_.vm;
  seen_.epoch = wish_.epoch;
  seen_.state = first_guess(wish_.wanted);
}

void VmRunner::ask(WantedVm wish) {
  if (origin_ == Origin::asked && wish == wish_) return;
  origin_ = Origin::asked;
  if (wish.wanted == Wanted::running && wish_.wanted == Wanted::stopped)
    seen_.end.reset();  // started by hand
  wish_ = std::move(wish);
  ++version_;
  retry_at_ = {};
  exits_ = 0;
  poke_.poke();
}

Task<void> VmRunner::run() {
  while (!gone_) {
    auto pause = co_await step();
    if (!gone_) co_await poke_.wait_for(pause);
  }
}

Task<Duration> VmRunner::step() {
  if (origin_ == Origin::found) co_return co_await step_found();
  switch (wish_.wanted) {
    case Wanted::running:
      co_return co_await step_running(wish_);
    case Wanted::standby:
      co_return co_await step_standby(wish_);
    case Wanted::sealed:
    case Wanted::stopped:
      co_return co_await step_down(wish_);
    case Wanted::absent:
      co_return co_await step_absent(wish_);
  }
  co_return look_period;
}

// ---- what is seen

SeenVm VmRunner::seen() const {
  auto seen = seen_;
  seen.snapshots = snapshots_.seen(wish_);
  if (seen.machine) seen.disk_sizes.emplace();
  for (const auto& [disk, bytes] : machine_sizes_)
    if (seen.disk_sizes) seen.disk_sizes->emplace(disk.value, bytes);
  for (const auto& disk : wish_.disks) {
    const auto* status = t_.disks->find(disk.id);
    // A sealed disk is still served (reads and FLUSH) until it is closed, but nobody owns it through us any
    // more.
    bool is_held = status && (disk.read_only ? serves(*status) && seen.machine : holds_lease(status->state));
    seen.disk_open = seen.disk_open || is_held;
  }
  return seen;
}

void VmRunner::enter(VmSeen state, std::string error) {
  if (seen_.state != state)
    t_.log.info("VM {} (epoch {}): {}{}{}", seen_.vm, seen_.epoch, json::name_of(state),
                error.empty() ? "" : ": ", error);
  else if (seen_.error.empty() != error.empty())  // the words of a trouble change with every try
    t_.log.info("VM {} (epoch {}): {}", seen_.vm, seen_.epoch, error.empty() ? "all is well again" : error);
  seen_.state = state;
  seen_.error = std::move(error);
  t_.changed();
}

// From here on what is seen is about this wish.
void VmRunner::begin(const WantedVm& wish) {
  if (seen_.epoch == wish.epoch) return;
  seen_.epoch = wish.epoch;
  seen_.failures = 0;
  seen_.guest_stopped_itself = false;
  seen_.end.reset();
}

void VmRunner::no_machine() {
  seen_.machine = false;
  seen_.ports.clear();
  seen_.health.reset();
  health_.reset();
  was_healthy_ = false;
  boot_began_.reset();
  ready_since_.reset();
  machine_sizes_.clear();
  reserved_ = false;
}

std::uint32_t VmRunner::ms_since(Instant then) const {
  return static_cast<std::uint32_t>(to_ms(t_.loop->now() - then));
}

Task<Result<std::optional<MachineStatus>>> VmRunner::find_machine() {
  EBB_CO_TRY(machines, co_await t_.hypervisor->list());
  for (auto& machine : machines) {
    if (machine.vm == seen_.vm) co_return std::optional(std::move(machine));
  }
  co_return std::nullopt;
}

Task<Duration> VmRunner::step_found() {
  auto machine = co_await find_machine();
  if (!machine || !*machine || origin_ != Origin::found) co_return look_period;
  seen_.machine = (*machine)->state != MachineState::exited;
  seen_.ports = (*machine)->ports, seen_.accel = (*machine)->accel;
  auto state = !seen_.machine                             ? VmSeen::stopped
               : (*machine)->state == MachineState::ready ? VmSeen::running
                                                          : VmSeen::starting;
  enter(state, "found here; waiting for the control plane to say what it is");
  co_return look_period;
}

// ---- running

Task<Duration> VmRunner::step_running(WantedVm wish) {
  auto version = version_;
  auto machine = co_await find_machine();
  if (!machine) co_return on_start_failure(machine.error());
  begin(wish);
  if (fenced_epoch_ == wish.epoch) co_return co_await keep_fenced(std::move(wish));
  if (*machine && (*machine)->state == MachineState::exited) {
    co_return co_await bury(std::move(wish), std::move(**machine));
  }
  if (*machine && (*machine)->epoch != wish.epoch) {
    auto stopped = co_await stop_machine(std::move(wish));
    co_return stopped ? 0s : failed_look_period;
  }
  if (*machine) co_return co_await tend(std::move(wish), std::move(**machine));
  if (reserved_) no_machine();
  if (seen_.end) {  // before it was sealed for a move that did not come about
    enter(VmSeen::ended, seen_.end->text);
    co_return look_period;
  }
  if (t_.loop->now() < retry_at_) co_return retry_at_ - t_.loop->now();
  auto started = co_await start(std::move(wish));
  if (!is_current(version) || started) co_return 0s;
  co_return on_start_failure(started.error());
}

Duration VmRunner::on_start_failure(const Error& error) {
  reserved_ = false;
  ++seen_.failures;
  wait_before_retry(seen_.failures);
  enter(VmSeen::failed, error.message);
  return retry_at_ - t_.loop->now();
}

void VmRunner::wait_before_retry(std::uint32_t attempts) {
  auto pause = retry_first * (1u << std::min(attempts > 0 ? attempts - 1 : 0, 6u));
  retry_at_ = t_.loop->now() + std::min<Duration>(pause, retry_max);
}

// Fails only for reasons of this wish; ends well, with nothing started, when the wish has changed meanwhile.
Task<Status> VmRunner::start(WantedVm wish) {
  auto version = version_;
  enter(VmSeen::starting);
  EBB_CO_CHECKED(t_.admit(wish));
  reserved_ = true;
  MachineSpec spec;
  EBB_CO_CHECKED(co_await fetch_blobs(wish, &spec));
  auto open_began = t_.loop->now();
  // All begin to open before one is waited for: after a take-over each of them settles for a while.
  for (std::size_t i = 1; i < wish.disks.size() && is_current(version); ++i)
    (void)co_await ask_daemon(Verb::open, wish, wish.disks[i]);
  std::map<DiskId, std::uint64_t> sizes;
  for (const auto& disk : wish.disks) {
    if (!is_current(version)) co_return Status{};
    auto status = co_await drive(Verb::open, wish, disk);
    if (status && is_current(version) && is_too_small(*status, disk))
      status = co_await drive(Verb::grow, wish, disk);
    if (!is_current(version)) co_return Status{};
    if (!status && status.error().code == Code::fenced) {
      fenced_epoch_ = wish.epoch;
      co_return Status{};
    }
    if (!status) co_return fail(std::move(status).error());
    const auto bytes = status->size_bytes ? status->size_bytes : disk.size_bytes;
    sizes[disk.id] = bytes;
    spec.disks.push_back({serial_of(disk.id), status->nbd_socket, status->nbd_export, disk.read_only, bytes});
  }
  for (const auto bytes : wish.ephemeral_disks.value_or(std::vector<std::uint64_t>())) {
    auto serial = fmt::format("ephemeral-{}", spec.disks.size());
    spec.disks.push_back({.serial = std::move(serial), .bytes = bytes, .ephemeral = true});
  }
  if (!is_current(version)) co_return Status{};
  if (t_.isolation(wish) == Isolation::Verdict::cut_off) {
    enter(seen_.state, std::string(cut_off_text));
    co_await sleep_for(*t_.loop, failed_look_period);
    co_return Status{};
  }
  seen_.timings.open_ms = ms_since(open_began);
  auto began = t_.loop->now();
  auto machine = co_await t_.hypervisor->start(std::move(spec));
  // A request of an agent that died just before this one may come through late: look again.
  if (!machine && machine.error().code == Code::conflict) {
    co_await sleep_for(*t_.loop, conflict_pause);
    co_return Status{};
  }
  if (!machine) co_return fail(std::move(machine).error());
  boot_began_ = began;
  machine_sizes_ = std::move(sizes);
  seen_.machine = true;
  if (fenced_epoch_ == wish.epoch) co_await kill_fenced();
  co_return Status{};
}

// Each network's bridge must be here, before anything is fetched or the VM's source is stopped.
Status VmRunner::add_interfaces(const WantedVm& wish, MachineSpec& spec) const {
  if (!wish.interfaces) return {};
  spec.interfaces.emplace();
  for (const auto& interface : *wish.interfaces) {
    const auto found = t_.bridges->find(interface.network);
    if (found == t_.bridges->end())
      return fail(Code::unavailable,
                  "this worker has no bridge for network '{0}': give its agent one, [networks.{0}]",
                  interface.network);
    EBB_CHECKED(t_.hypervisor->has_bridge(found->second));
    spec.interfaces->push_back({interface.mac, found->second});
  }
  return {};
}

Task<Status> VmRunner::fetch_blobs(WantedVm wish, MachineSpec* spec) {
  EBB_CO_CHECKED(add_interfaces(wish, *spec));
  spec->firmware = wish.firmware;
  if (wish.kernel) {
    EBB_CO_TRY(kernel, co_await t_.blobs->fetch(wish.image_pool, *wish.kernel));
    spec->kernel = std::move(kernel);
  }
  if (wish.initrd) {
    EBB_CO_TRY(initrd, co_await t_.blobs->fetch(wish.image_pool, *wish.initrd));
    spec->initrd = std::move(initrd);
  }
  spec->vm = wish.vm, spec->epoch = wish.epoch;
  spec->cmdline = wish.cmdline, spec->cpus = wish.cpus, spec->memory_bytes = wish.memory_bytes;
  spec->channels = wish.channels, spec->seed = wish.seed.value_or(std::map<std::string, std::string>());
  for (const auto& port : wish.ports) spec->ports.push_back({port.name, port.guest});
  co_return Status{};
}

// The machine is there, under the right epoch.
Task<Duration> VmRunner::tend(WantedVm wish, MachineStatus machine) {
  auto version = version_;
  reserved_ = true;
  if (machine.is_held || isolation_ == Isolation::Verdict::cut_off) co_await heed_isolation();
  seen_.machine = true;
  seen_.ports = machine.ports, seen_.accel = machine.accel;
  auto disks = co_await keep_disks_open(wish);
  if (disks && is_current(version) && machine.state == MachineState::ready) disks = co_await grow_disks(wish);
  if (!is_current(version) || fenced_epoch_ == wish.epoch) co_return 0s;
  snapshots_.look_at(wish);
  tend_health(wish, machine);
  auto trouble = !machine.error.empty() ? machine.error : disks ? disk_waits_ : disks.error().message;
  switch (machine.state) {
    case MachineState::booting:
      if (trouble.empty() && exits_ > 0) trouble = "it is booting again: " + last_end_;
      enter(VmSeen::starting, trouble);
      break;
    case MachineState::ready:
      if (!ready_since_) ready_since_ = t_.loop->now();
      if (t_.loop->now() - *ready_since_ >= steady_after) seen_.failures = 0;
      if (trouble.empty() && seen_.health && !seen_.health->is_healthy)
        trouble = "its health check fails: " + seen_.health->error;
      if (waits_for_health(wish)) {
        enter(VmSeen::starting, trouble);
        break;
      }
      if (boot_began_) seen_.timings.boot_ms = ms_since(*std::exchange(boot_began_, std::nullopt));
      enter(VmSeen::running, trouble);
      break;
    case MachineState::paused:
      if (machine.is_held) trouble = cut_off_text;
      enter(ready_since_ && !waits_for_health(wish) ? VmSeen::running : VmSeen::starting,
            "paused: " + trouble);
      break;
    case MachineState::exited:
      co_return 0s;
  }
  co_return look_period;
}

void VmRunner::tend_health(const WantedVm& wish, const MachineStatus& machine) {
  // A guest that does not run cannot answer: what was known of it stays.
  if (machine.state == MachineState::paused) return health_.reset();
  if (!wish.health || machine.state != MachineState::ready) {
    health_.reset();
    seen_.health.reset();
    return;
  }
  const auto port = machine.ports.find(wish.health->port.value_or(""));
  const auto address = wish.health->kind == HealthKind::guest_agent ? machine.guest_agent
                       : port == machine.ports.end()                ? ""
                                                     : fmt::format("127.0.0.1:{}", port->second);
  if (!health_ || !health_->is_for(*wish.health, address)) {
    // What another question was answered with says nothing of this one.
    auto question = [](const HealthCheck& check) { return std::tie(check.kind, check.port, check.path); };
    if (!checked_ || question(*checked_) != question(*wish.health)) seen_.health.reset();
    checked_ = wish.health;
    HealthChecker::Tools tools{t_.loop, t_.network, t_.guest_agents, [this] { look(); }};
    health_ = std::make_unique<HealthChecker>(std::move(tools), *wish.health, address, seen_.health);
  }
  if (health_->seen()) seen_.health = health_->seen();
  was_healthy_ = was_healthy_ || (seen_.health && seen_.health->is_healthy);
}

// A guest that has not been healthy yet is still coming up, though not for ever.
bool VmRunner::waits_for_health(const WantedVm& wish) const {
  return wish.health && !was_healthy_ &&
         t_.loop->now() - *ready_since_ < std::chrono::milliseconds(wish.health->start_grace_ms);
}

// The machine has ended although it was wanted. One whose guest is not started again stays as it is, so that an
// agent that is started anew finds its end; it goes when the control plane knows.
Task<Duration> VmRunner::bury(WantedVm wish, MachineStatus machine) {
  if (ready_since_ && t_.loop->now() - *ready_since_ > steady_after) exits_ = 0;
  no_machine();
  if (note_end(wish, machine)) {
    enter(VmSeen::ended, seen_.end->text);
    co_return look_period;
  }
  if (machine.epoch == wish.epoch) {
    ++seen_.failures;
    wait_before_retry(++exits_);
    auto console = machine.last_words.empty() ? "" : "\nits console ended with:\n" + machine.last_words;
    last_end_ = fmt::format("{}{}{}", end_text(machine),
                            exits_ > 1 ? fmt::format("; {} times in a row by now", exits_) : "", console);
    enter(VmSeen::failed, last_end_);
  }
  auto forgotten = co_await t_.hypervisor->forget(wish.vm);
  if (forgotten) co_return 0s;
  t_.log.error("VM {}: {}", wish.vm, forgotten.error());
  co_return failed_look_period;
}

// Whether the guest of a machine that has exited ended by itself, and for good. Of one that shall be stopped nobody asks.
bool VmRunner::note_end(const WantedVm& wish, const MachineStatus& machine) {
  const bool shall_go_on = wish.wanted == Wanted::running || wish.wanted == Wanted::sealed;
  if (!shall_go_on || machine.epoch != wish.epoch || machine.was_stopped) return false;
  const GuestEnd end{machine.exit_status, end_text(machine)};
  if (is_restarted(wish.restart.value_or(Restart::always), end)) return false;
  seen_.end = end;
  return true;
}

// ---- standby

Task<Duration> VmRunner::step_standby(WantedVm wish) {
  auto version = version_;
  auto machine = co_await find_machine();
  if (!machine) co_return failed_look_period;
  if (*machine) {
    // Left over from an earlier time of this VM here.
    auto stopped = co_await stop_machine(wish);
    if (stopped && is_current(version)) stopped = co_await release_disks(wish);
    co_return stopped ? 0s : failed_look_period;
  }
  if (reserved_) no_machine();
  begin(wish);
  auto is_warm = [&](const WantedDisk& disk) {
    const auto* status = t_.disks->find(disk.id);
    return disk.read_only || (status && status->state == DiskSeen::standby);
  };
  if (seen_.state == VmSeen::standby && done_version_ == version && std::ranges::all_of(wish.disks, is_warm))
    co_return look_period;
  if (t_.loop->now() < retry_at_) co_return retry_at_ - t_.loop->now();
  enter(VmSeen::preparing);
  auto began = t_.loop->now();
  MachineSpec unused;
  Status prepared = t_.hypervisor->can_boot(wish.firmware);  // before the source is stopped
  if (prepared) prepared = co_await fetch_blobs(wish, &unused);
  for (const auto& disk : wish.disks) {
    if (!prepared || !is_current(version) || disk.read_only) continue;
    auto warm = co_await drive(Verb::standby, wish, disk);
    if (!warm) prepared = fail(std::move(warm).error());
  }
  if (!is_current(version)) co_return 0s;
  if (!prepared) co_return on_start_failure(prepared.error());
  seen_.timings.prepare_ms = ms_since(began);
  done_version_ = version;
  enter(VmSeen::standby);
  co_return look_period;
}

// ---- down

Task<Duration> VmRunner::step_down(WantedVm wish) {
  auto version = version_;
  auto stopped = co_await stop_machine(wish);
  begin(wish);
  if (!stopped) {
    enter(VmSeen::stopping, stopped.error().message);
    co_return failed_look_period;
  }
  if (fenced_epoch_ == wish.epoch) co_return co_await keep_fenced(std::move(wish));
  if (done_version_ == version) co_return look_period;
  if (!is_current(version)) co_return 0s;
  if (seen_.state != VmSeen::stopping) enter(VmSeen::stopping);
  auto began = t_.loop->now();
  for (const auto& disk : wish.disks) {
    if (disk.read_only) continue;
    auto sealed = co_await drive(Verb::seal, wish, disk);
    if (!is_current(version)) co_return 0s;
    if (!sealed && sealed.error().code == Code::fenced) {
      fenced_epoch_ = wish.epoch;
      co_return 0s;
    }
    if (!sealed) {
      enter(VmSeen::stopping, sealed.error().message);
      co_return failed_look_period;
    }
  }
  seen_.timings.seal_ms = ms_since(began);
  done_version_ = version;
  enter(wish.wanted == Wanted::sealed ? VmSeen::sealed : VmSeen::stopped);
  for (const auto& disk : wish.disks) {
    if (disk.read_only && !t_.is_used_by_others(wish.vm, disk.id))
      (void)co_await t_.disks->close({disk.id, disk.pool, 0});
  }
  t_.used_disks();
  co_return look_period;
}

Task<Duration> VmRunner::step_absent(WantedVm wish) {
  auto version = version_;
  auto stopped = co_await stop_machine(wish);
  if (stopped && is_current(version)) stopped = co_await release_disks(wish);
  if (!is_current(version)) co_return 0s;
  if (!stopped) {
    enter(VmSeen::stopping, stopped.error().message);
    co_return failed_look_period;
  }
  enter(VmSeen::absent);
  gone_ = true;
  co_return 0s;
}

Task<Status> VmRunner::stop_machine(WantedVm wish) {
  EBB_CO_TRY(machine, co_await find_machine());
  // Held while it was cut off, and still ours: it may stop as any other.
  bool is_ours = (wish.wanted == Wanted::sealed || wish.wanted == Wanted::stopped) &&
                 fenced_epoch_ != wish.epoch && t_.isolation(wish) == Isolation::Verdict::none;
  if (machine && machine->is_held && machine->epoch == wish.epoch && is_ours) {
    EBB_CO_CHECKED(co_await t_.hypervisor->resume(wish.vm));
  }
  if (!machine) {
    if (seen_.machine || reserved_) no_machine();
    co_return Status{};
  }
  if (machine->state == MachineState::exited) {
    begin(wish);
    (void)note_end(wish, *machine);
  }
  if (machine->state != MachineState::exited) {
    seen_.machine = true;
    seen_.epoch = machine->epoch;
    enter(VmSeen::stopping);
    auto began = t_.loop->now();
    auto grace = fenced_epoch_ == machine->epoch ? Duration(0)
                                                 : Duration(std::chrono::milliseconds(wish.stop_grace_ms));
    if (wish.wanted == Wanted::sealed && grace > 0s) scope_.spawn(leave_hints(wish));
    StopWish stop{grace, wish.stop_signal.value_or(StopSignal::automatic), {}};
    if (stop.signal == StopSignal::guest_agent)
      stop.ask_guest_agent = [agents = t_.guest_agents, address = machine->guest_agent] {
        return agents->power_off(address, guest_agent_limit);
      };
    EBB_CO_TRY(by_itself, co_await t_.hypervisor->stop(wish.vm, std::move(stop)));
    seen_.timings.stop_ms = ms_since(began);
    seen_.guest_stopped_itself = by_itself;
    EBB_CO_TRY(left, co_await find_machine());
    if (left && left->state == MachineState::exited) (void)note_end(wish, *left);  // as it was being stopped
  }
  no_machine();
  t_.changed();
  if (seen_.end && wish.wanted == Wanted::sealed) co_return Status{};  // as in bury()
  co_return co_await t_.hypervisor->forget(wish.vm);
}

// ---- fenced

void VmRunner::look_at_isolation() {
  using enum Isolation::Verdict;
  auto before = std::exchange(isolation_, t_.isolation(wish_));
  if (before == isolation_ || isolation_ == unknown || !seen_.machine) return;
  if (isolation_ == cut_off)
    t_.log.warning("VM {}: neither the control plane nor the store has confirmed for {} s that it is ours",
                   wish_.vm, to_ms(Isolation::silence_max) / 1000);
  scope_.spawn([](VmRunner* self) -> Task<void> {
    co_await self->heed_isolation();
    self->look();
  }(this));
}

// Pauses a machine that is cut off, and lets it run on when it is not any more.
Task<void> VmRunner::heed_isolation() {
  using enum Isolation::Verdict;
  if (wish_.wanted != Wanted::running || fenced_epoch_ == wish_.epoch) co_return;
  auto machine = co_await find_machine();
  if (!machine || !*machine || (*machine)->state == MachineState::exited) co_return;
  bool is_held = (*machine)->is_held;
  if (isolation_ == cut_off && !is_held) (void)co_await t_.hypervisor->pause(wish_.vm);
  if (isolation_ == none && is_held && wish_.wanted == Wanted::running && fenced_epoch_ != wish_.epoch &&
      (*machine)->epoch == wish_.epoch)
    (void)co_await t_.hypervisor->resume(wish_.vm);
}

// Somebody else owns the disk: not one more instruction, and no flush.
Task<void> VmRunner::kill_fenced() {
  auto vm = seen_.vm;
  t_.log.warning("VM {} (epoch {}): a newer owner of its disk exists; killing the machine", vm, seen_.epoch);
  (void)co_await t_.hypervisor->pause(vm);
  auto killed = co_await t_.hypervisor->stop(vm, {});
  if (!killed) t_.log.error("VM {}: {}", vm, killed.error());
  look();
}

Task<Duration> VmRunner::keep_fenced(WantedVm wish) {
  wish.stop_grace_ms = 0;
  auto stopped = co_await stop_machine(wish);
  if (!stopped) co_return failed_look_period;
  if (seen_.state != VmSeen::fenced) enter(VmSeen::fenced, "a newer owner of its disk exists");
  co_return look_period;
}

}  // namespace ebb::agent
