#include "disk/local_logs.h"

namespace ebb::disk {
namespace {
constexpr std::string_view prefix = "log-";

bool is_of(const ChainLink& link, const LogPoint& point) {
  return link.epoch == point.epoch && link.opener == point.opener;
}
}  // namespace

Task<Result<std::vector<LocalLog>>> list_logs(Files* files, std::string disk_folder) {
  std::vector<LocalLog> logs;
  auto names = co_await files->list(disk_folder);
  if (!names && names.error().code == Code::not_found) co_return logs;
  if (!names) co_return fail(std::move(names).error());
  for (const auto& name : *names) {
    if (!name.starts_with(prefix)) continue;
    auto folder = fmt::format("{}/{}", disk_folder, name);
    auto chain = co_await read_chain(files, folder);
    if (!chain && chain.error().code == Code::not_found) {
      EBB_CO_CHECKED(co_await files->remove_tree(folder));
      continue;
    }
    if (!chain) co_return fail(std::move(chain).error());
    logs.push_back({folder, std::move(*chain)});
  }
  co_return logs;
}

const LocalLog* find_current_log(const std::vector<LocalLog>& logs, const LogPoint& newest_attached) {
  for (const auto& log : logs) {
    for (const auto& link : log.chain.openers) {
      if (is_of(link, newest_attached)) return &log;
    }
  }
  return nullptr;
}

std::uint64_t committed_position(const std::string& log_id, const std::vector<LogPoint>& history) {
  std::uint64_t position = 0;
  for (const auto& point : history) {
    if (point.log_id == log_id) position = std::max(position, point.log_position);
  }
  return position;
}

Task<Result<LocalLog>> create_log(Files* files, std::string disk_folder, DiskId disk, PoolId pool,
                                  std::string log_id, ChainLink link) {
  LocalLog log{fmt::format("{}/{}{}", disk_folder, prefix, log_id), {disk, pool, log_id, {link}}};
  EBB_CO_CHECKED(co_await files->make_dirs(log.folder));
  EBB_CO_CHECKED(co_await write_chain(files, log.folder, log.chain));
  co_return log;
}

Task<Status> extend_chain(Files* files, LocalLog* log, LogPoint newest_attached, ChainLink link) {
  auto& openers = log->chain.openers;
  auto keep = std::find_if(openers.begin(), openers.end(),
                           [&](const ChainLink& l) { return is_of(l, newest_attached); });
  openers.erase(openers.begin(), keep);
  openers.push_back(link);
  co_return co_await write_chain(files, log->folder, log->chain);
}

}  // namespace ebb::disk
