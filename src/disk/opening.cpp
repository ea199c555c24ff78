#include "disk/opening.h"

#include "env/scope.h"

namespace ebb::disk {
namespace {

struct ChosenLog {
  LocalLog log;
  LogScan scan;  // what is to be replayed
};

// Either the log that the newest attached epoch wrote, if it has records that the store lacks, or a fresh
// one. In both our opener stands, synced, before HEAD may say `attached`.
Task<Result<ChosenLog>> choose_log(const OpeningTools* tools, const OpeningRequest* request,
                                   const Claim* claim, std::vector<LogPoint> history) {
  EBB_CO_TRY(logs, co_await list_logs(tools->files, request->disk_folder));
  ChainLink link{claim->opener.epoch, claim->opener.opener};
  const auto* current = claim->newest_attached ? find_current_log(logs, *claim->newest_attached) : nullptr;
  if (current) {
    ChosenLog chosen{*current, {}};
    auto from = committed_position(chosen.log.chain.log_id, history);
    EBB_CO_TRY(scan, co_await scan_log(tools->files, chosen.log.folder, chosen.log.chain, from));
    if (!scan.records.empty()) {
      chosen.scan = std::move(scan);
      EBB_CO_CHECKED(co_await extend_chain(tools->files, &chosen.log, *claim->newest_attached, link));
      co_return chosen;
    }
    // Nothing that was acknowledged is missing in the store. It goes at once, not by a second look: what its dead process had
    // handed to the device may still land there, and nobody was ever told of it.
    EBB_CO_CHECKED(co_await tools->files->remove_tree(current->folder));
  }
  EBB_CO_TRY(fresh, co_await create_log(tools->files, request->disk_folder, request->disk, request->pool,
                                        fresh_token(*tools->access.loop), link));
  co_return ChosenLog{std::move(fresh), {}};
}

}  // namespace

Task<Result<std::vector<LogPoint>>> read_history(StoreAccess access, Head head, LogCache* cache) {
  std::vector<LogPoint> history;
  if (head.checkpoint) {
    history.push_back(head.checkpoint->position);
    if (head.checkpoint->disk == head.disk) {
      EBB_CO_TRY(root, co_await read_checkpoint_root(access, *head.checkpoint, cache));
      history.insert(history.end(), root.lineage.begin(), root.lineage.end());
    }
  }
  history.insert(history.end(), head.lineage.begin(), head.lineage.end());
  history.insert(history.end(), head.unsealed.begin(), head.unsealed.end());
  co_return history;
}

Task<Result<std::vector<LogPoint>>> read_left_history(StoreAccess access, Head head) {
  std::vector<LogPoint> history;
  EBB_CO_TRY(page, co_await read_roots(access, head));
  if (page.restores.empty()) co_return history;
  for (const auto& restore : page.restores) history.push_back(restore.from);
  for (const auto& root : page.roots) {
    history.push_back(root.checkpoint.position);
    if (root.checkpoint.disk != head.disk) continue;
    auto checkpoint = co_await read_checkpoint_root(access, root.checkpoint, nullptr);
    if (!checkpoint && checkpoint.error().code == Code::not_found)
      continue;  // removed meanwhile: a log more is kept
    if (!checkpoint) co_return fail(std::move(checkpoint).error());
    history.insert(history.end(), checkpoint->lineage.begin(), checkpoint->lineage.end());
  }
  co_return history;
}

Task<Result<std::vector<KeptLog>>> sweep_logs(Files* files, std::string disk_folder,
                                              std::vector<LogPoint> history, std::string current) {
  std::vector<KeptLog> kept;
  EBB_CO_TRY(logs, co_await list_logs(files, disk_folder));
  for (const auto& log : logs) {
    if (log.folder == current) continue;
    auto scan =
        co_await scan_log(files, log.folder, log.chain, committed_position(log.chain.log_id, history));
    bool store_has_all = scan && scan->records.empty();
    if (!store_has_all) {
      kept.push_back({log, 0, 0, scan ? "" : scan.error().message});
      if (!scan) continue;
      kept.back().records = scan->records.size();
      for (const auto& record : scan->records) kept.back().bytes += record.data.size();
      continue;
    }
    EBB_CO_CHECKED(co_await files->remove_tree(log.folder));
  }
  co_return kept;
}

Task<Result<Opened>> open_disk(OpeningTools tools, OpeningRequest request) {
  auto access = tools.access;
  EBB_CO_CHECKED(co_await tools.files->make_dirs(request.disk_folder));
  EBB_CO_TRY(before, co_await read_head(access, request.disk));
  // What stands in the store does not change while we claim the disk; what comes to stand there is found by
  // the fences.
  Scope prefetching(*access.loop);
  prefetching.spawn(prefetch_log(access, before.head, tools.cache));
  EBB_CO_TRY(claim,
             co_await claim_disk(access, std::move(before),
                                 {request.placement, request.owner, request.replace, request.disk_class}));
  co_await prefetching.join();
  if (tools.on_claimed) tools.on_claimed(claim);
  EBB_CO_TRY(sealed, co_await seal_all(access, claim, tools.cache));
  auto head = claim.at.head;
  record_seals(head, sealed);
  EBB_CO_TRY(loaded, co_await load_map(access.for_guests(), head, tools.cache, tools.memory.pages));
  EBB_CO_TRY(history, co_await read_history(access, head, tools.cache));
  EBB_CO_TRY(chosen, co_await choose_log(&tools, &request, &claim, history));
  EBB_CO_TRY(attached, co_await publish_attached(access, claim, std::move(sealed)));
  const auto with_roots = attached.head;

  auto wal = std::make_unique<Wal>(*access.loop, *tools.files, *tools.log_trouble, chosen.log.folder,
                                   chosen.log.chain, request.tuning.log_file_bytes);
  auto records = std::move(chosen.scan.records);
  EBB_CO_CHECKED(co_await wal->start(std::move(chosen.scan)));
  Opened opened;
  opened.replaces_unconfirmed = claim.replaces_unconfirmed;
  opened.replaces_own = claim.replaces_own;
  opened.comes_from_elsewhere = claim.comes_from_elsewhere;
  opened.head = with_roots;
  opened.disk = std::make_unique<ObjectDisk>(ObjectDisk::Parts{access.for_guests(), std::move(attached),
                                                               claim.opener, std::move(loaded),
                                                               std::move(wal), tools.memory, request.tuning});
  EBB_CO_CHECKED(co_await opened.disk->replay(std::move(records)));
  EBB_CO_TRY(kept, co_await sweep_logs(tools.files, request.disk_folder, history, chosen.log.folder));
  if (!kept.empty()) {
    EBB_CO_TRY(left, co_await read_left_history(access, with_roots));
    history.insert(history.end(), left.begin(), left.end());
    EBB_CO_TRY(kept_still,
               co_await sweep_logs(tools.files, request.disk_folder, std::move(history), chosen.log.folder));
    kept = std::move(kept_still);
  }
  opened.kept_logs = std::move(kept);
  co_return opened;
}

}  // namespace ebb::disk
