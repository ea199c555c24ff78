// A worker's way back to its work: its agent answers, its disk daemon and its clock are right, and a VM that nobody needs starts
// there, with a disk of its own if its image has one, and goes again. Only then its holds are released.
#pragma once
#include "base/bytes.h"
#include "control/batch.h"

namespace ebb::control {

struct ReturnLimits {
  std::optional<ImageId> image{};  // of the test VM; absent: there is none
  std::uint64_t memory_bytes = 256 * MiB;
  Duration timeout = 5min;  // of all of it
  Duration clock = 5s;      // so far a worker's clock may be from the control plane's
};

// What has to be right before anything is started there: unavailable in a moment perhaps (busy), or until somebody acts (conflict).
Status check_can_return(const Fleet& fleet, const Seen& seen, const WorkerId& worker,
                        const ReturnLimits& limits);

// What a test VM would show is seen already.
bool runs_some_vm(const Fleet& fleet, const Seen& seen, const WorkerId& worker);

// "12.3 s ahead of", if a clock is farther off than that.
std::optional<std::string> clock_trouble(const WorkerSeen& worker, Duration most);

// Those that an end of a return releases: not an operator's own, and none of a drain that is to come.
std::vector<const Hold*> holds_to_release(const Fleet& fleet, const WorkerId& worker);
void release_holds(const Fleet& fleet, const WorkerId& worker, Batch& batch);

void step_returns(const Fleet& fleet, const Seen& seen, const ReturnLimits& limits, Batch& batch);

}  // namespace ebb::control
