#include "checkers.h"

#include "disk/format/head_types.h"
#include "disk/keys.h"
#include "fleet_sim.h"

namespace ebb::fleet_sim {
namespace {

// An epoch never goes back: not in the records, not in a HEAD; and a new owner always comes with a new one.
class EpochsOnlyRise final : public Checker {
 public:
  void on_commit(FleetSim& sim, const Fleet& before, const Fleet& after) override {
    if (after.cell().last_epoch < before.cell().last_epoch)
      sim.violation("the cell's epoch counter went back");
    for (const auto& [id, vm] : after.vms()) {
      if (vm.epoch > after.cell().last_epoch)
        sim.violation("{} has epoch {}, which was never minted", id, vm.epoch);
      const auto* old = before.find(id);
      if (!old) continue;
      if (vm.epoch < old->epoch) sim.violation("{} went from epoch {} back to {}", id, old->epoch, vm.epoch);
      if (vm.worker && vm.worker != old->worker && vm.epoch == old->epoch)
        sim.violation("{} is owned by {} under epoch {}, which was another owner's", id, *vm.worker,
                      vm.epoch);
    }
  }
  void on_put(FleetSim& sim, const std::string& key, const Bytes& body) override {
    if (!key.ends_with("/HEAD")) return;
    auto head = head_of(key, body);
    if (!head) return sim.violation("{} cannot be read: {}", key, head.error());
    auto [at, is_new] = heads_.try_emplace(key, head->epoch);
    if (head->epoch < at->second)
      sim.violation("{} went from epoch {} back to {}", key, at->second.text(), head->epoch.text());
    at->second = head->epoch;
  }

 private:
  std::map<std::string, disk::DiskEpoch> heads_;
};

// At most one running copy of a VM, at no moment two: a move lets the target run it only after its source has
// stopped. Only where the source was declared dead an old copy may run on, for as long as its worker cannot
// be told. (What such a copy can still do to a disk, the ledger of acknowledged records decides.)
class OneRunningCopy final : public Checker {
 public:
  void on_commit(FleetSim&, const Fleet&, const Fleet& after) override {
    for (const auto& id : after.open_migrations())
      if (const auto& m = after.migrations().at(id); m.source_dead) forced_.insert(m.vm);
  }
  void on_boot(FleetSim& sim, const VmId& vm) override {
    const auto copies = sim.ledger().running(vm);
    if (copies.size() > 1 && !forced_.contains(vm))
      sim.violation("{} runs on {} and on {}", vm, copies[0]->worker, copies[1]->worker);
  }
  void every_second(FleetSim& sim) override {
    for (const auto& vm : forced_) {
      if (copies_in_reach(sim, vm) < 2) {
        since_.erase(vm);
        continue;
      }
      // A worker that has just been reached again needs a moment to be told.
      auto [at, is_new] = since_.try_emplace(vm, sim.now());
      if (sim.now() - at->second > 30s) sim.violation("{} has run twice for 30 s", vm);
    }
  }

 private:
  // A sketched agent stops no machine while it waits for the store; a real one does.
  static bool can_be_told(FleetSim& sim, const std::string& worker) {
    const bool waits = sim.options().kind == FleetSimOptions::Workers::sketched &&
                       !sim.world().links().connected(worker, "store");
    return !waits && !sim.is_unreachable(WorkerId(worker));
  }
  static std::size_t copies_in_reach(FleetSim& sim, const VmId& vm) {
    auto copies = sim.ledger().running(vm);
    return static_cast<std::size_t>(
        std::ranges::count_if(copies, [&](const auto* run) { return can_be_told(sim, run->worker); }));
  }

