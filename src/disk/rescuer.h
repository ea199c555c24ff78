// Carries out what the control plane wants of orphaned logs: opens the fork, writes the log's rest there, seals it, and only
// then removes the log. Begun again after a crash, it does all of it again, to the same end.
#pragma once
#include "disk/served_disk.h"

namespace ebb::disk {

class Rescuer {
 public:
  // What it is given outlives it.
  Rescuer(Loop& loop, const DaemonOptions& options, Logger log);
  Rescuer(const Rescuer&) = delete;

  // Begins, or asks how far it is. unavailable: under way, ask again. conflict, corrupt, not_found: it cannot be done, and the
  // log is kept.
  Task<Result<DiskStatus>> rescue(ServedDisk* from, ServedDisk* into, RescueLog wish);

 private:
  struct UnderWay {
    explicit UnderWay(Loop& loop) : ended(loop) {}
    std::string stage;
    std::optional<Result<DiskStatus>> result;
    Notify ended;
  };
  Task<void> run(ServedDisk* from, ServedDisk* into, RescueLog wish, std::shared_ptr<UnderWay> self);
  Task<Status> carry_out(ServedDisk* from, ServedDisk* into, RescueLog wish, UnderWay* self);
  Task<Status> check_is_written(ServedDisk* into, RescueLog wish);

  Loop& loop_;
  const DaemonOptions& options_;
  Logger log_;
  std::map<DiskId, std::shared_ptr<UnderWay>> under_way_;
  AsyncMutex turns_;  // one at a time: each has its log in memory
  Scope scope_;
};

}  // namespace ebb::disk
