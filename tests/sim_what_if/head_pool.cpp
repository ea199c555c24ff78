#include "head_pool.h"

#include "disk/format/head_types.h"
#include "disk/keys.h"

namespace ebb::what_if {

HeadPool::HeadPool(const FleetRecords& records, const Numbered<WorkerId>& workers, const Numbered<VmId>& vms)
    : workers_(workers) {
  for (const auto& disk : records.disks) {
    const auto index = disks_.add(disk.id);
    kept_.resize(index + 1);
    kept_[index] = {disk.vm ? vms.find(*disk.vm) : nobody, disk.size_bytes, disk.disk_class};
  }
}

Task<Result<ObjectTag>> HeadPool::put(std::string key, SharedBytes body, PutCondition) {
  others_[key] = *body;
  co_return ObjectTag{key};
}

Task<Result<StoredObject>> HeadPool::get(std::string key) {
  constexpr std::string_view before = "v/", after = "/HEAD";
  if (key.starts_with(before) && key.ends_with(after)) {
    const DiskId id(key.substr(before.size(), key.size() - before.size() - after.size()));
    EBB_CO_TRY(head, head_of(id));
    co_return StoredObject{std::move(head), {key}};
  }
  auto found = others_.find(key);
  if (found == others_.end()) co_return fail(Code::not_found, "there is no {}", key);
  co_return StoredObject{found->second, {key}};
}

Task<Result<Bytes>> HeadPool::get_range(std::string key, std::uint64_t, std::size_t) {
  co_return fail(Code::not_found, "there is no {}", key);
}

Result<Bytes> HeadPool::head_of(const DiskId& id) const {
  const auto index = disks_.find(id);
  if (index == nobody) return fail(Code::not_found, "there is no disk {}", id);
  const auto& kept = kept_[index];
  disk::Head head;
  head.disk = id, head.size_bytes = kept.size_bytes, head.disk_class = kept.disk_class, head.nonce = "sim";
  const auto holder = fleet_ && kept.vm != nobody ? fleet_->holder_of(kept.vm) : LightFleet::Holder{};
  if (holder.worker != nobody) {
    head.state = disk::HeadState::attached;
    head.owner = workers_[holder.worker].value, head.opener = head.owner + "/sim";
    head.epoch = {holder.epoch, 1};
    auto& point = head.unsealed.emplace_back();
    point.epoch = head.epoch, point.opener = head.opener;
  }
  return disk::encode(head);
}

}  // namespace ebb::what_if
