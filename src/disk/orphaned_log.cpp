#include "disk/orphaned_log.h"

#include <ranges>

#include "disk/attach/root_set.h"
#include "disk/opening.h"

namespace ebb::disk {
namespace {

// What is read of a disk that somebody writes may be reclaimed under the reader: then it is read again.
Error again_if_gone(Error error) {
  if (error.code == Code::not_found) error.code = Code::unavailable;
  return error;
}

Task<Result<std::vector<LogPoint>>> read_whole_history(StoreAccess access, DiskId disk) {
  EBB_CO_TRY(at, co_await read_head(access, disk));
  EBB_CO_TRY(history, co_await read_history(access, at.head, nullptr));
  EBB_CO_TRY(left, co_await read_left_history(access, at.head));
  history.insert(history.end(), left.begin(), left.end());
  co_return history;
}

// Where the newest turn that wrote the log ended. Turns that never came to serve stand in its chain too, and in no history.
// not_found: the disk's history does not reach back to any.
Result<LogPoint> end_of_log(const LogChain& chain, const std::vector<LogPoint>& history) {
  for (const auto& link : std::views::reverse(chain.openers)) {
    const LogPoint* end = nullptr;  // a checkpoint in the midst of the turn is in the history too
    for (const auto& point : history) {
      if (point.epoch != link.epoch || point.opener != link.opener) continue;
      if (!end || point.seq > end->seq) end = &point;
    }
    if (end) return *end;
  }
  return fail(Code::not_found, "disk '{}' does not tell any more where its log {} ended", chain.disk,
              chain.log_id);
}

Task<Result<std::vector<LogPoint>>> whole_history(StoreAccess access, DiskId disk) {
  auto history = co_await read_whole_history(access, std::move(disk));
  if (!history) co_return fail(again_if_gone(history.error()));
  co_return history;
}

// The root that `into` was forked from.
Task<Result<NamedRoot>> origin_of(StoreAccess access, DiskId into, DiskId disk) {
  EBB_CO_TRY(fork, co_await read_head(access, into));
  if (!fork.head.parent || fork.head.parent->disk != disk)
    co_return fail(Code::conflict, "disk '{}' is no fork of '{}'", into, disk);
  EBB_CO_TRY(parent, co_await read_head(access, disk));
  auto page = co_await read_roots(access, parent.head);
  if (!page) co_return fail(again_if_gone(page.error()));
  const auto* root = page->find(fork.head.parent->root);
  if (!root) co_return fail(Code::not_found, "disk '{}' has no snapshot '{}'", disk, fork.head.parent->root);
  co_return *root;
}

}  // namespace

Task<Result<std::vector<ReplayRecord>>> read_orphaned_rest(StoreAccess access, Files* files, LocalLog log,
                                                           DiskId into) {
  const auto& disk = log.chain.disk;
  EBB_CO_TRY(history, co_await whole_history(access, disk));
  EBB_CO_TRY(end, end_of_log(log.chain, history));
  EBB_CO_TRY(root, co_await origin_of(access, into, disk));
  const auto from = committed_position(log.chain.log_id, history);
  EBB_CO_TRY(scan, co_await scan_log(files, log.folder, log.chain, from));
  // Whoever does this again after a power cut must find as many: what was written of them has been replaced by then.
  EBB_CO_CHECKED(co_await sync_log(files, log.folder));
  // The chain is a hash over all segments of the lineage, the write sequence counts its writes.
  const auto& cut = root.checkpoint.position;
  bool is_same_place = cut.write_seq == end.write_seq && cut.chain == end.chain;
  bool goes_on = scan.records.empty() || scan.records.front().record.write_seq == cut.write_seq + 1;
  if (is_same_place && goes_on) co_return std::move(scan.records);
  co_return fail(Code::conflict,
                 "'{}@{}' ends at write {}, and the log of '{}' goes on after write {}: the log is kept",
                 disk, root.name, cut.write_seq, disk,
                 goes_on ? end.write_seq : scan.records.front().record.write_seq - 1);
}

// Requests that overlap are ordered as they are issued.
Task<Status> write_records(Loop& loop, std::shared_ptr<BlockDevice> device,
                           std::vector<ReplayRecord> records) {
  constexpr std::size_t at_a_time = 64;
  for (std::size_t i = 0; i < records.size();) {
    std::vector<Task<Status>> writes;
    for (; i < records.size() && writes.size() < at_a_time; ++i) {
      auto& [record, data] = records[i];
      const auto offset = record.block * block_bytes, length = std::uint64_t{record.count} * block_bytes;
      writes.push_back(record.kind == WalKind::data
                           ? device->write(offset, std::move(data))
                           : device->write_zeroes(offset, length, ZeroMode::may_unmap));
    }
    for (auto& written : co_await when_all(loop, std::move(writes))) EBB_CO_CHECKED(std::move(written));
  }
  co_return co_await device->flush();
}

}  // namespace ebb::disk
