#include "control/api/services.h"
#include "control/loops/disk_loop.h"
#include "control/loops/rescue_loop.h"

namespace ebb::control {
namespace {

std::string free_name(const Disk& disk) {
  for (int n = 1;; ++n) {
    auto name = fmt::format("before-restore-{}", n);
    if (!disk.find_snapshot(name)) return name;
  }
}

// What stands in the way of a restore now; empty: nothing.
std::vector<std::string> restore_blockers(const Fleet& fleet, const Disk& disk, const std::string& snapshot) {
  std::vector<std::string> blockers;
  if (disk.state != DiskState::ready)
    blockers.push_back(fmt::format("disk '{}' is {}", disk.id, json::name_of(disk.state)));
  const auto* vm = disk.vm ? fleet.find(*disk.vm) : nullptr;
  if (vm && (vm->worker || vm->desired != VmDesired::stopped || fleet.open_migration_of(vm->id)))
    blockers.push_back(fmt::format("VM '{}' is not stopped: ebb stop {} --wait", vm->id, vm->id));
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

Result<bool> DisksService::remove_disk_in(Batch& batch, const DiskId& id) const {
  const auto* disk = c_.fleet().find(id);
  if (!disk) return fail(no_such("disk", id.value));
  if (disk->state == DiskState::deleting) return false;
  if (disk->vm)
    return fail(Code::conflict, "'{}' is the disk of VM '{}', and goes with it: ebb rm {}", id, *disk->vm,
                *disk->vm);
  if (disk->rescue && disk->rescue->state == RescueState::writing && disk->state != DiskState::creating)
    return fail(Code::conflict, "{} is writing what its log holds into '{}': wait for it",
                disk->rescue->worker, id);
  if (!disk->snapshots.empty())
    return fail(Code::conflict,
                "'{}' has {} snapshots that would be lost: remove them first: ebb snapshots rm {} {}", id,
                disk->snapshots.size(), id, disk->snapshots.front().name);
  begin_disk_removal(*disk, batch);
  return true;
}

Task<HttpResponse> DisksService::remove(Call call) {
  const DiskId id(call.param("id"));
  auto removing = co_await c_.owner.change<bool>([&](Batch& batch) { return remove_disk_in(batch, id); });
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
  const DiskId id(call.param("id"));
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
    return fail(
        Code::conflict, "disk '{}'{} is a fork of '{}@{}'{}", fork->id,
        fork->vm ? fmt::format(" of VM '{}'", *fork->vm) : "", id, name,
        fork->state == DiskState::deleting ? ", and is being removed: wait for it" : ": remove it first");
  }
  begin_removal(*disk, *snapshot, batch);
  return true;
}

Task<HttpResponse> DisksService::remove_snapshot(Call call) {
  const DiskId id(call.param("id"));
  const auto name = call.param("name");
  auto removing = co_await c_.owner.change<bool>([&](Batch& batch) { return remove_in(batch, id, name); });
  if (!removing) co_return error_reply(removing.error());
  const auto* disk = c_.fleet().find(id);
  co_return disk ? reply_with(*disk) : error_reply(no_such("disk", id.value));
}

Task<HttpResponse> DisksService::plan_restore(Call call) {
  const DiskId id(call.param("id"));
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
  const DiskId id(call.param("id"));
  auto begun =
      co_await c_.owner.change<bool>([&](Batch& batch) { return restore_in(batch, id, wish->snapshot); });
  if (!begun) co_return error_reply(begun.error());
  const auto* disk = c_.fleet().find(id);
  co_return disk ? reply_with(*disk) : error_reply(no_such("disk", id.value));
}

Task<HttpResponse> DisksService::log(Call call) {
  const DiskId id(call.param("id"));
  const auto* disk = c_.fleet().find(id);
  if (!disk) co_return error_reply(no_such("disk", id.value));
  co_return reply_or_error(co_await c_.pools.read_log(disk->pool, id));
}

Task<HttpResponse> DisksService::why(Call call) {
  const auto* disk = c_.fleet().find(DiskId(call.param("id")));
  co_return disk ? reply_with(why_disk(c_, *disk)) : error_reply(no_such("disk", call.param("id")));
}

}  // namespace ebb::control
