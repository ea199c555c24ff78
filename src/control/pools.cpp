#include "control/pools.h"

#include "disk/cleaning/reclaim.h"
#include "disk/pool_admin.h"
#include "env/scope.h"

namespace ebb::control {
namespace {

// The pool's own functions wait out an outage of the store; whoever asks from here gives up and asks again,
// so that the wait is visible and nothing hangs on it.
constexpr Duration patience = 20s, patience_of_readers = 5s, patience_of_reclaim = 10min;

template <class T>
Task<Result<T>> within(Loop& loop, disk::PoolAdmin& admin, Task<Result<T>> work, Duration limit) {
  auto result = co_await with_timeout(loop, std::move(work), limit);
  if (result) co_return std::move(*result);
  auto why = admin.waiting_for();
  co_return fail(Code::unavailable, "no answer from the pool within {} s{}",
                 static_cast<int>(to_seconds(limit)), why.empty() ? "" : ": " + why);
}

class ImageUpload final : public DiskUpload {
 public:
  ImageUpload(Loop& loop, ObjectStore& store) : writer_(loop, store) {}
  Task<Status> begin(DiskId disk, std::uint64_t size_bytes) {
    return writer_.begin(std::move(disk), size_bytes);
  }
  Task<Status> write(std::uint64_t offset, Bytes data) override {
    return writer_.write(offset, std::move(data));
  }
  Task<Status> finish() override { return writer_.finish(); }

