#include "agent/isolation.h"

namespace ebb::agent {

Isolation::Verdict Isolation::of(const WantedVm& wish, const DiskClient& disks, Instant now) const {
  auto is_own = [](const WantedDisk& disk) { return !disk.read_only; };
  if (std::ranges::none_of(wish.disks, is_own)) return Verdict::none;
  if (control_heard_ && now - *control_heard_ <= silence_max) return Verdict::none;
  auto is_confirmed = [&](const WantedDisk& disk) { return !is_own(disk) || confirms(disks, disk, now); };
  if (std::ranges::all_of(wish.disks, is_confirmed)) return Verdict::none;
  return now - started_ <= silence_max ? Verdict::unknown : Verdict::cut_off;
}

// HEAD named us so long ago as the daemon said, and that it said so is a while ago as well.
bool Isolation::confirms(const DiskClient& disks, const WantedDisk& disk, Instant now) const {
  const auto* status = disks.find(disk.id);
  if (!status || !status->owner_age_ms || !disks.heard_at()) return false;
  return now - *disks.heard_at() + std::chrono::milliseconds(*status->owner_age_ms) <= silence_max;
}

}  // namespace ebb::agent
