// VMs that need a worker get one; VMs that are stopped or removed leave theirs; VMs that will not start go
// elsewhere.
#pragma once
#include "control/batch.h"

namespace ebb::control {

// Why VMs have no worker yet, for `why`; refreshed by place_vms.
using Unplaced = std::map<VmId, std::string>;

void place_vms(const Fleet& fleet, const Seen& seen, Batch& batch, Unplaced& unplaced);
// Ends the life of VMs on their worker, and of removed VMs and their disks altogether.
void retire_vms(const Fleet& fleet, const Seen& seen, Duration disk_retention, Batch& batch);
// A VM whose guest has ended by itself, for good by its policy, is stopped.
void end_vms(const Fleet& fleet, const Seen& seen, Batch& batch);
// A VM that has failed to start too often on its worker is moved to another one.
void replace_failing_vms(const Fleet& fleet, const Seen& seen, Batch& batch);

struct MigrationReason {
  std::optional<DrainId> drain{};  // absent: an operator, or the VM itself
  bool source_dead = false;
  bool was_failing = false;          // see Migration
  std::vector<MigrationId> after{};  // likewise
};
// The VM does not come up where it is.
bool is_failing(const Seen& seen, const Vm& vm);
// The record of a new move, and its journal line.
Migration begin_migration(Batch& batch, const Vm& vm, const WorkerId& target, MigrationReason reason);

}  // namespace ebb::control
