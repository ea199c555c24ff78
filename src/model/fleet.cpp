#include "model/fleet.h"

namespace ebb {
namespace {

template <class... Fs>
struct Overloaded : Fs... {
  using Fs::operator()...;
};

// The worker where a migration's VM takes room besides the one that owns it.
const WorkerId& second_end(const Migration& m) { return is_past_no_return(m.phase) ? m.source : m.target; }

}  // namespace

std::string_view kind_of(const Record& record) {
  return std::visit(
      Overloaded{[](const Cell&) { return "cell"; }, [](const Worker&) { return "worker"; },
                 [](const Vm&) { return "vm"; }, [](const Disk&) { return "disk"; },
                 [](const Image&) { return "image"; }, [](const VmNetwork&) { return "network"; },
                 [](const Hold&) { return "hold"; }, [](const Drain&) { return "drain"; },
                 [](const Migration&) { return "migration"; }},
      record);
}

std::string id_of(const Record& record) {
  return std::visit(
      Overloaded{[](const Cell&) { return std::string("cell"); }, [](const auto& r) { return r.id.value; }},
      record);
}

const Disk* Fleet::find_disk(const std::string& id_or_name) const {
  if (const auto* disk = find(DiskId(id_or_name))) return disk;
  for (const auto& [id, disk] : disks_)
    if (disk.name == id_or_name) return &disk;
  return nullptr;
}

std::vector<const Disk*> Fleet::disks_of(const Vm& vm) const {
  std::vector<const Disk*> all;
  auto add = [&](const DiskId& id) {
    if (const auto* disk = find(id)) all.push_back(disk);
  };
  if (vm.disk) add(*vm.disk);
  for (const auto& id : vm.data_disks.value_or(std::vector<DiskId>())) add(id);
  return all;
}

void Fleet::index(const Vm& vm, bool add) {
  if (!vm.worker) return;
  if (add) {
    owned_[*vm.worker].insert(vm.id);
  } else {
    owned_[*vm.worker].erase(vm.id);
  }
}

void Fleet::index(const Migration& m, bool add) {
  if (is_ended(m.phase)) return;
  if (add) {
    moving_at_[m.source].insert(m.id), moving_at_[m.target].insert(m.id);
    moving_[m.vm] = m.id;
    open_.insert(m.id);
  } else {
    moving_at_[m.source].erase(m.id), moving_at_[m.target].erase(m.id);
    if (moving_[m.vm] == m.id) moving_.erase(m.vm);
    open_.erase(m.id);
  }
}

void Fleet::index(const Disk& disk, bool add) {
  if (!disk.rescue || disk.rescue->state != RescueState::writing) return;
  auto& at = rescues_[disk.rescue->worker];
  if (add)
    at.insert(disk.id);
  else
    at.erase(disk.id);
}

void Fleet::put(Record record) {
  std::visit(
      Overloaded{[&](Cell& r) { cell_ = std::move(r); }, [&](Worker& r) { workers_[r.id] = std::move(r); },
                 [&](Vm& r) {
                   auto& slot = vms_[r.id];
                   index(slot, false);
                   slot = std::move(r);
                   index(slot, true);
                 },
                 [&](Disk& r) {
                   auto& slot = disks_[r.id];
                   index(slot, false);
                   slot = std::move(r);
                   index(slot, true);
                 },
                 [&](Image& r) { images_[r.id] = std::move(r); },
                 [&](VmNetwork& r) { networks_[r.id] = std::move(r); },
                 [&](Hold& r) { holds_[r.id] = std::move(r); },
                 [&](Drain& r) { drains_[r.id] = std::move(r); },
                 [&](Migration& r) {
                   if (auto old = migrations_.find(r.id); old != migrations_.end()) index(old->second, false);
                   auto& slot = migrations_[r.id];
                   slot = std::move(r);
                   index(slot, true);
                 }},
      record);
}

void Fleet::erase(const RecordKey& key) {
  if (key.kind == "worker") workers_.erase(WorkerId(key.id));
  if (key.kind == "vm") {
    if (auto old = vms_.find(VmId(key.id)); old != vms_.end()) index(old->second, false), vms_.erase(old);
  }
  if (key.kind == "disk") {
    auto old = disks_.find(DiskId(key.id));
    if (old != disks_.end()) index(old->second, false), disks_.erase(old);
  }
  if (key.kind == "image") images_.erase(ImageId(key.id));
  if (key.kind == "network") networks_.erase(NetworkId(key.id));
  if (key.kind == "hold") holds_.erase(HoldId(key.id));
  if (key.kind == "drain") drains_.erase(DrainId(key.id));
  if (key.kind == "migration") {
    auto old = migrations_.find(MigrationId(key.id));
    if (old != migrations_.end()) index(old->second, false), migrations_.erase(old);
  }
}

const std::set<VmId>& Fleet::vms_owned_by(const WorkerId& worker) const {
  static const std::set<VmId> none;
  auto found = owned_.find(worker);
  return found == owned_.end() ? none : found->second;
}

const std::set<MigrationId>& Fleet::open_migrations_at(const WorkerId& worker) const {
  static const std::set<MigrationId> none;
  auto found = moving_at_.find(worker);
  return found == moving_at_.end() ? none : found->second;
}

const std::set<DiskId>& Fleet::rescues_at(const WorkerId& worker) const {
  static const std::set<DiskId> none;
  auto found = rescues_.find(worker);
  return found == rescues_.end() ? none : found->second;
}

const Migration* Fleet::open_migration_of(const VmId& vm) const {
  auto found = moving_.find(vm);
  return found == moving_.end() ? nullptr : find(found->second);
}

std::vector<const Hold*> Fleet::holds_on(const WorkerId& worker) const {
  std::vector<const Hold*> found;
  for (const auto& [id, hold] : holds_) {
    if (hold.worker == worker) found.push_back(&hold);
  }
  return found;
}

const Drain* Fleet::active_drain_of(const WorkerId& worker) const {
  for (const auto& [id, drain] : drains_) {
    if (drain.worker == worker && !is_ended(drain.state)) return &drain;
  }
  return nullptr;
}

Resources Fleet::used_on(const WorkerId& worker) const {
  Resources used;
  for (const auto& id : vms_owned_by(worker)) used += footprint(vms_.at(id).spec);
  for (const auto& id : open_migrations_at(worker)) {
    const auto& migration = migrations_.at(id);
    const auto* vm = find(migration.vm);
    if (vm && second_end(migration) == worker) used += footprint(vm->spec);
  }
  return used;
}

}  // namespace ebb
