#include "agent/stray_disks.h"

namespace ebb::agent {

void StrayDisks::look(const std::set<DiskId>& named, bool may_act) {
  std::map<DiskId, Instant> since;
  for (const auto& status : disks_.last().disks) {
    if (named.contains(status.disk)) continue;
    const auto known = since_.find(status.disk);
    const auto began = known == since_.end() ? loop_.now() : known->second;
    since.emplace(status.disk, began);
    if (may_act && loop_.now() - began >= patience && busy_.insert(status.disk).second)
      scope_.spawn(release(status));
  }
  since_ = std::move(since);
}

std::vector<DiskId> StrayDisks::held() const {
  std::vector<DiskId> held;
  for (const auto& status : disks_.last().disks)
    if (since_.contains(status.disk) && holds_lease(status.state)) held.push_back(status.disk);
  return held;
}

// Once; what it did not come to is done after the next look.
Task<void> StrayDisks::release(DiskStatus status) {
  const DiskRef ref{status.disk, status.pool, status.epoch};
  bool is_free = !holds_lease(status.state);
  if (!is_free) {
    auto sealed = co_await disks_.seal(ref);
    is_free = sealed ? !holds_lease(sealed->state) : sealed.error().code != Code::unavailable;
  }
  if (is_free && co_await disks_.close(ref)) {
    log_.info("disk {}: nobody here wants it: it is sealed and closed", status.disk);
    changed_();
  }
  busy_.erase(status.disk);
}

}  // namespace ebb::agent
