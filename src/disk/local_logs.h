// The write-ahead logs that lie on this worker for one disk: which one may be replayed, and which hold what
// the store lacks. A log is removed only when it is proven that the store has all of it.
#pragma once
#include "disk/format/head_types.h"
#include "disk/log/wal.h"

namespace ebb::disk {

struct LocalLog {
  std::string folder;
  LogChain chain;
};

// One that holds what the disk's history lacks. `error`: it cannot be read to its end, and holds at least
// this.
struct KeptLog {
  LocalLog log;
  std::uint64_t records = 0, bytes = 0;
  std::string error;
};

// Folders without a chain hold nothing (it is written first) and are removed. corrupt: a chain cannot be
// read.
Task<Result<std::vector<LocalLog>>> list_logs(Files* files, std::string disk_folder);

// The log that the newest attached epoch wrote; null: that was another worker's, and no log here may be
// replayed.
const LocalLog* find_current_log(const std::vector<LocalLog>& logs, const LogPoint& newest_attached);

// Up to where the store has this log, by all that is known of the disk's history.
std::uint64_t committed_position(const std::string& log_id, const std::vector<LogPoint>& history);

// Makes a new log with `link` in its synced chain.
Task<Result<LocalLog>> create_log(Files* files, std::string disk_folder, DiskId disk, PoolId pool,
                                  std::string log_id, ChainLink link);
// Adds `link` behind `newest_attached`; what came before that is forgotten.
Task<Status> extend_chain(Files* files, LocalLog* log, LogPoint newest_attached, ChainLink link);

}  // namespace ebb::disk
