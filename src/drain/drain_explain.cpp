#include "base/text.h"
#include "drain/drain_planner.h"
#include "drain/loss_explain.h"

namespace ebb::drain {
namespace {

constexpr std::size_t reasons_max = 50;  // shown

void add_if(std::vector<Reason>& reasons, std::uint32_t count, std::string_view one, std::string_view many,
            const WorkerId& worker, std::string who) {
  if (count == 0) return;
  reasons.push_back({fmt::format("{} still has {} {}", worker, count, count == 1 ? one : many), std::nullopt,
                     std::move(who)});
}

Reason left_to_finish(const Drain& drain, const VmId& vm, const WorkerId& worker) {
  const auto until = drain.options.at_deadline == AtDeadline::force ? drain.deadline_at() : std::nullopt;
  return {fmt::format("{} is left to end by itself on {}{}", vm, worker,
                      until ? fmt::format(", until {}", format_time(*until)) : ""),
          std::nullopt, fmt::format("nobody: it goes on by itself; or operator: ebb stop {}", vm)};
}

// What is said of one that has not come to its work, or is on its way back.
std::vector<Reason> explain_other_states(const Fleet& fleet, const Drain& drain) {
  if (drain.state == DrainState::undoing)
    return {{"its VMs go back to where they were", std::nullopt, "nobody: it goes on by itself"}};
  std::vector<Reason> reasons;
  const auto at = drain.begins_at.value_or(drain.created_at);
  for (const auto& worker : drain.workers)
    if (const auto* other = fleet.active_drain_of(worker))
      reasons.push_back(
          {fmt::format("{} is in {}: it does not begin before that has ended", worker, other->id),
           std::nullopt, fmt::format("nobody: it goes on by itself; or operator: ebb cancel {}", other->id)});
  reasons.push_back({fmt::format("it begins at {}", format_time(at)), std::nullopt,
                     fmt::format("nobody: it goes on by itself; or operator: ebb cancel {}", drain.id)});
  return reasons;
}

// Of one worker. `check`: its own; `of_all`: of the whole drain.
std::vector<Reason> explain(const Fleet& fleet, const Seen& seen, const Drain& drain, const WorkerId& id,
                            const DoneCheck& check, const DoneCheck& of_all) {
  std::vector<Reason> reasons;
  const auto* worker = seen.find(id);
  const bool answers = worker && worker->liveness == Liveness::ready;
  const auto heard_at = worker && worker->heard ? std::optional(worker->heard_at_wall) : std::nullopt;
  if (!answers && !drain.options.source_dead) {
    reasons.push_back({fmt::format("{} does not answer", id), heard_at,
                       fmt::format("operator: bring it back, or declare it dead: ebb drain {} --dead", id)});
  }
  if (check.migrations_open > 0 || check.vms_owned > 0) {
    for (const auto& vm : finishing_on(fleet, id, terms_of(drain)))
      reasons.push_back(left_to_finish(drain, vm, id));
    for (const auto& vm_id : fleet.vms_owned_by(id)) {
      const auto& vm = fleet.at(vm_id);
      if (vm.desired == VmDesired::running || fleet.open_migration_of(vm_id)) continue;
      const bool goes = vm.desired == VmDesired::absent;
      if (answers) {
        reasons.push_back({fmt::format("{} is being {} on {}", vm_id, goes ? "removed" : "stopped", id),
                           std::nullopt, "nobody: it goes on by itself"});
      } else {  // only what shall run is moved away from a dead worker
        reasons.push_back(
            {fmt::format("{} shall be {}, and {} cannot say that it is", vm_id, goes ? "removed" : "stopped",
                         id),
             std::nullopt,
             goes ? fmt::format("operator: bring {} back", id)
                  : fmt::format("operator: bring {} back; or ebb start {}: then it is moved, and can be "
                                "stopped where it is",
                                id, vm_id)});
      }
    }
    return reasons;  // the rest is asked once nothing lives there by the records
  }
  if (!answers) {
    if (drain.options.source_dead && !check.is_silent) {
      reasons.push_back(
          {fmt::format(
               "{} was declared dead and may be back: the control plane has just started, and listens", id),
           std::nullopt, "nobody: it goes on by itself"});
    }
    if (drain.options.source_dead && of_all.heads_attached > 0) {
      reasons.push_back(
          {fmt::format("{} was back, and is silent while {} disk(s) are attached to {}: the log that it "
                       "was writing into them",
                       id, of_all.heads_attached, drain.workers.size() == 1 ? "it" : "workers of this drain"),
           heard_at, "operator: bring it back, or cancel the drain: the log lies there"});
    }
    return reasons;
  }
  if (!check.report_fresh) {
    reasons.push_back({worker->report.disk_daemon_up
                           ? fmt::format("{} has not yet confirmed the newest wanted set", id)
                           : fmt::format("the disk daemon of {} does not answer its agent", id),
                       std::nullopt,
                       worker->report.disk_daemon_up ? "nobody: it goes on by itself"
                                                     : fmt::format("operator: start ebb-diskd on {}", id)});
  }
  add_if(reasons, check.machines, "VM process", "VM processes", id,
         "nobody: its agent stops what is not wanted");
  add_if(reasons, check.exports, "disk export open", "disk exports open", id,
         "nobody: its agent closes what is not wanted");
  add_if(reasons, check.leases, "disk attached", "disks attached", id,
         "nobody: its agent seals what is not wanted");
  add_if(reasons, check.unsent_logs, "write-ahead log with records that the store lacks",
         "write-ahead logs with records that the store lacks", id,
         worker->report.orphan_logs.empty() ? "nobody: its disk daemon sends or reads them"
                                            : "whoever is named with each of them");
  if (check.unsent_logs > 0)
    std::ranges::move(explain_orphans(fleet, id, worker->report), std::back_inserter(reasons));
  return reasons;
}

}  // namespace

std::vector<Reason> explain(const Fleet& fleet, const Seen& seen, const Drain& drain, const DoneCheck& check,
                            const std::vector<PlanBlocker>& blockers, WallMs now) {
  std::vector<Reason> reasons;
  if (is_ended(drain.state)) return reasons;
  if (drain.state == DrainState::scheduled || drain.state == DrainState::undoing)
    return explain_other_states(fleet, drain);
  if (const auto deadline = drain.deadline_at(); deadline && *deadline <= now) {
    reasons.push_back(
        {drain.forced_at ? "its deadline has passed: budgets, limits of tenants and times to stop in do "
                           "not hold it back any more"
                         : "its deadline has passed: it goes on as before",
         *deadline, fmt::format("nobody: it goes on by itself; or operator: ebb cancel {}", drain.id)});
  }
  if (drain.state == DrainState::paused) {
    reasons.push_back({"it is paused: moves that are under way end, and no other begins", std::nullopt,
                       fmt::format("operator: ebb resume {}", drain.id)});
  }
  for (const auto& blocker : blockers) {
    reasons.push_back({fmt::format("{}: {}", blocker.subject, blocker.reason), drain.created_at,
                       fmt::format("{}: {}", blocker.owner, blocker.remedy)});
  }
  if (check.not_running > 0) {
    reasons.push_back(
        {fmt::format("{} VM(s) have left, but their target cannot start them and no other worker takes them",
                     check.not_running),
         std::nullopt, "operator: ebb why VM names the fault; add or free a worker"});
  }
  for (const auto& worker : drain.workers) {
    if (reasons.size() >= reasons_max) {
      reasons.push_back({"and there is more: these first", std::nullopt, "operator: ebb why WORKER"});
      return reasons;
    }
    std::ranges::move(explain(fleet, seen, drain, worker, check_done(fleet, seen, worker), check),
                      std::back_inserter(reasons));
  }
  // Asked once nothing else is left.
  if (check.vms_owned + check.migrations_open > 0) return reasons;
  const bool may_ask = check.report_fresh || drain.options.source_dead;
  if (!check.heads_checked && may_ask) {
    reasons.push_back(
        {"the object store is asked who owns the moved disks", std::nullopt, "nobody: it goes on by itself"});
  } else if (check.heads_checked && check.heads_attached > 0 && check.report_fresh) {
    reasons.push_back({fmt::format("the object store says that {} disk(s) are still attached to {}",
                                   check.heads_attached, text_of(drain.workers, drain.selector)),
                       std::nullopt, "nobody: its agent seals what is not wanted"});
  }
  return reasons;
}

}  // namespace ebb::drain
