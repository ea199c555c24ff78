// Reading and changing HEAD. The store's compare-and-set alone decides who writes.
#pragma once
#include <functional>

#include "disk/format/head_types.h"
#include "disk/store_access.h"

namespace ebb::disk {

struct HeadAt {
  Head head;
  ObjectTag tag;
};

// A fresh random token: nonces, openers, log ids.
std::string fresh_token(Loop& loop);

// not_found: there never was such a disk. corrupt, or invalid when of a newer version.
Task<Result<HeadAt>> read_head(StoreAccess access, DiskId disk);

// Creates HEAD; conflict if there is one already (the caller reads it and decides whether it is its own
// earlier try).
Task<Result<HeadAt>> create_head(StoreAccess access, Head head);

// What HEAD shall become, from what it is now. Called again with a newer HEAD whenever somebody else changed
// it first: it must decide from its argument alone. An error ends the change.
using HeadChange = std::function<Result<Head>(const Head&)>;

// Ends when HEAD is what `change` wanted, or `change` refused. An unanswered compare-and-set is settled only
// when HEAD's tag has changed: until then it is tried again from the same tag, with a new nonce.
Task<Result<HeadAt>> change_head(StoreAccess access, HeadAt from, HeadChange change);

// The page of named roots that `head` points to; empty if it has none.
Task<Result<RootsPage>> read_roots(StoreAccess access, Head head);
// Stores `page` as a new object; its reference belongs into HEAD.
Task<RootsRef> store_roots(StoreAccess access, DiskId disk, RootsPage page);

// A multiple of 4096 bytes from 4 KiB to 64 TiB.
Status check_disk_size(std::uint64_t size_bytes);
// invalid: a disk does not shrink.
Status check_growth(const Head& head, std::uint64_t size_bytes);

// HEAD with the checkpoint in it, for a writer that is attached: older lineage lives in the checkpoint's root
// from now on.
void record_checkpoint(Head& head, const CheckpointRef& checkpoint);

}  // namespace ebb::disk
