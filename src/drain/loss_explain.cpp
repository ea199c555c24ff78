#include "drain/loss_explain.h"

#include "base/text.h"

namespace ebb::drain {
namespace {

std::string ms_text(std::uint64_t ms) { return format_duration(std::chrono::milliseconds(ms)); }

std::string amount(std::uint64_t records, std::uint64_t bytes) {
  return fmt::format("{} record{}, {}", records, records == 1 ? "" : "s", format_size(bytes));
}

template <class T>
bool is_in(const std::vector<T>& said, const DiskId& disk) {
  return std::ranges::find(said, disk, &T::disk) != said.end();
}

void tell_exactly(DiskLoss& loss, const AgentReport& report) {
  std::string error;
  loss.records_lost = loss.bytes_lost = 0;
  for (const auto& log : report.orphan_logs) {
    if (log.disk != loss.disk) continue;
    *loss.records_lost += log.records, *loss.bytes_lost += log.bytes;
    if (!log.error.empty()) error = log.error;
  }
  if (!error.empty()) {
    loss.bound = LossBound{};  // what was read is the least
    loss.text = fmt::format("{} is back, and its log of disk {} of {} cannot be read to its end: {}",
                            loss.worker, loss.disk, loss.vm, error);
  } else if (*loss.records_lost == 0) {
    loss.text =
        fmt::format("{} is back, and its log holds nothing that disk {} of {} lacks: nothing was lost",
                    loss.worker, loss.disk, loss.vm);
  } else {
    loss.text = fmt::format("{} is back, and its log holds what disk {} of {} lacks: {}", loss.worker,
                            loss.disk, loss.vm, amount(*loss.records_lost, *loss.bytes_lost));
  }
}

// The last one that a log of this worker went into.
const Disk* last_rescue_of(const Fleet& fleet, const DiskId& disk, const WorkerId& worker) {
  const Disk* newest = nullptr;
  for (const auto& id : fleet.forks_of(disk)) {
    const auto& other = fleet.at(id);
    if (!other.rescue || other.rescue->worker != worker) continue;
    if (!newest || other.rescue->epoch > newest->rescue->epoch) newest = &other;
  }
  return newest;
}

void tell_kept(DiskLoss& loss, const Disk& kept) {
  const auto& rescue = *kept.rescue;
  loss.kept_in = kept.id, loss.is_kept = rescue.state == RescueState::written,
  loss.records_lost = rescue.records, loss.bytes_lost = rescue.bytes;
  auto held = fmt::format("{} is back, and its log held what disk {} of {} lacks: {}", loss.worker, loss.disk,
                          loss.vm, amount(rescue.records, rescue.bytes));
  switch (rescue.state) {
    case RescueState::written:
      loss.text = fmt::format("{}; it is kept as disk {}", held, kept.id);
      return;
    case RescueState::writing:
      loss.text = fmt::format("{}; it is being written into disk {}", held, kept.id);
      return;
    case RescueState::failed:
      loss.text = fmt::format("{}; it could not be written into disk {}: {}", held, kept.id, rescue.error);
      return;
  }
}

void tell_bound(DiskLoss& loss, const WorkerSeen* at) {
  loss.bound = LossBound{};
  std::string said = "it has said nothing of it since the control plane started";
  if (at && at->heard) {
    if (at->liveness == Liveness::ready) said = "it is back, and its logs have not all been read";
    auto found = std::ranges::find(at->report.unsent, loss.disk, &UnsentDisk::disk);
    if (found != at->report.unsent.end()) {
      loss.bound = found->bound, loss.unsent_bytes = found->bytes, loss.unsent_age_ms = found->age_ms;
      loss.said_at = at->heard_at_wall;
      said = found->bytes == 0
                 ? fmt::format("it last said, at {}, that everything was in the store",
                               format_time(at->heard_at_wall))
                 : fmt::format("it last said, at {}, that {} were not in the store, the oldest for {}",
                               format_time(at->heard_at_wall), format_size(found->bytes),
                               ms_text(found->age_ms));
    }
  }
  loss.text = fmt::format(
      "disk {} of {}, of class local, loses its last writes with {}: at most {}, none of them older than {}; "
      "{}",
      loss.disk, loss.vm, loss.worker, format_size(loss.bound->bytes), ms_text(loss.bound->age_ms), said);
}

// Nothing: a FLUSH of class `remote` waits for the store, and no log of it has come back.
std::optional<DiskLoss> loss_of(const Fleet& fleet, const Seen& seen, const Vm& vm, const Disk* disk,
                                const WorkerId& worker) {
  DiskLoss loss;
  loss.disk = disk->id, loss.vm = vm.id, loss.worker = worker;
  const auto* at = seen.find(worker);
  if (at && at->liveness == Liveness::ready && at->report.disk_daemon_up) {
    const auto& report = at->report;
    for (const auto& log : report.orphan_logs) {
      if (log.disk != disk->id) continue;
      if (const auto* kept = rescue_of(fleet, worker, log)) return tell_kept(loss, *kept), loss;
      return tell_exactly(loss, report), loss;
    }
    const bool is_read = std::ranges::find(report.unread_logs, disk->id) == report.unread_logs.end();
    const auto* kept = is_read ? last_rescue_of(fleet, disk->id, worker) : nullptr;
    if (kept) return tell_kept(loss, *kept), loss;
    if (vm.worker == worker) return std::nullopt;  // it has the disk again
    const bool is_examined = is_read && !is_in(report.unsent, disk->id);
    if (is_examined && disk->disk_class == DiskClass::local) return tell_exactly(loss, report), loss;
  }
  if (disk->disk_class != DiskClass::local) return std::nullopt;
  tell_bound(loss, at);
  return loss;
}

bool was_taken_from(const Migration& m, const WorkerId& worker) {
  return m.source_dead && m.source == worker && is_past_no_return(m.phase);
}

}  // namespace

std::vector<DiskLoss> losses_at(const Fleet& fleet, const Seen& seen, const WorkerId& worker) {
  std::set<VmId> vms;
  if (!seen.is_ready(worker)) vms = fleet.vms_owned_by(worker);
  for (const auto& [id, m] : fleet.migrations())
    if (was_taken_from(m, worker)) vms.insert(m.vm);
  std::vector<DiskLoss> losses;
  for (const auto& id : vms) {
    const auto* vm = fleet.find(id);
    if (!vm) continue;
    for (const auto* disk : fleet.disks_of(*vm))
      if (auto loss = loss_of(fleet, seen, *vm, disk, worker)) losses.push_back(std::move(*loss));
  }
  return losses;
}

std::vector<DiskLoss> losses_of(const Fleet& fleet, const Seen& seen, const Vm& vm) {
  std::set<WorkerId> workers;
  if (vm.worker && !seen.is_ready(*vm.worker)) workers.insert(*vm.worker);
  for (const auto& id : fleet.migrations_of(vm.id))
    if (const auto& m = fleet.at(id); was_taken_from(m, m.source)) workers.insert(m.source);
  std::vector<DiskLoss> losses;
  for (const auto& worker : workers) {
    for (const auto* disk : fleet.disks_of(vm)) {
      auto loss = loss_of(fleet, seen, vm, disk, worker);
      if (loss && (loss->bound || loss->records_lost != 0u)) losses.push_back(std::move(*loss));
    }
  }
  return losses;
}

Reason explain(const DiskLoss& loss) {
  if (!loss.records_lost)
    return {loss.text, loss.said_at,
            fmt::format("operator: bring {} back: then its log tells exactly", loss.worker)};
  if (!loss.bound && *loss.records_lost == 0)
    return {loss.text, std::nullopt, "nobody: that is how it ended"};
  if (loss.kept_in && loss.is_kept)
    return {
        loss.text, std::nullopt,
        fmt::format("operator: snapshot {0} and fork a VM from it to look, or remove it: ebb disks rm {0}",
                    *loss.kept_in)};
  return {loss.text, std::nullopt, fmt::format("operator: the log is kept on {}", loss.worker)};
}

const Disk* rescue_of(const Fleet& fleet, const WorkerId& worker, const OrphanLog& log) {
  for (const auto& id : fleet.forks_of(log.disk)) {
    const auto& other = fleet.at(id);
    const bool is_of_log =
        other.rescue && other.rescue->worker == worker && other.rescue->log_id == log.log_id;
    if (is_of_log && !other.removal) return &other;
  }
  return nullptr;
}

std::vector<Reason> explain_orphans(const Fleet& fleet, const WorkerId& worker, const AgentReport& report) {
  std::vector<Reason> reasons;
  for (const auto& log : report.orphan_logs) {
    Reason reason{fmt::format("its log of disk {} holds what others went on without: {}", log.disk,
                              amount(log.records, log.bytes)),
                  std::nullopt, "operator: the log is kept; see docs/lost-writes.md"};
    const auto* kept = rescue_of(fleet, worker, log);
    if (!log.error.empty()) {
      reason.text += ", and more that cannot be read: " + log.error;
    } else if (!kept) {
      reason.text += "; no snapshot stands where it was cut";
    } else if (kept->rescue->state == RescueState::failed) {
      reason.text += fmt::format("; it could not be written into disk {}: {}", kept->id, kept->rescue->error);
    } else {
      reason.text += fmt::format("; it is being written into disk {}", kept->id);
      auto said = std::ranges::find(report.rescues, kept->id, &SeenRescue::into);
      if (said != report.rescues.end() && !said->waiting_for.empty()) reason.text += ": " + said->waiting_for;
      reason.who = "nobody: it goes on by itself";
    }
    reasons.push_back(std::move(reason));
  }
  return reasons;
}

}  // namespace ebb::drain
