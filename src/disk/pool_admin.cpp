#include "disk/pool_admin.h"

#include "disk/format/blob_types.h"
#include "disk/format/limits.h"
#include "disk/format/pool_format.h"
#include "disk/keys.h"

namespace ebb::disk {
namespace {

constexpr std::string_view deleter = "deletion";  // in HEAD while a disk is being deleted

Status check_new_disk(const DiskId& disk, std::uint64_t size_bytes) {
  if (!is_valid_name(disk.str())) return fail_field("disk", "'{}' is no valid name for a disk", disk);
  return check_disk_size(size_bytes);
}

// Creates HEAD; fine if it is there and was created as this one (whatever happened to it since).
Task<Status> create_or_recognize(StoreAccess access, Head head) {
  auto created = co_await create_head(access, head);
  if (created) co_return Status{};
  if (created.error().code != Code::conflict) co_return fail(std::move(created).error());
  EBB_CO_TRY(there, co_await read_head(access, head.disk));
  const auto& h = there.head;
  if (h.state == HeadState::deleted)
    co_return fail(Code::conflict, "disk '{}' was deleted; ids are never used again", head.disk);
  if (h.size_bytes == head.size_bytes && h.disk_class == head.disk_class && h.parent == head.parent)
    co_return Status{};
  co_return fail(Code::conflict, "disk '{}' exists already and is another one", head.disk);
}

}  // namespace

Task<Status> PoolAdmin::prepare() {
  auto got = co_await access_.get(pool_format_key());
  if (!got && got.error().code != Code::not_found) co_return fail(std::move(got).error());
  if (!got) {
    auto body = encode(PoolFormat{pool_shards, access_.loop->wall_now()});
    if (co_await access_.put_once(pool_format_key(), std::make_shared<const Bytes>(std::move(body))) ==
        StoreAccess::Put::stored)
      co_return Status{};
    got = co_await access_.get(pool_format_key());
    if (!got) co_return fail(std::move(got).error());
  }
  EBB_CO_CHECKED(decode_pool_format(got->body));
  co_return Status{};
}

Task<Status> PoolAdmin::create_empty_disk(DiskId disk, std::uint64_t size_bytes, DiskClass disk_class) {
  EBB_CO_CHECKED(check_new_disk(disk, size_bytes));
  Head head;
  head.disk = disk, head.size_bytes = size_bytes, head.disk_class = disk_class;
  co_return co_await create_or_recognize(access_, std::move(head));
}

Task<Status> PoolAdmin::create_fork(DiskId parent, DiskId disk, std::uint64_t size_bytes,
                                    DiskClass disk_class, std::string root_name) {
  EBB_CO_CHECKED(check_new_disk(disk, size_bytes));
  EBB_CO_TRY(origin, co_await disk::read_head(access_, parent));
  if (origin.head.state == HeadState::deleted)
    co_return fail(Code::not_found, "disk '{}' was deleted", parent);
  if (origin.head.state != HeadState::sealed && root_name == image_root)
    co_return fail(Code::invalid, "disk '{}' is not an image: it cannot be forked but from a snapshot",
                   parent);
  EBB_CO_TRY(roots, co_await disk::read_roots(access_, origin.head));
  const auto* root = roots.find(root_name);
  if (!root && root_name == image_root) co_return fail(Code::corrupt, "image '{}' has no root", parent);
  if (!root) co_return fail(Code::not_found, "disk '{}' has no snapshot '{}'", parent, root_name);
  if (size_bytes < root->size_bytes) {
    co_return fail_field("size_bytes", "a fork cannot be smaller than its origin: {} < {} bytes", size_bytes,
                         root->size_bytes);
  }
  Head head;
  head.disk = disk, head.size_bytes = size_bytes, head.disk_class = disk_class;
  head.checkpoint = root->checkpoint;
  head.parent = ParentRef{parent, root_name};
  // The pin comes first: what a HEAD shares must never look unused.
  EBB_CO_CHECKED(co_await pin_fork(std::move(origin), {disk, root_name}, root->checkpoint));
  co_return co_await create_or_recognize(access_, std::move(head));
}

Task<Status> PoolAdmin::pin_fork(HeadAt parent, ForkPin pin, CheckpointRef checkpoint) {
  const auto id = parent.head.disk;
  RootsEdit edit;
  edit.page = [id, pin, checkpoint](RootsPage page) -> Result<RootsPage> {
    const auto* root = page.find(pin.root);
    const bool is_same = root && root->checkpoint == checkpoint;  // else removed, and perhaps made anew
    if (is_same && std::ranges::find(page.forks, pin) != page.forks.end()) return page;
    if (!is_same) return fail(Code::not_found, "disk '{}' has no snapshot '{}'", id, pin.root);
    page.forks.push_back(pin);
    return page;
  };
  edit.may = [](const Head& head) -> Status {
    if (head.owner != deleter && head.state != HeadState::deleted) return {};
    return fail(Code::conflict, "disk '{}' is being deleted", head.disk);
  };
  auto pinned = co_await change_roots(access_, std::move(parent), edit);
  co_return pinned ? Status{} : Status(fail(std::move(pinned).error()));
}

Task<Result<HeadSummary>> PoolAdmin::read_head(DiskId disk) {
  EBB_CO_TRY(at, co_await disk::read_head(access_, std::move(disk)));
  const auto& h = at.head;
  co_return HeadSummary{h.disk, h.epoch, h.owner, h.state, h.size_bytes, h.disk_class};
}

Task<Result<RootsPage>> PoolAdmin::read_roots(DiskId disk) {
  EBB_CO_TRY(at, co_await disk::read_head(access_, std::move(disk)));
  co_return co_await disk::read_roots(access_, at.head);
}

// The pins whose forks are gone; busy if one lives. `root`: only those of it.
Task<Result<std::vector<ForkPin>>> PoolAdmin::dead_pins(Head head, std::optional<std::string> root) {
  EBB_CO_TRY(page, co_await disk::read_roots(access_, head));
  std::vector<ForkPin> dead;
  for (const auto& fork : page.forks) {
    if (root && fork.root != *root) continue;
    auto child = co_await disk::read_head(access_, fork.disk);
    // A pin without a HEAD is a fork being made, or one that never will be: deleting its id decides that.
    if (!child && child.error().code != Code::not_found) co_return fail(std::move(child).error());
    if (child && child->head.state == HeadState::deleted) {
      dead.push_back(fork);
      continue;
    }
    co_return fail(Code::busy, "disk '{}' is in use: '{}' was forked from its '{}'", head.disk, fork.disk,
                   fork.root);
  }
  co_return dead;
}

Task<Status> PoolAdmin::remove_root(DiskId disk, SnapshotRequest made_by) {
  const auto [name, request] = made_by;
  EBB_CO_TRY(at, co_await disk::read_head(access_, disk));
  if (at.head.state == HeadState::deleted) co_return Status{};
  if (at.head.state == HeadState::sealed)
    co_return fail(Code::invalid, "disk '{}' is an image: its content goes with it", disk);
  EBB_CO_TRY(dead, co_await dead_pins(at.head, name));
  RootsEdit edit;
  edit.page = [disk, name, request, dead](RootsPage page) -> Result<RootsPage> {
    std::erase_if(page.forks, [&](const ForkPin& pin) { return std::ranges::find(dead, pin) != dead.end(); });
    auto pin = std::ranges::find(page.forks, name, &ForkPin::root);
    if (pin != page.forks.end())
      return fail(Code::busy, "disk '{}' is in use: '{}' was forked from its '{}'", disk, pin->disk, name);
    page.drop([&](const NamedRoot& root) { return root.name == name; });
    if (std::ranges::find(page.removed, request) == page.removed.end()) page.removed.push_back(request);
    if (page.removed.size() > removed_kept) page.removed.erase(page.removed.begin());
    return page;
  };
  edit.may = [](const Head&) { return Status{}; };
  auto removed = co_await change_roots(access_, std::move(at), edit);
  co_return removed ? Status{} : Status(fail(std::move(removed).error()));
}

Task<Status> PoolAdmin::drop_pins(HeadAt parent, std::vector<ForkPin> pins) {
  RootsEdit edit;
  edit.page = [pins](RootsPage page) -> Result<RootsPage> {
    std::erase_if(page.forks, [&](const ForkPin& pin) { return std::ranges::find(pins, pin) != pins.end(); });
    return page;
  };
  edit.may = [](const Head&) { return Status{}; };
  auto dropped = co_await change_roots(access_, std::move(parent), edit);
  co_return dropped ? Status{} : Status(fail(std::move(dropped).error()));
}

// A tombstone: nobody forks from its roots any more, and whoever did is gone. Then its own pin falls.
Task<Status> PoolAdmin::let_go(DiskId child) {
  EBB_CO_TRY(at, co_await disk::read_head(access_, child));
  if (at.head.state != HeadState::deleted) co_return Status{};
  RootsEdit edit;
  edit.page = [](RootsPage page) -> Result<RootsPage> {
    page.drop([](const NamedRoot&) { return true; });
    page.forks.clear();
    return page;
  };
  edit.may = [](const Head&) { return Status{}; };
  EBB_CO_TRY(ended, co_await change_roots(access_, std::move(at), edit));
  at = std::move(ended.at);
  if (!at.head.parent) co_return Status{};
  auto parent = co_await disk::read_head(access_, at.head.parent->disk);
  if (!parent && parent.error().code == Code::not_found) co_return Status{};
  if (!parent) co_return fail(std::move(parent).error());
  co_return co_await drop_pins(std::move(*parent), {{child, at.head.parent->root}});
}

Task<Status> PoolAdmin::delete_disk(DiskId disk) {
  if (!is_valid_name(disk.str())) co_return fail_field("disk", "'{}' is no valid name for a disk", disk);
  Head tombstone;
  tombstone.disk = disk, tombstone.state = HeadState::deleted;
  for (int tries = 0; tries < 100; ++tries) {
    auto now = co_await disk::read_head(access_, disk);
    if (!now && now.error().code == Code::not_found) {
      auto burnt = co_await create_head(access_, tombstone);
      if (burnt || burnt.error().code != Code::conflict)
        co_return burnt ? Status{} : Status(fail(std::move(burnt).error()));
      continue;
    }
    if (!now) co_return fail(std::move(now).error());
    if (now->head.state == HeadState::deleted) co_return co_await let_go(disk);
    if (auto dead = co_await dead_pins(now->head, {}); !dead) co_return fail(std::move(dead).error());

    // Take over under an epoch of our own, so that no owner can write on; then seal, then the tombstone.
    auto opener = fresh_opener(*access_.loop, deleter);
    auto from = now->head.nonce;
    auto claimed = co_await change_head(access_, *now, [opener, from](const Head& head) -> Result<Head> {
      if (head.opener == opener) return head;
      if (head.nonce != from) return fail(Code::conflict, "changed by somebody else");
      Head next = head;
      next.state = HeadState::attaching;
      next.epoch.incarnation += 1;
      next.owner = deleter, next.opener = opener;
      return next;
    });
    if (!claimed && claimed.error().code == Code::conflict) continue;
    if (!claimed) co_return fail(std::move(claimed).error());
    Claim claim;
    claim.at = *claimed;
    claim.opener = {claimed->head.epoch, std::string(deleter), opener};
    LogCache cache;
    EBB_CO_TRY(sealed, co_await seal_all(access_, claim, &cache));
    auto ended = co_await change_head(access_, *claimed, [opener, sealed](const Head& head) -> Result<Head> {
      if (head.state == HeadState::deleted) return head;
      if (head.opener != opener) return fail(Code::conflict, "changed by somebody else");
      Head next = head;
      record_seals(next, sealed);
      next.state = HeadState::deleted;
      return next;
    });
    if (ended) co_return co_await let_go(disk);
    if (ended.error().code != Code::conflict) co_return fail(std::move(ended).error());
  }
  co_return fail(Code::busy, "disk '{}' is changed by others all the time", disk);
}

Task<Status> PoolAdmin::write_blob_chunk(std::string id, std::uint64_t n, Bytes content) {
  if (!is_valid_name(id)) co_return fail_field("blob", "'{}' is no valid id for a blob", id);
  if (content.size() > blob_chunk_bytes)
    co_return fail_field("blob", "a chunk has at most {} bytes", blob_chunk_bytes);
  auto body = std::make_shared<const Bytes>(encode_blob_chunk(id, n, content));
  if (co_await access_.put_once(blob_key(id, n), body) == StoreAccess::Put::stored) co_return Status{};
  co_return fail(Code::conflict, "chunk {} of blob '{}' exists already and is another one", n, id);
}

Task<Result<Bytes>> PoolAdmin::read_blob_chunk(std::string id, std::uint64_t n) {
  EBB_CO_TRY(got, co_await access_.get(blob_key(id, n)));
  co_return decode_blob_chunk(got.body, id, n);
}

Task<Status> PoolAdmin::write_blob(std::string id, SharedBytes content) {
  for (std::uint64_t n = 0; n * blob_chunk_bytes < content->size() || n == 0; ++n) {
    auto rest = ByteView(*content).subspan(n * blob_chunk_bytes);
    auto chunk = rest.first(std::min(rest.size(), blob_chunk_bytes));
    EBB_CO_CHECKED(co_await write_blob_chunk(id, n, Bytes(chunk.begin(), chunk.end())));
  }
  co_return Status{};
}

Task<Result<Bytes>> PoolAdmin::read_blob(std::string id, std::uint64_t size_bytes) {
  Bytes out;
  for (std::uint64_t n = 0; n * blob_chunk_bytes < size_bytes || n == 0; ++n) {
    EBB_CO_TRY(chunk, co_await read_blob_chunk(id, n));
    append(out, chunk);
  }
  if (out.size() != size_bytes)
    co_return fail(Code::corrupt, "blob '{}' has {} bytes instead of {}", id, out.size(), size_bytes);
  co_return out;
}

}  // namespace ebb::disk
