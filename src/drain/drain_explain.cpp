#include "drain/drain_planner.h"
#include "drain/loss_explain.h"

namespace ebb::drain {
namespace {

void add_if(std::vector<Reason>& reasons, std::uint32_t count, std::string_view one, std::string_view many,
            const Drain& drain, std::string who) {
  if (count == 0) return;
  reasons.push_back({fmt::format("{} still has {} {}", drain.worker, count, count == 1 ? one : many),
                     std::nullopt, std::move(who)});
}

}  // namespace

std::vector<Reason> explain(const Fleet& fleet, const Seen& seen, const Drain& drain, const DoneCheck& check,
                            const std::vector<PlanBlocker>& blockers) {
  std::vector<Reason> reasons;
  if (is_ended(drain.state)) return reasons;
  for (const auto& blocker : blockers) {
    reasons.push_back({fmt::format("{}: {}", blocker.subject, blocker.reason), drain.created_at,
                       fmt::format("{}: {}", blocker.owner, blocker.remedy)});
  }
  const auto* worker = seen.find(drain.worker);
  const bool answers = worker && worker->liveness == Liveness::ready;
  if (!answers && !drain.options.source_dead) {
    reasons.push_back(
        {fmt::format("{} does not answer", drain.worker),
         worker && worker->heard ? std::optional(worker->heard_at_wall) : std::nullopt,
         fmt::format("operator: bring it back, or declare it dead: ebb drain {} --dead", drain.worker)});
  }
  if (check.not_running > 0) {
    reasons.push_back(
        {fmt::format("{} VM(s) have left, but their target cannot start them and no other worker takes them",
                     check.not_running),
         std::nullopt, "operator: ebb why VM names the fault; add or free a worker"});
  }
  if (check.migrations_open > 0 || check.vms_owned > 0) {
    for (const auto& id : fleet.vms_owned_by(drain.worker)) {
      const auto& vm = fleet.vms().at(id);
      if (vm.desired == VmDesired::running || fleet.open_migration_of(id)) continue;
      const bool goes = vm.desired == VmDesired::absent;
      if (answers) {
        reasons.push_back(
            {fmt::format("{} is being {} on {}", id, goes ? "removed" : "stopped", drain.worker),
             std::nullopt, "nobody: it goes on by itself"});
      } else {  // only what shall run is moved away from a dead worker
        reasons.push_back(
            {fmt::format("{} shall be {}, and {} cannot say that it is", id, goes ? "removed" : "stopped",
                         drain.worker),
             std::nullopt,
             goes ? fmt::format("operator: bring {} back", drain.worker)
                  : fmt::format("operator: bring {} back; or ebb start {}: then it is moved, and can be "
                                "stopped where it is",
                                drain.worker, id)});
      }
    }
    return reasons;  // the rest is asked once nothing lives there by the records
  }
  if (!answers) {
    if (drain.options.source_dead && !check.heads_checked) {
      reasons.push_back({"the object store is asked who owns the moved disks", std::nullopt,
                         "nobody: it goes on by itself"});
    }
    if (drain.options.source_dead && check.heads_attached > 0) {
      reasons.push_back({fmt::format("{} was back, and went silent while {} disk(s) were attached to it: the "
                                     "log that it was writing into them",
                                     drain.worker, check.heads_attached),
                         worker && worker->heard ? std::optional(worker->heard_at_wall) : std::nullopt,
                         "operator: bring it back, or cancel the drain: the log lies there"});
    }
    if (drain.options.source_dead && !check.is_silent) {
      reasons.push_back(
          {fmt::format(
               "{} was declared dead and may be back: the control plane has just started, and listens",
               drain.worker),
           std::nullopt, "nobody: it goes on by itself"});
    }
    return reasons;
  }
  if (!check.report_fresh) {
    reasons.push_back({worker->report.disk_daemon_up
                           ? fmt::format("{} has not yet confirmed the newest wanted set", drain.worker)
                           : fmt::format("the disk daemon of {} does not answer its agent", drain.worker),
                       std::nullopt,
                       worker->report.disk_daemon_up
                           ? "nobody: it goes on by itself"
                           : fmt::format("operator: start ebb-diskd on {}", drain.worker)});
  }
  add_if(reasons, check.machines, "VM process", "VM processes", drain,
         "nobody: its agent stops what is not wanted");
  add_if(reasons, check.exports, "disk export open", "disk exports open", drain,
         "nobody: its agent closes what is not wanted");
  add_if(reasons, check.leases, "disk attached", "disks attached", drain,
         "nobody: its agent seals what is not wanted");
  add_if(reasons, check.unsent_logs, "write-ahead log with records that the store lacks",
         "write-ahead logs with records that the store lacks", drain,
         worker->report.orphan_logs.empty() ? "nobody: its disk daemon sends or reads them"
                                            : "whoever is named with each of them");
  if (check.unsent_logs > 0)
    std::ranges::move(explain_orphans(fleet, drain.worker, worker->report), std::back_inserter(reasons));
  if (!check.heads_checked) {
    reasons.push_back(
        {"the object store is asked who owns the moved disks", std::nullopt, "nobody: it goes on by itself"});
  } else if (check.heads_attached > 0) {
    reasons.push_back({fmt::format("the object store says that {} disk(s) are still attached to {}",
                                   check.heads_attached, drain.worker),
                       std::nullopt, "nobody: its agent seals what is not wanted"});
  }
  return reasons;
}

}  // namespace ebb::drain
