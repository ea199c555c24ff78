// Disks that the daemon has and that no wish names: taken from a VM while its wish changed, or forgotten with an earlier run of the
// agent. Each is sealed under the epoch that it has, and closed.
#pragma once
#include <set>

#include "agent/disk_client.h"
#include "base/log.h"
#include "env/scope.h"

namespace ebb::agent {

class StrayDisks final {
 public:
  StrayDisks(Loop& loop, DiskClient& disks, Logger log, std::function<void()> changed)
      : loop_(loop), disks_(disks), log_(std::move(log)), changed_(std::move(changed)), scope_(loop) {}
  StrayDisks(const StrayDisks&) = delete;

  // `named`: by a wish, or a wanted rescue. `may_act`: what is wanted is known, and no machine is here that may use others.
  void look(const std::set<DiskId>& named, bool may_act);
  // Those that may hold what the store lacks.
  std::vector<DiskId> held() const;

 private:
  Task<void> release(DiskStatus status);

  static constexpr Duration patience = 5s;  // wishes come and go

  Loop& loop_;
  DiskClient& disks_;
  Logger log_;
  std::function<void()> changed_;
  std::map<DiskId, Instant> since_;
  std::set<DiskId> busy_;
  Scope scope_;  // last: its tasks end before what they use
};

}  // namespace ebb::agent