  std::set<VmId> forced_;
  std::map<VmId, Instant> since_;
};

// A guest with a disk stands still before a new owner of it serves (15 s after its claim), if its worker
// hears of neither the control plane nor the store.
class CutOffGuestsStandStill final : public Checker {
 public:
  void every_second(FleetSim& sim) override {
    if (sim.options().kind != FleetSimOptions::Workers::production) return;  // sketches do not know of this
    for (auto& worker : sim.workers()) {
      auto& links = sim.world().links();
      const auto& host = worker->id().value;
      const auto agent_since = worker->agent_works_since();
      if (!agent_since || links.connected(host, "control") || links.connected(host, "store")) {
        since_.erase(worker->id());
        continue;
      }
      auto [cut, is_new] = since_.try_emplace(worker->id(), sim.now(), links.mends_at(host));
      if (cut->second.second != links.mends_at(host)) cut->second = {sim.now(), links.mends_at(host)};
      auto since = std::max(cut->second.first, *agent_since);
      if (sim.now() - since < 14s) continue;
      for (const auto& machine : worker->machines().list()) {
        const auto* vm = sim.fleet().find(machine.vm);
        const bool runs = machine.state == MachineState::booting || machine.state == MachineState::ready;
        if (vm && !sim.fleet().disks_of(*vm).empty() && runs)
          sim.violation("{} runs on {}, which has heard of nobody for 14 s", machine.vm, host);
      }
    }
  }

 private:
  std::map<WorkerId, std::pair<Instant, std::uint64_t>> since_;  // and how often its links had been mended
};

// No VM is touched before everything has a destination; and when the drain says so, everything has.
class NothingMovesBeforeEverythingFits final : public Checker {
 public:
  void on_commit(FleetSim& sim, const Fleet& before, const Fleet& after) override {
    for (const auto& [id, drain] : after.drains()) {
      if (drain.options.partial) continue;
      const auto* old = before.find(id);
      if (drain.state == DrainState::reserving) check_untouched(sim, id, after);
      if (drain.state != DrainState::running || !old || old->state != DrainState::reserving) continue;
      for (const auto& worker : drain.workers)
        for (const auto& vm : after.vms_owned_by(worker))
          if (has_to_leave(drain, *after.find(vm)) && !after.open_migration_of(vm))
            sim.violation("{} is running, and {} has no destination", id, vm);
    }
  }

 private:
  // Not if it is left to end by itself.
  static bool has_to_leave(const Drain& drain, const Vm& vm) {
    const bool may_finish =
        drain.options.finish.value_or(true) && !drain.options.source_dead && !drain.forced_at;
    return vm.desired == VmDesired::running && !(may_finish && vm.spec.restart == Restart::never);
  }
  static void check_untouched(FleetSim& sim, const DrainId& id, const Fleet& after) {
    for (const auto& [move, m] : after.migrations()) {
      const bool has_begun =
          std::ranges::any_of(m.history, [](auto& h) { return h.phase == Phase::preparing; });
      if (m.drain == id && has_begun) sim.violation("{} moves {}, and is still reserving", id, m.vm);
    }
  }
};

// "Done" is true: nothing of any VM is left on the worker, and no HEAD names it.
class DoneMeansEmpty final : public Checker {
 public:
  void on_commit(FleetSim& sim, const Fleet& before, const Fleet& after) override {
    for (const auto& [id, drain] : after.drains()) {
      const auto* old = before.find(id);
      if (drain.state != DrainState::done || (old && old->state == DrainState::done)) continue;
      for (const auto& worker : drain.workers) check(sim, after, drain, worker);
    }
  }

 private:
  static void check(FleetSim& sim, const Fleet& after, const Drain& drain, const WorkerId& worker) {
    const auto& id = drain.id;
    if (!after.vms_owned_by(worker).empty()) sim.violation("{} is done, but {} owns VMs", id, worker);
    if (after.holds_on(worker).empty()) sim.violation("{} is done, and {} has no hold", id, worker);
    if (!drain.options.source_dead && sim.worker(worker).machines().running() != 0)
      sim.violation("{} is done, but {} machines run on {}", id, sim.worker(worker).machines().running(),
                    worker);
    for (const auto& [key, head] : sim.heads()) {
      const bool is_attached =
          head.state == disk::HeadState::attached || head.state == disk::HeadState::attaching;
      if (is_attached && head.owner == worker.value)
        sim.violation("{} is done, but {} names {} as its owner", id, key, worker);
    }
  }
};

// Progress: every operation ends, or waits for something that only a person can do, and says what.
class EverythingEnds final : public Checker {
 public:
  void at_end(FleetSim& sim) override {
    for (const auto& id : sim.fleet().open_migrations())
      check(sim, "migrations/" + id.value, json::name_of(sim.fleet().migrations().at(id).phase));
    for (const auto& [id, drain] : sim.fleet().drains())
      if (!is_ended(drain.state)) check(sim, "drains/" + id.value, json::name_of(drain.state));
  }

