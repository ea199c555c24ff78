#include "what_if_report.h"

#include <algorithm>

#include "base/text.h"

namespace ebb::what_if {
namespace {

std::string duration(std::uint64_t ms) { return format_duration(std::chrono::milliseconds(ms)); }

std::string plan_text(const DrainFacts& d) {
  std::string moves;
  std::uint32_t all = 0;
  for (const auto& [mechanism, count] : d.moves_planned) {
    moves += fmt::format("{}{} by {}", moves.empty() ? "" : ", ", count, mechanism);
    all += count;
  }
  auto text = fmt::format("  plan: {} moves{}, predicted {}", all, moves.empty() ? "" : " (" + moves + ")",
                          duration(d.eta_ms));
  if (d.moves_to_make_room > 0) text += fmt::format("; {} of them make room", d.moves_to_make_room);
  if (!d.bounds.empty())
    text += fmt::format("; not below {} ({})", duration(d.bounds.front().ms), d.bounds.front().name);
  if (d.planned_blockers > 0) text += fmt::format("; {} VMs have nowhere to go", d.planned_blockers);
  return text + fmt::format("; planned in {:.2f} s\n", d.plan_s);
}

std::string drain_text(const DrainFacts& d) {
  auto text = fmt::format("{} {}: {} workers\n{}", d.id, d.what, d.workers, plan_text(d));
  text += fmt::format("  {}{}", d.state, d.makespan_ms ? " after " + duration(*d.makespan_ms) : "");
  if (d.not_emptied > 0) text += fmt::format(", {} workers not emptied", d.not_emptied);
  text += "\n";
  for (const auto& blocker : d.blockers)
    text +=
        fmt::format("    {}: {} ({}: {})\n", blocker.subject, blocker.reason, blocker.owner, blocker.remedy);
  if (d.blockers_all > d.blockers.size())
    text += fmt::format("    and {} more\n", d.blockers_all - d.blockers.size());
  for (const auto& reason : d.waits_for) text += fmt::format("    waits: {}\n", reason);
  return text;
}

std::string moves_text(const MoveFacts& m) {
  auto text = fmt::format("moves     {} done, {} given up, {} targets that failed, {} from dead workers",
                          m.done, m.aborted, m.failed_targets, m.of_dead);
  if (m.still_open > 0) text += fmt::format(", {} still open", m.still_open);
  text += fmt::format("\nbounces   {} of {} VMs moved more than once, {} moves too many\n", m.vms_bounced,
                      m.vms_moved, m.bounces);
  for (const auto& [mechanism, i] : m.interruptions)
    text += fmt::format("away      by {}: median {}, p99 {}, most {}, of {} moves\n", mechanism,
                        duration(i.median_ms), duration(i.p99_ms), duration(i.max_ms), i.moves);
  return text;
}

std::string budgets_text(const BudgetFacts& b) {
  if (b.touched == 0) return "budgets   none was touched\n";
  auto text = fmt::format("budgets   {} touched, of {} nothing was free at times", b.touched, b.exhausted);
  if (b.slack_least) text += fmt::format("; least that was free: {}", *b.slack_least);
  if (b.tightest_full_ms > 0)
    text += fmt::format("; {} was full for {}", b.tightest, duration(b.tightest_full_ms));
  return text + "\n";
}

std::string costs_text(const CostFacts& c) {
  return fmt::format(
      "costs     {:.0f} s of virtual time in {:.1f} s: loading {:.1f}, plans {:.2f}, control loops {:.1f}, "
      "workers and answers to them {:.1f}\n"
      "          {:.0f} s an hour of virtual time; {} commits, {} reports; memory {:.0f} MB, at most {:.0f} "
      "MB\n",
      c.virtual_s, c.real_s, c.load_s, c.plan_s, c.control_s, c.requests_s, c.real_s_per_virtual_hour,
      c.commits, c.reports, c.rss_mb, c.rss_peak_mb);
}

}  // namespace

bool WhatIfReport::is_ok() const {
  return violations_seen == 0 && std::ranges::all_of(drains, &DrainFacts::is_explained);
}

Interruptions summary_of(std::vector<std::uint32_t> ms) {
  if (ms.empty()) return {};
  std::ranges::sort(ms);
  return {ms.size(), ms[(ms.size() - 1) / 2], ms[(ms.size() - 1) * 99 / 100], ms.back()};
}

std::string text_of(const WhatIfReport& r) {
  auto text = fmt::format(
      "fleet     {}, seed {}: {} workers, {} VMs, {} groups, {} budgets; {:.0f} % of the cores and {:.0f} % "
      "of "
      "the memory in use\n\n",
      r.fleet.origin, r.fleet.seed, r.fleet.workers, r.fleet.vms, r.fleet.groups, r.fleet.budgets,
      r.fleet.cpu_use_percent, r.fleet.memory_use_percent);
  for (const auto& drain : r.drains) text += drain_text(drain);
  text += fmt::format("\nmakespan  {}", duration(r.makespan_ms));
  if (r.bound_ms > 0)
    text += fmt::format(", {:.2f} times its bound of {} ({})", r.makespan_to_bound, duration(r.bound_ms),
                        r.bound);
  text += "\n" + moves_text(r.moves) + budgets_text(r.budgets);
  if (r.troubles.killed > 0)
    text += fmt::format("troubles  {} workers lost power: {} came back, {} were declared dead\n",
                        r.troubles.killed, r.troubles.back, r.troubles.declared_dead);
  text += costs_text(r.costs);
  text += fmt::format("violations {}\n", r.violations_seen);
  for (const auto& violation : r.violations) text += "  VIOLATION: " + violation + "\n";
  return text;
}

}  // namespace ebb::what_if
