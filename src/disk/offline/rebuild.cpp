#include "disk/offline/rebuild.h"

#include "disk/detached.h"
#include "disk/keys.h"
#include "disk/offline/offline.h"

namespace ebb::disk {
namespace {

constexpr std::uint64_t window_blocks = 16 << 20;  // 64 GiB of disk at a time

struct Findings {
  Head followed;
  std::optional<CheckpointRoot> root;
  ObjectClaims claims;
};

Task<Result<std::shared_ptr<Findings>>> find_all(StoreAccess access, Head head) {
  LogCache cache;
  auto found = std::make_shared<Findings>(Findings{{}, {}, ObjectClaims(access)});
  EBB_CO_TRY(followed, co_await follow_unsealed(access, std::move(head), &cache));
  found->followed = std::move(followed);
  if (found->followed.checkpoint) {
    EBB_CO_TRY(root, co_await read_checkpoint_root(access, *found->followed.checkpoint, &cache));
    found->root = std::move(root);
  }
  EBB_CO_CHECKED(co_await found->claims.gather(found->root ? &*found->root : nullptr, found->followed));
  co_return found;
}

// A lost object may have held the newest data of any block, a damaged one did if its claim is on top.
BadExtents find_bad(const Findings& found) {
  BadExtents bad;
  const auto& claims = found.claims;
  const auto blocks = found.followed.size_bytes / block_bytes;
  for (const auto& [index, why] : claims.lost())
    bad.add(0, fmt::format("{}: {}", text_of(claims.objects()[index].object), why));
  for (std::uint64_t begin = 0; begin < blocks; begin += window_blocks) {
    auto newest = claims.newest(begin, std::min(blocks - begin, window_blocks));
    for (std::uint64_t i = 0; i < newest.size(); ++i) {
      if (newest[i] == 0) continue;
      const auto& c = claims.claim(newest[i]);
      if (c.kind != ExtentKind::data || !claims.is_damaged(c.object, c.data_block_of(begin + i))) continue;
      bad.add(begin + i, fmt::format("block {} of the data of {} has a wrong checksum",
                                     c.data_block_of(begin + i), text_of(claims.objects()[c.object].object)));
    }
  }
  return bad;
}

// A map that knows all objects, and of no page where it was stored: the next checkpoint writes each anew, and
// condemns what the old map lay in.
LoadedMap paint(StoreAccess access, const Findings& found) {
  LoadedMap out{std::make_unique<BlockMap>(access, DiskMemory().pages, found.followed.size_bytes), {}, 0};
  auto& map = *out.map;
  const auto& claims = found.claims;
  std::vector<ObjectId> ids;
  if (found.root) {
    auto root = *found.root;
    root.pages.clear();
    for (auto& object : root.objects) object.live = 0, ids.push_back(object.id);
    if (root.disk == found.followed.disk) out.older_lineage = root.lineage;
    map.start_from(std::move(root));
  }
  for (auto i = ids.size(); i < claims.objects().size(); ++i) {
    const auto& object = claims.objects()[i];
    ids.push_back(map.add_object(object.object));
    map.complete_object(ids.back(), object.size);
  }
  for (std::uint64_t begin = 0; begin < map.size_blocks(); begin += window_blocks) {
    auto newest = claims.newest(begin, std::min(map.size_blocks() - begin, window_blocks));
    for (std::size_t i = 0; i < newest.size();) {
      auto end = i + 1;
      while (end < newest.size() && newest[end] == newest[i]) ++end;
      if (newest[i] > 0 && claims.claim(newest[i]).kind == ExtentKind::data) {
        const auto& c = claims.claim(newest[i]);
        auto data_block = c.data_block_of(begin + i);
        map.set(begin + i, std::span(claims.objects()[c.object].crcs).subspan(data_block, end - i),
                ids[c.object], data_block);
      }
      i = end;
    }
  }
  out.segments_since_checkpoint = ~std::uint64_t{0} / 2;  // so that the detach makes a checkpoint
  return out;
}

Task<Result<LoadedMap>> paint_if_unchanged(StoreAccess access, std::shared_ptr<const Findings> found,
                                           Head attached) {
  const auto& before = found->followed;
  if (attached.checkpoint != before.checkpoint || attached.lineage != before.lineage)
    co_return fail(Code::conflict, "disk '{}' was changed while it was read: try again", attached.disk);
  co_return paint(access, *found);
}

Status check_may_rebuild(const Head& head) {
  if (head.state == HeadState::sealed)
    return fail(Code::invalid, "disk '{}' is an image: import it again; its forks have maps of their own",
                head.disk);
  bool is_held = head.state == HeadState::attaching || head.state == HeadState::attached;
  if (is_held && !is_administrative(head.owner))
    return fail(Code::conflict, "disk '{}' is in use: {} holds it under epoch {}; stop its VM first",
                head.disk, head.owner, head.epoch.text());
  return {};
}

std::uint64_t live_bytes(const BlockMap& map) { return map.live_blocks() * block_bytes; }

Task<Result<RebuildReport>> rebuild_under(StoreAccess access, HeadAt at, DiskTuning tuning) {
  EBB_CO_CHECKED(check_may_rebuild(at.head));
  EBB_CO_TRY(found, co_await find_all(access, at.head));
  RebuildReport report;
  report.objects = found->claims.objects().size(), report.data_bytes = found->claims.data_bytes();
  auto bad = find_bad(*found);
  if (bad.count() > 0) {
    if (!found->claims.lost().empty()) {  // or cleaned away meanwhile?
      EBB_CO_TRY(now, co_await read_head(access, at.head.disk));
      if (now.head.nonce != at.head.nonce)
        co_return fail(Code::not_found, "disk '{}' was cleaned meanwhile", at.head.disk);
    }
    report.bad = bad.first(), report.bad_extents = bad.count();
    co_return report;
  }
  auto load = [access, found](Head attached) {
    return paint_if_unchanged(access, found, std::move(attached));
  };
  EBB_CO_TRY(disk, co_await open_for_ourselves(access, std::move(at), "rebuild", tuning, load));
  EBB_CO_CHECKED(co_await disk->seal());
  report.live_bytes = live_bytes(disk->map());
  report.checkpoint = *disk->head().checkpoint;
  co_return report;
}

}  // namespace

Task<Result<RebuildReport>> rebuild(StoreAccess access, DiskId disk, DiskTuning tuning) {
  return under_one_head<RebuildReport>(access, std::move(disk), [access, tuning](HeadAt at) {
    return rebuild_under(access, std::move(at), tuning);
  });
}

}  // namespace ebb::disk
