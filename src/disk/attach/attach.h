// Taking a disk over, in three steps: HEAD := attaching under a new epoch; all unsealed epochs are fenced and
// sealed; HEAD := attached. Only then may anything be served or written.
#pragma once
#include "disk/attach/fence.h"

namespace ebb::disk {

enum class Replace {
  confirmed,    // only a disk that nobody holds, or that this same owner held
  unconfirmed,  // also one whose owner has not said that it stopped
};

// The owner of who opens a disk for the control plane, and never serves a guest: anybody may replace it at
// once, and it replaces nobody but its like. No worker has such a name.
inline constexpr std::string_view administrative_prefix = "ebb:";
inline bool is_administrative(std::string_view owner) { return owner.starts_with(administrative_prefix); }

// What tells one process that opens a disk from all others. It is in all that the process leaves in the pool, and names the
// worker: `worker/token`.
std::string fresh_opener(Loop& loop, std::string_view owner);
std::string owner_of(std::string_view opener);  // empty: it names none

struct ClaimRequest {
  std::uint64_t placement = 0;
  std::string owner;
  Replace replace = Replace::confirmed;
  DiskClass disk_class = DiskClass::remote;  // as whoever asks believes it to be
};

// HEAD says `attaching`, and us.
struct Claim {
  HeadAt at;
  Opener opener;
  std::optional<LogPoint> newest_attached;  // whose log the last acknowledged writes are in
  bool replaces_unconfirmed = false;        // another owner was attached, and may still run its guest
  bool replaces_own = false;                // this one was: perhaps in the midst of waiting for another's end
  bool comes_from_elsewhere = false;        // another worker served it last
};

// Step 1, from HEAD as it was read. fenced: HEAD names a newer placement, or another owner under this one.
// conflict: attached to another owner, and `confirmed` was asked for. invalid: an image. not_found: deleted,
// or never made.
Task<Result<Claim>> claim_disk(StoreAccess access, HeadAt before, ClaimRequest request);

// Step 2: what each unsealed epoch ended at, oldest first.
Task<Result<std::vector<LogPoint>>> seal_all(StoreAccess access, Claim claim, LogCache* cache);

// Step 3. fenced if somebody else claimed the disk since.
Task<Result<HeadAt>> publish_attached(StoreAccess access, Claim claim, std::vector<LogPoint> sealed);

// Where a new epoch of this disk goes on: the end of everything sealed so far.
LogPoint end_of_log(const Head& head);

// HEAD as it is without the epochs that `sealed` ends.
void record_seals(Head& head, const std::vector<LogPoint>& sealed);

}  // namespace ebb::disk
