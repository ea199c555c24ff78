#include "cli/fleet_view.h"

#include "base/text.h"
#include "cli/drain_view.h"
#include "cli/table_view.h"
#include "model/health_check.h"

namespace ebb {
namespace {

std::string cores(std::uint64_t millis) {
  return millis % 1000 == 0 ? fmt::format("{}", millis / 1000)
                            : fmt::format("{:.1f}", static_cast<double>(millis) / 1000);
}

std::string used_of(const Resources& used, const Resources& capacity) {
  return fmt::format("{} of {}", format_size(used.memory_bytes), format_size(capacity.memory_bytes));
}

std::string ports_text(const std::map<std::string, std::uint16_t>& ports) {
  std::string text;
  for (const auto& [name, host] : ports) text += fmt::format("{}{}:{}", text.empty() ? "" : " ", name, host);
  return text;
}

std::string storage_text(const VmSpec& spec) {
  if (spec.storage == Storage::none) return "stateless";
  return spec.disk_class ? std::string(json::name_of(*spec.disk_class)) : "object";
}

std::string note_of(const VmView& view) {
  return view.waiting_for.empty() ? view.vm.last_error : view.waiting_for.front().text;
}

template <class Tag>
std::string text_of(const std::optional<Id<Tag>>& id) {
  return id ? id->value : "";
}

std::string reasons_text(const std::vector<Reason>& reasons, WallMs now) {
  std::string text;
  for (const auto& reason : reasons) {
    text += "  - " + reason.text;
    if (reason.since)
      text += fmt::format(" (for {})", format_duration(std::chrono::milliseconds(now - *reason.since)));
    text += "\n";
    if (!reason.who.empty()) text += "    who can act: " + reason.who + "\n";
  }
  return text;
}

// "name:   value" lines; an empty value leaves its line out.
class Facts {
 public:
  void add(std::string_view name, std::string_view value) {
    if (!value.empty()) text_ += fmt::format("{:<14}{}\n", fmt::format("{}:", name), value);
  }
  void add_reasons(std::string_view name, const std::vector<Reason>& reasons, WallMs now) {
    if (!reasons.empty()) text_ += fmt::format("{}:\n{}", name, reasons_text(reasons, now));
  }
  const std::string& text() const { return text_; }

