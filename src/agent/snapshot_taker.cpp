#include "agent/snapshot_taker.h"

#include "agent/told.h"

namespace ebb::agent {
namespace {

bool is_wanted(const WantedVm& wish, const SeenSnapshot& told) {
  return std::ranges::any_of(wish.disks, [&](const WantedDisk& disk) {
    return std::ranges::find(disk.snapshots, told.request, &WantedSnapshot::request) != disk.snapshots.end();
  });
}

}  // namespace

void SnapshotTaker::look_at(const WantedVm& wish) {
  std::erase_if(seen_, [&](const SeenSnapshot& told) { return !is_wanted(wish, told); });
  if (!std::exchange(is_taking_, true)) scope_.spawn(take_all(wish));
}

std::vector<SeenSnapshot> SnapshotTaker::seen(const WantedVm& wish) const {
  auto seen = seen_;
  std::erase_if(seen, [&](const SeenSnapshot& told) { return !is_wanted(wish, told); });
  // The daemon itself takes those of a take-over, as it opens the disk.
  for (const auto& disk : wish.disks) {
    const auto* status = disks_.find(disk.id);
    if (!status || status->epoch != disk_epoch(wish, disk)) continue;
    for (const auto& cut : status->cuts)
      if (std::ranges::find(disk.cuts, cut.request, &WantedSnapshot::request) != disk.cuts.end())
        seen.push_back({disk.id, cut.request, cut.made_at, cut.error, {}});
  }
  return seen;
}

Task<void> SnapshotTaker::take_all(WantedVm wish) {
  for (const auto& disk : wish.disks) {
    for (const auto& wanted : disk.snapshots) {
      auto known = std::ranges::find(seen_, wanted.request, &SeenSnapshot::request);
      if (known != seen_.end() && (known->made_at > 0 || !known->error.empty())) continue;
      auto made =
          co_await disks_.snapshot({disk.id, disk.pool, disk_epoch(wish, disk), wanted.name, wanted.request});
      SeenSnapshot told{disk.id, wanted.request, 0, {}, {}};
      if (made)
        told.made_at = made->created_at;
      else if (made.error().code == Code::conflict || made.error().code == Code::invalid)
        told.error = made.error().message;
      else
        told.waiting_for = made.error().message;
      if (remember(seen_, std::move(told), &SeenSnapshot::request)) changed_();
    }
  }
  is_taking_ = false;
}

}  // namespace ebb::agent
