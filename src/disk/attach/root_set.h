// The named roots of a disk and the forks pinned to them: one page that HEAD names. Only a compare-and-set of
// HEAD adds or drops one, whoever does it: owner, control plane or a restore.
#pragma once
#include "disk/attach/head_store.h"

namespace ebb::disk {

inline constexpr std::size_t roots_max = 256;
inline constexpr std::size_t restores_kept = 32, removed_kept = 64;

struct SnapshotRequest {
  std::string name;
  std::string request;  // fresh for each wish: whoever asks again with it finds what was made
};
Status check_request(const SnapshotRequest& request);

struct RootsEdit {
  // What the page shall be; decides from its argument alone. The same page: there is nothing to do (any
  // more).
  std::function<Result<RootsPage>(RootsPage)> page;
  // Whether HEAD may be changed so.
  std::function<Status(const Head&)> may;
  // What the same compare-and-set changes beside the page; may be empty.
  std::function<void(Head&)> head;
};

struct RootsAt {
  HeadAt at;
  RootsPage page;
};
// Ends when HEAD names such a page, or the edit was refused. Whoever else changed the page meanwhile is
// merged with.
Task<Result<RootsAt>> change_roots(StoreAccess access, HeadAt from, RootsEdit edit);

// The root that this request made. Null: there is none of that name. conflict: another request's.
Result<const NamedRoot*> find_made(const RootsPage& page, const SnapshotRequest& request);
// conflict, if the name is another's or there is no room.
Result<RootsPage> with_root(RootsPage page, NamedRoot root);

}  // namespace ebb::disk
