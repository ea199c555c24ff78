#include "base/text.h"
#include "control/api/services.h"
#include "control/loops/candidates.h"
#include "control/loops/disk_loop.h"
#include "model/health_check.h"
#include "model/instance_data.h"
#include "model/network.h"

namespace ebb::control {
namespace {

constexpr std::uint64_t memory_min = 16 * MiB, memory_max = 4096ull * GiB;
constexpr std::size_t ports_max = 32, ephemeral_disks_max = 2;
constexpr std::uint64_t ephemeral_bytes_max = 1024 * GiB;
constexpr std::uint32_t stop_grace_max_ms = 3'600'000;
constexpr std::size_t vm_cpu_features_max = 32;

Status check_spec(const VmSpec& spec) {
  if (spec.cpus < 1 || spec.cpus > 256)
    return fail_field("spec.cpus", "'spec.cpus' must be between 1 and 256");
  if (spec.memory_bytes < memory_min || spec.memory_bytes > memory_max)
    return fail_field("spec.memory_bytes", "'spec.memory_bytes' must be between 16 MiB and 4 TiB");
  if (spec.ports.size() > ports_max) return fail_field("spec.ports", "at most {} ports", ports_max);
  std::set<std::string> names;
  for (const auto& port : spec.ports) {
    if (!is_valid_name(port.name))
      return fail_field("spec.ports", "port name '{}' must be 1 to 63 of a-z, 0-9 and '-'", port.name);
    if (port.guest == 0)
      return fail_field("spec.ports", "port '{}' needs a guest port between 1 and 65535", port.name);
    if (!names.insert(port.name).second)
      return fail_field("spec.ports", "port name '{}' is there twice", port.name);
  }
  const auto ephemeral = spec.ephemeral_disks.value_or(std::vector<std::uint64_t>());
  if (ephemeral.size() > ephemeral_disks_max)
    return fail_field("spec.ephemeral_disks", "at most {} ephemeral disks", ephemeral_disks_max);
  for (const auto bytes : ephemeral)
    if (bytes < MiB || bytes > ephemeral_bytes_max || bytes % 4096 != 0)
      return fail_field("spec.ephemeral_disks", "an ephemeral disk has 1 MiB to {}, a multiple of 4096 bytes",
                        format_size(ephemeral_bytes_max));
  if (spec.stop_grace_ms > stop_grace_max_ms)
    return fail_field("spec.stop_grace_ms", "'spec.stop_grace_ms' must be an hour at most: {}",
                      stop_grace_max_ms);
  if (spec.tenant && !is_valid_name(*spec.tenant))
    return fail_field("spec.tenant", "tenant '{}' must be 1 to 63 of a-z, 0-9 and '-'", *spec.tenant);
  if (spec.worker_labels) EBB_CHECKED(check_labels("spec.worker_labels", *spec.worker_labels));
  const auto features = spec.cpu_features.value_or(std::vector<std::string>());
  if (features.size() > vm_cpu_features_max)
    return fail_field("spec.cpu_features", "at most {} CPU features", vm_cpu_features_max);
  for (const auto& feature : features)
    EBB_CHECKED(check_length("spec.cpu_features", feature, word_bytes_max));
  if (spec.health) EBB_CHECKED(check_health_check(*spec.health, spec.ports));
  if (spec.instance_data) EBB_CHECKED(check_instance_data(*spec.instance_data));
  if (spec.networks) EBB_CHECKED(check_joins(*spec.networks));
  return check_labels("spec.labels", spec.labels);
}

// That some worker has each thing that the VM asks for.
Status check_is_offered(const Fleet& fleet, const VmSpec& spec) {
  const auto any = [&](auto has) {
    return std::ranges::any_of(fleet.workers(), [&](const auto& entry) { return has(entry.second); });
  };
  for (const auto& [key, value] : spec.worker_labels.value_or(Labels()))
    if (!any([&](const Worker& w) { return has_labels(w.labels, {{key, value}}); }))
      return fail_field("spec.worker_labels", "no worker has the label {}={}", key, value);
  for (const auto& feature : spec.cpu_features.value_or(std::vector<std::string>()))
    if (!any([&](const Worker& w) { return placement::has_cpu_feature(w, feature); }))
      return fail_field("spec.cpu_features",
                        "no worker has the CPU feature '{}'; 'ebb workers show WORKER' names those "
                        "that one has",
                        feature);
  return {};
}

Status check_group(const Fleet& fleet, const VmSpec& spec) {
  if (!spec.group || fleet.find(*spec.group)) return {};
  return fail_field("spec.group", "there is no group '{}': make it first: ebb groups set {} --apart rack",
                    *spec.group, *spec.group);
}

// Of a VM that no worker could take, empty as it might be. Whoever has no workers yet may describe VMs all the same.
Status check_fits_somewhere(const Fleet& fleet, const VmSpec& spec) {
  const auto need = footprint(spec);
  Resources most;
  const Worker* largest = nullptr;
  for (const auto& [id, worker] : fleet.workers()) {
    if (need.fits_in(worker.capacity)) return check_is_offered(fleet, spec);
    most.cpu_millis = std::max(most.cpu_millis, worker.capacity.cpu_millis);
    most.memory_bytes = std::max(most.memory_bytes, worker.capacity.memory_bytes);
    if (!largest || worker.capacity.memory_bytes > largest->capacity.memory_bytes) largest = &worker;
  }
  if (!largest) return {};
  if (need.memory_bytes > most.memory_bytes)
    return fail_field(
        "spec.memory_bytes",
        "no worker has so much memory: {} needed with the {} of the machine itself, {} has the most, {}",
        format_size(need.memory_bytes), format_size(machine_overhead_bytes), largest->id,
        format_size(most.memory_bytes));
  if (need.cpu_millis > most.cpu_millis)
    return fail_field("spec.cpus", "no worker has so many cores: {} needed, {} at most", spec.cpus,
                      most.cpu_millis / 1000);
  return fail_field("spec.cpus", "no worker has {} cores and {} of memory at once", spec.cpus,
                    format_size(need.memory_bytes));
}

// A list of those of which all holds that the query names: `worker`, `tenant` (empty: of none), `labels[KEY]`. What nobody knows is
// refused: whoever leaves out a filter by mistake gets all VMs, and may go on to remove them.
struct VmsWanted {
  std::optional<WorkerId> worker{};
  std::optional<std::string> tenant{};
  Labels labels{};
};

Result<VmsWanted> wanted_by(const Fleet& fleet, const Call& call) {
  VmsWanted wanted;
  for (const auto& [name, value] : call.query) {
    constexpr std::string_view label = "labels[";
    if (name == "worker") {
      wanted.worker = WorkerId(value);
      if (!fleet.find(*wanted.worker)) return fail(no_such("worker", value));
    } else if (name == "tenant") {
      wanted.tenant = value;
    } else if (name.starts_with(label) && name.ends_with(']')) {
      wanted.labels.emplace(name.substr(label.size(), name.size() - label.size() - 1), value);
    } else if (name != "page_size" && name != "page_token") {
      return fail_field(name, "VMs are listed by worker, tenant and labels[KEY], not by '{}'", name);
    }
  }
  return wanted;
}

bool is_wanted(const VmsWanted& wanted, const Vm& vm) {
  if (wanted.worker && vm.worker != wanted.worker) return false;
  if (wanted.tenant && vm.spec.tenant.value_or("") != *wanted.tenant) return false;
  return std::ranges::all_of(wanted.labels, [&](const auto& label) {
    const auto found = vm.spec.labels.find(label.first);
    return found != vm.spec.labels.end() && found->second == label.second;
  });
}

}  // namespace

void VmsService::add_routes(Router& r) {
  const auto op = Access::operator_token;
  r.add("GET", "/v1/vms", op, [this](Call c) { return list(std::move(c)); });
  r.add("POST", "/v1/vms", op, [this](Call c) { return create(std::move(c)); });
  r.add("GET", "/v1/vms/{id}", op, [this](Call c) { return show(std::move(c)); });
  r.add("GET", "/v1/vms/{id}:why", op, [this](Call c) { return why(std::move(c)); });
  r.add("DELETE", "/v1/vms/{id}", op,
        [this](Call c) { return set_desired(std::move(c), VmDesired::absent); });
  r.add("POST", "/v1/vms/{id}:start", op,
        [this](Call c) { return set_desired(std::move(c), VmDesired::running); });
  r.add("POST", "/v1/vms/{id}:stop", op,
        [this](Call c) { return set_desired(std::move(c), VmDesired::stopped); });
  r.add("POST", "/v1/vms/{id}:edit", op, [this](Call c) { return edit(std::move(c)); });
  r.add("POST", "/v1/vms/{id}:migrate", op, [this](Call c) { return migrate(std::move(c)); });
  r.add("GET", "/v1/disks", op, [this](Call c) { return list_disks(std::move(c)); });
  r.add("GET", "/v1/disks/{id}", op, [this](Call c) { return show_disk(std::move(c)); });
}

Task<HttpResponse> VmsService::list(Call call) {
  auto wanted = wanted_by(c_.fleet(), call);
  if (!wanted) co_return error_reply(wanted.error());
  co_return reply_or_error(
      page_of<VmView>(c_, c_.fleet().vms(), call, [&](const Vm& vm) { return is_wanted(*wanted, vm); }));
}
Task<HttpResponse> VmsService::list_disks(Call call) {
  co_return reply_or_error(page_of<Disk>(c_, c_.fleet().disks(), call, keep_all));
}

Task<HttpResponse> VmsService::show(Call call) {
  const auto* vm = c_.fleet().find(VmId(call.param("id")));
  co_return vm ? reply_with(view_of(c_, *vm)) : error_reply(no_such("VM", call.param("id")));
}

Task<HttpResponse> VmsService::show_disk(Call call) {
  const auto* disk = c_.fleet().find_disk(call.param("id"));
  co_return disk ? reply_with(*disk) : error_reply(no_such("disk", call.param("id")));
}

Task<HttpResponse> VmsService::why(Call call) {
  const auto* vm = c_.fleet().find(VmId(call.param("id")));
  co_return vm ? reply_with(why_vm(c_, *vm)) : error_reply(no_such("VM", call.param("id")));
}

namespace {
// A disk of nobody as a VM's own.
Status check_may_give(const Fleet& fleet, const Disk& disk, const VmSpec& spec, const Image& image) {
  if (spec.storage != Storage::object || spec.disk_from)
    return fail_field("disk", "a VM that is given a disk has that as its own, and no other");
  if (disk.vm) return fail(Code::conflict, "disk '{}' belongs to VM '{}'", disk.id, *disk.vm);
  EBB_CHECKED(check_idle(fleet, disk));
  if (disk.pool != image.pool)
    return fail_field("disk", "disk '{}' is in pool '{}', and image '{}' in '{}'", disk.id, disk.pool,
                      image.id, image.pool);
  return {};
}
}  // namespace

namespace {
TakenAddresses taken_addresses(const Fleet& fleet) {
  TakenAddresses taken;
  for (const auto& [id, vm] : fleet.vms()) {
    for (const auto& interface : vm.interfaces.value_or(std::vector<NetworkInterface>())) {
      taken.macs.insert(interface.mac);
      if (interface.address) taken.addresses[interface.network].insert(*interface.address);
    }
  }
  return taken;
}

// A VM that no worker could take with all of its networks would never start.
Status check_is_somewhere(const Fleet& fleet, const std::vector<JoinNetwork>& joins) {
  auto has_all = [&](const auto& entry) {
    const auto networks = entry.second.networks.value_or(std::vector<NetworkId>());
    return std::ranges::all_of(joins, [&](const JoinNetwork& join) {
      return std::ranges::find(networks, join.network) != networks.end();
    });
  };
  if (fleet.workers().empty() || std::ranges::any_of(fleet.workers(), has_all)) return {};
  return fail_field(
      "spec.networks", "no worker has {}: give their agents a bridge for it, [networks.{}]",
      joins.size() == 1 ? fmt::format("network '{}'", joins[0].network) : "all of these networks",
      joins[0].network);
}
}  // namespace

// An interface for each network that it joins; nothing of what others have.
Result<std::vector<NetworkInterface>> VmsService::join(const std::vector<JoinNetwork>& wishes) const {
  auto taken = taken_addresses(c_.fleet());
  std::vector<NetworkInterface> interfaces;
  for (const auto& wish : wishes) {
    const auto* network = c_.fleet().find(wish.network);
    if (!network)
      return fail_field("spec.networks", "there is no network '{0}': ebb networks create {0}", wish.network);
    EBB_TRY(interface, assign_interface(*network, wish, taken, c_.loop.random()));
    taken.macs.insert(interface.mac);
    interfaces.push_back(std::move(interface));
  }
  EBB_CHECKED(check_is_somewhere(c_.fleet(), wishes));
  return interfaces;
}

Result<VmId> VmsService::create_in(Batch& batch, const CreateVm& wish,
                                   std::optional<WorkerId> test_of) const {
  if (!is_valid_name(wish.id.value))
    return fail_field("id", "'{}' is no name for a VM: 1 to 63 of a-z, 0-9 and '-'", wish.id);
  EBB_CHECKED(check_spec(wish.spec));
  const auto* image = c_.fleet().find(wish.spec.image);
  if (!image) return fail_field("spec.image", "there is no image '{}'", wish.spec.image);
  if (image->state != ImageState::ready)
    return fail(Code::conflict, "image '{}' is {}: import it first", image->id, json::name_of(image->state));
  auto spec = wish.spec;
  if (spec.networks && spec.networks->empty()) spec.networks.reset();
  const Disk* origin = nullptr;
  if (spec.disk_from) {
    if (spec.storage != Storage::object)
      return fail_field("spec.disk_from", "a stateless VM has no disk that could be a fork");
    origin = c_.fleet().find(spec.disk_from->disk);
    if (!origin) return fail_field("spec.disk_from", "there is no disk '{}'", spec.disk_from->disk);
    const auto* snapshot = origin->find_snapshot(spec.disk_from->snapshot);
    const bool is_ready = snapshot && snapshot->state == SnapshotState::ready &&
                          origin->state == DiskState::ready && !origin->removal;
    // The same wish again is answered below, whatever became of the snapshot.
    if (!is_ready && !c_.fleet().find(wish.id)) {
      return fail(Code::conflict, "disk '{}' has no snapshot '{}' that could be forked", origin->id,
                  spec.disk_from->snapshot);
    }
    if (origin->pool != image->pool)
      return fail_field("spec.disk_from", "disk '{}' is in pool '{}', and image '{}' in '{}'", origin->id,
                        origin->pool, image->id, image->pool);
  }
  if (spec.storage == Storage::object) {
    if (!origin && !image->disk && !wish.disk)
      return fail_field(
          "spec.storage",
          "image '{}' has no disk to fork from: run the VM stateless, or import an image with a disk",
          image->id);
    if (!spec.disk_class) spec.disk_class = c_.pools.all().at(image->pool).default_class;
  } else if (spec.disk_class) {
    return fail_field("spec.disk_class", "a stateless VM has no disk whose class could be chosen");
  }
  const Disk* given = nullptr;
  if (wish.disk) {
    given = c_.fleet().find_disk(wish.disk->value);
    if (!given) return fail_field("disk", "there is no disk '{}'", *wish.disk);
    if (wish.spec.disk_class && wish.spec.disk_class != given->disk_class)
      return fail_field("spec.disk_class", "disk '{}' is of class {}", given->id,
                        json::name_of(given->disk_class));
    spec.disk_class = given->disk_class;
  }
  if (const auto* old = c_.fleet().find(wish.id)) {
    if (old->spec == spec && (!given || old->disk == given->id) && old->desired != VmDesired::absent)
      return old->id;  // the same wish again
    return fail(Code::conflict, "there is a VM '{}' already{}", wish.id,
                old->desired == VmDesired::absent ? " (it is being removed)" : "");
  }
  if (given) EBB_CHECKED(check_may_give(c_.fleet(), *given, spec, *image));
  EBB_CHECKED(check_group(c_.fleet(), spec));
  EBB_CHECKED(check_fits_somewhere(c_.fleet(), spec));
  Vm vm;
  vm.id = wish.id, vm.spec = spec, vm.created_at = batch.now(), vm.test_of = std::move(test_of);
  if (spec.networks) {
    EBB_TRY(interfaces, join(*spec.networks));
    vm.interfaces = std::move(interfaces);
  }
  if (given) {
    auto disk = *given;
    disk.vm = vm.id;
    vm.disk = disk.id;
    batch.put(disk);
  } else if (spec.storage == Storage::object) {
    Disk disk;
    disk.id = DiskId("d-" + c_.loop.random().token(12));
    disk.pool = image->pool, disk.disk_class = *spec.disk_class;
    disk.size_bytes = origin ? origin->size_bytes : image->disk_blob->size_bytes;
    disk.vm = vm.id, disk.created_at = batch.now();
    if (origin)
      disk.origin = spec.disk_from;
    else
      disk.image = image->id;
    vm.disk = disk.id;
    batch.put(disk);
    Effect effect{"create_disk/" + disk.id.value,     EffectKind::create_disk, disk.id,        disk.pool,
                  origin ? origin->id : *image->disk, disk.size_bytes,         disk.disk_class};
    if (origin) effect.snapshot = spec.disk_from->snapshot;
    batch.effect(std::move(effect));
  }
  batch.put(vm);
  auto from = spec.disk_from
                  ? fmt::format(", with a fork of {}@{}", spec.disk_from->disk, spec.disk_from->snapshot)
                  : std::string();
  batch.journal("vm.created", "vms/" + vm.id.value, fmt::format("from image {}{}", image->id, from));
  return vm.id;
}

Task<HttpResponse> VmsService::create(Call call) {
  auto wish = body_of<CreateVm>(call);
  if (!wish) co_return error_reply(wish.error());
  const bool existed = c_.fleet().find(wish->id) != nullptr;
  auto id = co_await c_.owner.change<VmId>([&](Batch& batch) { return create_in(batch, *wish); });
  if (!id) co_return error_reply(id.error());
  const auto* vm = c_.fleet().find(*id);
  co_return vm ? reply_with(view_of(c_, *vm), existed ? 200 : 201) : error_reply(no_such("VM", id->value));
}

// A disk goes with its VM; nothing else may be lost by that.
Status VmsService::check_may_remove(const Vm& vm) const {
  const auto* disk = vm.disk ? c_.fleet().find(*vm.disk) : nullptr;
  if (!disk) return {};
  for (const auto& [id, other] : c_.fleet().disks()) {
    if (!other.origin || other.origin->disk != disk->id) continue;
    const auto* holder = other.vm ? c_.fleet().find(*other.vm) : nullptr;
    auto whose =
        holder && holder->disk != id
            ? fmt::format(
                  "'{0}' is a fork of it, attached to VM '{1}': detach it, and ebb disks rm --now {0}", id,
                  *other.vm)
        : other.vm ? fmt::format("VM '{}' has a fork of it as its disk: remove that VM first", *other.vm)
        : other.removal && other.state == DiskState::ready
            ? fmt::format("'{0}' is a fork of it, removed and kept for a while: ebb disks rm --now {0}", id)
        : other.state == DiskState::deleting
            ? fmt::format("'{}' is a fork of it and is being removed: wait for that", id)
            : fmt::format("'{}' is a fork of it: remove that first: ebb disks rm {}", id, id);
    return fail(Code::conflict, "its disk '{}' is in use: {}", disk->id, whose);
  }
  std::string names;
  for (const auto& s : disk->snapshots)
    if (!s.cut_of) names += (names.empty() ? "" : ", ") + s.name;
  if (names.empty()) return {};
  return fail(
      Code::conflict,
      "its disk '{}' has snapshots that would be lost: {}; remove them first: ebb snapshots rm {} NAME",
      disk->id, names, disk->id);
}

Task<HttpResponse> VmsService::set_desired(Call call, VmDesired desired) {
  const VmId id(call.param("id"));
  std::optional<VmView> removed;
  auto changed = co_await c_.owner.change<bool>([&](Batch& batch) -> Result<bool> {
    const auto* vm = c_.fleet().find(id);
    if (!vm) return fail(no_such("VM", id.value));
    if (vm->desired == desired) return true;
    if (vm->desired == VmDesired::absent) return fail(Code::conflict, "'{}' is being removed", id);
    // One that has not begun is dropped with the VM's wish to run.
    if (const auto* m = c_.fleet().open_migration_of(id); m && m->phase != Phase::reserving) {
      return fail(Code::conflict, "'{}' is moving from {} to {} ({}): wait for it, or cancel it first", id,
                  m->source, m->target, m->id);
    }
    if (desired == VmDesired::absent) EBB_CHECKED(check_may_remove(*vm));
    const auto* said = vm->worker ? c_.seen().find(*vm->worker, id) : nullptr;
    const bool is_ending = vm->worker && (vm->ended || (said && said->end && said->epoch == vm->epoch));
    if (desired == VmDesired::running && is_ending && !c_.seen().is_silent(*vm->worker))
      return fail(Code::conflict, "'{}' has ended, and {} is still stopping it: start it when it is stopped",
                  id, *vm->worker);
    auto next = *vm;
    next.desired = desired;
    if (desired == VmDesired::running) next.ended.reset();
    if (desired == VmDesired::running && is_ending) next.started_after_end = vm->epoch;
    batch.put(next);
    batch.journal("vm.desired", "vms/" + id.value, fmt::format("shall be {}", json::name_of(desired)));
    removed = view_of(c_, next);
    return true;
  });
  if (!changed) co_return error_reply(changed.error());
  const auto* vm = c_.fleet().find(id);
  if (!vm) co_return reply_with(*removed);
  co_return reply_with(view_of(c_, *vm));
}

Result<VmId> VmsService::edit_in(Batch& batch, const VmId& id, const EditVm& wish) const {
  const auto* vm = c_.fleet().find(id);
  if (!vm) return fail(no_such("VM", id.value));
  if (vm->desired == VmDesired::absent) return fail(Code::conflict, "'{}' is being removed", id);
  auto next = *vm;
  auto& spec = next.spec;
  spec.cpus = wish.cpus.value_or(spec.cpus);
  spec.memory_bytes = wish.memory_bytes.value_or(spec.memory_bytes);
  spec.ports = wish.ports.value_or(spec.ports);
  spec.stop_grace_ms = wish.stop_grace_ms.value_or(spec.stop_grace_ms);
  if (wish.restart) spec.restart = wish.restart;
  if (wish.stop_signal) spec.stop_signal = wish.stop_signal;
  if (wish.tenant) spec.tenant = wish.tenant->empty() ? std::nullopt : wish.tenant;
  if (wish.health && wish.no_health.value_or(false))
    return fail_field("no_health", "a health check cannot be given and taken away at once");
  if (wish.health) spec.health = wish.health;
  if (wish.no_health.value_or(false)) spec.health.reset();
  for (const auto& key : wish.no_labels.value_or(std::vector<std::string>()))
    if (spec.labels.erase(key) == 0) return fail_field("no_labels", "'{}' has no label '{}'", id, key);
  for (const auto& [key, value] : wish.labels.value_or(Labels())) spec.labels[key] = value;
  const auto unless_empty = [](const auto& value) { return value->empty() ? std::nullopt : value; };
  if (wish.worker_labels) spec.worker_labels = unless_empty(wish.worker_labels);
  if (wish.cpu_features) spec.cpu_features = unless_empty(wish.cpu_features);
  if (wish.group) spec.group = unless_empty(wish.group);
  EBB_CHECKED(check_spec(spec));
  if (spec == vm->spec) return id;
  if (spec.group != vm->spec.group) EBB_CHECKED(check_group(c_.fleet(), spec));
  if (spec.worker_labels != vm->spec.worker_labels || spec.cpu_features != vm->spec.cpu_features)
    EBB_CHECKED(check_is_offered(c_.fleet(), spec));
  // A machine is as it was booted, and what it takes is counted by the record.
  const bool is_of_machine = spec.cpus != vm->spec.cpus || spec.memory_bytes != vm->spec.memory_bytes ||
                             spec.ports != vm->spec.ports;
  if (is_of_machine && vm->worker)
    return fail(Code::conflict,
                "'{}' is on {}: its size and its ports change while it is stopped: ebb stop {} --wait", id,
                *vm->worker, id);
  if (spec.cpus > vm->spec.cpus || spec.memory_bytes > vm->spec.memory_bytes)
    EBB_CHECKED(check_fits_somewhere(c_.fleet(), spec));
  batch.put(next);
  batch.journal("vm.edited", "vms/" + id.value, "changed to " + json::write_text(wish));
  return id;
}

Task<HttpResponse> VmsService::edit(Call call) {
  const VmId id(call.param("id"));
  auto wish = body_of<EditVm>(call);
  if (!wish) co_return error_reply(wish.error());
  auto done = co_await c_.owner.change<VmId>([&](Batch& batch) { return edit_in(batch, id, *wish); });
  if (!done) co_return error_reply(done.error());
  const auto* vm = c_.fleet().find(id);
  co_return vm ? reply_with(view_of(c_, *vm)) : error_reply(no_such("VM", id.value));
}

Result<MigrationId> VmsService::migrate_in(Batch& batch, const VmId& id, const MigrateVm& wish) const {
  const auto& fleet = c_.fleet();
  const auto* vm = fleet.find(id);
  if (!vm) return fail(no_such("VM", id.value));
  if (const auto* m = fleet.open_migration_of(id)) {
    if (!wish.target || *wish.target == m->target) return m->id;  // it is under way already
    return fail(Code::conflict, "'{}' is already moving to {} ({}): cancel that first", id, m->target, m->id);
  }
  if (vm->desired != VmDesired::running || !vm->worker)
    return fail(Code::conflict, "'{}' is not running: start it, and it is placed", id);
  if (vm->test_of == vm->worker)
    return fail(Code::conflict, "'{}' tests {} before that takes work again: it goes by itself", id,
                *vm->worker);
  if (wish.target && !fleet.find(*wish.target)) return fail(no_such("worker", wish.target->value));
  if (wish.target == vm->worker) return fail_field("target", "'{}' runs on {} already", id, *vm->worker);
  if (wish.source_dead && c_.seen().is_ready(*vm->worker)) {
    return fail(Code::conflict, "{} answers: it cannot be declared dead; move the VM without that",
                *vm->worker);
  }
  auto workers = candidates(fleet, c_.seen());
  std::erase_if(workers, [&](const auto& w) {
    return w.worker->id == *vm->worker || (wish.target && w.worker->id != *wish.target);
  });
  auto choices = placement::place(std::move(workers), {request_for(fleet, *vm, {})});
  if (!choices[0].worker)
    return fail(Code::conflict, "no worker can take '{}': {}", id, placement::describe(choices[0].refusals));
  const MigrationReason reason{.source_dead = wish.source_dead, .was_failing = is_failing(c_.seen(), *vm)};
  return begin_migration(batch, *vm, *choices[0].worker, reason).id;
}

Task<HttpResponse> VmsService::migrate(Call call) {
  const VmId id(call.param("id"));
  auto wish = body_of<MigrateVm>(call);
  if (!wish) co_return error_reply(wish.error());
  auto migration =
      co_await c_.owner.change<MigrationId>([&](Batch& batch) { return migrate_in(batch, id, *wish); });
  if (!migration) co_return error_reply(migration.error());
  co_return reply_with(view_of(c_, *c_.fleet().find(*migration)), 201);
}

}  // namespace ebb::control
