#include "cli/drain_view.h"

#include <algorithm>

#include "base/text.h"

namespace ebb {
namespace {

std::string ms_text(std::uint32_t ms) { return format_duration(std::chrono::milliseconds(ms)); }

std::string count_of(std::size_t count, std::string_view one) {
  return fmt::format("{} {}{}", count, one, count == 1 ? "" : "s");
}

// ---- the live frame ----

struct FrameRow {
  int rank = 0;  // moving 0, waiting 1, moved 2
  std::string vm, mechanism, route, state, note;
  double progress = 0;
  Tone tone = Tone::normal;
};

std::string note_of(const MigrationView& move) {
  const auto& m = move.migration;
  if (is_ended(m.phase)) {
    if (m.phase == Phase::aborted) return m.last_error;
    return move.interruption_ms ? "away " + ms_text(*move.interruption_ms) : "";
  }
  if (!m.last_error.empty()) return m.last_error;
  if (!move.waiting_for.empty()) return move.waiting_for.front().text;
  return move.predicted_interruption_ms ? "away ~" + ms_text(*move.predicted_interruption_ms) : "";
}

FrameRow row_of(const MigrationView& move) {
  const auto& m = move.migration;
  FrameRow row;
  row.rank = is_ended(m.phase) ? 2 : 0;
  row.vm = m.vm.value;
  row.mechanism = json::name_of(m.mechanism);
  row.route = "-> " + (m.target.empty() ? "?" : m.target.value);
  row.state = json::name_of(m.phase);
  row.progress = m.phase == Phase::done ? 1 : move.progress;
  row.note = note_of(move);
  if (m.phase == Phase::done) {
    row.tone = Tone::good;
  } else if (m.phase == Phase::aborted || !m.last_error.empty()) {
    row.tone = Tone::bad;
  }
  return row;
}

FrameRow row_of(const PlanMove& move) {
  FrameRow row;
  row.rank = 1;
  row.vm = move.vm.value;
  row.mechanism = json::name_of(move.mechanism);
  row.route = "-> " + (move.target.empty() ? "?" : move.target.value);
  row.state = "waiting";
  row.note = "away ~" + ms_text(move.predicted_interruption_ms);
  row.tone = Tone::waiting;
  return row;
}

// A VM that was placed anew has more than one migration: the newest is the one that counts.
std::vector<FrameRow> rows_of(const DrainView& view, const DrainPlan& plan) {
  std::vector<FrameRow> rows;
  std::map<std::string, std::size_t> row_of_vm;
  for (const auto& move : view.migrations) {
    auto row = row_of(move);
    auto [at, is_new] = row_of_vm.try_emplace(row.vm, rows.size());
    if (is_new) {
      rows.push_back(std::move(row));
    } else {
      rows[at->second] = std::move(row);
    }
  }
  bool ended = is_ended(view.drain.state);
  for (const auto& move : plan.moves) {
    if (!ended && row_of_vm.try_emplace(move.vm.value, rows.size()).second) rows.push_back(row_of(move));
  }
  std::vector<FrameRow> ordered;
  for (int rank : {0, 1, 2}) {
    for (const auto& row : rows) {
      if (row.rank == rank) ordered.push_back(row);
    }
  }
  return ordered;
}

// What the worker had. A VM past the point of no return is no longer owned by the worker, and not counted as
// moved yet.
std::uint32_t vms_total(const DrainView& view) {
  auto total = view.moved + view.remaining;
  for (const auto& move : view.migrations) {
    auto phase = move.migration.phase;
    if (is_past_no_return(phase) && !is_ended(phase)) ++total;
  }
  return total;
}

std::string headline(const DrainView& view) {
  auto text =
      fmt::format("drain {}  {}  {}  {} of {} moved", view.drain.id,
                  text_of(view.drain.workers, view.drain.selector), view.status, view.moved, vms_total(view));
  if (view.workers.size() > 1)
    text +=
        fmt::format("  {} of {} workers empty",
                    std::ranges::count(view.workers, true, &WorkerProgress::is_empty), view.workers.size());
  if (view.eta_ms && *view.eta_ms > 0 && !is_ended(view.drain.state))
    text += "  ETA " + ms_text(*view.eta_ms);
  return text;
}

struct Widths {
  std::size_t vm = 0, mechanism = 0, route = 0, state = 0, bar = 0;
};

Widths widths_for(const std::vector<FrameRow>& rows, std::size_t columns) {
  Widths widths;
  for (const auto& row : rows) {
    widths.vm = std::max(widths.vm, columns_of(row.vm));
    widths.mechanism = std::max(widths.mechanism, columns_of(row.mechanism));
    widths.route = std::max(widths.route, columns_of(row.route));
    widths.state = std::max(widths.state, columns_of(row.state));
  }
  // The bar gets a fifth of a wide screen and goes first on a narrow one.
  auto rest = widths.vm + widths.mechanism + widths.route + widths.state + 10;
  widths.bar = rest + 14 <= columns ? std::clamp<std::size_t>(columns / 5, 12, 32) : 0;
  if (rest + widths.bar > columns) widths.bar = 0;
  return widths;
}

std::string line_of(const FrameRow& row, const Widths& widths, const FrameStyle& style) {
  auto before = fmt::format("  {}  {}  {}  ", pad_right(row.vm, widths.vm),
                            pad_right(row.mechanism, widths.mechanism), pad_right(row.route, widths.route));
  auto state = pad_right(row.state, widths.state);
  auto after = widths.bar > 0 ? "  " + bar(row.progress, widths.bar) : "";
  auto used = columns_of(before + state + after);
  if (used > style.size.columns) return cut(before + state, style.size.columns);
  auto room = style.size.columns - used;
  // A note of a few letters tells nothing.
  if (!row.note.empty() && room >= 2 + std::min<std::size_t>(columns_of(row.note), 10))
    after += "  " + cut(row.note, room - 2);
  return before + paint(state, row.tone, style.palette) + after;
}

std::vector<std::string> trouble_lines(const DrainView& view, WallMs now) {
  std::vector<std::string> lines;
  for (const auto& reason : reasons_of_drain_alone(view)) {
    auto since = reason.since ? fmt::format(" (for {})",
                                            format_duration(std::chrono::milliseconds(now - *reason.since)))
                              : "";
    lines.push_back(
        fmt::format("waiting: {}{}{}", reason.text, since, reason.who.empty() ? "" : "; " + reason.who));
  }
  for (const auto& blocker : view.blockers) {
    lines.push_back(fmt::format("blocked: {}: {}", blocker.subject, blocker.reason));
    if (!blocker.remedy.empty()) {
      lines.push_back(fmt::format("  remedy ({}): {}", blocker.owner.empty() ? "operator" : blocker.owner,
                                  blocker.remedy));
    }
  }
  return lines;
}

}  // namespace

std::vector<Reason> reasons_of_drain_alone(const DrainView& view) {
  std::set<std::string> told;
  for (const auto& move : view.migrations) {
    for (const auto& reason : move.waiting_for) told.insert(reason.text);
  }
  for (const auto& blocker : view.blockers)
    told.insert(fmt::format("{}: {}", blocker.subject, blocker.reason));
  std::vector<Reason> reasons;
  for (const auto& reason : view.waiting_for) {
    if (!told.contains(reason.text)) reasons.push_back(reason);
  }
  return reasons;
}

double drain_progress(const DrainView& view) {
  auto total = vms_total(view);
  if (total == 0) return view.status == "done" ? 1 : 0;
  double done = view.moved;
  for (const auto& move : view.migrations) {
    if (!is_ended(move.migration.phase)) done += std::clamp(move.progress, 0.0, 1.0);
  }
  return std::min(1.0, done / total);
}

std::vector<std::string> drain_frame(const DrainView& view, const DrainPlan& plan, const FrameStyle& style,
                                     WallMs now) {
  auto columns = std::max<std::size_t>(style.size.columns, 20);
  FrameStyle fitted{{columns, style.size.rows}, style.palette};
  auto rows = rows_of(view, plan);
  auto widths = widths_for(rows, columns);
  auto troubles = trouble_lines(view, now);

  std::vector<std::string> lines{paint(cut(headline(view), columns), Tone::strong, style.palette)};
  auto share = drain_progress(view);
  lines.push_back(fmt::format("{} {:>3.0f}%", bar(share, columns - 5), share * 100));

  // One row of the screen stays free for the cursor; troubles matter more than VMs that merely wait or are
  // done.
  auto room = std::max<std::size_t>(style.size.rows, 8) - 1 - lines.size();
  if (troubles.size() + 2 > room) troubles.resize(room - 2);
  room -= troubles.size();
  auto shown = rows.size() <= room ? rows.size() : room - 1;
  for (std::size_t i = 0; i < shown; ++i) lines.push_back(line_of(rows[i], widths, fitted));
  if (shown < rows.size())
    lines.push_back(cut(fmt::format("  ... and {} more", rows.size() - shown), columns));
  for (const auto& line : troubles) lines.push_back(paint(cut(line, columns), Tone::waiting, style.palette));
  return lines;
}

// ---- plain lines ----

namespace {
std::string stamp(WallMs at, const DrainView& view) {
  return fmt::format(
      "{:>8}  ",
      fmt::format("+{:.1f}s", static_cast<double>(std::max<WallMs>(0, at - view.drain.created_at)) / 1000));
}

std::set<std::string> reasons_of(const DrainView& view) {
  std::set<std::string> reasons;
  for (const auto& reason : reasons_of_drain_alone(view)) reasons.insert("waiting: " + reason.text);
  for (const auto& blocker : view.blockers) {
    reasons.insert(fmt::format("blocked: {}: {}{}", blocker.subject, blocker.reason,
                               blocker.remedy.empty() ? "" : "; remedy: " + blocker.remedy));
  }
  for (const auto& move : view.migrations) {
    const auto& m = move.migration;
    if (!m.last_error.empty() && !is_ended(m.phase))
      reasons.insert(fmt::format("{}: {}", m.vm, m.last_error));
    for (const auto& reason : move.waiting_for) {
      // A reason names its VM, for lists of many; here the line begins with it.
      std::string_view text = reason.text;
      if (text.starts_with(m.vm.value + ": ")) text.remove_prefix(m.vm.value.size() + 2);
      reasons.insert(fmt::format("{} waits: {}", m.vm, text));
    }
  }
  return reasons;
}
}  // namespace

void DrainLines::add_phases(const MigrationView& move, const DrainView& view, std::vector<Line>& lines) {
  const auto& m = move.migration;
  // From the history, so that no phase is missed between two polls.
  auto& told = phases_told_[m.id];
  for (; told < m.history.size(); ++told) {
    const auto& step = m.history[told];
    auto text = fmt::format("{}{}  {}  {} -> {}", stamp(step.entered_at, view), m.vm,
                            json::name_of(step.phase), m.source, m.target.empty() ? "?" : m.target.value);
    if (step.phase == Phase::done && move.interruption_ms) text += "  away " + ms_text(*move.interruption_ms);
    if (step.phase == Phase::aborted && !m.last_error.empty()) text += "  " + m.last_error;
    lines.emplace_back(step.entered_at, lines.size(), std::move(text));
  }
}

std::vector<std::string> DrainLines::update(const DrainView& view, WallMs now) {
  std::vector<Line> steps;
  for (const auto& move : view.migrations) add_phases(move, view, steps);
  std::sort(steps.begin(), steps.end());
  std::vector<std::string> lines;
  for (auto& step : steps) lines.push_back(std::move(std::get<std::string>(step)));

  if (view.status != status_told_ && !is_ended(view.drain.state))
    lines.push_back(stamp(now, view) + headline(view));
  status_told_ = view.status;
  auto reasons = reasons_of(view);
  for (const auto& reason : reasons) {
    if (!reasons_told_.contains(reason)) lines.push_back(stamp(now, view) + reason);
  }
  reasons_told_ = std::move(reasons);
  return lines;
}

// ---- before and after ----

namespace {
std::string losses_text(const std::vector<DiskLoss>& losses, std::string_view title) {
  if (losses.empty()) return "";
  auto text = fmt::format("{}: {}\n", title, count_of(losses.size(), "disk"));
  for (const auto& loss : losses) text += fmt::format("  {}\n", loss.text);
  return text;
}
}  // namespace

std::string plan_text(const DrainPlan& plan) {
  const auto from = text_of(plan.workers, plan.selector);
  const bool is_of_many = plan.workers.size() > 1;
  std::string text = plan.moves.empty() && plan.blockers.empty() && plan.finishing.empty()
                         ? fmt::format("plan: no VMs to move from {}\n", from)
                         : fmt::format("plan: {} from {}, about {}\n", count_of(plan.moves.size(), "VM"),
                                       from, ms_text(plan.eta_ms));
  if (!plan.moves.empty()) {
    auto moves = plan.moves;
    std::sort(moves.begin(), moves.end(),
              [](const auto& a, const auto& b) { return std::tie(a.order, a.vm) < std::tie(b.order, b.vm); });
    std::vector<std::string> columns{"VM", "MECHANISM", "TARGET", ">STARTS", ">INTERRUPTION", ">TAKES"};
    if (is_of_many) columns.insert(columns.begin() + 2, "FROM");
    Table table(columns);
    for (const auto& move : moves) {
      std::vector<std::string> row{move.vm.value,
                                   std::string(json::name_of(move.mechanism)),
                                   move.target.value,
                                   "+" + ms_text(move.starts_ms),
                                   "~" + ms_text(move.predicted_interruption_ms),
                                   "~" + ms_text(move.predicted_total_ms)};
      if (is_of_many) row.insert(row.begin() + 2, move.source.value);
      table.add(std::move(row));
    }
    text += table.text("  ");
    if (!plan.critical_path.empty()) text += "what takes the time: " + plan.critical_path + "\n";
  }
  for (const auto& move : plan.moves)
    if (move.makes_room) text += fmt::format("{} need not leave {}: it makes room\n", move.vm, move.source);
  for (const auto& one : plan.finishing)
    text += fmt::format("{} is left to end by itself on {}{}\n", one.vm, one.worker,
                        one.until_ms
                            ? fmt::format(", for {} at most", format_duration(std::chrono::milliseconds(
                                                                  static_cast<std::int64_t>(*one.until_ms))))
                            : "");
  text += losses_text(plan.losses, "will be lost");
  if (!plan.blockers.empty()) {
    text += fmt::format("blocked: {}\n", count_of(plan.blockers.size(), "blocker"));
    for (const auto& blocker : plan.blockers) {
      text += fmt::format("  {}: {}\n", blocker.subject, blocker.reason);
      if (!blocker.remedy.empty()) text += fmt::format("    remedy: {}\n", blocker.remedy);
      if (!blocker.owner.empty()) text += fmt::format("    who can act: {}\n", blocker.owner);
    }
  }
  return text;
}

std::string undo_text(const DrainPlan& plan) {
  auto text = fmt::format("back to {}: {}\n", text_of(plan.workers, plan.selector),
                          count_of(plan.moves.size(), "VM"));
  if (!plan.moves.empty()) {
    Table table({"VM", "MECHANISM", "FROM", "TO", ">INTERRUPTION"});
    for (const auto& move : plan.moves)
      table.add({move.vm.value, std::string(json::name_of(move.mechanism)), move.source.value,
                 move.target.value, "~" + ms_text(move.predicted_interruption_ms)});
    text += table.text("  ");
  }
  for (const auto& blocker : plan.blockers)
    text += fmt::format("{} stays: {}\n  {}\n", blocker.subject.substr(blocker.subject.find('/') + 1),
                        blocker.reason, blocker.remedy);
  return text;
}

std::string drain_summary(const DrainView& view) {
  std::string text;
  std::vector<std::uint32_t> interruptions;
  if (!view.migrations.empty()) {
    Table table({"VM", "MECHANISM", "FROM", "TO", ">INTERRUPTION", ">TOOK", "ENDED"});
    for (const auto& move : view.migrations) {
      const auto& m = move.migration;
      auto took = m.history.empty() ? 0 : m.history.back().entered_at - m.history.front().entered_at;
      bool done = m.phase == Phase::done;
      if (done && move.interruption_ms) interruptions.push_back(*move.interruption_ms);
      table.add({m.vm.value, std::string(json::name_of(m.mechanism)), m.source.value, m.target.value,
                 done && move.interruption_ms ? ms_text(*move.interruption_ms) : "",
                 format_duration(std::chrono::milliseconds(took)),
                 m.last_error.empty() || done ? std::string(json::name_of(m.phase))
                                              : fmt::format("{}: {}", json::name_of(m.phase), m.last_error)});
    }
    text += table.text("  ");
  }
  auto until = view.drain.ended_at.value_or(view.drain.created_at);
  text +=
      fmt::format("drain {} of {} {}: {} moved in {}", view.drain.id,
                  text_of(view.drain.workers, view.drain.selector), view.status, count_of(view.moved, "VM"),
                  format_duration(std::chrono::milliseconds(until - view.drain.created_at)));
  if (view.remaining > 0) text += fmt::format(", {} left", view.remaining);
  if (!interruptions.empty()) {
    std::sort(interruptions.begin(), interruptions.end());
    text += fmt::format("; away for {} at the median, {} at most",
                        ms_text(interruptions[interruptions.size() / 2]), ms_text(interruptions.back()));
  }
  if (!view.drain.end_reason.empty()) text += "; " + view.drain.end_reason;
  return text + "\n" + losses_text(view.losses, "lost with it");
}

}  // namespace ebb
