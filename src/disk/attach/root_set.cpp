#include "disk/attach/root_set.h"

namespace ebb::disk {

Status check_request(const SnapshotRequest& request) {
  if (!is_valid_name(request.name)) {
    return fail_field("name", "'{}' is no valid name for a snapshot: 1 to 63 of a-z, 0-9 and '-'",
                      request.name);
  }
  if (request.request.empty() || request.request.size() > 100)
    return fail_field("request", "a request has an id of 1 to 100 characters");
  return {};
}

Task<Result<RootsAt>> change_roots(StoreAccess access, HeadAt from, RootsEdit edit) {
  constexpr int tries_max = 200;
  for (int tries = 0; tries < tries_max; ++tries) {
    auto page = co_await read_roots(access, from.head);
    if (!page && page.error().code == Code::not_found) {  // others have replaced it long ago?
      EBB_CO_TRY(now, co_await read_head(access, from.head.disk));
      if (now.head.roots == from.head.roots) co_return fail(Code::corrupt, "{}", page.error().message);
      from = std::move(now);
      continue;
    }
    if (!page) co_return fail(std::move(page).error());
    EBB_CO_TRY(next, edit.page(*page));
    if (next == *page) co_return RootsAt{std::move(from), std::move(next)};
    EBB_CO_CHECKED(edit.may(from.head));
    if (from.head.roots) next.replaced.push_back(from.head.roots->nonce);
    auto ref = co_await store_roots(access, from.head.disk, next);
    // The page was made from this one: over any other it would lose what somebody added.
    bool is_outdated = false;
    auto change = [&](const Head& head) -> Result<Head> {
      if (head.roots == ref) return head;
      is_outdated = head.roots != from.head.roots;
      if (is_outdated)
        return fail(Code::conflict, "the roots of '{}' were changed by somebody else", head.disk);
      EBB_CHECKED(edit.may(head));
      Head changed = head;
      changed.roots = ref;
      if (edit.head) edit.head(changed);
      return changed;
    };
    auto changed = co_await change_head(access, from, change);
    if (changed) co_return RootsAt{std::move(*changed), std::move(next)};
    if (!is_outdated) co_return fail(std::move(changed).error());
    EBB_CO_TRY(now, co_await read_head(access, from.head.disk));
    from = std::move(now);
  }
  co_return fail(Code::busy, "the roots of '{}' were changed by others {} times in a row", from.head.disk,
                 tries_max);
}

Result<const NamedRoot*> find_made(const RootsPage& page, const SnapshotRequest& request) {
  const auto* root = page.find(request.name);
  if (root && root->request != request.request)
    return fail(Error{Code::conflict, fmt::format("there is a snapshot '{}' already", request.name), "name"});
  return root;
}

Result<RootsPage> with_root(RootsPage page, NamedRoot root) {
  EBB_TRY(made, find_made(page, {root.name, root.request}));
  if (made) return page;
  if (std::ranges::find(page.removed, root.request) != page.removed.end())
    return fail(Code::invalid, "the snapshot '{}' was removed before it was taken", root.name);
  if (page.roots.size() >= roots_max)
    return fail(Error{Code::conflict,
                      fmt::format("the disk has {} snapshots: remove some first", page.roots.size()),
                      "name"});
  page.roots.push_back(std::move(root));
  return page;
}

}  // namespace ebb::disk