 private:
  disk::ImageWriter writer_;
};

}  // namespace

Result<PoolId> Pools::choose(const std::optional<PoolId>& wanted) const {
  std::string names;
  for (const auto& [id, pool] : pools_) names += (names.empty() ? "" : ", ") + id.value;
  if (wanted && !pools_.contains(*wanted))
    return fail_field("pool", "there is no pool '{}'; there is: {}", *wanted, names);
  if (wanted) return *wanted;
  if (pools_.size() != 1) return fail_field("pool", "'pool' must name one of: {}", names);
  return pools_.begin()->first;
}

Task<Status> Pools::prepare() {
  for (const auto& [id, pool] : pools_) {
    disk::PoolAdmin admin(loop_, *pool.store);
    auto ready = co_await within(loop_, admin, admin.prepare(), patience);
    if (!ready && ready.error().code != Code::unavailable)
      co_return fail(std::move(ready).error().within("pool " + id.value));
  }
  co_return Status{};
}

Task<Status> Pools::carry_out(Effect effect) {
  auto found = pools_.find(effect.pool);
  if (found == pools_.end()) co_return fail(Code::unavailable, "pool {} is not configured here", effect.pool);
  disk::PoolAdmin admin(loop_, *found->second.store);
  switch (effect.kind) {
    case EffectKind::create_disk:
      co_return co_await within(
          loop_, admin,
          effect.parent
              ? admin.create_fork(*effect.parent, effect.disk, effect.size_bytes, effect.disk_class,
                                  effect.snapshot.empty() ? std::string(disk::image_root) : effect.snapshot)
              : admin.create_empty_disk(effect.disk, effect.size_bytes, effect.disk_class),
          patience);
    case EffectKind::delete_disk:
      co_return co_await within(loop_, admin, admin.delete_disk(effect.disk), patience);
    case EffectKind::empty_disk: {
      auto removed = co_await reclaim(effect.pool, effect.disk);
      if (!removed && removed.error().code != Code::not_found) co_return fail(std::move(removed).error());
      co_return Status{};
    }
    case EffectKind::snapshot_disk: {
      auto made = co_await within(loop_, admin,
                                  admin.snapshot(effect.disk, {effect.snapshot, effect.request}), patience);
      co_return made ? Status{} : Status(fail(std::move(made).error()));
    }
    case EffectKind::remove_snapshot:
      co_return co_await within(loop_, admin,
                                admin.remove_root(effect.disk, {effect.snapshot, effect.request}), patience);
    case EffectKind::grow_disk:
      co_return co_await within(loop_, admin, admin.grow(effect.disk, effect.size_bytes), patience);
    case EffectKind::restore_disk: {
      disk::RestoreRequest request{effect.snapshot, effect.request, effect.keep_as};
      auto done = co_await within(loop_, admin, admin.restore(effect.disk, std::move(request)), patience);
      co_return done ? Status{} : Status(fail(std::move(done).error()));
    }
  }
  co_return fail(Code::internal, "unknown effect {}", effect.key);
}

Task<Result<DiskOwner>> Pools::owner_of(PoolId pool, DiskId disk) {
  auto found = pools_.find(pool);
  if (found == pools_.end()) co_return fail(Code::unavailable, "pool {} is not configured here", pool);
  disk::PoolAdmin admin(loop_, *found->second.store);
  EBB_CO_TRY(head, co_await within(loop_, admin, admin.read_head(disk), patience_of_readers));
  const bool attached = head.state == disk::HeadState::attaching || head.state == disk::HeadState::attached;
  co_return DiskOwner{head.owner, head.epoch.placement, attached};
}

Task<Result<std::uint64_t>> Pools::reclaim(PoolId pool, DiskId disk) {
  auto found = pools_.find(pool);
  if (found == pools_.end()) co_return fail(Code::unavailable, "pool {} is not configured here", pool);
  auto [store, remover, default_class] = found->second;
  if (!remover) co_return std::uint64_t{0};
  disk::Trouble trouble(loop_);
  auto done = co_await with_timeout(loop_, disk::reclaim({&loop_, store, &trouble}, remover, std::move(disk)),
                                    patience_of_reclaim);
  if (!done)
    co_return fail(Code::unavailable, "not finished within {} s{}",
                   static_cast<int>(to_seconds(patience_of_reclaim)), ": " + trouble.text());
  if (!*done) co_return fail(std::move(*done).error());
  co_return (*done)->objects;
}

Task<Result<RestorePlanView>> Pools::plan_restore(PoolId pool, DiskId disk, std::string snapshot) {
  auto found = pools_.find(pool);
  if (found == pools_.end()) co_return fail(Code::unavailable, "pool {} is not configured here", pool);
  disk::PoolAdmin admin(loop_, *found->second.store);
  EBB_CO_TRY(plan, co_await within(loop_, admin, admin.plan_restore(disk, snapshot), patience_of_readers));
  RestorePlanView view;
  view.disk = disk, view.snapshot = snapshot, view.snapshot_at = plan.root.created_at;
  view.writes_undone = plan.writes_undone, view.segments_undone = plan.segments_undone,
  view.writes_back = plan.writes_back;
  co_return view;
}

Task<Result<DiskLogView>> Pools::read_log(PoolId pool, DiskId disk) {
  auto found = pools_.find(pool);
  if (found == pools_.end()) co_return fail(Code::unavailable, "pool {} is not configured here", pool);
  disk::PoolAdmin admin(loop_, *found->second.store);
  co_return co_await within(loop_, admin, admin.read_log(disk), patience_of_readers);
}

Task<Status> Pools::write_blob_chunk(PoolId pool, std::string blob, std::uint64_t n, Bytes body) {
  disk::PoolAdmin admin(loop_, *pools_.at(pool).store);
  co_return co_await within(loop_, admin, admin.write_blob_chunk(std::move(blob), n, std::move(body)),
                            patience);
}

Task<Result<std::unique_ptr<DiskUpload>>> Pools::begin_disk(PoolId pool, DiskId disk,
                                                            std::uint64_t size_bytes) {
  auto upload = std::make_unique<ImageUpload>(loop_, *pools_.at(pool).store);
  EBB_CO_CHECKED(co_await upload->begin(std::move(disk), size_bytes));
  co_return std::unique_ptr<DiskUpload>(std::move(upload));
}

}  // namespace ebb::control