 private:
  static void check(FleetSim& sim, const std::string& path, std::string_view state) {
    const auto waits_for = sim.explain(path);
    if (!waits_for.contains("\"who\":\"operator"))
      sim.violation("{} is still {}: {}", path, state, waits_for);
  }
};

// Every VM that shall run, runs: one machine, ready, where the records say and under their epoch.
class EveryVmRuns final : public Checker {
 public:
  void at_end(FleetSim& sim) override {
    for (const auto& [id, vm] : sim.fleet().vms()) {
      if (vm.desired != VmDesired::running) continue;
      if (auto trouble = sim.why_not_running(vm); !trouble.empty()) sim.violation("{}: {}", id, trouble);
    }
  }
};

// A guest that has ended for good is booted nowhere until an operator starts it again, whoever died meanwhile. That its host
// loses power, or is declared dead, is no end that anybody could have noted.
class WhatHasEndedStaysSo final : public Checker {
 public:
  void on_guest_end(FleetSim& sim, const VmId& id, std::uint32_t status) override {
    if (sim.options().kind != FleetSimOptions::Workers::production)
      return;  // sketches start everything again
    const auto* vm = sim.fleet().find(id);
    if (vm && !is_restarted(vm->spec.restart.value_or(Restart::always), GuestEnd{status, {}}))
      ended_.insert(id);
  }
  void on_boot(FleetSim& sim, const VmId& id) override {
    if (ended_.contains(id)) sim.violation("{} boots, although it has ended", id);
  }
  void on_commit(FleetSim& sim, const Fleet& before, const Fleet& after) override {
    for (const auto& id : after.open_migrations())
      if (const auto& m = after.migrations().at(id); m.source_dead) ended_.erase(m.vm);
    for (const auto& [id, vm] : after.vms()) {
      const auto* old = before.find(id);
      const bool is_stopped_by_hand = !vm.ended && vm.desired != VmDesired::running;
      const bool is_started_by_hand = old && old->ended && !vm.ended;
      if (is_stopped_by_hand || is_started_by_hand) ended_.erase(id);
      if (vm.ended && vm.desired == VmDesired::running)
        sim.violation("{} shall run, although it has ended", id);
      if (vm.ended && is_restarted(vm.spec.restart.value_or(Restart::always), vm.ended->end))
        sim.violation("{} has ended, and by its policy it is started again", id);
    }
  }
  void every_second(FleetSim& sim) override {
    for (auto& worker : sim.workers())
      if (!worker->is_up())
        for (const auto& vm : sim.fleet().vms_owned_by(worker->id())) ended_.erase(vm);
  }

