// The rest of a log that others went on without (rule 2): proven to go on where a fork of its disk begins, and written there.
#pragma once
#include "disk/block_device.h"
#include "disk/local_logs.h"

namespace ebb::disk {

// What `log` holds beyond the place where its last opener's turn ended, if `into` is a fork of `disk` at exactly that place.
// conflict: it is not. corrupt: the log cannot be read to its end. `log` is not being written.
Task<Result<std::vector<ReplayRecord>>> read_orphaned_rest(StoreAccess access, Files* files, LocalLog log,
                                                           DiskId into);

// In order; durable when it has ended. Written a second time, from the beginning, they leave the same disk.
Task<Status> write_records(Loop& loop, std::shared_ptr<BlockDevice> device,
                           std::vector<ReplayRecord> records);

}  // namespace ebb::disk
