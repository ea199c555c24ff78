// A disk daemon in a few lines for fleets in which the disk engine is not the question: the real HEAD decides
// who owns a disk, by compare-and-set; its records lie in one object that is changed by compare-and-set under
// the owner's epoch.
#pragma once
#include "disk/format/head_types.h"
#include "env/object_store.h"
#include "env/scope.h"
#include "env/sync.h"
#include "model/disk_daemon_types.h"
#include "sim/sim_ledger.h"

namespace ebb::fleet_sim {

class SketchDaemon final {
 public:
  // `attached`: the disks whose HEADs may name this worker; outlives the daemon, as if it were on its drive.
  SketchDaemon(Loop& loop, ObjectStore& pool, std::string worker, std::set<DiskId>& attached)
      : scope(loop), loop_(loop), pool_(pool), worker_(std::move(worker)), attached_(attached) {}

  Task<Result<DiskStatus>> open(OpenDisk wish);
  Task<Result<DiskStatus>> seal(DiskRef disk);
  Task<Result<DiskStatus>> close(DiskRef disk);
  DaemonStatus status() const;

  // As the guest's driver; unavailable: not served here (now).
  Task<Status> append(DiskId disk, sim::GuestRecord record);
  Task<Result<std::vector<sim::GuestRecord>>> read(DiskId disk);

  Scope scope;  // where calls from other processes run

 private:
  struct OpenState {
    DiskStatus status;
    disk::DiskEpoch epoch;
    bool is_writable = false;
  };
  struct Log {
    std::string epoch, nonce;
    std::vector<sim::GuestRecord> records;
    ObjectTag tag;
  };
  Task<Result<OpenState>> claim(OpenDisk wish);
  // Changes HEAD by compare-and-set until `change` is in or refuses.
  Task<Result<disk::Head>> change_head(DiskId disk, std::function<Result<disk::Head>(disk::Head)> change);
  Task<Result<Log>> read_log(DiskId disk);
  Task<Status> change_log(DiskId disk, disk::DiskEpoch epoch, bool is_claim,
                          std::optional<sim::GuestRecord> record);

  Loop& loop_;
  ObjectStore& pool_;
  std::string worker_;
  std::set<DiskId>& attached_;
  std::map<DiskId, OpenState> open_;
  // What a copy that died had sent is applied before its successor reads.
  std::map<DiskId, std::unique_ptr<AsyncMutex>> turns_;
  AsyncMutex& turn_at(const DiskId& disk);
};

}  // namespace ebb::fleet_sim
