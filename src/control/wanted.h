// The wanted set of a worker, computed from the records, and who waits for it to change.
#pragma once
#include "control/owner.h"

namespace ebb::control {

// Everything that `worker` shall make so. Sorted by VM; revision 0.
WantedSet wanted_set(const Fleet& fleet, const WorkerId& worker);

// Knows for each worker's set the revision at which it last changed, and wakes long polls. The sets are not kept: all of them
// together are larger than the records that they are made from.
class WantedSets {
 public:
  WantedSets(Loop& loop, Owner& owner);
  // The set as of now.
  WantedSet of(const WorkerId& worker);
  std::uint64_t revision_of(const WorkerId& worker);
  // Ends when the worker's set has another revision than `known`, or after `limit`.
  Task<void> wait_for_change(WorkerId worker, std::uint64_t known, Duration limit);

 private:
  struct Known {
    std::uint64_t revision = 0;
    std::size_t fingerprint = 0;  // of the set
  };
  void refresh(const WorkerId& worker);
  Loop& loop_;
  Owner& owner_;
  std::map<WorkerId, Known> known_;
  std::map<WorkerId, std::unique_ptr<Notify>> waiting_;
};

}  // namespace ebb::control
