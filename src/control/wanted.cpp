#include "control/wanted.h"

#include "control/instance_seed.h"
#include "migration/migration_step.h"
#include "model/network.h"

namespace ebb::control {
namespace {

WantedVm entry_for(const Fleet& fleet, const Vm& vm, Epoch epoch, Wanted wanted, bool take_over) {
  WantedVm entry;
  entry.vm = vm.id, entry.epoch = epoch, entry.wanted = wanted;
  entry.cpus = vm.spec.cpus, entry.memory_bytes = vm.spec.memory_bytes;
  entry.ports = vm.spec.ports, entry.stop_grace_ms = vm.spec.stop_grace_ms;
  entry.stop_signal = vm.spec.stop_signal;
  const auto* image = fleet.find(vm.spec.image);
  CHECK(image);  // images in use are not removed
  entry.image_pool = image->pool, entry.firmware = image->firmware, entry.kernel = image->kernel,
  entry.initrd = image->initrd;
  entry.cmdline = image->cmdline, entry.channels = image->channels;
  entry.interfaces = vm.interfaces;
  if (vm.interfaces && image->kernel) entry.cmdline += " " + network_words(*vm.interfaces, fleet.networks());
  entry.seed = instance_seed(vm, *image, fleet.networks());
  entry.restart = vm.spec.restart, entry.health = vm.spec.health;
  entry.ephemeral_disks = vm.spec.ephemeral_disks;
  if (!vm.disk && image->disk) {
    const auto size = image->disk_blob ? image->disk_blob->size_bytes : 0;
    entry.disks.push_back({*image->disk, image->pool, size, DiskClass::remote, true, false, {}, {}});
  }
  const auto disks = fleet.disks_of(vm);
  CHECK(disks.size() == (vm.data_disks ? vm.data_disks->size() : 0) + (vm.disk ? 1 : 0));
  for (const auto* disk : disks) {
    WantedDisk wish{disk->id, disk->pool, disk->size_bytes, disk->disk_class, false, take_over};
    for (const auto& snapshot : disk->snapshots) {
      if (wanted != Wanted::running || snapshot.state != SnapshotState::wanted) continue;
      (snapshot.cut_of ? wish.cuts : wish.snapshots).push_back({snapshot.name, snapshot.request});
    }
    entry.disks.push_back(std::move(wish));
  }
  return entry;
}

// Where it has ended it is let go before it runs again, under another epoch.
VmDesired desired_at_home(const Vm& vm) {
  return vm.started_after_end == vm.epoch ? VmDesired::stopped : vm.desired;
}

}  // namespace

WantedSet wanted_set(const Fleet& fleet, const WorkerId& worker) {
  std::map<VmId, WantedVm> entries;
  for (const auto& id : fleet.vms_owned_by(worker)) {
    const auto& vm = fleet.at(id);
    if (fleet.open_migration_of(id) || vm.desired == VmDesired::absent) continue;
    const auto wanted = desired_at_home(vm) == VmDesired::running ? Wanted::running : Wanted::stopped;
    entries.emplace(id, entry_for(fleet, vm, vm.epoch, wanted, false));
  }
  for (const auto& id : fleet.open_migrations_at(worker)) {
    const auto& m = fleet.at(id);
    const auto* vm = fleet.find(m.vm);
    CHECK(vm);
    const bool is_source = worker == m.source;
    const auto wanted = is_source ? migration::wanted_of_source(m, desired_at_home(*vm))
                                  : migration::wanted_of_target(m, vm->desired);
    if (wanted == Wanted::absent) continue;
    const auto epoch = is_source || m.target_epoch == 0 ? m.source_epoch : m.target_epoch;
    auto entry = entry_for(fleet, *vm, epoch, wanted, !is_source && m.source_dead);
    const auto* drain = m.drain ? fleet.find(*m.drain) : nullptr;
    if (is_source && drain && drain->forced_at && drain->is_of(m.source)) entry.stop_grace_ms = 0;
    entries.emplace(m.vm, std::move(entry));
  }
  WantedSet set;
  set.worker = worker;
  for (auto& [id, entry] : entries) set.vms.push_back(std::move(entry));
  for (const auto& id : fleet.rescues_at(worker)) {
    const auto& disk = fleet.at(id);
    if (disk.state != DiskState::ready || !disk.origin) continue;
    set.rescues.push_back(
        {disk.origin->disk, disk.pool, disk.rescue->log_id, id, disk.rescue->epoch, disk.disk_class});
  }
  return set;
}

WantedSets::WantedSets(Loop& loop, Owner& owner) : loop_(loop), owner_(owner) {
  owner_.on_commit([this](const Touched& touched) {
    for (const auto& worker : touched.workers) refresh(worker);
  });
}

void WantedSets::refresh(const WorkerId& worker) {
  const auto set = wanted_set(owner_.fleet(), worker);
  const auto fingerprint = std::hash<std::string>()(json::write_text(set));
  auto [at, is_new] = known_.try_emplace(worker);
  // After a restart the revision is that of the records: never lower than what was handed out before.
  if (!is_new && at->second.fingerprint == fingerprint) return;
  at->second = {std::max(owner_.revision(), at->second.revision + 1), fingerprint};
  owner_.seen().workers[worker].wanted_revision = at->second.revision;
  if (auto found = waiting_.find(worker); found != waiting_.end()) found->second->notify_all();
}

std::uint64_t WantedSets::revision_of(const WorkerId& worker) {
  if (!known_.contains(worker)) refresh(worker);
  return known_.at(worker).revision;
}

WantedSet WantedSets::of(const WorkerId& worker) {
  auto set = wanted_set(owner_.fleet(), worker);
  set.revision = revision_of(worker);
  return set;
}

Task<void> WantedSets::wait_for_change(WorkerId worker, std::uint64_t known, Duration limit) {
  const auto until = loop_.now() + limit;
  while (revision_of(worker) == known && loop_.now() < until) {
    auto& notify = waiting_[worker];
    if (!notify) notify = std::make_unique<Notify>(loop_);
    if (!co_await notify->wait_for(until - loop_.now())) co_return;
  }
}

}  // namespace ebb::control
