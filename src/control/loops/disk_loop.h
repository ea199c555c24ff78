// Snapshots that are wanted: taken by the agent where a worker holds the disk, by an effect where nobody
// does.
#pragma once
#include "control/batch.h"

namespace ebb::control {

using Effects = std::map<std::string, Effect>;

void step_snapshots(const Fleet& fleet, const Seen& seen, const Effects& effects, Batch& batch);

// What somebody says of a snapshot that is wanted; one that is not any more is left alone.
void record_snapshot(const Disk& disk, const std::string& request, Batch& batch);
void record_failed_snapshot(const Disk& disk, const std::string& request, const std::string& error,
                            Batch& batch);

// Of one that no VM has, and no fork needs.
void begin_disk_removal(const Disk& disk, Batch& batch);
// The same after `retention`; until then it can be kept.
void remove_disk(const Disk& disk, Duration retention, Batch& batch);
// Those whose time is over by `now`.
void expire_removed_disks(const Fleet& fleet, WallMs now, Duration retention, Batch& batch);
// Nobody holds the disks of such a VM, and nobody will before it is started. conflict: it is not stopped.
Status check_stopped(const Fleet& fleet, const Vm& vm);
// conflict: what of the disk itself stands in the way of whoever wants to change it.
Status check_settled(const Disk& disk);
// conflict: that, or somebody who holds it.
Status check_idle(const Fleet& fleet, const Disk& disk);
// The disk belongs to no VM from now on; the VM's record is the caller's.
void detach_disk(const Disk& disk, Batch& batch);
// Of one that no fork needs.
void begin_removal(const Disk& disk, const DiskSnapshot& snapshot, Batch& batch);

}  // namespace ebb::control
