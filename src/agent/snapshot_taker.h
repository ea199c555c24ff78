// Has the disk daemon take the snapshots that are wanted of a machine's disks, and remembers what became of
// each.
#pragma once
#include "agent/disk_client.h"
#include "env/scope.h"
#include "model/agent_types.h"

namespace ebb::agent {

// An image's disk is read by many VMs of different epochs: it is opened under none.
inline Epoch disk_epoch(const WantedVm& wish, const WantedDisk& disk) {
  return disk.read_only ? 0 : wish.epoch;
}

class SnapshotTaker final {
 public:
  SnapshotTaker(Loop& loop, DiskClient& disks, std::function<void()> changed)
      : disks_(disks), changed_(std::move(changed)), scope_(loop) {}
  SnapshotTaker(const SnapshotTaker&) = delete;

  // In the background, each that is wanted and neither made nor refused is asked for once; the next look asks
  // again.
  void look_at(const WantedVm& wish);
  // Of those that are still wanted.
  std::vector<SeenSnapshot> seen(const WantedVm& wish) const;

 private:
  Task<void> take_all(WantedVm wish);

  DiskClient& disks_;
  std::function<void()> changed_;
  std::vector<SeenSnapshot> seen_;
  bool is_taking_ = false;
  Scope scope_;
};

}  // namespace ebb::agent
