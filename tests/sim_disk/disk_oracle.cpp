#include "disk_oracle.h"

#include "base/check.h"
#include "disk/format/limits.h"

namespace ebb::disk_sim {

std::size_t Tenure::cost(std::size_t op) const {
  constexpr std::size_t record_bytes = 64;
  return record_bytes + (ops[op].stamp == 0 ? 0 : ops[op].count * disk::block_bytes);
}

Oracle::Oracle(sim::SimWorld& world, sim::SimStore& store, disk::DiskTuning tuning)
    : world_(world), store_(store), tuning_(tuning) {}

void Oracle::add_disk(const DiskId& disk, DiskClass disk_class, Content initial) {
  auto& added = disks_[disk];
  added.disk_class = disk_class;
  added.initial = std::move(initial);
}

std::uint64_t Oracle::drive_of(const std::string& worker) const {
  auto found = drives_.find(worker);
  return found == drives_.end() ? 0 : found->second;
}

void Oracle::drive_was_replaced(const std::string& worker) { ++drives_[worker]; }

// What a tenure found when it began had been synced before it was served; what it wrote itself is safe when
// flushed.
void Oracle::power_was_cut(const std::string& worker) {
  for (auto& [id, disk] : disks_) {
    for (auto& [epoch, tenure] : disk.tenures) {
      if (tenure->worker != worker || tenure->drive != drive_of(worker)) continue;
      if (!tenure->survives_power_cut)
        tenure->survives_power_cut = std::max(tenure->carried, tenure->flushed);
    }
  }
}

// ---- tenures

Tenure& Oracle::served(const DiskId& disk, const std::string& worker, DiskEpoch epoch) {
  auto& slot = disks_.at(disk).tenures[epoch];
  if (slot) violation("{} is served a second time in epoch {}", disk, epoch.text());
  slot = std::make_unique<Tenure>();
  slot->disk = disk, slot->worker = worker, slot->epoch = epoch, slot->drive = drive_of(worker);
  ++tenures_;
  return *slot;
}

Tenure* Oracle::before(Disk& disk, DiskEpoch epoch) const {
  for (auto it = disk.tenures.lower_bound(epoch); it != disk.tenures.begin();) {
    --it;
    if (it->second->has_begun) return it->second.get();
  }
  return nullptr;
}

// How much of `last` the disk holds when `next` opens it, over the epochs between them that were attached and
// never used.
Oracle::Promise Oracle::promised(const Disk& disk, const Tenure& last, const Tenure& next) const {
  auto in_log = last.survives_power_cut.value_or(last.acknowledged);
  auto in_store = last.kept_anywhere;
  bool is_log_valid = true;
  for (auto it = disk.attached.find(last.epoch); it != disk.attached.end() && it->first < next.epoch; ++it) {
    is_log_valid &= it->second.owner == last.worker && it->second.drive == last.drive;
    if (!it->second.is_detached) continue;
    // A clean seal loses nothing that its owner had.
    if (it->first == last.epoch)
      in_store = std::max(in_store, last.acknowledged);
    else if (is_log_valid)
      in_store = std::max(in_store, in_log);
  }
  is_log_valid &= next.worker == last.worker && next.drive == last.drive;
  return {is_log_valid ? std::max(in_log, in_store) : in_store, is_log_valid};
}

// Which prefixes of the tenure's history, at least `least` long, left exactly `found`.
std::optional<Oracle::Match> Oracle::match(const Tenure& tenure, const Content& found, std::size_t least) {
  if (tenure.base.size() != found.size()) return std::nullopt;
  auto content = tenure.base;
  std::size_t wrong = 0;
  for (std::size_t b = 0; b < content.size(); ++b) wrong += content[b] != found[b];
  std::optional<Match> matched;
  for (std::size_t n = 0;; ++n) {
    if (wrong == 0 && n >= least) matched = Match{matched ? matched->shortest : n, n};
    if (n == tenure.ops.size()) return matched;
    const auto& op = tenure.ops[n];
    for (auto b = op.block; b < op.block + op.count; ++b) {
      wrong -= content[b] != found[b];
      content[b] = op.stamp;
      wrong += content[b] != found[b];
    }
  }
}

void Oracle::begin(Tenure& tenure, const Content& found) {
  auto& disk = disks_.at(tenure.disk);
  tenure.has_begun = true;
  auto* last = before(disk, tenure.epoch);
  if (!last) {
    tenure.base = found;
    if (found != disk.initial) violation("{} does not begin as it was made", tenure.disk);
    return;
  }
  auto promise = promised(disk, *last, tenure);
  auto found_at = match(*last, found, promise.least);
  if (!found_at) {
    auto any = match(*last, found, 0);
    violation(
        "{} in epoch {} on {} does not hold what epoch {} on {} left: at least {} of {} writes were "
        "promised, {}",
        tenure.disk, tenure.epoch.text(), tenure.worker, last->epoch.text(), last->worker, promise.least,
        last->ops.size(),
        any ? fmt::format("and there are {}", any->longest) : "and it is no prefix of them");
    tenure.base = found;
    return;
  }
  if (!last->successor_kept) {
    last->successor_kept = found_at->longest;
    lost_writes_ += last->acknowledged - std::min(last->acknowledged, found_at->longest);
  }
  if (!promise.is_log_carried) {
    tenure.base = found;
    return;
  }
  tenure.base = last->base;
  tenure.ops.assign(last->ops.begin(), last->ops.begin() + static_cast<std::ptrdiff_t>(found_at->longest));
  tenure.carried = tenure.acknowledged = tenure.ops.size();
  for (auto& op : tenure.ops) {
    if (!op.acknowledged_at) op.acknowledged_at = world_.loop().now();
  }
  tenure.flushed = std::min(last->flushed, tenure.carried);
  tenure.kept_anywhere = std::min(last->kept_anywhere, tenure.carried);
  bool was_sealed = disk.attached.contains(last->epoch) && disk.attached.at(last->epoch).is_detached;
  if (was_sealed) tenure.kept_anywhere = tenure.carried;
}

std::size_t Oracle::issue(Tenure& tenure, Op op) {
  CHECK(tenure.has_begun);
  ++writes_;
  tenure.ops.push_back(op);
  return tenure.ops.size() - 1;
}

void Oracle::acknowledge(Tenure& tenure, std::size_t op) {
  if (op != tenure.acknowledged)
    violation("{} in epoch {}: write {} was acknowledged before write {}", tenure.disk, tenure.epoch.text(),
              op, tenure.acknowledged);
  tenure.ops[op].acknowledged_at = world_.loop().now();
  tenure.acknowledged = op + 1;
}

// What the announced loss leaves at least, when a FLUSH of class `local` that covers so much is acknowledged
// now.
std::size_t Oracle::bound_at(const Tenure& tenure, std::size_t covered) const {
  std::size_t unsent = 0, at = covered;
  const auto oldest = world_.loop().now() - tuning_.unsent_age_max;
  while (at > 0 && unsent + tenure.cost(at - 1) <= tuning_.unsent_bytes_max &&
         *tenure.ops[at - 1].acknowledged_at >= oldest)
    unsent += tenure.cost(--at);
  return at;
}

void Oracle::flush_acknowledged(Tenure& tenure, std::size_t covered) {
  const auto& disk = disks_.at(tenure.disk);
  tenure.flushed = std::max(tenure.flushed, covered);
  tenure.flushed_at = world_.loop().now();
  const auto kept = disk.disk_class == DiskClass::remote ? covered : bound_at(tenure, covered);
  tenure.kept_anywhere = std::max(tenure.kept_anywhere, kept);
  bool has_successor = disk.tenures.upper_bound(tenure.epoch) != disk.tenures.end();
  if (!has_successor) return;
  if (tenure.successor_kept && covered > *tenure.successor_kept)
    violation(
        "{}: {} acknowledged a FLUSH in epoch {} although a successor serves, which kept {} of its {} writes",
        tenure.disk, tenure.worker, tenure.epoch.text(), *tenure.successor_kept, covered);
  tenure.kept_anywhere = std::max(tenure.kept_anywhere, covered);
}

// ---- the store alone

std::map<DiskEpoch, std::size_t> Oracle::stored_by_now(const DiskId& disk) const {
  std::map<DiskEpoch, std::size_t> out;
  for (const auto& [epoch, tenure] : disks_.at(disk).tenures) {
    if (tenure->has_begun) out[epoch] = tenure->kept_anywhere;
  }
  return out;
}

void Oracle::read_offline(const DiskId& id, DiskEpoch head_epoch, const Content& found,
                          const std::map<DiskEpoch, std::size_t>& least) {
  auto& disk = disks_.at(id);
  auto* tenure = before(disk, {head_epoch.placement, head_epoch.incarnation + 1});
  if (!tenure) {
    if (found != disk.initial) violation("{} read offline is not as it was made", id);
    return;
  }
  auto at_least = least.contains(tenure->epoch) ? least.at(tenure->epoch) : 0;
  auto matched = match(*tenure, found, at_least);
  if (!matched)
    violation("{} read offline under epoch {} holds no prefix of epoch {} of at least {} of {} writes", id,
              head_epoch.text(), tenure->epoch.text(), at_least, tenure->ops.size());
  else  // what the store has once, it keeps
    tenure->kept_anywhere = std::max(tenure->kept_anywhere, matched->shortest);
}

// ---- snapshots and restores

void Oracle::check_root(const DiskId& id, const std::string& name, const disk::LogPoint& position,
                        const Content& found, DiskEpoch asked, std::size_t least) {
  auto& disk = disks_.at(id);
  auto* tenure = before(disk, {position.epoch.placement, position.epoch.incarnation + 1});
  // The only checkpoint in a restore's own epoch is that of what it left.
  if (tenure && tenure->epoch == position.epoch && tenure->worker == restorer)
    tenure = before(disk, position.epoch);
  if (!tenure) {
    if (found != disk.initial) violation("snapshot {} of {} is not as the disk was made", name, id);
    return;
  }
  const auto at_least = tenure->epoch == asked ? least : 0;
  if (!match(*tenure, found, at_least))
    violation("snapshot {} of {} at epoch {} holds no prefix of epoch {} of at least {} of {} writes", name,
              id, position.epoch.text(), tenure->epoch.text(), at_least, tenure->ops.size());
}

void Oracle::expect_restore(const DiskId& disk, Content content) {
  disks_.at(disk).restored_content = std::move(content);
}

// The disk begins anew: as if an owner had opened it, found this, and sealed it.
void Oracle::begin_restored(Disk& disk, const disk::Head& head) {
  if (!disk.restored_content) return violation("{} was restored, and nobody had asked for it", head.disk);
  auto& slot = disk.tenures[head.epoch];
  slot = std::make_unique<Tenure>();
  slot->disk = head.disk, slot->worker = head.owner, slot->epoch = head.epoch;
  slot->has_begun = true, slot->base = *disk.restored_content;
}

void Oracle::check_left(const DiskId& id, DiskEpoch epoch, const Content& found) {
  auto& disk = disks_.at(id);
  const auto* last = before(disk, epoch);
  if (!last) {
    if (found != disk.initial) violation("what the restore of {} left is not as the disk was made", id);
    return;
  }
  // It was sealed before; by whoever held it then, who may have come after a loss that was announced.
  const auto least = promised(disk, *last, *disk.tenures.at(epoch)).least;
  if (!match(*last, found, least))
    violation("what the restore of {} in epoch {} left lacks some of the first {} of {} writes of epoch {}",
              id, epoch.text(), least, last->acknowledged, last->epoch.text());
}

void Oracle::check_rescued(const DiskId& id, const std::string& worker, std::uint64_t placement,
                           const Content& found) {
  const Tenure* last = nullptr;
  for (const auto& [epoch, tenure] : disks_.at(id).tenures) {
    if (epoch.placement <= placement && tenure->worker == worker && tenure->has_begun &&
        tenure->drive == drive_of(worker))
      last = tenure.get();
  }
  if (!last) return violation("{} has a log of {}, and was never served there", worker, id);
  const auto least = last->survives_power_cut.value_or(last->acknowledged);
  if (!match(*last, found, least))
    violation("the rest of the log of {} on {} does not make the disk that epoch {} left: {} of {} writes",
              id, worker, last->epoch.text(), least, last->ops.size());
}

void Oracle::check_final(const DiskId& id, const Content& found) {
  auto& disk = disks_.at(id);
  const auto* last = newest(id);
  if (!last) {
    if (found != disk.initial) violation("{}: never written, and not as it was made", id);
    return;
  }
  if (!match(*last, found, last->acknowledged))
    violation("{}: after its clean seal the store lacks what epoch {} had: {} writes", id, last->epoch.text(),
              last->acknowledged);
}

const Tenure* Oracle::newest(const DiskId& disk) const {
  const auto& tenures = disks_.at(disk).tenures;
  for (auto it = tenures.rbegin(); it != tenures.rend(); ++it) {
    if (it->second->has_begun) return it->second.get();
  }
  return nullptr;
}

std::set<std::string> Oracle::workers_with_orphans(const DiskId& disk) const {
  std::set<std::string> workers;
  for (const auto& [epoch, tenure] : disks_.at(disk).tenures) {
    if (!tenure->successor_kept || tenure->drive != drive_of(tenure->worker)) continue;
    if (tenure->survives_power_cut.value_or(tenure->acknowledged) > *tenure->successor_kept)
      workers.insert(tenure->worker);
  }
  return workers;
}

}  // namespace ebb::disk_sim
