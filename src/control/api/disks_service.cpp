#include "base/text.h"
#include "control/api/services.h"
#include "control/loops/disk_loop.h"
#include "control/loops/rescue_loop.h"
#include "disk/attach/head_store.h"

namespace ebb::control {
namespace {

// Of a VM, disks beside its own and networks: a machine without firmware has eight places for devices.
constexpr std::size_t more_devices_max = 4;

std::string free_name(const Disk& disk) {
  for (int n = 1;; ++n) {
    auto name = fmt::format("before-restore-{}", n);
    if (!disk.find_snapshot(name)) return name;
  }
}

// What stands in the way of a restore now; empty: nothing.
std::vector<std::string> restore_blockers(const Fleet& fleet, const Disk& disk, const std::string& snapshot) {
  std::vector<std::string> blockers;
  if (auto idle = check_idle(fleet, disk); !idle) blockers.push_back(idle.error().message);
  const auto* found = disk.find_snapshot(snapshot);
  if (found && found->state != SnapshotState::ready)
    blockers.push_back(fmt::format("snapshot '{}' is {}", snapshot, json::name_of(found->state)));
  for (const auto& other : disk.snapshots) {
    if (other.state == SnapshotState::wanted && !other.cut_of)
      blockers.push_back(fmt::format("snapshot '{}' is being taken: wait for it", other.name));
  }
  return blockers;
}

}  // namespace

void DisksService::add_routes(Router& r) {
  const auto op = Access::operator_token;
  r.add("POST", "/v1/disks", op, [this](Call c) { return create(std::move(c)); });
  r.add("POST", "/v1/disks/{id}:attach", op, [this](Call c) { return attach(std::move(c)); });
  r.add("POST", "/v1/disks/{id}:detach", op, [this](Call c) { return detach(std::move(c)); });
  r.add("POST", "/v1/disks/{id}:keep", op, [this](Call c) { return keep(std::move(c)); });
  r.add("POST", "/v1/disks/{id}:grow", op, [this](Call c) { return grow(std::move(c)); });
  r.add("DELETE", "/v1/disks/{id}", op, [this](Call c) { return remove(std::move(c)); });
  r.add("POST", "/v1/disks/{id}/snapshots", op, [this](Call c) { return create_snapshot(std::move(c)); });
  r.add("DELETE", "/v1/disks/{id}/snapshots/{name}", op,
        [this](Call c) { return remove_snapshot(std::move(c)); });
  r.add("GET", "/v1/disks/{id}/snapshots/{name}:plan-restore", op,
        [this](Call c) { return plan_restore(std::move(c)); });
  r.add("POST", "/v1/disks/{id}:restore", op, [this](Call c) { return restore(std::move(c)); });
  r.add("GET", "/v1/disks/{id}:log", op, [this](Call c) { return log(std::move(c)); });
  r.add("GET", "/v1/disks/{id}:why", op, [this](Call c) { return why(std::move(c)); });
}

DiskId DisksService::id_in(const Call& call) const {
  const auto text = call.param("id");
  const auto* disk = c_.fleet().find_disk(text);
  return disk ? disk->id : DiskId(text);
}

// Whether the decision made something new; the answer is the disk as it is then.
Task<HttpResponse> DisksService::decide(std::string disk, Decision decision) {
  auto decided = co_await c_.owner.change<bool>(decision);
  if (!decided) co_return error_reply(decided.error());
  const auto* now = c_.fleet().find_disk(disk);
  co_return now ? reply_with(*now, *decided ? 201 : 200) : error_reply(no_such("disk", disk));
}

// ---- by hand

Result<bool> DisksService::make_in(Batch& batch, const CreateDisk& wish) const {
  const auto& fleet = c_.fleet();
  if (!is_valid_name(wish.name))
    return fail_field("name", "'{}' is no name for a disk: 1 to 63 of a-z, 0-9 and '-'", wish.name);
  Disk disk;
  const Disk* origin = wish.from ? fleet.find_disk(wish.from->disk.value) : nullptr;
  if (wish.from && !origin) return fail_field("from", "there is no disk '{}'", wish.from->disk);
  EBB_TRY(pool, c_.pools.choose(wish.pool ? wish.pool : origin ? std::optional(origin->pool) : std::nullopt));
  if (origin && pool != origin->pool)
    return fail_field("pool", "disk '{}' is in pool '{}', and so are its forks", origin->id, origin->pool);
  if (!origin && !wish.size_bytes) return fail_field("size_bytes", "'size_bytes' says how large the disk is");
  disk.name = wish.name, disk.pool = pool, disk.created_at = batch.now();
  disk.size_bytes = wish.size_bytes.value_or(origin ? origin->size_bytes : 0);
  disk.disk_class = wish.disk_class.value_or(c_.pools.all().at(pool).default_class);
  if (origin) disk.origin = DiskOrigin{origin->id, wish.from->snapshot};
  EBB_CHECKED(disk::check_disk_size(disk.size_bytes));
  if (origin && disk.size_bytes < origin->size_bytes)
    return fail_field("size_bytes", "a fork is no smaller than its origin, which has {}",
                      format_size(origin->size_bytes));
  if (const auto* there = fleet.find_disk(wish.name)) {
    const bool is_same = there->name == disk.name && there->pool == disk.pool &&
                         there->size_bytes == disk.size_bytes && there->disk_class == disk.disk_class &&
                         there->origin == disk.origin && there->state != DiskState::deleting;
    if (is_same) return false;  // the same wish again
    return fail(Code::conflict, "there is a disk '{}' already{}", wish.name,
                there->state == DiskState::deleting ? " (it is being removed)" : "");
  }
  const auto* snapshot = origin ? origin->find_snapshot(wish.from->snapshot) : nullptr;
  const bool is_there = origin && origin->state == DiskState::ready && !origin->removal;
  if (origin && (!is_there || !snapshot || snapshot->state != SnapshotState::ready))
    return fail(Code::conflict, "disk '{}' has no snapshot '{}' that could be forked", origin->id,
                wish.from->snapshot);
  disk.id = DiskId("d-" + c_.loop.random().token(12));
  batch.put(disk);
  Effect effect{"create_disk/" + disk.id.value,
                EffectKind::create_disk,
                disk.id,
                disk.pool,
                std::nullopt,
                disk.size_bytes,
                disk.disk_class};
  if (origin) effect.parent = origin->id, effect.snapshot = wish.from->snapshot;
  batch.effect(std::move(effect));
  batch.journal("disk.wanted", "disks/" + disk.id.value,
                fmt::format("{}, {}", wish.name, format_size(disk.size_bytes)));
  return true;
}

Task<HttpResponse> DisksService::create(Call call) {
  auto wish = body_of<CreateDisk>(call);
  if (!wish) co_return error_reply(wish.error());
  co_return co_await decide(wish->name, [this, wish = *wish](Batch& batch) { return make_in(batch, wish); });
}

Result<bool> DisksService::attach_in(Batch& batch, const DiskId& id, const VmId& name) const {
  const auto* disk = c_.fleet().find(id);
  if (!disk) return fail(no_such("disk", id.value));
  const auto* vm = c_.fleet().find(name);
  if (!vm) return fail(no_such("VM", name.value));
  if (disk->vm == name) return false;
  if (disk->vm) return fail(Code::conflict, "disk '{}' belongs to VM '{}'", id, *disk->vm);
  if (vm->desired == VmDesired::absent) return fail(Code::conflict, "'{}' is being removed", name);
  EBB_CHECKED(check_stopped(c_.fleet(), *vm));
  // One that is still being made is waited for when the VM starts.
  if (disk->state != DiskState::creating || disk->rescue) EBB_CHECKED(check_idle(c_.fleet(), *disk));
  const auto count = [](const auto& list) { return list ? list->size() : 0; };
  const auto others = count(vm->data_disks) + count(vm->spec.ephemeral_disks) + count(vm->interfaces);
  if (others >= more_devices_max)
    return fail(Code::conflict, "'{}' has {} disks and networks beside its own disk, and takes no more", name,
                others);
  auto next = *disk;
  // From now on it is somebody's by hand: it does not go with a VM.
  if (!next.name) next.name = id.value;
  next.vm = name;
  auto changed = *vm;
  if (!changed.data_disks) changed.data_disks.emplace();
  changed.data_disks->push_back(id);
  batch.put(next), batch.put(changed);
  batch.journal("disk.attached", "disks/" + id.value, fmt::format("to VM {}", name));
  return true;
}

Task<HttpResponse> DisksService::attach(Call call) {
  auto wish = body_of<AttachDisk>(call);
  if (!wish) co_return error_reply(wish.error());
  const auto id = id_in(call);
  co_return co_await decide(id.value,
                            [this, id, vm = wish->vm](Batch& batch) { return attach_in(batch, id, vm); });
}

Result<bool> DisksService::detach_in(Batch& batch, const DiskId& id) const {
  const auto* disk = c_.fleet().find(id);
  if (!disk) return fail(no_such("disk", id.value));
  if (!disk->vm) return false;
  const auto* vm = c_.fleet().find(*disk->vm);
  if (vm && vm->disk == id)
    return fail(Code::conflict, "'{}' is the disk of VM '{}' itself, and goes with it", id, vm->id);
  if (vm) {
    EBB_CHECKED(check_stopped(c_.fleet(), *vm));
    auto changed = *vm;
    if (changed.data_disks) std::erase(*changed.data_disks, id);
    if (changed.data_disks && changed.data_disks->empty()) changed.data_disks.reset();
    batch.put(changed);
  }
  detach_disk(*disk, batch);
  return true;
}

Task<HttpResponse> DisksService::detach(Call call) {
  const auto id = id_in(call);
  co_return co_await decide(id.value, [this, id](Batch& batch) { return detach_in(batch, id); });
}

Result<bool> DisksService::keep_in(Batch& batch, const DiskId& id, const KeepDisk& wish) const {
  const auto* disk = c_.fleet().find(id);
  if (!disk) return fail(no_such("disk", id.value));
  const auto name = wish.name.value_or(id.value);
  if (!is_valid_name(name))
    return fail_field("name", "'{}' is no name for a disk: 1 to 63 of a-z, 0-9 and '-'", name);
  if (!disk->removal && disk->name == name) return false;
  if (!disk->removal || disk->state != DiskState::ready)
    return fail(Code::conflict, "disk '{}' is {}: there is nothing to bring back", id,
                disk->removal ? "being removed" : "not removed");
  if (const auto* other = c_.fleet().find_disk(name); other && other->id != id)
    return fail(Code::conflict, "there is a disk '{}' already", name);
  auto next = *disk;
  next.removal.reset(), next.name = name;
  batch.put(next);
  batch.journal("disk.kept", "disks/" + id.value, "as " + name);
  return true;
}

Task<HttpResponse> DisksService::keep(Call call) {
  auto wish = body_of<KeepDisk>(call);
  if (!wish) co_return error_reply(wish.error());
  const auto id = id_in(call);
  co_return co_await decide(id.value,
                            [this, id, wish = *wish](Batch& batch) { return keep_in(batch, id, wish); });
}

Result<bool> DisksService::grow_in(Batch& batch, const DiskId& id, std::uint64_t size_bytes) const {
  const auto* disk = c_.fleet().find(id);
  if (!disk) return fail(no_such("disk", id.value));
  EBB_CHECKED(disk::check_disk_size(size_bytes));
  if (disk->growth && disk->growth->size_bytes == size_bytes) return false;
  if (disk->size_bytes == size_bytes && !disk->growth) return false;
  if (size_bytes < disk->size_bytes)
    return fail_field("size_bytes", "disk '{}' has {}, and does not shrink", id,
                      format_size(disk->size_bytes));
  EBB_CHECKED(check_settled(*disk));
  const auto what = fmt::format("from {} to {}", format_size(disk->size_bytes), format_size(size_bytes));
  auto next = *disk;
  // Whoever has it makes it as large as it is wanted, now or when its VM starts next.
  if (const auto* vm = disk->vm ? c_.fleet().find(*disk->vm) : nullptr;
      vm && !check_stopped(c_.fleet(), *vm)) {
    if (vm->desired == VmDesired::absent) return fail(Code::conflict, "'{}' is being removed", vm->id);
    next.size_bytes = size_bytes;
    batch.put(next);
    batch.journal("disk.growth", "disks/" + id.value, fmt::format("{}, in VM {}", what, vm->id));
    return true;
  }
  next.growth = DiskGrowth{size_bytes, batch.mint_id("growth"), batch.now()};
  batch.put(next);
  Effect effect{"grow_disk/" + id.value + "/" + next.growth->request,
                EffectKind::grow_disk,
                id,
                disk->pool,
                std::nullopt,
                size_bytes,
                disk->disk_class};
  effect.request = next.growth->request;
  batch.effect(std::move(effect));
  batch.journal("disk.growth", "disks/" + id.value, what);
  return true;
}

Task<HttpResponse> DisksService::grow(Call call) {
  auto wish = body_of<GrowDisk>(call);
  if (!wish) co_return error_reply(wish.error());
  const auto id = id_in(call);
  co_return co_await decide(
      id.value, [this, id, size = wish->size_bytes](Batch& batch) { return grow_in(batch, id, size); });
}

Result<bool> DisksService::remove_disk_in(Batch& batch, const DiskId& id, bool at_once) const {
  const auto* disk = c_.fleet().find(id);
  if (!disk) return fail(no_such("disk", id.value));
  if (disk->state == DiskState::deleting) return false;
  const auto* vm = disk->vm ? c_.fleet().find(*disk->vm) : nullptr;
  if (vm && vm->disk != id)
    return fail(Code::conflict, "'{0}' is attached to VM '{1}': detach it first: ebb disks detach {0}",
                disk->name.value_or(id.value), vm->id);
  if (disk->vm)
    return fail(Code::conflict, "'{}' is the disk of VM '{}', and goes with it: ebb rm {}", id, *disk->vm,
                *disk->vm);
  if (disk->rescue && disk->rescue->state == RescueState::writing && disk->state != DiskState::creating)
    return fail(Code::conflict, "{} is writing what its log holds into '{}': wait for it",
                disk->rescue->worker, id);
  if (disk->removal && !at_once) return false;
  for (const auto& snapshot : disk->snapshots) {
    // A cut is nobody's but a dead worker's, unless its log was written into a fork of it.
    if (snapshot.cut_of && !fork_of(c_.fleet(), {id, snapshot.name})) continue;
    return fail(Code::conflict,
                "'{}' has a snapshot '{}' that would be lost: remove it first: ebb snapshots rm {} {}", id,
                snapshot.name, id, snapshot.name);
  }
  remove_disk(*disk, at_once ? 0s : c_.reconciler.limits().disk_retention, batch);
  return true;
}

Task<HttpResponse> DisksService::remove(Call call) {
  const auto id = id_in(call);
  const auto now = call.query.find("now");
  const bool at_once = now != call.query.end() && now->second == "true";
  auto removing =
      co_await c_.owner.change<bool>([&](Batch& batch) { return remove_disk_in(batch, id, at_once); });
  if (!removing) co_return error_reply(removing.error());
  HttpResponse reply;
  reply.status = 204;
  co_return reply;
}

Result<bool> DisksService::create_in(Batch& batch, const DiskId& id, const CreateSnapshot& wish) const {
  const auto* disk = c_.fleet().find(id);
  if (!disk) return fail(no_such("disk", id.value));
  if (!is_valid_name(wish.name))
    return fail_field("name", "'{}' is no name for a snapshot: 1 to 63 of a-z, 0-9 and '-'", wish.name);
  if (wish.request_id && (wish.request_id->empty() || wish.request_id->size() > 100))
    return fail_field("request_id", "'request_id' has 1 to 100 characters");
  if (const auto* there = disk->find_snapshot(wish.name)) {
    if (wish.request_id && there->request == *wish.request_id) return false;
    return fail(Code::conflict, "disk '{}' has a snapshot '{}' already", id, wish.name);
  }
  if (disk->state != DiskState::ready)
    return fail(Code::conflict, "disk '{}' is {}", id, json::name_of(disk->state));
  if (disk->removal)
    return fail(Code::conflict, "disk '{0}' is removed: ebb disks keep {0} brings it back", id);
  if (disk->restore)
    return fail(Code::conflict, "disk '{}' is being restored to '{}'", id, disk->restore->snapshot);
  if (disk->rescue && disk->rescue->state == RescueState::writing)
    return fail(Code::conflict, "{} is still writing what its log holds into '{}': wait for it",
                disk->rescue->worker, id);
  if (disk->snapshots.size() >= snapshots_max)
    return fail(Code::conflict, "disk '{}' has {} snapshots, and takes no more: remove one first", id,
                disk->snapshots.size());
  auto next = *disk;
  next.snapshots.push_back({wish.name,
                            wish.request_id.value_or(batch.mint_id("snap")),
                            SnapshotState::wanted,
                            batch.now(),
                            {},
                            {}});
  batch.put(next);
  batch.journal("snapshot.wanted", "disks/" + id.value, wish.name);
  return true;
}

Task<HttpResponse> DisksService::create_snapshot(Call call) {
  auto wish = body_of<CreateSnapshot>(call);
  if (!wish) co_return error_reply(wish.error());
  const auto id = id_in(call);
  auto created = co_await c_.owner.change<bool>([&](Batch& batch) { return create_in(batch, id, *wish); });
  if (!created) co_return error_reply(created.error());
  const auto* disk = c_.fleet().find(id);
  co_return disk ? reply_with(*disk, *created ? 201 : 200) : error_reply(no_such("disk", id.value));
}

Result<bool> DisksService::remove_in(Batch& batch, const DiskId& id, const std::string& name) const {
  const auto* disk = c_.fleet().find(id);
  if (!disk) return fail(no_such("disk", id.value));
  const auto* snapshot = disk->find_snapshot(name);
  if (!snapshot) return fail(Code::not_found, "disk '{}' has no snapshot '{}'", id, name);
  if (snapshot->state == SnapshotState::removing) return false;
  if (disk->restore && disk->restore->snapshot == name)
    return fail(Code::conflict, "disk '{}' is being restored to '{}'", id, name);
  if (const auto* fork = fork_of(c_.fleet(), {id, name})) {
    return fail(Code::conflict, "disk '{}'{} is a fork of '{}@{}'{}", fork->id,
                fork->vm ? fmt::format(" of VM '{}'", *fork->vm) : "", id, name,
                fork->state == DiskState::deleting ? ", and is being removed: wait for it"
                : fork->removal ? fmt::format(", and kept for a while: ebb disks rm --now {}", fork->id)
                                : ": remove it first");
  }
  begin_removal(*disk, *snapshot, batch);
  return true;
}

Task<HttpResponse> DisksService::remove_snapshot(Call call) {
  const auto id = id_in(call);
  const auto name = call.param("name");
  auto removing = co_await c_.owner.change<bool>([&](Batch& batch) { return remove_in(batch, id, name); });
  if (!removing) co_return error_reply(removing.error());
  const auto* disk = c_.fleet().find(id);
  co_return disk ? reply_with(*disk) : error_reply(no_such("disk", id.value));
}

Task<HttpResponse> DisksService::plan_restore(Call call) {
  const auto id = id_in(call);
  const auto name = call.param("name");
  const auto* disk = c_.fleet().find(id);
  if (!disk) co_return error_reply(no_such("disk", id.value));
  auto plan = co_await c_.pools.plan_restore(disk->pool, id, name);
  if (!plan) co_return error_reply(plan.error());
  disk = c_.fleet().find(id);
  if (!disk) co_return error_reply(no_such("disk", id.value));
  plan->keep_as = free_name(*disk), plan->blockers = restore_blockers(c_.fleet(), *disk, name);
  co_return reply_with(*plan);
}

Result<bool> DisksService::restore_in(Batch& batch, const DiskId& id, const std::string& snapshot) const {
  const auto* disk = c_.fleet().find(id);
  if (!disk) return fail(no_such("disk", id.value));
  if (disk->restore && disk->restore->snapshot == snapshot) return false;
  if (disk->restore)
    return fail(Code::conflict, "disk '{}' is being restored to '{}'", id, disk->restore->snapshot);
  if (!disk->find_snapshot(snapshot))
    return fail(Code::not_found, "disk '{}' has no snapshot '{}'", id, snapshot);
  auto blockers = restore_blockers(c_.fleet(), *disk, snapshot);
  if (!blockers.empty()) return fail(Code::conflict, "{}", blockers.front());
  auto next = *disk;
  next.restore = DiskRestore{snapshot, free_name(*disk), batch.mint_id("restore"), batch.now()};
  batch.put(next);
  Effect effect{"restore_disk/" + id.value + "/" + next.restore->request,
                EffectKind::restore_disk,
                id,
                disk->pool,
                std::nullopt,
                disk->size_bytes,
                disk->disk_class};
  effect.snapshot = snapshot, effect.request = next.restore->request, effect.keep_as = next.restore->keep_as;
  batch.effect(std::move(effect));
  batch.journal("disk.restore", "disks/" + id.value,
                fmt::format("to '{}'; what it is now will be kept as '{}'", snapshot, next.restore->keep_as));
  return true;
}

Task<HttpResponse> DisksService::restore(Call call) {
  auto wish = body_of<RestoreDisk>(call);
  if (!wish) co_return error_reply(wish.error());
  const auto id = id_in(call);
  auto begun =
      co_await c_.owner.change<bool>([&](Batch& batch) { return restore_in(batch, id, wish->snapshot); });
  if (!begun) co_return error_reply(begun.error());
  const auto* disk = c_.fleet().find(id);
  co_return disk ? reply_with(*disk) : error_reply(no_such("disk", id.value));
}

Task<HttpResponse> DisksService::log(Call call) {
  const auto id = id_in(call);
  const auto* disk = c_.fleet().find(id);
  if (!disk) co_return error_reply(no_such("disk", id.value));
  co_return reply_or_error(co_await c_.pools.read_log(disk->pool, id));
}

Task<HttpResponse> DisksService::why(Call call) {
  const auto* disk = c_.fleet().find(id_in(call));
  co_return disk ? reply_with(why_disk(c_, *disk)) : error_reply(no_such("disk", call.param("id")));
}

}  // namespace ebb::control
