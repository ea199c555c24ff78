// `ebb disk scrub` and `ebb disk rebuild`: of a disk's objects in its pool, from here, without a control plane.
#include "base/text.h"
#include "cli/commands.h"
#include "disk/offline/rebuild.h"
#include "disk/offline/scrub.h"

namespace ebb {
namespace {

std::string lines_of(const std::vector<disk::BadExtent>& extents) {
  std::string text;
  for (const auto& bad : extents) text += fmt::format("{} {} {}\n", bad.block, bad.count, bad.what);
  return text;
}

// `unreachable` is said of the control plane, and a pool that is damaged is no fault of the command line.
Exit said(Context& c, const Error& error) {
  c.screen().say("ebb: " + error.message);
  auto exit = exit_of(error);
  return exit == Exit::unreachable ? Exit::failed : exit;
}

}  // namespace

Task<Result<Exit>> scrub_disk(Context& c, DiskCheckOptions options) {
  EBB_CO_TRY(store, co_await c.env.open_pool(options.pool_url));
  disk::Trouble trouble(c.env.loop);
  auto report = co_await disk::scrub({&c.env.loop, store.get(), &trouble}, options.disk);
  if (!report) co_return said(c, report.error());
  c.show(*report, lines_of(report->bad));
  auto read = fmt::format("{} of data in {} objects, {} of them live, and {} snapshots",
                          format_size(report->data_bytes), report->objects, format_size(report->live_bytes),
                          report->roots);
  if (report->bad_extents == 0) {
    c.screen().say(fmt::format("{}: all right: {}", options.disk, read));
    co_return Exit::ok;
  }
  c.screen().say(
      fmt::format("ebb: {}: {} bad extents ({}): 'ebb disk rebuild' if only the map is wrong, else restore a "
                  "snapshot, or copy what is good with 'ebb-disk cat'",
                  options.disk, report->bad_extents, read));
  co_return Exit::failed;
}

Task<Result<Exit>> rebuild_disk(Context& c, DiskCheckOptions options) {
  EBB_CO_TRY(store, co_await c.env.open_pool(options.pool_url));
  disk::Trouble trouble(c.env.loop);
  auto report = co_await disk::rebuild({&c.env.loop, store.get(), &trouble}, options.disk);
  if (!report) co_return said(c, report.error());
  c.show(*report, lines_of(report->bad));
  if (report->bad_extents == 0) {
    c.screen().say(fmt::format("{}: rebuilt from {} of data in {} objects, {} of them live", options.disk,
                               format_size(report->data_bytes), report->objects,
                               format_size(report->live_bytes)));
    co_return Exit::ok;
  }
  c.screen().say(fmt::format(
      "ebb: {}: {} bad extents, nothing was changed: restore a snapshot, or copy what is good with "
      "'ebb-disk cat'",
      options.disk, report->bad_extents));
  co_return Exit::failed;
}

}  // namespace ebb
