// What must hold of every HEAD that is put, whoever puts it.
#include "disk/keys.h"
#include "disk_oracle.h"

namespace ebb::disk_sim {
namespace {

using disk::Head;
using disk::HeadState;

std::optional<DiskId> disk_of_head(const std::string& key) {
  constexpr std::string_view before = "v/", after = "/HEAD";
  if (!key.starts_with(before) || !key.ends_with(after)) return std::nullopt;
  return DiskId(key.substr(before.size(), key.size() - before.size() - after.size()));
}

bool is_fence_at(const sim::SimStore& store, const DiskId& disk, DiskEpoch epoch, std::uint64_t seq) {
  const auto* object = store.peek(disk::segment_key(disk, epoch, seq));
  if (!object) return false;
  auto head_bytes = disk::log_object_head_bytes(object->body);
  if (!head_bytes || *head_bytes > object->body.size()) return false;
  auto decoded = disk::decode_log_object(ByteView(object->body).first(*head_bytes), disk, epoch, seq);
  return decoded && std::holds_alternative<disk::Fence>(*decoded);
}

}  // namespace

void Oracle::on_put(const std::string& key, const Bytes& body) {
  auto id = disk_of_head(key);
  if (!id || !disks_.contains(*id)) return;
  auto& disk = disks_.at(*id);
  auto head = disk::decode_head(body, *id);
  if (!head) return violation("HEAD of {} cannot be read: {}", *id, head.error().message);
  const bool is_restored = disk.head && is_restore(*disk.head, *head);
  if (disk.head) check_head_step(disk, *disk.head, *head);
  if (is_restored) {
    for (const auto& cut : head->lineage) disk.cuts[cut.epoch] = cut;
    begin_restored(disk, *head);
  }
  check_seals(disk, *head);
  if (head->state == HeadState::attached && !disk.attached.contains(head->epoch))
    disk.attached[head->epoch] = {head->owner, drive_of(head->owner), false};
  if (head->state == HeadState::detached_clean && disk.attached.contains(head->epoch))
    disk.attached[head->epoch].is_detached = true;
  disk.head = std::move(*head);
}

// The one step that may leave another history than it found: an opener for that purpose ends its own, empty
// epoch.
bool Oracle::is_restore(const Head& from, const Head& to) {
  return to.owner == restorer && from.opener == to.opener && from.state == HeadState::attached &&
         to.state == HeadState::detached_clean;
}

// Immutable, so it is read once.
const std::set<std::string>& Oracle::needed_by(const disk::CheckpointRef& checkpoint) {
  auto key = disk::checkpoint_root_key(checkpoint.disk, checkpoint.epoch, checkpoint.number);
  auto [it, is_new] = needed_.try_emplace(key);
  if (!is_new) return it->second;
  const auto* object = store_.peek(key);
  auto root = object ? disk::decode_checkpoint_root(object->body) : fail(Code::not_found, "it is gone");
  if (!root) {
    violation("the checkpoint {} cannot be read: {}", key, root.error().message);
    return it->second;
  }
  it->second.insert(key);
  it->second.insert(disk::checkpoint_root_copy_key(checkpoint.disk, checkpoint.epoch, checkpoint.number));
  for (const auto& o : root->objects) it->second.insert(disk::data_object_key(o.object));
  for (const auto& p : root->packs)
    it->second.insert(disk::map_pack_key(p.disk, p.epoch, p.checkpoint, p.number));
  return it->second;
}

void Oracle::on_removed(const std::string& key, const Bytes& body) {
  for (const auto& [id, disk] : disks_) {
    if (!disk.head) continue;
    if (disk.head->checkpoint && needed_by(*disk.head->checkpoint).contains(key))
      violation("{} was removed, and the checkpoint of {} needs it", key, id);
    if (const auto& ref = disk.head->roots) {
      const auto* object = store_.peek(disk::roots_key(id, ref->nonce));
      auto page = object ? disk::decode_roots(object->body) : fail(Code::not_found, "it is gone");
      if (!page) return violation("the page of roots of {}: {}", id, page.error().message);
      for (const auto& root : page->roots)
        if (needed_by(root.checkpoint).contains(key))
          violation("{} was removed, and the root '{}' of {} needs it", key, root.name, id);
    }
    if (!as_text(body).starts_with("EBBFENC") || !key.contains(fmt::format("/{}/", id))) continue;
    // One that came late, into the place of a segment that was reclaimed, decides nothing.
    bool is_below_a_seal = std::ranges::any_of(disk.seals, [&](const auto& seal) {
      auto epoch = disk::segment_key(id, seal.first, 0);
      return key.starts_with(epoch.substr(0, epoch.size() - 12)) &&
             key <= disk::segment_key(id, seal.first, seal.second.seq);
    });
    if (!is_below_a_seal) violation("the fence {} was removed", key);
  }
}

void Oracle::check_head_step(Disk& disk, const Head& from, const Head& to) {
  const auto& id = to.disk;
  if (to.epoch < from.epoch)
    violation("the epoch in HEAD of {} fell from {} to {}", id, from.epoch.text(), to.epoch.text());
  if (to.epoch == from.epoch && (to.owner != from.owner || to.opener != from.opener))
    violation("{} has two openers in epoch {}", id, to.epoch.text());
  if (from.state == HeadState::sealed && to.state != HeadState::sealed)
    violation("the image {} is no image any more", id);
  const bool is_new = to.epoch > from.epoch;
  if (is_new && to.state != HeadState::attaching) violation("{} was attached without a claim", id);
  if (!is_new && from.state == HeadState::detached_clean && to.state == HeadState::attached)
    violation("epoch {} of {} was resumed after it had been sealed", to.epoch.text(), id);
  for (const auto& old : from.unsealed) {
    for (const auto& now : to.unsealed) {
      if (now.epoch == old.epoch && now.seq < old.seq)
        violation("the first place to probe in epoch {} of {} went down from {} to {}", now.epoch.text(), id,
                  old.seq, now.seq);
    }
  }
  if (from.checkpoint && !is_restore(from, to) &&
      (!to.checkpoint || to.checkpoint->position.write_seq < from.checkpoint->position.write_seq))
    violation("the checkpoint of {} went back", id);
  if (to.state == HeadState::attached && (to.unsealed.size() != 1 || to.unsealed[0].epoch != to.epoch))
    violation("HEAD of {} is attached, and other epochs than its own are unsealed", id);
  (void)disk;
}

// A seal never changes once it is known, and a fence stands above it.
void Oracle::check_seals(Disk& disk, const Head& head) {
  for (const auto& point : head.lineage) {
    if (auto cut = disk.cuts.find(point.epoch); cut != disk.cuts.end() && cut->second == point) continue;
    auto [known, is_new] = disk.seals.emplace(point.epoch, point);
    if (!is_new && known->second != point)
      violation("epoch {} of {} was sealed at {}, and now at {}", point.epoch.text(), head.disk,
                known->second.seq, point.seq);
    if (is_new && !is_fence_at(store_, head.disk, point.epoch, point.seq + 1))
      violation("epoch {} of {} is sealed at {}, and no fence stands above that", point.epoch.text(),
                head.disk, point.seq);
  }
}

std::map<DiskEpoch, std::uint64_t> Oracle::seals(const DiskId& id) const {
  const auto& disk = disks_.at(id);
  std::map<DiskEpoch, std::uint64_t> ends;
  for (const auto& [epoch, point] : disk.seals) ends[epoch] = point.seq;
  if (disk.head && disk.head->state == HeadState::detached_clean) {
    for (const auto& point : disk.head->unsealed) ends[point.epoch] = point.seq;
  }
  return ends;
}

}  // namespace ebb::disk_sim
