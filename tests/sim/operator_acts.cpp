#include "operator_acts.h"

#include <array>

namespace ebb::fleet_sim {
namespace {

// What three of five workers have room for.
constexpr std::uint32_t vms_max = 24;
constexpr std::size_t lent_disks_max = 4;

std::string any_vm(FleetSim& sim, Random& random) {
  const auto& vms = sim.fleet().vms();
  if (vms.empty()) return "none";
  return std::next(vms.begin(), static_cast<std::ptrdiff_t>(random.below(vms.size())))->first.value;
}

// As many workers as the others have room for.
void drain(FleetSim& sim, Random& random, const WorkerId& worker) {
  std::size_t drained = 0;
  for (const auto& [id, drain] : sim.fleet().drains())
    if (!is_ended(drain.state)) drained += drain.workers.size();
  const auto& other = sim.workers()[random.below(sim.workers().size())]->id();
  if (drained == 0 && other != worker && random.chance(0.3))
    (void)sim.start_drain(std::vector{worker, other});
  else if (drained < 2)
    (void)sim.start_drain(worker);
}

void pause_or_resume_a_drain(FleetSim& sim) {
  for (const auto& [id, drain] : sim.fleet().drains()) {
    if (is_ended(drain.state)) continue;
    const auto* verb = drain.state == DrainState::paused ? "resume" : "pause";
    (void)sim.ask("POST", fmt::format("/v1/drains/{}:{}", id, verb));
    return;
  }
}

// Of all VMs, and never so that none may leave.
void change_budgets(FleetSim& sim, Random& random) {
  if (!sim.fleet().budgets().empty() && random.chance(0.3)) {
    (void)sim.ask("DELETE", "/v1/budgets/" + sim.fleet().budgets().begin()->first.value);
    return;
  }
  PutBudget wish{BudgetId(random.chance(0.5) ? "all" : "most"), {}};
  wish.away_max = 1 + static_cast<std::uint32_t>(random.below(3));
  if (random.chance(0.3)) wish.present_min = 1;
  if (random.chance(0.5)) wish.healthy_ms = 5'000;
  (void)sim.ask("POST", "/v1/budgets", json::write_text(wish));
}

// Never so that what is drained of five workers leaves no room for four VMs.
void change_groups(FleetSim& sim, Random& random) {
  PutGroup wish{GroupId("few"), {{DomainLevel::worker, 2}}};
  if (random.chance(0.3)) wish.apart[0].most = 3;
  (void)sim.ask("POST", "/v1/groups", json::write_text(wish));
  constexpr std::size_t members_max = 4;
  EditVm edit;
  edit.group = GroupId(sim.fleet().vms_in(wish.id).size() < members_max && random.chance(0.7) ? "few" : "");
  (void)sim.ask("POST", "/v1/vms/" + any_vm(sim, random) + ":edit", json::write_text(edit));
}

// Of one that has ended, too.
void undo_a_drain(FleetSim& sim, Random& random) {
  const auto& drains = sim.fleet().drains();
  if (drains.empty()) return;
  const auto chosen = std::next(drains.begin(), static_cast<std::ptrdiff_t>(random.below(drains.size())));
  (void)sim.ask("POST", "/v1/drains/" + chosen->first.value + ":undo", "{}");
}

// As many workers as the others have room for: none are drained besides.
void schedule_a_drain(FleetSim& sim, Random& random, const WorkerId& worker) {
  for (const auto& [id, drain] : sim.fleet().drains())
    if (!is_ended(drain.state)) return;
  CreateDrain wish;
  wish.workers = {worker}, wish.begins_in_ms = 1'000 * random.below(60);
  wish.request_id = sim.world().loop().random().token(8);
  if (random.chance(0.5)) {
    wish.options.deadline_ms = 1'000 * random.below(30);
    wish.options.at_deadline = random.chance(0.5) ? AtDeadline::force : AtDeadline::wait;
  }
  wish.options.finish = random.chance(0.5);
  (void)sim.ask("POST", "/v1/drains", json::write_text(wish));
}

void cancel_a_drain(FleetSim& sim) {
  for (const auto& [id, drain] : sim.fleet().drains()) {
    if (is_ended(drain.state)) continue;
    (void)sim.ask("POST", "/v1/drains/" + id.value + ":cancel");
    return;
  }
}

}  // namespace

void Operator::act(FleetSim& sim, Random& random) {
  if (random.chance(0.2)) return act_on_disks(sim, random);
  return random.chance(0.5) ? act_on_workers(sim, random) : act_on_vms(sim, random);
}

// Disks go from one VM that is stopped to the next.
void Operator::act_on_disks(FleetSim& sim, Random& random) {
  std::vector<Disk> disks;
  for (const auto& [id, disk] : sim.fleet().disks())
    if (disk.name || disk.removal) disks.push_back(disk);
  if (disks.size() < lent_disks_max && random.chance(0.5)) {
    CreateDisk wish{.name = fmt::format("lent-{}", ++made_), .size_bytes = MiB};
    wish.disk_class = random.chance(0.5) ? DiskClass::remote : DiskClass::local;
    (void)sim.ask("POST", "/v1/disks", json::write_text(wish));
  }
  if (disks.empty()) return;
  const auto& disk = disks[random.below(disks.size())];
  const auto path = "/v1/disks/" + disk.id.value;
  const auto act = random.below(10);
  std::string stopped;
  for (const auto& [id, vm] : sim.fleet().vms())
    if (vm.desired == VmDesired::stopped && (stopped.empty() || random.chance(0.5))) stopped = id.value;
  if (disk.removal)
    (void)sim.ask("POST", path + ":keep", "{}");
  else if (act < 4)
    (void)sim.ask("POST", path + ":attach", json::write_text(AttachDisk{VmId(stopped)}));
  else if (act < 7)
    (void)sim.ask("POST", path + ":detach");
  else if (act < 9)
    (void)sim.ask("POST", path + ":grow", json::write_text(GrowDisk{disk.size_bytes + MiB}));
  else
    (void)sim.ask("DELETE", path);
}

void Operator::act_on_workers(FleetSim& sim, Random& random) {
  const auto worker = sim.workers()[random.below(sim.workers().size())]->id();
  const auto ask = [&](std::string_view verb) {
    (void)sim.ask("POST", fmt::format("/v1/workers/{}:{}", worker, verb), verb == "cordon" ? "{}" : "");
  };
  const auto act = random.below(20);
  if (act >= 19)
    schedule_a_drain(sim, random, worker);
  else if (act >= 18)
    undo_a_drain(sim, random);
  else if (act >= 16)
    change_groups(sim, random);
  else if (act >= 14)
    pause_or_resume_a_drain(sim);
  else if (act >= 12)
    change_budgets(sim, random);
  else if (act < 6)
    drain(sim, random, worker);
  else if (act < 7)
    cancel_a_drain(sim);
  else if (act < 10)
    ask("return");
  else if (act < 11)
    ask("cordon");
  else
    ask("uncordon");
}

void Operator::act_on_vms(FleetSim& sim, Random& random) {
  const auto vm = "/v1/vms/" + any_vm(sim, random);
  const auto act = random.below(10);
  if (act < 4)
    (void)sim.ask("POST", vm + ":migrate", "{}");
  else if (act < 6 && sim.fleet().vms().size() < vms_max)
    (void)sim.create_vm(VmId(fmt::format("late-{}", ++made_)),
                        random.chance(0.7) ? Storage::object : Storage::none,
                        random.chance(0.5) ? DiskClass::remote : DiskClass::local,
                        std::array{Restart::always, Restart::on_failure, Restart::never}[random.below(3)]);
  else if (act < 7)
    (void)sim.ask("POST", vm + ":stop");
  else if (act < 9)
    (void)sim.ask("POST", vm + ":start");
  else
    (void)sim.ask("DELETE", vm);
}

}  // namespace ebb::fleet_sim
