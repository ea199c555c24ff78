#include "disk/disk_log.h"

#include "env/scope.h"

namespace ebb::disk {
namespace {

using Owners = std::map<std::string, std::string>;  // by opener token

// An epoch's owner stands in the fences that it put: its own at a clean end, or its predecessor's.
Task<Result<Owners>> read_owners(StoreAccess access, DiskId disk, std::vector<LogPoint> line) {
  constexpr std::size_t at_once = 32;
  Owners owners;
  for (std::size_t at = 0; at < line.size(); at += at_once) {
    std::vector<Task<Result<LogObject>>> reads;
    for (auto i = at; i < std::min(line.size(), at + at_once); ++i)
      reads.push_back(read_log_object(access, disk, line[i].epoch, line[i].seq + 1));
    for (auto& object : co_await when_all(*access.loop, std::move(reads))) {
      if (!object && object.error().code != Code::not_found) co_return fail(std::move(object).error());
      if (!object) continue;
      if (const auto* fence = std::get_if<Fence>(&*object)) owners[fence->by_opener] = fence->by_owner;
    }
  }
  co_return owners;
}

DiskLogEntry entry_of(std::string kind, const LogPoint& point, const Owners& owners) {
  DiskLogEntry entry;
  entry.kind = std::move(kind), entry.epoch = point.epoch.text();
  entry.segments = point.seq, entry.write_seq = point.write_seq;
  if (auto owner = owners.find(point.opener); owner != owners.end()) entry.owner = owner->second;
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
  auto ends = line;  // and of turns that a restore left, or cut short
  for (const auto& root : page.roots)
    if (root.checkpoint.disk == disk) ends.push_back(root.checkpoint.position);
  EBB_CO_TRY(owners, co_await read_owners(access, disk, std::move(ends)));
  if (!head.opener.empty()) owners[head.opener] = head.owner;

  DiskLogView log;
  log.disk = disk;
  if (head.parent) {
    DiskLogEntry origin;
    origin.kind = "origin",
    origin.text = fmt::format("forked from {}@{}", head.parent->disk, head.parent->root);
    log.entries.push_back(std::move(origin));
  }
  for (const auto& point : line) {
    auto entry = entry_of("epoch", point, owners);
    entry.text = fmt::format("ends with segment {}", point.seq);
    if (point.seq == 0) entry.text = "wrote nothing";
    log.entries.push_back(std::move(entry));
  }
  for (const auto& root : page.roots) {
    auto entry = entry_of("snapshot", root.checkpoint.position, owners);
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
    auto entry = entry_of("checkpoint", head.checkpoint->position, owners);
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
