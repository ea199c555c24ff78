// The logs that lie on this worker for a disk and are not written now: what they hold that its history lacks.
#include "disk/orphaned_log.h"
#include "disk/served_disk.h"

namespace ebb::disk {

Task<void> ServedDisk::examine_logs() {
  auto turn = co_await logs_lock_.lock();
  if (state_ == DiskSeen::open || state_ == DiskSeen::opening || state_ == DiskSeen::sealing) co_return;
  auto life = life_;
  const StoreAccess store{env_.loop, &store_, &life->trouble};
  auto logs = co_await list_logs(env_.files, folder());
  if (logs && logs->empty()) {
    kept_logs_.clear();
    has_unexamined_logs_ = false;
    co_return;
  }
  auto head = co_await read_head(store, disk_);
  if (!head) co_return;
  if (head->head.state == HeadState::deleted && logs) {  // whoever deleted it let go of all that it held
    for (const auto& log : *logs)
      if (!co_await env_.files->remove_tree(log.folder)) co_return;
    kept_logs_.clear();
    has_unexamined_logs_ = false;
    co_return;
  }
  // Segments that stand in the store behind the last known one are part of the disk, whoever seals it.
  LogCache seen;
  auto followed = co_await follow_unsealed(store, head->head, &seen);
  if (!followed) co_return;
  auto history = co_await read_history(store, *followed, &seen);
  if (!history) co_return;
  auto left = co_await read_left_history(store, *followed);
  if (!left) co_return;
  history->insert(history->end(), left->begin(), left->end());
  auto kept = co_await sweep_logs(env_.files, folder(), std::move(*history), {});
  if (!kept) co_return;
  kept_logs_ = std::move(*kept);
  has_unexamined_logs_ = false;
}

Task<Result<std::optional<std::vector<ReplayRecord>>>> ServedDisk::orphaned_rest(std::string log_id,
                                                                                 DiskId into) {
  auto turn = co_await logs_lock_.lock();
  auto kept = std::ranges::find(kept_logs_, log_id, [](const KeptLog& k) { return k.log.chain.log_id; });
  if (has_unexamined_logs_) co_return fail(Code::unavailable, "the logs of '{}' have not been read", disk_);
  if (kept == kept_logs_.end()) co_return std::nullopt;
  auto life = life_;
  const StoreAccess store{env_.loop, &store_, &life->trouble};
  EBB_CO_TRY(rest, co_await read_orphaned_rest(store, env_.files, kept->log, std::move(into)));
  co_return std::move(rest);
}

Task<Result<Head>> ServedDisk::head_now() {
  auto life = life_;
  EBB_CO_TRY(at, co_await read_head({env_.loop, &store_, &life->trouble}, disk_));
  co_return std::move(at.head);
}

Task<Status> ServedDisk::remove_orphan(std::string log_id) {
  auto turn = co_await logs_lock_.lock();
  auto of_log = [&](const KeptLog& k) { return k.log.chain.log_id == log_id; };
  auto kept = std::ranges::find_if(kept_logs_, of_log);
  if (kept == kept_logs_.end()) co_return Status{};
  EBB_CO_CHECKED(co_await env_.files->remove_tree(kept->log.folder));
  std::erase_if(kept_logs_, of_log);
  co_return Status{};
}

bool ServedDisk::has_unsent_log() const {
  // Once it was fenced, or has failed, it is told no more of what the store has: its log says so, and counts until it was examined.
  const bool is_writing =
      state_ == DiskSeen::opening || state_ == DiskSeen::open || state_ == DiskSeen::sealing;
  const bool is_unsent = is_writing && life_->disk && life_->disk->unsent_bytes() > 0;
  return is_unsent || has_unexamined_logs_ || !kept_logs_.empty();
}

std::vector<OrphanLog> ServedDisk::orphan_logs() const {
  std::vector<OrphanLog> out;
  if (has_unexamined_logs_) return out;
  for (const auto& kept : kept_logs_) {
    const auto& chain = kept.log.chain;
    out.push_back({disk_, kept.records, kept.bytes, kept.error, chain.log_id,
                   chain.openers.empty() ? 0 : chain.openers.back().epoch.placement});
  }
  return out;
}

}  // namespace ebb::disk