 private:
  std::string text_;
};

}  // namespace

std::string worker_state(const WorkerView& view) {
  if (view.liveness == Liveness::never_seen) return "never seen";
  if (view.liveness != Liveness::ready) return std::string(json::name_of(view.liveness));
  if (view.worker.is_returning()) return "returning";
  return view.schedulable ? "ready" : view.holds.empty() ? "closed" : "held";
}

std::string workers_table(const std::vector<WorkerView>& workers, WallMs now) {
  Table table({"WORKER", "STATE", ">VMS", "CPUS", "MEMORY", "SEEN", "HELD BY"});
  for (const auto& view : workers) {
    std::string owners;
    for (const auto& hold : view.holds) owners += (owners.empty() ? "" : ", ") + hold.owner;
    table.add({view.worker.id.value, worker_state(view), fmt::format("{}", view.vms),
               fmt::format("{} of {}", cores(view.used.cpu_millis), cores(view.worker.capacity.cpu_millis)),
               used_of(view.used, view.worker.capacity),
               view.last_seen_at ? ago(*view.last_seen_at, now) : "never", owners});
  }
  return table.text();
}

std::string worker_page(const WorkerView& view, WallMs now) {
  Facts page;
  page.add("worker", view.worker.id.value);
  page.add("state", worker_state(view));
  page.add("seen", view.last_seen_at ? ago(*view.last_seen_at, now) : "never");
  page.add("vms", fmt::format("{}", view.vms));
  page.add("cpus",
           fmt::format("{} of {}", cores(view.used.cpu_millis), cores(view.worker.capacity.cpu_millis)));
  page.add("memory", used_of(view.used, view.worker.capacity));
  page.add("labels", labels_text(view.worker.labels));
  std::string pools;
  for (const auto& pool : view.worker.pools) pools += (pools.empty() ? "" : ", ") + pool.value;
  page.add("pools", pools);
  std::string firmware;
  for (auto kind : view.worker.firmware.value_or(std::vector<Firmware>()))
    firmware += (firmware.empty() ? "" : ", ") + std::string(json::name_of(kind));
  page.add("firmware", firmware);
  page.add("networks",
           fmt::format("{}", fmt::join(view.worker.networks.value_or(std::vector<NetworkId>()), ", ")));
  page.add("agent", view.worker.agent_version);
  page.add("boot id", view.worker.boot_id);
  page.add("registered", ago(view.worker.registered_at, now));
  std::vector<Reason> holds;
  for (const auto& hold : view.holds) {
    holds.push_back({hold.owner + (hold.reason.empty() ? "" : ": " + hold.reason), hold.since, ""});
  }
  page.add_reasons("holds", holds, now);
  if (const auto& last = view.worker.returning; last && !last->error.empty() && !view.holds.empty())
    page.add_reasons("its return failed", {{last->error, last->began_at, ""}}, now);
  return page.text();
}

std::string vm_state(const VmView& view) {
  if (view.vm.desired == VmDesired::absent) return "deleting";
  if (view.migration) return "moving";
  if (view.vm.desired == VmDesired::stopped) {
    if (view.vm.ended) return view.vm.ended->end.status == 0u ? "ended" : "ended badly";
    bool stopped = view.seen == VmSeen::stopped || view.seen == VmSeen::absent || view.seen == VmSeen::sealed;
    return stopped ? "stopped" : "stopping";
  }
  if (!view.vm.worker) return "waiting";
  if (view.seen == VmSeen::running && view.health && !view.health->is_healthy) return "unhealthy";
  return view.seen == VmSeen::absent ? "starting" : std::string(json::name_of(view.seen));
}

std::string vms_table(const std::vector<VmView>& vms) {
  Table table({"VM", "STATE", "WORKER", "IMAGE", ">CPUS", ">MEMORY", "STORAGE", "PORTS", "NOTE"});
  for (const auto& view : vms) {
    const auto& spec = view.vm.spec;
    table.add({view.vm.id.value, vm_state(view), text_of(view.vm.worker), spec.image.value,
               fmt::format("{}", spec.cpus), format_size(spec.memory_bytes), storage_text(spec),
               ports_text(view.ports), note_of(view)});
  }
  return table.text();
}

namespace {
std::string_view restart_text(Restart policy) {
  switch (policy) {
    case Restart::always:
      return "always";
    case Restart::on_failure:
      return "on failure";
    case Restart::never:
      return "never";
  }
  return "";
}

std::string_view stop_text(StopSignal signal) {
  switch (signal) {
    case StopSignal::automatic:
      return "in the automatic way";
    case StopSignal::power_button:
      return "by the power button";
    case StopSignal::guest_agent:
      return "by the guest agent";
  }
  return "";
}

std::string health_text(const HealthCheck& check, const std::optional<SeenHealth>& seen, WallMs now) {
  const auto what = to_text(check);
  if (!seen) return what + ": not known yet";
  const auto error = seen->error.empty() ? "" : ": " + seen->error;
  const auto lasted = format_duration(std::chrono::milliseconds(std::max<WallMs>(now - seen->since, 0)));
  return fmt::format("{}: {} for {}{}", what, seen->is_healthy ? "healthy" : "unhealthy", lasted, error);
}
}  // namespace

std::string vm_page(const VmView& view, WallMs now) {
  const auto& vm = view.vm;
  Facts page;
  page.add("vm", vm.id.value);
  page.add("state", vm_state(view));
  page.add("wanted", json::name_of(vm.desired));
  page.add("seen", json::name_of(view.seen));
  page.add("worker", vm.worker ? vm.worker->value : "none yet");
  page.add("moving by", text_of(view.migration));
  page.add("image", vm.spec.image.value);
  page.add("cpus", fmt::format("{}", vm.spec.cpus));
  page.add("memory", format_size(vm.spec.memory_bytes));
  page.add("storage", storage_text(vm.spec));
  page.add("disk", text_of(vm.disk));
  if (vm.data_disks) page.add("data disks", fmt::format("{}", fmt::join(*vm.data_disks, ", ")));
  if (vm.spec.tenant) page.add("tenant", *vm.spec.tenant);
  if (vm.spec.group) page.add("group", vm.spec.group->value);
  if (vm.spec.worker_labels) page.add("needs a worker with", text_of(*vm.spec.worker_labels));
  if (vm.spec.cpu_features)
    page.add("needs CPU features", fmt::format("{}", fmt::join(*vm.spec.cpu_features, ", ")));
  page.add("labels", labels_text(vm.spec.labels));
  page.add("ports", ports_text(view.ports));
  for (const auto& interface : vm.interfaces.value_or(std::vector<NetworkInterface>()))
    page.add("network", fmt::format("{}: {}, {}", interface.network,
                                    interface.address.value_or("address by DHCP"), interface.mac));
  page.add("accelerator", view.accel);
  page.add("epoch", fmt::format("{}", vm.epoch));
  page.add("restarted", restart_text(vm.spec.restart.value_or(Restart::always)));
  page.add("stopped",
           fmt::format("{}, killed after {}", stop_text(vm.spec.stop_signal.value_or(StopSignal::automatic)),
                       format_duration(std::chrono::milliseconds(vm.spec.stop_grace_ms))));
  if (vm.spec.health) page.add("health", health_text(*vm.spec.health, view.health, now));
  if (vm.ended)
    page.add("ended", fmt::format("{} on {}, {}: {}", ago(vm.ended->at, now), vm.ended->worker,
                                  vm.ended->end.status ? fmt::format("status {}", *vm.ended->end.status)
                                                       : std::string("no status"),
                                  vm.ended->end.text));
  page.add("created", ago(vm.created_at, now));
  if (!vm.last_error.empty())
    page.add("last error", fmt::format("{} ({} in a row)", vm.last_error, vm.start_failures));
  page.add_reasons("waiting for", view.waiting_for, now);
  return page.text();
}

namespace {
std::string state_text(const Disk& disk) {
  if (disk.growth) return "growing";
  if (disk.removal && disk.state == DiskState::ready) return "removed";
  if (!disk.rescue || disk.rescue->state == RescueState::written)
    return std::string(json::name_of(disk.state));
  return disk.rescue->state == RescueState::writing ? "being written" : "not written";
}
}  // namespace

std::string disks_table(const std::vector<Disk>& disks, WallMs now) {
  Table table({"DISK", "NAME", "STATE", "VM", ">SIZE", "CLASS", "POOL", "FORKED FROM", "CREATED"});
  for (const auto& disk : disks) {
    table.add(
        {disk.id.value, disk.name.value_or(""), state_text(disk), text_of(disk.vm),
         format_size(disk.size_bytes), std::string(json::name_of(disk.disk_class)), disk.pool.value,
         disk.origin ? fmt::format("{}@{}", disk.origin->disk, disk.origin->snapshot) : text_of(disk.image),
         ago(disk.created_at, now)});
  }
  return table.text();
}

std::string images_table(const std::vector<Image>& images, WallMs now) {
  Table table({"IMAGE", "STATE", "BOOT", ">KERNEL", ">INITRD", ">DISK", "POOL", "CREATED"});
  for (const auto& image : images) {
    table.add({image.id.value, std::string(json::name_of(image.state)),
               image.firmware ? std::string(json::name_of(*image.firmware)) : "kernel",
               image.kernel ? format_size(image.kernel->size_bytes) : "",
               image.initrd ? format_size(image.initrd->size_bytes) : "",
               image.disk_blob ? format_size(image.disk_blob->size_bytes) : "", image.pool.value,
               ago(image.created_at, now)});
  }
  return table.text();
}

std::string networks_table(const std::vector<VmNetwork>& networks, WallMs now) {
  Table table({"NETWORK", "SUBNET", "GATEWAY", "ADDRESSES OF VMS", "DNS", "CREATED"});
  for (const auto& network : networks) {
    const auto range =
        network.first || network.last
            ? fmt::format("{} to {}", network.first.value_or("the first"), network.last.value_or("the last"))
            : std::string(network.subnet ? "all" : "by DHCP");
    table.add({network.id.value, network.subnet.value_or(""), network.gateway.value_or(""), range,
               fmt::format("{}", fmt::join(network.dns, ", ")), ago(network.created_at, now)});
  }
  return table.text();
}

std::string drains_table(const std::vector<DrainView>& drains, WallMs now) {
  Table table({"DRAIN", "WORKERS", "STATUS", ">MOVED", ">LEFT", ">ETA", "BEGAN", "REASON"});
  for (const auto& view : drains) {
    bool ended = is_ended(view.drain.state);
    table.add({view.drain.id.value, text_of(view.drain.workers, view.drain.selector), view.status,
               fmt::format("{}", view.moved), fmt::format("{}", view.remaining),
               view.eta_ms && !ended ? format_duration(std::chrono::milliseconds(*view.eta_ms)) : "",
               ago(view.drain.created_at, now),
               view.drain.end_reason.empty() ? view.drain.reason : view.drain.end_reason});
  }
  return table.text();
}

std::string migrations_table(const std::vector<MigrationView>& migrations, WallMs now) {
  Table table({"MIGRATION", "VM", "FROM", "TO", "MECHANISM", "PHASE", ">INTERRUPTION", "BEGAN", "NOTE"});
  for (const auto& view : migrations) {
    const auto& m = view.migration;
    table.add({m.id.value, m.vm.value, m.source.value, m.target.value,
               std::string(json::name_of(m.mechanism)), std::string(json::name_of(m.phase)),
               view.interruption_ms ? format_duration(std::chrono::milliseconds(*view.interruption_ms)) : "",
               m.history.empty() ? "" : ago(m.history.front().entered_at, now),
               view.waiting_for.empty() ? m.last_error : view.waiting_for.front().text});
  }
  return table.text();
}

std::string migration_page(const MigrationView& view, WallMs now) {
  const auto& m = view.migration;
  Facts page;
  page.add("migration", m.id.value);
  page.add("vm", m.vm.value);
  page.add("from", m.source.value);
  page.add("to", m.target.value);
  page.add("mechanism", json::name_of(m.mechanism));
  page.add("asked by", m.drain ? "drain " + m.drain->value : "an operator");
  page.add("phase", json::name_of(m.phase));
  page.add("progress", fmt::format("{:.0f} %", view.progress * 100));
  if (view.interruption_ms)
    page.add("interruption", format_duration(std::chrono::milliseconds(*view.interruption_ms)));
  page.add("last error", m.last_error);
  std::string rejected;
  for (const auto& worker : m.rejected) rejected += (rejected.empty() ? "" : ", ") + worker.value;
  page.add("could not boot", rejected);
  page.add_reasons("waiting for", view.waiting_for, now);
  std::string history;
  for (const auto& step : m.history) {
    history += fmt::format("  {:<14}{}\n", json::name_of(step.phase), ago(step.entered_at, now));
  }
  return page.text() + (history.empty() ? "" : "history:\n" + history);
}

std::string why_text(const WhyAnswer& answer, WallMs now) {
  return fmt::format("{}: {}\n{}", answer.subject, answer.headline, reasons_text(answer.reasons, now));
}

std::string budgets_table(const std::vector<BudgetView>& budgets) {
  Table table({"BUDGET", "LABELS", ">VMS", ">AWAY", ">MAY LEAVE", "RULE", "NOTE"});
  for (const auto& view : budgets) {
    const auto& budget = view.budget;
    std::string rule;
    if (budget.away_max) rule = fmt::format("at most {} away", *budget.away_max);
    if (budget.present_min)
      rule += fmt::format("{}at least {} present", rule.empty() ? "" : ", ", *budget.present_min);
    if (budget.healthy_ms > 0)
      rule += fmt::format(", healthy for {}", format_duration(std::chrono::milliseconds(budget.healthy_ms)));
    table.add({budget.id.value, budget.selector.empty() ? "(all VMs)" : text_of(budget.selector),
               fmt::format("{}", view.vms), fmt::format("{}", view.away), fmt::format("{}", view.allowed),
               rule, view.impossible});
  }
  return table.text();
}

std::string groups_table(const std::vector<GroupView>& groups) {
  Table table({"GROUP", ">VMS", "RULE", "NOTE"});
  for (const auto& view : groups) {
    std::string note;
    for (const auto& breach : view.breaches) note += (note.empty() ? "" : "; ") + breach;
    table.add({view.group.id.value, fmt::format("{}", view.vms), text_of(view.group), note});
  }
  return table.text();
}

std::string holds_table(const std::vector<Hold>& holds, WallMs now) {
  Table table({"WORKER", "HELD BY", "SINCE", "EXPIRES", "REASON"});
  for (const auto& hold : holds)
    table.add({hold.worker.value, hold.owner, ago(hold.since, now),
               hold.expires_at ? format_time(*hold.expires_at) : "never", hold.reason});
  return table.text();
}

std::string event_line(const JournalEntry& entry) {
  return fmt::format("{}  {:>6}  {}  {}  {}\n", format_time(entry.at), entry.revision,
                     pad_right(entry.kind, 20), pad_right(entry.subject, 20), entry.text);
}

WhyAnswer why_drain(const DrainView& view) {
  const auto& drain = view.drain;
  WhyAnswer answer;
  answer.subject = "drains/" + drain.id.value;
  answer.headline =
      fmt::format("drain of {} is {}: {} moved, {} left", text_of(drain.workers, drain.selector), view.status,
                  view.moved, view.remaining);
  if (!drain.end_reason.empty()) answer.headline += "; " + drain.end_reason;
  answer.reasons = reasons_of_drain_alone(view);
  for (const auto& blocker : view.blockers) {
    auto remedy = blocker.remedy.empty() ? "" : "; remedy: " + blocker.remedy;
    answer.reasons.push_back(
        {fmt::format("{}: {}{}", blocker.subject, blocker.reason, remedy), std::nullopt, blocker.owner});
  }
  for (const auto& loss : view.losses) answer.reasons.push_back({loss.text, loss.said_at, ""});
  for (const auto& move : view.migrations) {
    const auto& vm = move.migration.vm.value;
    for (auto reason : move.waiting_for) {
      reason.text = reason.text.starts_with(vm + ": ") ? "vms/" + reason.text
                                                       : fmt::format("vms/{}: {}", vm, reason.text);
      answer.reasons.push_back(std::move(reason));
    }
  }
  return answer;
}

}  // namespace ebb
