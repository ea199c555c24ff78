// Has the disk daemon write orphaned logs into the disks that the control plane has made for them, and remembers what became of
// each.
#pragma once
#include "agent/disk_client.h"
#include "env/scope.h"
#include "model/agent_types.h"

namespace ebb::agent {

class LogRescues final {
 public:
  LogRescues(Loop& loop, DiskClient& disks, std::function<void()> changed)
      : disks_(disks), changed_(std::move(changed)), scope_(loop) {}
  LogRescues(const LogRescues&) = delete;

  void want(std::vector<RescueLog> wanted);
  const std::vector<RescueLog>& wanted() const { return wanted_; }
  // In the background, each that has not ended is asked for once; the next look asks again.
  void look();
  std::vector<SeenRescue> seen() const { return seen_; }

 private:
  Task<void> ask_all();
  bool is_wanted(const SeenRescue& told) const;

  DiskClient& disks_;
  std::function<void()> changed_;
  std::vector<RescueLog> wanted_;
  std::vector<SeenRescue> seen_;
  bool is_asking_ = false;
  Scope scope_;
};

}  // namespace ebb::agent
