// The disk daemon: every disk of one worker, asked for by its verbs (model/disk_daemon_types.h).
#pragma once
#include "disk/rescuer.h"
#include "env/http.h"

namespace ebb::disk {

class DiskDaemon {
 public:
  // What is passed by reference outlives it. Without `publish` disks are reached by device() only.
  DiskDaemon(Loop& loop, Files& files, DaemonOptions options, Publish publish, Logger log);
  DiskDaemon(const DiskDaemon&) = delete;

  // Locks the state folder and opens again what was open. busy: another daemon holds the folder. invalid: it
  // is of a newer version.
  Task<Status> start();

  Task<Result<DiskStatus>> open(OpenDisk request);
  Task<Result<DiskStatus>> standby(DiskRef ref);
  Task<Result<DiskStatus>> seal(DiskRef ref);
  Result<DiskStatus> hint(DiskRef ref);
  Task<Result<DiskStatus>> close(DiskRef ref);
  Task<Result<SnapshotMade>> snapshot(MakeSnapshot request);
  Task<Result<DiskStatus>> resize(ResizeDisk request);
  Task<Result<DiskStatus>> rescue(RescueLog request);
  DaemonStatus status() const;
  const DiskMemory& memory() const { return options_.memory; }
  // Null unless the disk is served here now.
  std::shared_ptr<BlockDevice> device(const DiskId& disk) const;

  HttpHandler handler();

 private:
  Task<Status> check_state_folder();
  Task<Status> check_version(std::string path);
  Task<void> begin_cache();
  Task<Status> find_disks();
  Task<Status> find_disk(std::string name);
  Status open_again(const std::string& name, ByteView open_record);
  Result<ServedDisk*> disk_of(const DiskId& disk, const PoolId& pool);
  Task<void> watch_heads();
  Task<HttpResponse> answer(HttpRequest request);
  Task<Result<DiskStatus>> carry_out(std::string verb, std::string body);

  Loop& loop_;
  Files& files_;
  DaemonOptions options_;
  Publish publish_;
  Logger log_;
  std::string run_;
  std::unique_ptr<FileLock> lock_;
  std::map<DiskId, std::unique_ptr<ServedDisk>> disks_;
  std::vector<DiskId> out_of_reach_;  // logs of them lie here, and their pool is not configured
  Rescuer rescuer_;
  Scope scope_;
};

}  // namespace ebb::disk
