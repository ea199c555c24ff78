// Snapshots, forks and restores in tests: verbs of the control plane and of the daemon, and what a root
// holds.
#pragma once
#include "disk/keys.h"
#include "disk/testing/disk_world.h"

namespace ebb::disk::testing {

struct Snapshots {
  DiskWorld& w;

  Result<SnapshotMade> take(SimWorker& worker, Epoch epoch, std::string name, std::string request) {
    auto made =
        sim::run_in(*worker.process,
                    worker.daemon->snapshot({disk_id, pool_id, epoch, std::move(name), std::move(request)}));
    return made ? std::move(*made) : fail(Code::internal, "did not end");
  }
  Result<NamedRoot> take_detached(std::string name, std::string request) {
    return w.admin<Result<NamedRoot>>(
        [=, this](PoolAdmin& p) { return p.snapshot(disk_id, {name, request}, w.tuning); });
  }
  Result<RestoreRecord> restore(std::string root, std::string request) {
    return w.admin<Result<RestoreRecord>>(
        [=, this](PoolAdmin& p) { return p.restore(disk_id, {root, request, {}}, w.tuning); });
  }
  Result<RestorePlan> plan(std::string root) {
    return w.admin<Result<RestorePlan>>([=](PoolAdmin& p) { return p.plan_restore(disk_id, root); });
  }
  Status remove(std::string root) {
    return w.admin<Status>(
        [=](PoolAdmin& p) { return p.remove_root(disk_id, {root, "removal-of-" + root}); });
  }
  // `request`: of the wish that made it, or is still to make it.
  Status withdraw(std::string name, std::string request) {
    return w.admin<Status>([=](PoolAdmin& p) { return p.remove_root(disk_id, {name, request}); });
  }
  Status fork(std::string root, DiskId id) {
    return w.admin<Status>([=](PoolAdmin& p) {
      return p.create_fork(disk_id, id, disk_blocks * block_bytes, DiskClass::remote, root);
    });
  }
  Status remove_disk(DiskId id) {
    return w.admin<Status>([=](PoolAdmin& p) { return p.delete_disk(id); });
  }
  RootsPage page() {
    auto page = w.admin<Result<RootsPage>>([](PoolAdmin& p) { return p.read_roots(disk_id); });
    EXPECT_TRUE(page) << page.error().message;
    return page.value_or(RootsPage{});
  }
  Head head() { return *decode_head(w.store.peek(head_key(disk_id))->body, disk_id); }
  // As a new fork sees it.
  Content content(std::string root) {
    DiskId id(fmt::format("look-{}", ++looks));
    auto forked = fork(root, id);
    EXPECT_TRUE(forked) << forked.error().message;
    auto found = w.read_offline(id);
    EXPECT_TRUE(found) << found.error().message;
    return found.value_or(Content{});
  }
  int looks = 0;
};

}  // namespace ebb::disk::testing
