// Opening a disk for writing, from HEAD to a device that can be served: claim, seal, load, choose the log,
// attach, replay.
#pragma once
#include "disk/local_logs.h"
#include "disk/object_disk.h"

namespace ebb::disk {

struct OpeningRequest {
  DiskId disk;
  PoolId pool;
  std::uint64_t placement = 0;
  std::string owner;
  DiskClass disk_class = DiskClass::remote;
  Replace replace = Replace::confirmed;
  std::string disk_folder;  // of this worker's logs of the disk
  DiskTuning tuning;
};

struct OpeningTools {
  StoreAccess access;
  Files* files = nullptr;
  Trouble* log_trouble = nullptr;
  LogCache* cache = nullptr;  // what a standby has read
  DiskMemory memory;
  std::function<void(const Claim&)> on_claimed;  // HEAD says attaching, and us
};

struct Opened {
  std::unique_ptr<ObjectDisk> disk;  // replayed; start() is the caller's
  bool replaces_unconfirmed = false, replaces_own = false, comes_from_elsewhere = false;  // as in Claim
  Head head;  // as it was when it became ours: a cut makes it forget older epochs
  std::vector<KeptLog> kept_logs;
};

// What `tools` refers to outlives the task and the disk.
Task<Result<Opened>> open_disk(OpeningTools tools, OpeningRequest request);

// Removes the logs of which the store has everything; returns the others. `current` is left alone.
Task<Result<std::vector<KeptLog>>> sweep_logs(Files* files, std::string disk_folder,
                                              std::vector<LogPoint> history, std::string current);
// All that is known of where a disk's epochs ended, from HEAD and its checkpoint.
Task<Result<std::vector<LogPoint>>> read_history(StoreAccess access, Head head, LogCache* cache);
// The same of what restores left behind: it is in the store too, and no longer on the disk's lineage.
Task<Result<std::vector<LogPoint>>> read_left_history(StoreAccess access, Head head);

}  // namespace ebb::disk
