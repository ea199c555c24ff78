#include "disk/format/head_types.h"

#include "disk/block_device.h"
#include "disk/format/hash.h"
#include "disk/format/limits.h"

namespace ebb::disk {
namespace {

// The number is outside of the checksum: one flipped bit must not make it an older one (3 would be 2).
constexpr int head_version = 2;  // 1: openers are tokens alone
constexpr int roots_version =
    4;  // 2: the same; 1: without request, time and owner of a root, restores, dropped, removed and replaced

Status check_token(std::string_view token, std::string_view what) {
  if (token.empty() || token.size() > token_bytes_max ||
      token.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789-") != std::string_view::npos) {
    return fail(Code::corrupt, "{} is not a token", what);
  }
  return {};
}

// `owner/token`; of older versions the token alone.
Status check_opener(std::string_view opener, std::string_view what) {
  auto slash = opener.rfind('/');
  auto owner = opener.substr(0, slash == std::string_view::npos ? 0 : slash);
  if (owner.size() > token_bytes_max) return fail(Code::corrupt, "{} is not a token", what);
  return check_token(opener.substr(slash + 1), what);
}

Status check_point(const LogPoint& p, std::string_view what) {
  if (p.epoch.placement > placement_max || p.epoch.incarnation > incarnation_max || p.seq > seq_max) {
    return fail(Code::corrupt, "{} is out of range", what);
  }
  if (!p.chain.empty() && !is_sha256_hex(p.chain)) return fail(Code::corrupt, "{} has no valid chain", what);
  if (p.seq > 0 && p.chain.empty()) return fail(Code::corrupt, "{} has segments and no chain", what);
  EBB_CHECKED(check_opener(p.opener, what));
  if (!p.log_id.empty()) EBB_CHECKED(check_token(p.log_id, what));
  return {};
}

Status check_checkpoint(const CheckpointRef& c) {
  if (!is_valid_name(c.disk.str()) || c.number == 0 || c.number > seq_max || c.bytes == 0 ||
      c.bytes > checkpoint_bytes_max) {
    return fail(Code::corrupt, "a checkpoint's reference is out of range");
  }
  return check_point(c.position, "a checkpoint's position");
}

// Epochs rise through the lineage and the unsealed, and none is newer than HEAD's own.
Status check_points(const Head& h) {
  const LogPoint* last = nullptr;
  for (const auto* list : {&h.lineage, &h.unsealed}) {
    for (const auto& point : *list) {
      EBB_CHECKED(check_point(point, "a log point of HEAD"));
      if ((last && !(last->epoch < point.epoch)) || h.epoch < point.epoch) {
        return fail(Code::corrupt, "the epochs in HEAD are out of order");
      }
      last = &point;
    }
  }
  return {};
}

Status check_state(const Head& h) {
  bool own_unsealed = !h.unsealed.empty() && h.unsealed.back().epoch == h.epoch;
  switch (h.state) {
    case HeadState::attaching:
      if (own_unsealed) return fail(Code::corrupt, "HEAD is attaching and has segments of its own");
      break;
    case HeadState::attached:
      if (!own_unsealed || h.unsealed.size() != 1 || h.unsealed.back().opener != h.opener) {
        return fail(Code::corrupt, "HEAD is attached and its unsealed epoch is another");
      }
      break;
    case HeadState::detached_clean:
      if (h.epoch == DiskEpoch{} ? !h.unsealed.empty() : !own_unsealed) {
        return fail(Code::corrupt, "HEAD is detached and does not say where its fence is");
      }
      break;
    case HeadState::sealed:
      if (!h.unsealed.empty() || !h.checkpoint || !h.roots)
        return fail(Code::corrupt, "HEAD is sealed and not complete");
      break;
    case HeadState::deleted:
      break;
  }
  return {};
}

}  // namespace

Bytes encode(const Head& head) { return write_text_object("ebb-head", head, head_version); }

Result<Head> decode_head(ByteView object, const DiskId& disk) {
  auto what = fmt::format("HEAD of {}", disk);
  EBB_TRY(head, read_text_object<Head>(object, "ebb-head", what, head_version));
  if (head.disk != disk) return fail(Code::corrupt, "{} says that it is of '{}'", what, head.disk);
  if (!is_valid_name(head.disk.str())) return fail(Code::corrupt, "{} names no valid disk", what);
  if (head.size_bytes % block_bytes != 0 || head.size_bytes > disk_bytes_max)
    return fail(Code::corrupt, "{}: bad size", what);
  if (head.key_id != 0) return fail(Code::invalid, "{} is encrypted; this program cannot read that", what);
  if (head.epoch.placement > placement_max || head.epoch.incarnation > incarnation_max) {
    return fail(Code::corrupt, "{}: epoch out of range", what);
  }
  EBB_CHECKED(check_token(head.nonce, "HEAD's nonce"));
  if (head.epoch != DiskEpoch{}) EBB_CHECKED(check_opener(head.opener, "HEAD's opener"));
  if (head.checkpoint) EBB_CHECKED(check_checkpoint(*head.checkpoint));
  if (head.roots) EBB_CHECKED(check_token(head.roots->nonce, "the roots' nonce"));
  EBB_CHECKED(check_points(head));
  EBB_CHECKED(check_state(head));
  return head;
}

Bytes encode(const RootsPage& page) { return write_text_object("ebb-roots", page, roots_version); }

Result<RootsPage> decode_roots(ByteView object) {
  EBB_TRY(page, read_text_object<RootsPage>(object, "ebb-roots", "the page of roots", roots_version));
  for (const auto& root : page.roots) {
    if (!is_valid_name(root.name)) return fail(Code::corrupt, "a root has no valid name");
    EBB_CHECKED(check_checkpoint(root.checkpoint));
  }
  for (const auto& restore : page.restores) {
    EBB_CHECKED(check_point(restore.from, "the end of what a restore left"));
    EBB_CHECKED(check_point(restore.to, "the place that a restore went back to"));
  }
  for (const auto& checkpoint : page.dropped) EBB_CHECKED(check_checkpoint(checkpoint));
  for (const auto& nonce : page.replaced) EBB_CHECKED(check_token(nonce, "a replaced page's nonce"));
  for (const auto& fork : page.forks) {
    if (!is_valid_name(fork.disk.str())) return fail(Code::corrupt, "a fork's pin names no valid disk");
  }
  return page;
}

const NamedRoot* RootsPage::find(std::string_view name) const {
  auto it = std::ranges::find(roots, name, &NamedRoot::name);
  return it == roots.end() ? nullptr : &*it;
}

void RootsPage::drop(const std::function<bool(const NamedRoot&)>& which) {
  for (const auto& root : roots) {
    const bool is_listed = std::ranges::find(dropped, root.checkpoint) != dropped.end();
    if (which(root) && !is_listed) dropped.push_back(root.checkpoint);
  }
  std::erase_if(roots, which);
}

// Replaced pages are cleared away some at a time: each clearing makes another.
std::uint64_t RootsPage::owed() const {
  return dropped.size() + (replaced.size() > 2 * replaced_kept ? replaced.size() - replaced_kept : 0);
}

const LogPoint* newest_attached(const Head& head) {
  if (!head.unsealed.empty()) return &head.unsealed.back();
  if (!head.lineage.empty()) return &head.lineage.back();
  if (head.checkpoint && head.checkpoint->disk == head.disk) return &head.checkpoint->position;
  return nullptr;
}

}  // namespace ebb::disk
