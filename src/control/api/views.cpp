#include "control/api/views.h"

#include "base/text.h"
#include "control/loops/candidates.h"
#include "drain/loss_explain.h"
#include "migration/migration_step.h"

namespace ebb::control {
namespace {

const Migration* open_migration(const Context& c, const Vm& vm) { return c.fleet().open_migration_of(vm.id); }

Reason rescue_reason(const Context& c, const Disk& disk) {
  const auto& rescue = *disk.rescue;
  if (rescue.state == RescueState::failed)
    return {fmt::format("what the log of {} holds could not be written into disk {}: {}", rescue.worker,
                        disk.id, rescue.error),
            disk.created_at, "operator: the log is kept there; see docs/lost-writes.md"};
  auto text =
      fmt::format("{} writes the {} records of its log into disk {}", rescue.worker, rescue.records, disk.id);
  const auto* at = c.seen().find(rescue.worker);
  if (!at || at->liveness != Liveness::ready)
    return {text + "; it does not answer", disk.created_at,
            fmt::format("operator: bring {} back", rescue.worker)};
  auto said = std::ranges::find(at->report.rescues, disk.id, &SeenRescue::into);
  if (said != at->report.rescues.end() && !said->waiting_for.empty()) text += ": " + said->waiting_for;
  return {text, disk.created_at, "nobody: it goes on by itself"};
}

std::vector<Reason> waits_of(const Context& c, const Disk& disk) {
  constexpr auto by_itself = "nobody: it goes on by itself";
  auto trouble = c.effects.trouble(disk.id);
  auto more = [&](std::string text) { return trouble.empty() ? text : text + ": " + trouble; };
  const auto* who = trouble.empty() ? by_itself : "operator: look at the pool";
  if (disk.state == DiskState::creating)
    return {{more(fmt::format("its disk {} is being made", disk.id)), disk.created_at, who}};
  if (disk.state == DiskState::deleting)
    return {{more(fmt::format("disk {} is being removed", disk.id)), std::nullopt, who}};
  std::vector<Reason> reasons;
  if (disk.rescue && disk.rescue->state != RescueState::written) reasons.push_back(rescue_reason(c, disk));
  if (disk.restore) {
    reasons.push_back(
        {more(fmt::format("disk {} is being restored to '{}'", disk.id, disk.restore->snapshot)),
         disk.restore->requested_at, who});
  }
  if (disk.growth) {
    reasons.push_back(
        {more(fmt::format("disk {} grows to {}", disk.id, format_size(disk.growth->size_bytes))),
         disk.growth->requested_at, who});
  }
  const auto* vm = disk.vm ? c.fleet().find(*disk.vm) : nullptr;
  const auto* said = vm && vm->worker ? c.seen().find(*vm->worker, vm->id) : nullptr;
  if (said && said->epoch == vm->epoch && said->disk_sizes) {
    const auto found = said->disk_sizes->find(disk.id.value);
    if (found != said->disk_sizes->end() && found->second < disk.size_bytes)
      reasons.push_back(
          {fmt::format("the guest of {} sees {} of the {} of disk {}{}", vm->id, format_size(found->second),
                       format_size(disk.size_bytes), disk.id, said->error.empty() ? "" : ": " + said->error),
           std::nullopt, by_itself});
  }
  for (const auto& s : disk.snapshots) {
    auto what = fmt::format("snapshot '{}' of disk {}", s.name, disk.id);
    if (s.state == SnapshotState::removing)
      reasons.push_back({more(what + " is being removed"), std::nullopt, who});
    if (s.state == SnapshotState::failed)
      reasons.push_back({fmt::format("{} was not taken: {}", what, s.error), s.created_at,
                         s.cut_of
                             ? fmt::format("operator: bring {} back: then its log tells", s.cut_of->worker)
                             : "operator: remove it"});
    if (s.state != SnapshotState::wanted || s.cut_of) continue;  // a cut keeps nobody waiting
    std::string waiting;
    if (said) {
      for (const auto& told : said->snapshots)
        if (told.request == s.request) waiting = told.waiting_for;
    }
    if (!vm || !vm->worker)
      reasons.push_back({more(what + " is being taken"), s.created_at, who});
    else
      reasons.push_back(
          {fmt::format("{} is being taken by {}{}", what, *vm->worker, waiting.empty() ? "" : ": " + waiting),
           s.created_at, by_itself});
  }
  return reasons;
}

Reason cannot_take(const WorkerId& worker, const std::string& trouble) {
  return {fmt::format("{} cannot take what is wanted of it: {}", worker, trouble), std::nullopt,
          "operator: mend what it names; the agent tries again"};
}

std::vector<Reason> waits_of(const Context& c, const Migration& m) {
  const auto waits = c.reconciler.waits().find(m.id);
  if (m.phase == Phase::reserving && waits != c.reconciler.waits().end()) return {waits->second};
  return migration::explain(m, c.seen());
}

std::vector<Reason> waits_of(const Context& c, const Vm& vm) {
  if (const auto* m = open_migration(c, vm)) return waits_of(c, *m);
  if (!vm.worker) {
    if (vm.desired != VmDesired::running) return {};
    for (const auto* disk : c.fleet().disks_of(vm))
      if (!disk->is_usable()) return waits_of(c, *disk);
    auto found = c.reconciler.unplaced().find(vm.id);
    if (found != c.reconciler.unplaced().end()) {
      return {{"no worker can take it: " + found->second, vm.created_at,
               "operator: add a worker, release a hold, or stop a VM"}};
    }
    return {{"it is about to be placed", vm.created_at, "nobody: it goes on by itself"}};
  }
  const auto* worker = c.seen().find(*vm.worker);
  if (!worker || worker->liveness != Liveness::ready) {
    return {{fmt::format("{} does not answer", *vm.worker),
             worker && worker->heard ? std::optional(worker->heard_at_wall) : std::nullopt,
             fmt::format("operator: bring {} back, or declare it dead: ebb drain {} --dead", *vm.worker,
                         *vm.worker)}};
  }
  const auto* said = c.seen().find(*vm.worker, vm.id);
  const bool runs = vm.desired == VmDesired::running && said && said->state == VmSeen::running;
  if (auto trouble = worker->trouble(); !trouble.empty() && !runs) return {cannot_take(*vm.worker, trouble)};
  if (vm.desired == VmDesired::running && (!said || said->state != VmSeen::running)) {
    auto text = fmt::format("{} says: {}", *vm.worker,
                            said ? json::name_of(said->state) : std::string_view("nothing yet"));
    if (said && !said->error.empty()) text += ", " + said->error;
    return {{text, std::nullopt,
             said && said->state == VmSeen::failed ? "operator: mend what it names; the agent tries again"
                                                   : "nobody: it goes on by itself"}};
  }
  const bool is_unhealthy = said && said->health && !said->health->is_healthy;
  if (vm.desired == VmDesired::running && is_unhealthy) {
    std::vector<Reason> reasons{
        {fmt::format("it runs on {}, and its health check fails: {}", *vm.worker, said->health->error),
         said->health->since,
         fmt::format("operator: look into the guest: 'ebb logs {}', 'ebb console {}'", vm.id, vm.id)}};
    if (!said->error.empty() && !said->error.ends_with(said->health->error))
      reasons.push_back({fmt::format("{} says: {}", *vm.worker, said->error), std::nullopt,
                         "operator: mend what it names; the guest waits and loses nothing"});
    return reasons;
  }
  if (vm.desired == VmDesired::running && !said->error.empty()) {
    return {{fmt::format("it runs, but {} says: {}", *vm.worker, said->error), std::nullopt,
             "operator: mend what it names; the guest waits and loses nothing"}};
  }
  if (vm.desired != VmDesired::running) {
    if (!said || said->error.empty())
      return {{fmt::format("{} stops it", *vm.worker), std::nullopt, "nobody: it goes on by itself"}};
    return {{fmt::format("{} stops it, and says: {}", *vm.worker, said->error), std::nullopt,
             "operator: mend what it names, if it stays so; the agent tries again"}};
  }
  return {};
}

std::string status_of(const Context& c, const Drain& drain, bool any_move_open,
                      const std::vector<PlanBlocker>& blockers) {
  if (is_ended(drain.state) || drain.state == DrainState::paused || drain.state == DrainState::scheduled ||
      drain.state == DrainState::undoing)
    return std::string(json::name_of(drain.state));
  if (drain.state == DrainState::reserving) return blockers.empty() ? "planned" : "blocked";
  if (any_move_open) return "running";
  const bool all_answer =
      drain.options.source_dead ||
      std::ranges::all_of(drain.workers, [&](const WorkerId& id) { return c.seen().is_ready(id); });
  return blockers.empty() && all_answer ? "running" : "blocked";
}

// Moves that have not begun, as a plan; moves that run count with what is left of them. Nobody knows when a VM
// ends that is left to.
std::optional<std::uint32_t> time_left(const Context& c, const Drain& drain,
                                       const std::vector<const Migration*>& moves, const drain::Eta& eta) {
  for (const auto& worker : drain.workers)
    if (!drain::finishing_on(c.fleet(), worker, drain::terms_of(drain)).empty()) return std::nullopt;
  std::vector<PlanMove> left;
  for (const auto* m : moves) {
    if (is_ended(m->phase)) continue;
    PlanMove move{m->vm, m->mechanism, m->source, m->target};
    const auto rest = (1 - drain::progress(*m, eta, c.loop.wall_now())) * eta.of(m->mechanism).total_ms();
    move.predicted_total_ms = static_cast<std::uint32_t>(rest);
    left.push_back(std::move(move));
  }
  std::sort(left.begin(), left.end(),
            [](const auto& a, const auto& b) { return a.predicted_total_ms < b.predicted_total_ms; });
  return time_left_ms(c.fleet(), c.seen(), left, drain::terms_of(drain), c.reconciler.limits().pace);
}

}  // namespace

Error no_such(std::string_view what, std::string_view id) {
  return {Code::not_found, fmt::format("there is no {} '{}'", what, id), {}};
}

WorkerView view_of(const Context& c, const Worker& worker) {
  WorkerView view;
  view.worker = worker;
  if (const auto* at = c.seen().find(worker.id)) {
    view.liveness = at->liveness;
    if (at->heard) view.last_seen_at = at->heard_at_wall;
  }
  for (const auto* hold : c.fleet().holds_on(worker.id)) view.holds.push_back(*hold);
  view.schedulable = view.holds.empty() && view.liveness == Liveness::ready;
  view.used = c.fleet().used_on(worker.id);
  view.vms = static_cast<std::uint32_t>(c.fleet().vms_owned_by(worker.id).size());
  return view;
}

VmView view_of(const Context& c, const Vm& vm) {
  VmView view;
  view.vm = vm;
  if (vm.worker) {
    if (const auto* said = c.seen().find(*vm.worker, vm.id)) {
      view.seen = said->state, view.ports = said->ports, view.accel = said->accel, view.health = said->health;
      if (said->epoch == vm.epoch) view.disk_sizes = said->disk_sizes;
    }
  }
  if (const auto* m = open_migration(c, vm)) view.migration = m->id;
  view.waiting_for = waits_of(c, vm);
  return view;
}

static MigrationView view_of(const Context& c, const Migration& m, const drain::Eta& eta) {
  MigrationView view;
  view.migration = m;
  view.waiting_for = waits_of(c, m);
  view.progress = drain::progress(m, eta, c.loop.wall_now());
  view.predicted_interruption_ms = eta.of(m.mechanism).interruption_ms();
  view.interruption_ms = drain::interruption_ms(m);
  return view;
}

MigrationView view_of(const Context& c, const Migration& m) {
  return view_of(c, m, drain::measure(c.fleet()));
}

DrainView view_of(const Context& c, const Drain& drain) {
  DrainView view;
  view.drain = drain;
  auto eta = drain::measure(c.fleet());
  std::vector<const Migration*> moves;
  for (const auto& [id, m] : c.fleet().migrations()) {
    if (m.drain == drain.id) moves.push_back(&m);
  }
  std::sort(moves.begin(), moves.end(),
            [](auto* a, auto* b) { return minted_before(a->id.value, b->id.value); });
  bool any_open = false;
  for (const auto* m : moves) {
    view.migrations.push_back(view_of(c, *m, eta));
    any_open |= !is_ended(m->phase);
    if (m->phase == Phase::done && drain.is_of(m->source)) ++view.moved;
    if (!is_ended(m->phase)) {
      for (auto& reason : view.migrations.back().waiting_for) view.waiting_for.push_back(reason);
    }
  }
  DrainProgress progress;
  if (auto found = c.reconciler.drains().find(drain.id); found != c.reconciler.drains().end())
    progress = found->second;
  for (const auto& id : drain.workers) {
    const auto check = drain::check_done(c.fleet(), c.seen(), id);
    view.workers.push_back(
        {id, check.vms_owned, drain.state == DrainState::done || drain::is_empty(drain, check)});
    if (drain.options.source_dead)
      std::ranges::move(drain::losses_at(c.fleet(), c.seen(), id), std::back_inserter(view.losses));
  }
  view.done_check = done_check(c.fleet(), c.seen(), drain, progress);
  if (!is_ended(drain.state)) {
    view.blockers = progress.blockers;
    view.remaining = view.done_check.vms_owned;
    for (auto& reason :
         drain::explain(c.fleet(), c.seen(), drain, view.done_check, progress.blockers, c.loop.wall_now()))
      view.waiting_for.push_back(reason);
    view.eta_ms = time_left(c, drain, moves, eta);
  }
  view.status = status_of(c, drain, any_open, progress.blockers);
  return view;
}

BudgetView view_of(const Context& c, const Budget& budget) {
  return drain::view_of(c.fleet(), c.seen(), budget, c.loop.wall_now());
}

GroupView view_of(const Context& c, const Group& group) {
  return {group, static_cast<std::uint32_t>(c.fleet().vms_in(group.id).size()),
          placement::breaches(group, stands_of(c.fleet(), group.id))};
}

WhyAnswer why_worker(const Context& c, const Worker& worker) {
  WhyAnswer answer;
  answer.subject = "workers/" + worker.id.value;
  auto view = view_of(c, worker);
  const auto& returning = worker.returning;
  if (returning && returning->error.empty()) {
    answer.reasons.push_back(
        {fmt::format("it returns: {}", returning->started_at
                                           ? fmt::format("test VM {} ran, and is removed", returning->vm)
                                           : fmt::format("test VM {} starts there", returning->vm)),
         returning->began_at, "nobody: it goes on by itself"});
  } else if (returning && !view.holds.empty()) {
    answer.reasons.push_back({fmt::format("its return failed: {}", returning->error), returning->began_at,
                              "operator: mend that, then ebb return " + worker.id.value});
  }
  if (const auto* at = c.seen().find(worker.id)) {
    if (const auto off = clock_trouble(*at, c.reconciler.limits().returns.clock))
      answer.reasons.push_back({fmt::format("its clock is {} the control plane's", *off), std::nullopt,
                                "operator: set the clocks, by NTP on both"});
  }
  for (const auto& hold : view.holds) {
    std::string who = "operator: ebb uncordon " + worker.id.value;
    if (hold.owner.starts_with("drain:")) {
      const auto* drain = c.fleet().find(DrainId(hold.owner.substr(6)));
      who = drain && !is_ended(drain->state)
                ? "operator: ebb cancel " + drain->id.value + ", or wait for it to be done"
                : "operator: ebb return " + worker.id.value;
    } else if (hold.owner != "operator") {
      who = "operator: ebb return " + worker.id.value;
    }
    answer.reasons.push_back({fmt::format("held by {}{}{}", hold.owner,
                                          hold.expires_at ? " until " + format_time(*hold.expires_at) : "",
                                          hold.reason.empty() ? "" : ": " + hold.reason),
                              hold.since, who});
  }
  if (view.liveness != Liveness::ready) {
    answer.reasons.push_back({view.liveness == Liveness::never_seen
                                  ? "its agent has not reported since the control plane started"
                                  : fmt::format("its agent has been {}", json::name_of(view.liveness)),
                              view.last_seen_at, "operator: look at the host and at ebb-agent on it"});
  } else if (auto trouble = c.seen().find(worker.id)->trouble(); !trouble.empty()) {
    answer.reasons.push_back(cannot_take(worker.id, trouble));
  }
  if (const auto* drain = c.fleet().active_drain_of(worker.id)) {
    for (auto& reason : view_of(c, *drain).waiting_for) answer.reasons.push_back(reason);
  }
  for (const auto& loss : drain::losses_at(c.fleet(), c.seen(), worker.id))
    answer.reasons.push_back(drain::explain(loss));
  answer.headline = view.schedulable
                        ? fmt::format("{} is in service: it takes new VMs ({} on it)", worker.id, view.vms)
                        : fmt::format("{} takes no new VMs ({} on it)", worker.id, view.vms);
  return answer;
}

WhyAnswer why_disk(const Context& c, const Disk& disk) {
  WhyAnswer answer;
  answer.subject = "disks/" + disk.id.value;
  answer.reasons = waits_of(c, disk);
  answer.headline = fmt::format("{}{} is {}", disk.id, disk.name ? fmt::format(" ({})", *disk.name) : "",
                                disk.restore  ? std::string_view("being restored")
                                : disk.growth ? std::string_view("growing")
                                              : json::name_of(disk.state));
  const auto* vm = disk.vm ? c.fleet().find(*disk.vm) : nullptr;
  if (vm)
    answer.headline += fmt::format("{}{}", vm->disk == disk.id ? ", the disk of " : ", attached to ", vm->id);
  if (disk.removal && disk.state == DiskState::ready) {
    const auto until = disk.removal->at + to_ms(c.reconciler.limits().disk_retention);
    answer.headline = fmt::format("{} is removed; its data is kept until {}", disk.id, format_time(until));
    answer.reasons.push_back({disk.removal->vm ? fmt::format("it was the disk of {}", *disk.removal->vm)
                                               : "an operator has removed it",
                              disk.removal->at,
                              fmt::format("operator: ebb disks keep {} brings it back", disk.id)});
  }
  return answer;
}

WhyAnswer why_vm(const Context& c, const Vm& vm) {
  WhyAnswer answer;
  answer.subject = "vms/" + vm.id.value;
  answer.reasons = waits_of(c, vm);
  auto view = view_of(c, vm);
  if (vm.desired == VmDesired::running && view.seen == VmSeen::running && answer.reasons.empty()) {
    answer.headline = fmt::format("{} runs on {}", vm.id, *vm.worker);
  } else if (vm.desired == VmDesired::stopped && vm.ended) {
    answer.headline = fmt::format("{} has ended by itself on {} at {}: {}", vm.id, vm.ended->worker,
                                  format_time(vm.ended->at), vm.ended->end.text);
  } else if (vm.desired == VmDesired::stopped && !vm.worker) {
    answer.headline = fmt::format("{} is stopped, as was asked", vm.id);
  } else if (const auto* m = open_migration(c, vm)) {
    answer.headline =
        fmt::format("{} moves from {} to {} ({})", vm.id, m->source, m->target, json::name_of(m->phase));
  } else {
    answer.headline =
        fmt::format("{} shall be {}, and is {}", vm.id, json::name_of(vm.desired), json::name_of(view.seen));
  }
  for (const auto& loss : drain::losses_of(c.fleet(), c.seen(), vm))
    answer.reasons.push_back(drain::explain(loss));
  return answer;
}

}  // namespace ebb::control