 private:
  std::set<VmId> ended_;
};

// A disk is one VM's or nobody's, whoever is asked; and one that is being removed is nobody's.
class DisksHaveOneVm final : public Checker {
 public:
  void on_commit(FleetSim& sim, const Fleet&, const Fleet& after) override {
    std::map<DiskId, VmId> owners;
    for (const auto& [id, vm] : after.vms()) {
      auto ids = vm.data_disks.value_or(std::vector<DiskId>());
      if (vm.disk) ids.push_back(*vm.disk);
      for (const auto& disk : ids)
        if (!owners.emplace(disk, id).second)
          sim.violation("disk {} is that of {} and of {}", disk, id, owners[disk]);
    }
    for (const auto& [id, disk] : after.disks()) {
      const auto owner = owners.find(id);
      if ((owner == owners.end() ? std::nullopt : std::optional(owner->second)) != disk.vm)
        sim.violation("disk {} is not that of the VM that it names", id);
      if (disk.vm && (disk.removal || disk.state == DiskState::deleting))
        sim.violation("disk {} of {} is being removed", id, *disk.vm);
      owners.erase(id);
    }
    for (const auto& [disk, vm] : owners) sim.violation("{} has a disk {} without a record", vm, disk);
  }
};

// What was made larger is so in the store and for the guest, wherever it runs by then.
class DisksHaveTheirSize final : public Checker {
 public:
  void at_end(FleetSim& sim) override {
    if (sim.options().kind != FleetSimOptions::Workers::production) return;  // sketches grow nothing
    for (const auto& [id, vm] : sim.fleet().vms()) {
      for (auto& worker : sim.workers()) {
        const auto* disks = vm.worker == worker->id() ? worker->machines().disks_of(id) : nullptr;
        if (!disks) continue;
        for (const auto* disk : sim.fleet().disks_of(vm)) {
          const auto head = sim.heads().find("pool-1/" + disk::head_key(disk->id));
          const auto seen = std::ranges::find(*disks, disk->id.value, &MachineDisk::serial);
          if (head == sim.heads().end() || head->second.size_bytes != disk->size_bytes)
            sim.violation("disk {} is not as large in the store as it is wanted", disk->id);
          if (seen == disks->end() || seen->bytes != disk->size_bytes)
            sim.violation("{} sees its disk {} with another size than is wanted", id, disk->id);
        }
      }
    }
  }
};

// No two VMs have a MAC or an IP address, and each keeps its own for as long as it lives.
class AddressesStay final : public Checker {
 public:
  void on_commit(FleetSim& sim, const Fleet& before, const Fleet& after) override {
    std::map<std::string, VmId> owners;
    for (const auto& [id, vm] : after.vms()) {
      const auto* old = before.find(id);
      if (old && old->interfaces != vm.interfaces) sim.violation("{} has other network interfaces now", id);
      for (const auto& interface : vm.interfaces.value_or(std::vector<NetworkInterface>()))
        for (const auto& address : {interface.mac, interface.address.value_or(interface.mac)})
          if (auto owner = owners.emplace(address, id).first->second; owner != id)
            sim.violation("{} is the address of {} and of {}", address, owner, id);
    }
  }
};

// A removed VM leaves nothing: its effects are carried out, and its disk's HEAD says that it is deleted.
class RemovedIsGone final : public Checker {
 public:
  void at_end(FleetSim& sim) override {
    for (const auto& [id, vm] : sim.fleet().vms())
      if (vm.desired == VmDesired::absent) sim.violation("{} is still being removed", id);
    for (const auto& [key, effect] : sim.records().effects)
      sim.violation("the effect {} has not been carried out", key);
    std::set<std::string> used;
    for (const auto& [id, disk] : sim.fleet().disks()) used.insert("pool-1/" + disk::head_key(id));
    for (const auto& [id, image] : sim.fleet().images())
      if (image.disk) used.insert("pool-1/" + disk::head_key(*image.disk));
    for (const auto& [key, head] : sim.heads())
      if (head.state != disk::HeadState::deleted && !used.contains(key))
        sim.violation("{} is {}, and no record knows of it", key, json::name_of(head.state));
  }
};

// What a worker declared dead had not sent yet is the announced loss of class `local`, and of no other.
class AnnouncedLoss final : public Checker {
 public:
  void on_commit(FleetSim& sim, const Fleet& before, const Fleet& after) override {
    for (const auto& [id, drain] : after.drains()) {
      if (before.drains().contains(id) || !drain.options.source_dead) continue;
      for (const auto& [vm_id, vm] : after.vms()) {
        const auto* move = after.open_migration_of(vm_id);
        for (const auto& worker : drain.workers) {
          const bool is_there = vm.worker == worker || (move && move->source == worker);
          if (is_there && vm.spec.disk_class == DiskClass::local)
            sim.ledger().allow_loss(vm_id, worker.value, unsent_records_max);
        }
      }
    }
  }

 private:
  static constexpr std::uint64_t unsent_records_max = 150;  // 60 s of writes, with room
};

}  // namespace

std::vector<std::unique_ptr<Checker>> all_checkers() {
  auto all = limit_checkers();
  all.push_back(std::make_unique<EpochsOnlyRise>());
  all.push_back(std::make_unique<OneRunningCopy>());
  all.push_back(std::make_unique<AnnouncedLoss>());
  all.push_back(std::make_unique<CutOffGuestsStandStill>());
  all.push_back(std::make_unique<NothingMovesBeforeEverythingFits>());
  all.push_back(std::make_unique<DoneMeansEmpty>());
  all.push_back(std::make_unique<EverythingEnds>());
  all.push_back(std::make_unique<EveryVmRuns>());
  all.push_back(std::make_unique<WhatHasEndedStaysSo>());
  all.push_back(std::make_unique<DisksHaveOneVm>());
  all.push_back(std::make_unique<DisksHaveTheirSize>());
  all.push_back(std::make_unique<AddressesStay>());
  all.push_back(std::make_unique<RemovedIsGone>());
  return all;
}

}  // namespace ebb::fleet_sim
