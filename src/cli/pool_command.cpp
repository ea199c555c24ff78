// `ebb pool check`: asks a store itself, without a control plane, whether it may hold disks.
#include "base/text.h"
#include "cli/commands.h"
#include "disk/pool_probe.h"

namespace ebb {
namespace {

std::string lines_of(const disk::ProbeReport& report) {
  std::string text;
  for (const auto& check : report.checks) {
    std::string verdict;
    for (const auto& sentence : check.wrong) verdict += (verdict.empty() ? "WRONG: " : "; ") + sentence;
    for (const auto& sentence : check.unknown) verdict += (verdict.empty() ? "NOT KNOWN: " : "; ") + sentence;
    text += fmt::format("{:<28}{}\n", check.name, verdict.empty() ? "ok" : verdict);
  }
  return text;
}

}  // namespace

Task<Result<Exit>> check_pool(Context& c, std::string url) {
  if (!c.env.open_pool) co_return fail(Code::internal, "this program cannot open pools");
  EBB_CO_TRY(store, co_await c.env.open_pool(url));
  auto report = co_await disk::probe_pool(c.env.loop, *store);
  if (!report) {
    c.screen().say("ebb: " + report.error().message);
    co_return Exit::failed;  // `unreachable` is said of the control plane
  }
  c.show(*report, lines_of(*report));
  auto took = format_duration(std::chrono::milliseconds(report->took_ms));
  if (report->is_good()) {
    c.screen().say(fmt::format("the store keeps every promise that disks rest on{} (asked for {})",
                               report->is_complete() ? "" : ", as far as it tells", took));
    co_return Exit::ok;
  }
  c.screen().say(fmt::format("ebb: this store must not hold disks (asked for {})", took));
  co_return Exit::failed;
}

}  // namespace ebb
