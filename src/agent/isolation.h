// When a worker must pause its guests: when it hears neither of the control plane nor of a disk's HEAD for so
// long that the disk may have a new owner by now, who serves it (rule 13 of the disk engine).
#pragma once
#include <optional>
#include <string>

#include "agent/disk_client.h"
#include "model/agent_types.h"

namespace ebb::agent {

class Isolation final {
 public:
  enum class Verdict {
    none,     // somebody has said lately that the VM is still this worker's
    unknown,  // too early to tell, after a start of the agent
    cut_off,
  };

  // Shorter than the time for which a new owner waits without a confirmed stop (15 s), with room for
  // noticing.
  static constexpr Duration silence_max = 10s;

  explicit Isolation(Instant started) : started_(started) {}

  // The control plane has answered, and its answer was given at `at` or later: what is wanted here still is.
  void heard_control(Instant at) { control_heard_ = std::max(control_heard_.value_or(at), at); }

  // A VM without a disk of its own is never cut off: there is nothing that two copies of it could damage.
  Verdict of(const WantedVm& wish, const DiskClient& disks, Instant now) const;

 private:
  bool confirms(const DiskClient& disks, const WantedDisk& disk, Instant now) const;

  Instant started_;
  std::optional<Instant> control_heard_;
};

}  // namespace ebb::agent
