// A drain as people see it: the plan before, the live frame or plain lines during, the summary after. Pure
// text.
#pragma once
#include <set>
#include <string>
#include <tuple>
#include <vector>

#include "cli/screen.h"
#include "cli/table_view.h"
#include "model/api_types.h"

namespace ebb {

// What moves where and how long each VM will be away, the ETA and what makes it; then every blocker with its
// remedy.
std::string plan_text(const DrainPlan& plan);
// Of an undo: who goes back to the workers of the plan, and who stays.
std::string undo_text(const DrainPlan& plan);

struct FrameStyle {
  ScreenSize size;
  Palette palette = Palette::plain;
};
// The live view: the drain with its total bar, then one line a VM (moving, then waiting, then moved), then
// what is waited for. Never wider or higher than the screen. VMs of the plan that have no migration yet are
// shown as waiting.
std::vector<std::string> drain_frame(const DrainView& view, const DrainPlan& plan, const FrameStyle& style,
                                     WallMs now);

// The same for a pipe: lines that are new since the last update, each with the time since the drain began.
class DrainLines final {
 public:
  std::vector<std::string> update(const DrainView& view, WallMs now);

 private:
  using Line = std::tuple<WallMs, std::size_t, std::string>;  // when, in which order, what
  void add_phases(const MigrationView& move, const DrainView& view, std::vector<Line>& lines);

  std::map<MigrationId, std::size_t> phases_told_;
  std::set<std::string> reasons_told_;  // those that stand now: a reason that comes back is told again
  std::string status_told_;
};

// Per VM: mechanism, source -> target, interruption, total; then one sentence about the whole.
std::string drain_summary(const DrainView& view);

// The drain's own reasons: those that a migration gives as well are shown beside their VM, and those of blockers with these.
std::vector<Reason> reasons_of_drain_alone(const DrainView& view);

// From 0 to 1, moves under way counted by their own progress.
double drain_progress(const DrainView& view);

}  // namespace ebb
