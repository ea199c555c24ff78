#include "light_fleet.h"

#include <cmath>
#include <numbers>

namespace ebb::what_if {
namespace {

constexpr Duration rests = 1s;  // before what has failed is tried again

}  // namespace

LightFleet::LightFleet(Loop& loop, const FleetRecords& records, const Numbered<WorkerId>& workers,
                       const Numbered<VmId>& vms, GuestWatch& watch, Ask ask, LightFleetOptions options)
    : loop_(loop),
      records_(records),
      names_(workers),
      vm_names_(vms),
      watch_(watch),
      ask_(std::move(ask)),
      options_(options),
      random_(options.seed),
      workers_(workers.size()),
      holders_(vms.size()),
      at_home_(vms.size(), nobody),
      scope_(loop) {}

void LightFleet::start(std::uint64_t revision) {
  for (const auto& vm : records_.vms) {
    if (!vm.worker) continue;
    const auto worker = names_.find(*vm.worker);
    LightVm light;
    light.vm = vm_names_.find(vm.id), light.epoch = light.wanted_epoch = vm.epoch;
    light.has_disks = vm.disk || vm.data_disks;
    at_home_[light.vm] = worker;
    workers_[worker].vms.push_back(std::move(light));
    auto& at = workers_[worker].vms.back();
    at.state = VmSeen::running, at.wanted = Wanted::running, at.machine = true;
    set_open(worker, at, true);
    watch_.guest_started(at.vm, worker);
  }
  for (std::uint32_t i = 0; i < workers_.size(); ++i) {
    workers_[i].revision = revision;
    // Not all at once, then or later.
    const auto first = Duration(static_cast<Duration::rep>(
        random_.unit() * static_cast<double>(std::min(options_.heartbeat, Duration(5s)).count())));
    Due due;
    due.worker = i;
    schedule(first, due);
  }
}

void LightFleet::schedule(Duration after, Due due) {
  const auto exact = (loop_.now() + after).time_since_epoch();
  due.at = Instant((exact + options_.tick - 1ns) / options_.tick * options_.tick);
  due.order = ++last_order_;
  due_.push(due);
  arm();
}

void LightFleet::arm() {
  if (due_.empty() || (armed_ && *armed_ <= due_.top().at)) return;
  armed_ = due_.top().at;
  loop_.call_at(*armed_, [this, at = *armed_] {
    if (armed_ == at) armed_.reset(), tick();
  });
}

void LightFleet::tick() {
  std::vector<std::uint32_t> asking;
  while (!due_.empty() && due_.top().at <= loop_.now()) {
    const auto due = due_.top();
    due_.pop();
    auto& at = workers_[due.worker];
    if (!at.alive || at.life != due.life) continue;
    if (due.vm != nobody) {
      if (auto* vm = find(due.worker, due.vm); vm && vm->token == due.token) end_step(due.worker, *vm);
    } else if (due.asks) {
      asking.push_back(due.worker);
    } else {
      heartbeat(due.worker);
    }
  }
  for (const auto worker : asking) scope_.spawn(exchange(worker, true));
  std::ranges::sort(dirty_);
  const auto end = std::ranges::unique(dirty_).begin();
  for (auto at = dirty_.begin(); at != end; ++at) scope_.spawn(exchange(*at, false));
  dirty_.clear();
  arm();
}

void LightFleet::heartbeat(std::uint32_t worker) {
  auto& at = workers_[worker];
  const auto quiet = loop_.now() - at.reported_at;
  if (at.sequence == 0 || quiet >= options_.heartbeat) dirty_.push_back(worker);
  Due due;
  due.worker = worker, due.life = at.life;
  schedule(at.sequence == 0 || quiet >= options_.heartbeat ? options_.heartbeat : options_.heartbeat - quiet,
           due);
}

void LightFleet::poke(std::uint32_t worker) {
  auto& at = workers_[worker];
  if (!at.alive || std::exchange(at.asks, true)) return;
  Due due;
  due.worker = worker, due.life = at.life, due.asks = true;
  schedule(options_.message, due);
}

// Gets what is wanted, if it `asks`; says how things are.
Task<void> LightFleet::exchange(std::uint32_t worker, bool asks) {
  const auto life = workers_[worker].life;
  const auto is_over = [this, worker, life] {
    return !workers_[worker].alive || workers_[worker].life != life;
  };
  const auto token = std::map<std::string, std::string>{{"authorization", "Bearer join-token"}};
  while (true) {
    if (asks) {
      workers_[worker].asks = false;
      auto reply = co_await ask_(
          {"GET",
           fmt::format("/v1/agent/workers/{}/wanted?revision={}", names_[worker], workers_[worker].revision),
           token,
           {}});
      if (is_over()) co_return;
      auto set = reply.status == 200 ? json::read_text<WantedSet>(reply.body) : fail(Code::unavailable, "");
      if (!set || set->revision <= workers_[worker].revision) co_return;
      take(worker, *set);
    }
    auto& at = workers_[worker];
    at.reported_at = loop_.now();
    ++reports_;
    auto reply = co_await ask_({"POST", "/v1/agent/report", token, json::write_text(report_of(worker))});
    if (is_over()) co_return;
    const auto answer =
        reply.status == 200 ? json::read_text<ReportAnswer>(reply.body) : fail(Code::unavailable, "");
    asks = answer && answer->wanted_revision != workers_[worker].revision;
    if (!asks) co_return;
  }
}

void LightFleet::take(std::uint32_t worker, const WantedSet& set) {
  auto& at = workers_[worker];
  at.revision = set.revision;
  for (auto& vm : at.vms) vm.wanted = Wanted::absent;
  for (const auto& wanted : set.vms) {
    const auto index = vm_names_.find(wanted.vm);
    if (index == nobody) continue;  // made by nobody here
    auto* vm = find(worker, index);
    if (!vm) {
      vm = &at.vms.emplace_back();
      vm->vm = index;
    }
    vm->wanted = wanted.wanted, vm->wanted_epoch = wanted.epoch, vm->has_disks = !wanted.disks.empty();
    vm->snapshots.clear();
    for (const auto& disk : wanted.disks)
      for (const auto* list : {&disk.snapshots, &disk.cuts})
        for (const auto& snapshot : *list)
          vm->snapshots.push_back({disk.id, snapshot.request, loop_.wall_now(), {}, {}});
  }
  for (auto& vm : at.vms) decide(worker, vm);
  std::erase_if(at.vms,
                [](const LightVm& vm) { return vm.state == VmSeen::absent && vm.step == Step::none; });
}

LightFleet::LightVm* LightFleet::find(std::uint32_t worker, std::uint32_t vm) {
  auto& all = workers_[worker].vms;
  auto found = std::ranges::find(all, vm, &LightVm::vm);
  return found == all.end() ? nullptr : &*found;
}

const drain::PhaseTimes& LightFleet::phases_of(const LightVm& vm) const {
  return records_.phases.of(vm.has_disks ? Mechanism::pointer : Mechanism::restart);
}

// About the median, as a lognormal distribution has it (Box and Muller draw the normal one).
Duration LightFleet::drawn(std::uint32_t median_ms) {
  const auto normal =
      std::sqrt(-2 * std::log(1 - random_.unit())) * std::cos(2 * std::numbers::pi * random_.unit());
  const auto ms = median_ms * std::exp(options_.spread * normal);
  return std::chrono::microseconds(static_cast<std::int64_t>(1000 * ms));
}

// The same for a VM each time: it comes up on any worker but those where it does not.
bool LightFleet::fails(std::uint32_t worker, std::uint32_t vm, double share, std::uint64_t what) const {
  if (share <= 0 || at_home_[vm] == worker) return false;
  return Random(options_.seed ^ (std::uint64_t{vm} << 32) ^ (std::uint64_t{worker} << 2) ^ what)
      .chance(share);
}

// What is done next for a VM, unless something is under way.
void LightFleet::decide(std::uint32_t worker, LightVm& vm) {
  if (vm.step == Step::resting && vm.wanted != Wanted::running && vm.wanted != Wanted::standby)
    vm.step = Step::none, vm.token = ++last_token_;
  if (vm.step != Step::none) return;
  const auto& phases = phases_of(vm);
  switch (vm.wanted) {
    case Wanted::standby:
      if (vm.state == VmSeen::standby && vm.epoch == vm.wanted_epoch) return;
      vm.epoch = vm.wanted_epoch, vm.failures = 0, vm.state = VmSeen::preparing;
      return begin(worker, vm, Step::preparing, drawn(phases.preparing));
    case Wanted::running:
      if (vm.state == VmSeen::fenced && vm.epoch == vm.wanted_epoch) return;
      if (vm.state == VmSeen::running && vm.epoch == vm.wanted_epoch) return;
      if (vm.epoch != vm.wanted_epoch || vm.state == VmSeen::standby) vm.failures = 0;
      vm.epoch = vm.wanted_epoch, vm.state = VmSeen::starting;
      if (vm.disk_open || !vm.has_disks) {
        set_open(worker, vm, true);
        return begin(worker, vm, Step::booting, drawn(phases.starting));
      }
      return begin(worker, vm, Step::opening, drawn(phases.moving_lease));
    case Wanted::sealed:
    case Wanted::stopped:
    case Wanted::absent: {
      const auto end = vm.wanted == Wanted::sealed    ? VmSeen::sealed
                       : vm.wanted == Wanted::stopped ? VmSeen::stopped
                                                      : VmSeen::absent;
      if (vm.machine || vm.disk_open) {
        vm.state = VmSeen::stopping;
        return begin(worker, vm, Step::stopping, drawn(phases.freezing));
      }
      vm.state = end;
      if (vm.wanted != Wanted::absent) vm.epoch = vm.wanted_epoch;
      return;
    }
  }
}

void LightFleet::begin(std::uint32_t worker, LightVm& vm, Step step, Duration takes) {
  vm.step = step, vm.token = ++last_token_;
  if (step == Step::booting && !vm.machine) vm.machine = true, watch_.guest_started(vm.vm, worker);
  Due due;
  due.worker = worker, due.life = workers_[worker].life, due.vm = vm.vm, due.token = vm.token;
  schedule(takes, due);
}

void LightFleet::end_step(std::uint32_t worker, LightVm& vm) {
  const auto step = std::exchange(vm.step, Step::none);
  dirty_.push_back(worker);
  const bool is_wanted = vm.wanted == Wanted::running || vm.wanted == Wanted::standby;
  if (step == Step::preparing) {
    const bool bad = fails(worker, vm.vm, options_.standby_failures, 1);
    vm.state = bad ? VmSeen::failed : VmSeen::standby;
    if (bad) {
      ++vm.failures;
      if (is_wanted) return begin(worker, vm, Step::preparing, rests);
    }
  }
  if (step == Step::opening) {
    // Who opens under an older epoch finds in HEAD that it is fenced.
    if (holders_[vm.vm].epoch > vm.epoch) {
      vm.state = VmSeen::fenced;
      return;
    }
    set_open(worker, vm, true);
  }
  if (step == Step::booting) {
    const bool bad = fails(worker, vm.vm, options_.boot_failures, 2);
    vm.state = bad ? VmSeen::failed : VmSeen::running;
    if (bad) {
      power_off(worker, vm);
      ++vm.failures;
      if (is_wanted) return begin(worker, vm, Step::resting, rests);
    }
  }
  if (step == Step::stopping) {
    power_off(worker, vm);
    set_open(worker, vm, false);
  }
  decide(worker, vm);
  if (vm.state == VmSeen::absent && vm.step == Step::none)
    std::erase_if(workers_[worker].vms, [id = vm.vm](const LightVm& other) { return other.vm == id; });
}

void LightFleet::power_off(std::uint32_t worker, LightVm& vm) {
  if (std::exchange(vm.machine, false)) watch_.guest_stopped(vm.vm, worker);
}

// Whoever opens takes over from whoever had it open before: that one finds itself fenced, and stops.
void LightFleet::set_open(std::uint32_t worker, LightVm& vm, bool open) {
  vm.disk_open = open;
  auto& holder = holders_[vm.vm];
  auto* other =
      open && holder.worker != nobody && holder.worker != worker ? find(holder.worker, vm.vm) : nullptr;
  if (other && workers_[holder.worker].alive) {
    power_off(holder.worker, *other);
    other->disk_open = false, other->state = VmSeen::fenced, other->step = Step::none,
    other->token = ++last_token_;
    dirty_.push_back(holder.worker);
  }
  if (open)
    holder = {worker, vm.epoch};
  else if (holder.worker == worker)
    holder.worker = nobody;
}

AgentReport LightFleet::report_of(std::uint32_t worker) {
  auto& at = workers_[worker];
  AgentReport report;
  report.worker = names_[worker], report.boot_id = fmt::format("boot-{}", at.life + 1);
  report.agent_run = fmt::format("run-{}", at.life + 1), report.sequence = ++at.sequence;
  report.wanted_revision = at.revision, report.disk_daemon_up = true, report.version = "sim";
  for (const auto& vm : at.vms) {
    if (vm.state == VmSeen::absent) continue;
    auto& seen = report.vms.emplace_back();
    seen.vm = vm_names_[vm.vm], seen.epoch = vm.epoch, seen.state = vm.state;
    seen.machine = vm.machine, seen.disk_open = vm.disk_open, seen.failures = vm.failures;
    if (vm.state == VmSeen::failed) seen.error = "it does not come up here";
    if (vm.disk_open) seen.snapshots = vm.snapshots;
    report.machines += vm.machine;
    report.exports += vm.disk_open && vm.has_disks, report.leases += vm.disk_open && vm.has_disks;
  }
  return report;
}

void LightFleet::kill(std::uint32_t worker) {
  auto& at = workers_[worker];
  if (!at.alive) return;
  at.alive = false;
  for (auto& vm : at.vms) power_off(worker, vm);
  at.vms.clear();
}

Registration LightFleet::registration_of(std::uint32_t worker) const {
  const auto& record = records_.workers[worker];
  Registration r;
  r.worker = record.id, r.boot_id = fmt::format("boot-{}", workers_[worker].life + 1), r.version = "sim";
  r.labels = record.labels, r.capacity = record.capacity, r.pools = record.pools;
  r.firmware = record.firmware, r.networks = record.networks, r.cpu_features = record.cpu_features;
  return r;
}

void LightFleet::boot(std::uint32_t worker) {
  auto& at = workers_[worker];
  if (at.alive) return;
  at.alive = true, at.asks = false, at.sequence = 0, ++at.life;
  at.revision = 0;
  scope_.spawn([](LightFleet* fleet, std::uint32_t id) -> Task<void> {
    auto reply = co_await fleet->ask_({"POST",
                                       "/v1/agent/register",
                                       {{"authorization", "Bearer join-token"}},
                                       json::write_text(fleet->registration_of(id))});
    if (!fleet->is_alive(id)) co_return;
    auto set = reply.status == 200 ? json::read_text<WantedSet>(reply.body) : fail(Code::unavailable, "");
    if (set) fleet->take(id, *set);
    Due due;
    due.worker = id, due.life = fleet->workers_[id].life;
    fleet->schedule(0ns, due);
  }(this, worker));
}

}  // namespace ebb::what_if
