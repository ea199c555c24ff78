#include "disk/disk_log.h"

#include "env/scope.h"

namespace ebb::disk {
namespace {

DiskLogEntry entry_of(std::string kind, const LogPoint& point) {
  DiskLogEntry entry;
  entry.kind = std::move(kind), entry.epoch = point.epoch.text();
  entry.segments = point.seq, entry.write_seq = point.write_seq;
  entry.owner = owner_of(point.opener);
  return entry;
}

DiskLogEntry entry_of_restore(const RestoreRecord& restore) {
  DiskLogEntry entry;
  entry.kind = "restore", entry.epoch = restore.epoch.text(),
  entry.owner = std::string(administrative_prefix) + "restore";
  entry.at = restore.at, entry.write_seq = restore.to.write_seq;
  entry.text = fmt::format("went back to '{}'; what it was, up to write {} of epoch {}, is kept as '{}'",
                           restore.root, restore.from.write_seq, restore.from.epoch.text(), restore.kept_as);
  return entry;
}

}  // namespace

Task<Result<DiskLogView>> read_disk_log(StoreAccess access, DiskId disk) {
  LogCache cache;
  EBB_CO_TRY(now, co_await read_followed(access, disk, &cache));
  const auto& head = now.head;
  EBB_CO_TRY(page, co_await read_roots(access, head));
  EBB_CO_TRY(line, co_await read_line(access, now.followed));
  DiskLogView log;
  log.disk = disk;
  if (head.parent) {
    DiskLogEntry origin;
    origin.kind = "origin",
    origin.text = fmt::format("forked from {}@{}", head.parent->disk, head.parent->root);
    log.entries.push_back(std::move(origin));
  }
  for (const auto& point : line) {
    auto entry = entry_of("epoch", point);
    entry.text = fmt::format("ends with segment {}", point.seq);
    if (point.seq == 0) entry.text = "wrote nothing";
    log.entries.push_back(std::move(entry));
  }
  for (const auto& root : page.roots) {
    auto entry = entry_of("snapshot", root.checkpoint.position);
    entry.at = root.created_at;
    entry.text = fmt::format("'{}', taken by {}", root.name, root.owner.empty() ? "?" : root.owner);
    log.entries.push_back(std::move(entry));
  }
  for (const auto& fork : page.forks) {
    DiskLogEntry entry;
    entry.kind = "fork", entry.text = fmt::format("{} begins as '{}'", fork.disk, fork.root);
    log.entries.push_back(std::move(entry));
  }
  for (const auto& restore : page.restores) log.entries.push_back(entry_of_restore(restore));
  if (head.checkpoint) {
    auto entry = entry_of("checkpoint", head.checkpoint->position);
    entry.text = fmt::format("number {} of epoch {} of {}", head.checkpoint->number,
                             head.checkpoint->epoch.text(), head.checkpoint->disk);
    log.entries.push_back(std::move(entry));
  }
  DiskLogEntry present;
  present.kind = "now", present.epoch = head.epoch.text(), present.owner = head.owner,
  present.text = std::string(json::name_of(head.state));
  if (!line.empty()) present.write_seq = line.back().write_seq;
  log.entries.push_back(std::move(present));
  co_return log;
}

}  // namespace ebb::disk
