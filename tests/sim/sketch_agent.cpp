#include "sketch_agent.h"

#include "sim/run_in.h"

namespace ebb::fleet_sim {

SketchAgent::SketchAgent(Parts parts)
    : parts_(std::move(parts)),
      loop_(parts_.process.loop()),
      run_id_(loop_.random().token(8)),
      poke_(loop_),
      report_poke_(loop_),
      scope_(loop_) {
  parts_.hypervisor.on_change([this] { poke_.poke(); });
  scope_.spawn(run());
}

Task<Result<HttpResponse>> SketchAgent::send(std::string method, std::string target, std::string body,
                                             Duration limit) {
  HttpRequest request{.method = std::move(method),
                      .target = std::move(target),
                      .headers = {{"authorization", "Bearer " + parts_.join_token}},
                      .body = std::move(body)};
  co_return co_await parts_.http.request(parts_.control, std::move(request), limit);
}

Task<void> SketchAgent::run() {
  while (true) {
    auto reply = co_await send("POST", "/v1/agent/register", json::write_text(parts_.registration), 5s);
    if (reply && reply->status == 200) {
      if (auto set = json::read_text<WantedSet>(reply->body)) set_ = std::move(*set);
      break;
    }
    co_await sleep_for(loop_, 1s);
  }
  scope_.spawn(poll());
  scope_.spawn(reconcile_forever());
  scope_.spawn(report_forever());
}

Task<void> SketchAgent::poll() {
  while (true) {
    auto target = fmt::format("/v1/agent/workers/{}/wanted?revision={}&wait_s=20", parts_.registration.worker,
                              set_ ? set_->revision : 0);
    auto reply = co_await send("GET", target, {}, 25s);
    if (reply && reply->status == 200) {
      auto set = json::read_text<WantedSet>(reply->body);
      if (set && (!set_ || set->revision > set_->revision)) set_ = std::move(*set), poke_.poke();
    } else if (!reply || reply->status != 304) {
      co_await sleep_for(loop_, 1s);
    }
  }
}

Task<void> SketchAgent::report_forever() {
  while (true) {
    if (has_looked_) (void)co_await send("POST", "/v1/agent/report", json::write_text(report()), 5s);
    co_await report_poke_.wait_for(3s);
  }
}

AgentReport SketchAgent::report() {
  AgentReport r;
  r.worker = parts_.registration.worker, r.boot_id = parts_.registration.boot_id, r.agent_run = run_id_;
  r.wanted_revision = reconciled_revision_, r.sequence = ++sequence_, r.disk_daemon_up = is_daemon_up_;
  for (auto& [id, seen] : seen_) r.vms.push_back(seen);
  for (auto& [id, machine] : machines_) r.machines += machine.state != MachineState::exited;
  for (auto& disk : daemon_.disks) {
    r.exports += disk.state != DiskSeen::failed;
    r.leases += disk.state != DiskSeen::reading;
  }
  return r;
}

Task<void> SketchAgent::look() {
  auto listed = co_await parts_.hypervisor.list();
  machines_.clear();
  for (auto& machine : *listed) machines_[machine.vm] = machine;
  auto [process, daemon] = parts_.daemon();
  is_daemon_up_ = process != nullptr;
  if (!process) co_return;
  auto ask = [](SketchDaemon* d) -> Task<DaemonStatus> { co_return d->status(); };
  auto status = co_await sim::call_across(parts_.process, *process, daemon->scope, ask(daemon));
  if (status) daemon_ = *status;
  has_looked_ = status.has_value();
}

Task<void> SketchAgent::reconcile_forever() {
  while (true) {
    co_await look();
    const auto revision = set_->revision;
    std::set<VmId> all;
    for (auto& wanted : set_->vms) all.insert(wanted.vm);
    for (auto& [id, machine] : machines_) all.insert(id);
    for (auto& [id, seen] : seen_) all.insert(id);
    std::set<DiskId> known;
    for (auto& wanted : set_->vms)
      for (auto& disk : wanted.disks) known.insert(disk.id);
    for (auto& [id, disks] : disks_) {
      all.insert(id);
      for (auto& [disk, pool] : disks) known.insert(disk);
    }
    for (auto& disk : daemon_.disks) {
      if (known.contains(disk.disk)) continue;
      VmId orphan("disk-" + disk.disk.value);
      disks_[orphan] = {{disk.disk, disk.pool}};
      all.insert(orphan);
    }
    for (auto& [id, machine] : machines_)
      if (auto [at, is_new] = seen_.try_emplace(id); is_new)
        at->second.vm = id, at->second.epoch = machine.epoch, at->second.machine = true,
        at->second.state = VmSeen::starting;
    for (auto& id : all)
      if (busy_.insert(id).second) scope_.spawn(step(id));
    reconciled_revision_ = revision;
    report_poke_.poke();
    co_await poke_.wait_for(500ms);
  }
}

Task<void> SketchAgent::step(VmId vm) {
  std::optional<WantedVm> wanted;
  for (auto& w : set_->vms)
    if (w.vm == vm) wanted = w;
  if (!wanted || wanted->wanted == Wanted::absent) {
    Epoch epoch = seen_.contains(vm) ? seen_[vm].epoch : machines_.contains(vm) ? machines_[vm].epoch : 0;
    co_await make_gone(vm, epoch, VmSeen::absent);
  } else if (wanted->wanted == Wanted::running) {
    co_await make_running(*wanted);
  } else if (wanted->wanted == Wanted::standby) {
    auto& seen = seen_[vm];
    seen = {};
    seen.vm = vm, seen.epoch = wanted->epoch, seen.state = VmSeen::standby;
  } else {
    disks_[vm].clear();
    for (auto& disk : wanted->disks)
      if (!disk.read_only) disks_[vm].push_back({disk.id, disk.pool});
    co_await make_gone(vm, wanted->epoch,
                       wanted->wanted == Wanted::sealed ? VmSeen::sealed : VmSeen::stopped);
  }
  busy_.erase(vm);
  report_poke_.poke();
}

Task<Result<DiskStatus>> SketchAgent::open_disk(OpenDisk wish) {
  auto [process, daemon] = parts_.daemon();
  if (!process) co_return fail(Code::unavailable, "the disk daemon does not run");
  auto opened =
      co_await sim::call_across(parts_.process, *process, daemon->scope, daemon->open(std::move(wish)));
  if (!opened) co_return fail(Code::unavailable, "the disk daemon died");
  co_return std::move(*opened);
}

Task<void> SketchAgent::make_running(WantedVm wanted) {
  auto vm = wanted.vm;
  auto at = machines_.find(vm);
  if (at != machines_.end() &&
      (at->second.epoch != wanted.epoch || at->second.state == MachineState::exited)) {
    if (at->second.state == MachineState::exited && at->second.epoch == wanted.epoch) {
      auto& seen = seen_[vm];
      ++seen.failures, seen.error = at->second.error,
                       seen.state = seen.failures >= 3 ? VmSeen::failed : VmSeen::starting;
    }
    (void)co_await parts_.hypervisor.stop(vm, {.grace = 10s});
    (void)co_await parts_.hypervisor.forget(vm);
    co_return;
  }
  if (auto& seen = seen_[vm]; seen.epoch != wanted.epoch || seen.vm != vm || seen.state == VmSeen::standby ||
                              seen.state == VmSeen::sealed) {
    seen = {};
    seen.vm = vm, seen.epoch = wanted.epoch, seen.state = VmSeen::starting;
  }
  MachineSpec spec{.vm = vm,
                   .epoch = wanted.epoch,
                   .kernel = "kernel",
                   .initrd = {},
                   .cmdline = {},
                   .disks = {},
                   .ports = {},
                   .channels = {}};
  disks_[vm].clear();
  for (auto& disk : wanted.disks)
    if (!disk.read_only) disks_[vm].push_back({disk.id, disk.pool});
  for (auto& disk : wanted.disks) {
    auto opened = co_await open_disk(
        {disk.id, disk.pool, wanted.epoch, disk.disk_class, disk.read_only, disk.take_over});
    auto& seen = seen_[vm];
    seen.disk_open = seen.disk_open || (opened.has_value() && !disk.read_only);
    if (!opened) {
      seen.error = opened.error().message;
      if (opened.error().code == Code::fenced) co_await make_gone(vm, wanted.epoch, VmSeen::fenced);
      co_return;
    }
    spec.disks.push_back({disk.id.value, "sketch", disk.id.value, disk.read_only, disk.size_bytes});
  }
  if (at == machines_.end()) (void)co_await parts_.hypervisor.start(std::move(spec));
  auto& seen = seen_[vm];
  seen.machine = true;
  const bool is_ready = machines_.contains(vm) && machines_[vm].state == MachineState::ready;
  if (seen.state != VmSeen::failed) seen.state = is_ready ? VmSeen::running : VmSeen::starting;
  if (is_ready) seen.state = VmSeen::running, seen.failures = 0;
}

Task<Status> SketchAgent::release_disks(VmId vm, Epoch epoch) {
  auto [process, daemon] = parts_.daemon();
  if (!process) co_return fail(Code::unavailable, "the disk daemon does not run");
  auto disks = disks_[vm];
  for (auto& [disk, pool] : disks) {
    auto sealed =
        co_await sim::call_across(parts_.process, *process, daemon->scope, daemon->seal({disk, pool, epoch}));
    if (!sealed) co_return fail(Code::unavailable, "the disk daemon died");
    if (!*sealed) co_return fail(sealed->error());
  }
  co_return Status{};
}

Task<void> SketchAgent::make_gone(VmId vm, Epoch epoch, VmSeen end) {
  if (auto at = machines_.find(vm); at != machines_.end()) {
    // A restarted agent learns from the machine which disks it has.
    seen_[vm].vm = vm, seen_[vm].epoch = epoch, seen_[vm].state = VmSeen::stopping, seen_[vm].machine = true;
    if (!co_await parts_.hypervisor.stop(vm, {.grace = 10s})) co_return;
    if (!co_await parts_.hypervisor.forget(vm)) co_return;
  }
  if (!co_await release_disks(vm, epoch)) co_return;
  disks_.erase(vm);
  if (end == VmSeen::absent) {
    seen_.erase(vm);
    co_return;
  }
  auto& seen = seen_[vm];
  seen = {};
  seen.vm = vm, seen.epoch = epoch, seen.state = end;
}

}  // namespace ebb::fleet_sim
