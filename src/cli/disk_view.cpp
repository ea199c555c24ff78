#include "cli/disk_view.h"

#include <fmt/format.h>

#include "cli/table_view.h"

namespace ebb {

std::string snapshots_table(const Disk& disk, WallMs now) {
  Table table({"DISK", "SNAPSHOT", "STATE", "TAKEN", "NOTE"});
  for (const auto& s : disk.snapshots) {
    auto note = s.error;
    if (s.left_by_restore_to)
      note = fmt::format("what it was before it was restored to '{}'", *s.left_by_restore_to);
    if (s.cut_of && note.empty())
      note = fmt::format("where it was taken over from {}; goes when that worker's log is known",
                         s.cut_of->worker);
    table.add({disk.id.value, s.name, std::string(json::name_of(s.state)),
               s.state == SnapshotState::wanted ? "" : ago(s.created_at, now), note});
  }
  auto text = table.text();
  if (disk.restore) text += fmt::format("{} is being restored to '{}'\n", disk.id, disk.restore->snapshot);
  return text;
}

std::string restore_plan_text(const RestorePlanView& plan, WallMs now) {
  auto text =
      fmt::format("{} goes back to '{}', taken {}\n", plan.disk, plan.snapshot, ago(plan.snapshot_at, now));
  text += fmt::format("undone: {} writes in {} segments since then; kept as '{}'\n", plan.writes_undone,
                      plan.segments_undone, plan.keep_as);
  if (plan.writes_back > 0)
    text += fmt::format("back:   {} writes that an earlier restore had undone\n", plan.writes_back);
  for (const auto& blocker : plan.blockers) text += fmt::format("blocked: {}\n", blocker);
  return text;
}

std::string disk_log_table(const DiskLogView& log, WallMs now) {
  Table table({"WHAT", "EPOCH", "OWNER", ">WRITES TO", "WHEN", "NOTE"});
  for (const auto& e : log.entries) {
    const bool has_place = !e.epoch.empty();
    table.add({e.kind, e.epoch, e.owner, has_place ? fmt::format("{}", e.write_seq) : "",
               e.at > 0 ? ago(e.at, now) : "", e.text});
  }
  return table.text();
}

}  // namespace ebb
