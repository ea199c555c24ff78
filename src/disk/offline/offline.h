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

// Whoever reads without a lease may be overtaken by cleaning: what is gone, also in the midst of a log, lies
// elsewhere under a newer HEAD.
template <class T>
Task<Result<T>> under_one_head(StoreAccess access, DiskId disk, std::function<Task<Result<T>>(HeadAt)> read) {
  constexpr int tries_max = 20;
  for (int tries = 1;; ++tries) {
    EBB_CO_TRY(at, co_await read_head(access, disk));
    if (at.head.state == HeadState::deleted) co_return fail(Code::not_found, "disk '{}' was deleted", disk);
    auto nonce = at.head.nonce;
    auto done = co_await read(std::move(at));
    bool is_lacking = !done && (done.error().code == Code::not_found || done.error().code == Code::corrupt);
    if (!is_lacking || tries == tries_max) co_return done;
    EBB_CO_TRY(later, co_await read_head(access, disk));
    if (later.head.nonce == nonce) co_return fail(Code::corrupt, "{}", done.error().message);
  }
}

}  // namespace ebb::disk
