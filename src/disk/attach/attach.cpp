#include "disk/attach/attach.h"

#include "base/check.h"

namespace ebb::disk {
namespace {

bool is_held(const Head& head) {
  return head.state == HeadState::attaching || head.state == HeadState::attached;
}

Status check_may_claim(const Head& head, const ClaimRequest& request) {
  if (head.state == HeadState::deleted) return fail(Code::not_found, "disk '{}' was deleted", head.disk);
  if (head.state == HeadState::sealed) {
    return fail(Code::invalid, "disk '{}' is an image: it is read-only; fork it", head.disk);
  }
  if (is_administrative(request.owner)) {
    if (!is_held(head) || is_administrative(head.owner)) return {};
    return fail(Code::conflict, "disk '{}' is in use: {} holds it under epoch {}", head.disk, head.owner,
                head.epoch.text());
  }
  if (head.epoch.placement > request.placement) {
    return fail(Code::fenced, "disk '{}' is at epoch {} of {}; {} is older", head.disk, head.epoch.text(),
                head.owner, request.placement);
  }
  bool is_own = head.owner == request.owner || is_administrative(head.owner);
  if (head.epoch.placement == request.placement && !is_own && head.epoch != DiskEpoch{}) {
    return fail(Code::fenced, "disk '{}' was opened by {} under the same epoch {}", head.disk, head.owner,
                head.epoch.text());
  }
  if (head.disk_class != request.disk_class) {
    return fail_field("disk_class", "disk '{}' is of class {}, not {}", head.disk,
                      json::name_of(head.disk_class), json::name_of(request.disk_class));
  }
  if (is_held(head) && !is_own && request.replace == Replace::confirmed) {
    return fail(Code::conflict,
                "disk '{}' is held by {} under epoch {}, which has not confirmed that it stopped", head.disk,
                head.owner, head.epoch.text());
  }
  return {};
}

// Every process start that opens the disk gets an epoch of its own, also under the same placement.
DiskEpoch next_epoch(DiskEpoch now, std::uint64_t placement) {
  if (placement > now.placement) return {placement, 1};
  return {now.placement, now.incarnation + 1};
}

}  // namespace

std::string fresh_opener(Loop& loop, std::string_view owner) {
  return fmt::format("{}/{}", owner, fresh_token(loop));
}

std::string owner_of(std::string_view opener) {
  auto end = opener.rfind('/');
  return std::string(opener.substr(0, end == std::string_view::npos ? 0 : end));
}

Task<Result<Claim>> claim_disk(StoreAccess access, HeadAt before, ClaimRequest request) {
  auto opener = fresh_opener(*access.loop, request.owner);
  bool replaces_unconfirmed = false, replaces_own = false, comes_from_elsewhere = false;
  auto change = [&](const Head& head) -> Result<Head> {
    if (head.opener == opener) return head;  // an earlier try of ours, changed by someone who pinned a fork
    EBB_CHECKED(check_may_claim(head, request));
    replaces_unconfirmed = is_held(head) && head.owner != request.owner && !is_administrative(head.owner);
    replaces_own = is_held(head) && head.owner == request.owner;
    comes_from_elsewhere =
        !head.owner.empty() && head.owner != request.owner && !is_administrative(head.owner);
    Head next = head;
    next.state = HeadState::attaching;
    next.epoch = next_epoch(head.epoch, request.placement);
    next.owner = request.owner;
    next.opener = opener;
    return next;
  };
  EBB_CO_TRY(at, co_await change_head(access, std::move(before), change));
  Claim claim;
  claim.opener = {at.head.epoch, request.owner, opener};
  if (const auto* newest = newest_attached(at.head)) claim.newest_attached = *newest;
  claim.replaces_unconfirmed = replaces_unconfirmed;
  claim.replaces_own = replaces_own;
  claim.comes_from_elsewhere = comes_from_elsewhere;
  claim.at = std::move(at);
  co_return claim;
}

Task<Result<std::vector<LogPoint>>> seal_all(StoreAccess access, Claim claim, LogCache* cache) {
  std::vector<LogPoint> sealed;
  for (const auto& unsealed : claim.at.head.unsealed) {
    EBB_CO_TRY(end, co_await seal_epoch(access, claim.at.head.disk, unsealed, claim.opener, cache));
    sealed.push_back(std::move(end));
  }
  co_return sealed;
}

void record_seals(Head& head, const std::vector<LogPoint>& sealed) {
  CHECK(sealed.size() == head.unsealed.size());
  head.lineage.insert(head.lineage.end(), sealed.begin(), sealed.end());
  head.unsealed.clear();
}

LogPoint end_of_log(const Head& head) {
  if (!head.lineage.empty()) return head.lineage.back();
  if (head.checkpoint) return head.checkpoint->position;
  return {};
}

Task<Result<HeadAt>> publish_attached(StoreAccess access, Claim claim, std::vector<LogPoint> sealed) {
  auto change = [&](const Head& head) -> Result<Head> {
    if (head.opener != claim.opener.opener || head.epoch != claim.opener.epoch) {
      return fail(Code::fenced, "{} took disk '{}' over as epoch {}", head.owner, head.disk,
                  head.epoch.text());
    }
    if (head.state == HeadState::attached) return head;
    Head next = head;
    record_seals(next, sealed);
    auto start = end_of_log(next);
    start.epoch = claim.opener.epoch, start.opener = claim.opener.opener, start.seq = 0;
    next.unsealed = {start};
    next.state = HeadState::attached;
    return next;
  };
  co_return co_await change_head(access, std::move(claim.at), change);
}

}  // namespace ebb::disk
