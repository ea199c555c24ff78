// Looking at a disk with nothing but the store: no lease, no change, nothing of any worker.
#pragma once
#include "disk/served_disk.h"

namespace ebb::disk {

// The disk as the store has it now: HEAD, checkpoint, segments up to the seal or to where they end.
struct OfflineView {
  HeadAt head;
  Head followed;  // with the unsealed epochs as far as they stand in the store
  std::unique_ptr<ImageDevice> device;
};
Task<Result<OfflineView>> open_offline(StoreAccess access, DiskId disk);

struct CheckReport {
  std::uint64_t segments = 0;  // since the checkpoint
  std::uint64_t data_bytes = 0, hole_bytes = 0;
};
// Reads everything that the disk consists of and holds it against its checksums. corrupt: names the first
// damage.
Task<Result<CheckReport>> check_offline(StoreAccess access, DiskId disk);

}  // namespace ebb::disk
