#include "disk/detached.h"

#include "base/check.h"

namespace ebb::disk {

Task<Result<std::unique_ptr<ObjectDisk>>> open_for_ourselves(StoreAccess access, HeadAt before,
                                                             std::string purpose, DiskTuning tuning,
                                                             LoadForOurselves load) {
  LogCache cache;
  ClaimRequest request{0, std::string(administrative_prefix) + purpose, Replace::confirmed,
                       before.head.disk_class};
  EBB_CO_TRY(claim, co_await claim_disk(access, std::move(before), std::move(request)));
  EBB_CO_TRY(sealed, co_await seal_all(access, claim, &cache));
  EBB_CO_TRY(attached, co_await publish_attached(access, claim, std::move(sealed)));
  DiskMemory memory;
  EBB_CO_TRY(loaded,
             co_await (load ? load(attached.head) : load_map(access, attached.head, &cache, memory.pages)));
  ObjectDisk::Parts parts{access,  std::move(attached), claim.opener, std::move(loaded),
                          nullptr, std::move(memory),   tuning};
  auto disk = std::make_unique<ObjectDisk>(std::move(parts));
  disk->start();
  co_return disk;
}

namespace {

Status check_is_living(const Head& head) {
  if (head.state == HeadState::deleted) return fail(Code::not_found, "disk '{}' was deleted", head.disk);
  if (head.state == HeadState::sealed)
    return fail(Code::invalid, "disk '{}' is an image: it never changes", head.disk);
  return {};
}

bool is_whole_in_checkpoint(const Head& head) {
  return head.state == HeadState::detached_clean && head.checkpoint && head.checkpoint->disk == head.disk &&
         head.unsealed.size() == 1 && head.unsealed[0].write_seq == head.checkpoint->position.write_seq;
}

Task<Result<NamedRoot>> name_present(StoreAccess access, HeadAt at, SnapshotRequest request) {
  const auto before = at.head;
  NamedRoot root{request.name,    before.size_bytes,       *before.checkpoint,
                 request.request, access.loop->wall_now(), before.owner};
  RootsEdit edit;
  edit.page = [root](RootsPage page) { return with_root(std::move(page), root); };
  edit.may = [before](const Head& head) -> Status {
    if (head.opener == before.opener && head.state == HeadState::detached_clean) return {};
    return fail(Code::conflict, "{} opened disk '{}' meanwhile", head.owner, head.disk);
  };
  EBB_CO_TRY(now, co_await change_roots(access, std::move(at), edit));
  EBB_CO_TRY(made, find_made(now.page, request));
  CHECK(made);
  co_return *made;
}

}  // namespace

Task<Result<NamedRoot>> snapshot_detached(StoreAccess access, DiskId disk, SnapshotRequest request,
                                          DiskTuning tuning) {
  EBB_CO_CHECKED(check_request(request));
  EBB_CO_TRY(at, co_await read_head(access, disk));
  EBB_CO_CHECKED(check_is_living(at.head));
  EBB_CO_TRY(page, co_await read_roots(access, at.head));
  EBB_CO_TRY(made, find_made(page, request));
  if (made) co_return *made;
  if (is_whole_in_checkpoint(at.head))
    co_return co_await name_present(access, std::move(at), std::move(request));
  EBB_CO_TRY(opened, co_await open_for_ourselves(access, std::move(at), "snapshot", tuning));
  auto root = co_await opened->snapshot(std::move(request));
  // Sealed also if refused. Once the root is in HEAD, whoever replaces us before that changes nothing about
  // it.
  auto sealed = co_await opened->seal();
  if (root || sealed) co_return root;
  co_return fail(std::move(sealed).error());
}

// ---- restore

Task<Result<std::vector<LogPoint>>> read_line(StoreAccess access, DiskId disk, CheckpointRef checkpoint) {
  std::vector<LogPoint> line;
  if (checkpoint.disk == disk) {
    EBB_CO_TRY(root, co_await read_checkpoint_root(access, checkpoint, nullptr));
    line = std::move(root.lineage);
    bool is_known = !line.empty() && line.back().epoch == checkpoint.position.epoch;
    if (!is_known) line.push_back(checkpoint.position);
  }
  co_return line;
}

Task<Result<std::vector<LogPoint>>> read_line(StoreAccess access, Head head) {
  std::vector<LogPoint> line;
  if (head.checkpoint) {
    EBB_CO_TRY(older, co_await read_line(access, head.disk, *head.checkpoint));
    line = std::move(older);
  }
  for (const auto* list : {&head.lineage, &head.unsealed}) {
    for (const auto& point : *list) {
      if (!line.empty() && line.back().epoch == point.epoch)
        line.pop_back();  // it went on after the checkpoint
      line.push_back(point);
    }
  }
  co_return line;
}

namespace {

RestorePlan compare(const std::vector<LogPoint>& present, const std::vector<LogPoint>& past,
                    std::uint64_t origin_write_seq) {
  RestorePlan plan;
  auto common_write_seq = origin_write_seq;
  std::size_t i = 0;
  std::uint64_t segments = 0;
  for (; i < present.size() && i < past.size() && present[i].epoch == past[i].epoch; ++i) {
    const auto& lower = present[i].seq < past[i].seq ? present[i] : past[i];
    common_write_seq = lower.write_seq;
    segments += present[i].seq - lower.seq;
    if (present[i].seq != past[i].seq) {
      ++i;
      break;
    }
  }
  for (; i < present.size(); ++i) segments += present[i].seq;
  plan.segments_undone = segments;
  if (!present.empty()) plan.writes_undone = present.back().write_seq - common_write_seq;
  if (!past.empty()) plan.writes_back = past.back().write_seq - common_write_seq;
  return plan;
}

Result<NamedRoot> find_root(const RootsPage& page, const DiskId& disk, const std::string& name) {
  const auto* root = page.find(name);
  if (root) return *root;
  return fail(Code::not_found, "disk '{}' has no snapshot '{}'", disk, name);
}

}  // namespace

Task<Result<RestorePlan>> plan_restore(StoreAccess access, DiskId disk, std::string name) {
  LogCache cache;
  EBB_CO_TRY(at, co_await read_followed(access, disk, &cache));
  EBB_CO_CHECKED(check_is_living(at.head));
  EBB_CO_TRY(page, co_await read_roots(access, at.head));
  EBB_CO_TRY(root, find_root(page, disk, name));
  EBB_CO_TRY(present, co_await read_line(access, at.followed));
  EBB_CO_TRY(past, co_await read_line(access, disk, root.checkpoint));
  // Without a common epoch both began at what the disk was made from.
  std::uint64_t origin = 0;
  if (at.head.parent) {
    auto parent = co_await read_head(access, at.head.parent->disk);
    if (!parent) co_return fail(std::move(parent).error());
    EBB_CO_TRY(parent_page, co_await read_roots(access, parent->head));
    if (const auto* from = parent_page.find(at.head.parent->root))
      origin = from->checkpoint.position.write_seq;
  }
  auto plan = compare(present, past, origin);
  plan.root = std::move(root);
  co_return plan;
}

Task<Result<RestoreRecord>> restore_detached(StoreAccess access, DiskId disk, RestoreRequest request,
                                             DiskTuning tuning) {
  if (request.request.empty()) co_return fail_field("request", "a restore needs the id of its request");
  if (!request.keep_as.empty()) EBB_CO_CHECKED(check_request({request.keep_as, request.request}));
  EBB_CO_TRY(at, co_await read_head(access, disk));
  EBB_CO_TRY(page, co_await read_roots(access, at.head));
  auto done = std::ranges::find(page.restores, request.request, &RestoreRecord::request);
  if (done != page.restores.end()) co_return *done;
  EBB_CO_CHECKED(check_is_living(at.head));
  EBB_CO_TRY(root, find_root(page, disk, request.root));
  if (root.size_bytes > at.head.size_bytes)
    co_return fail(Code::invalid, "snapshot '{}' is larger than the disk", root.name);
  if (page.find(request.keep_as))
    co_return fail(Code::conflict, "there is a snapshot '{}' already", request.keep_as);
  if (page.roots.size() >= roots_max)
    co_return fail(Code::conflict, "there is no room to keep the present state: the disk has {} snapshots",
                   page.roots.size());
  EBB_CO_TRY(opened, co_await open_for_ourselves(access, std::move(at), "restore", tuning));
  co_return co_await opened->restore(std::move(request));
}

// ---- size

// Nobody has a map in memory that would be too small: whoever opens the disk reads HEAD first.
Task<Status> grow_detached(StoreAccess access, DiskId disk, std::uint64_t size_bytes) {
  EBB_CO_TRY(at, co_await read_head(access, disk));
  auto grown = co_await change_head(access, std::move(at), [size_bytes](const Head& head) -> Result<Head> {
    EBB_CHECKED(check_is_living(head));
    EBB_CHECKED(check_growth(head, size_bytes));
    if (head.size_bytes == size_bytes) return head;
    // Whoever administers it is done soon, or is taken over by the next who opens it.
    if (head.state != HeadState::detached_clean)
      return fail(is_administrative(head.owner) ? Code::busy : Code::conflict,
                  "disk '{}' is in use: {} holds it under epoch {}", head.disk, head.owner,
                  head.epoch.text());
    auto next = head;
    next.size_bytes = size_bytes;
    return next;
  });
  co_return grown ? Status{} : Status(fail(std::move(grown).error()));
}

}  // namespace ebb::disk
