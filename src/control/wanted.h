// The wanted set of a worker, computed from the records, and who waits for it to change.
#pragma once
#include "control/owner.h"

namespace ebb::control {

// Everything that `worker` shall make so. Sorted by VM; revision 0.
WantedSet wanted_set(const Fleet& fleet, const WorkerId& worker);

// Keeps each worker's set with the revision at which it last changed, and wakes long polls.
class WantedSets {
 public:
  WantedSets(Loop& loop, Owner& owner);
  // The set as of now.
  const WantedSet& of(const WorkerId& worker);
  // Ends when the worker's set has another revision than `known`, or after `limit`.
  Task<void> wait_for_change(WorkerId worker, std::uint64_t known, Duration limit);

 private:
  void refresh(const WorkerId& worker);
  Loop& loop_;
  Owner& owner_;
  std::map<WorkerId, WantedSet> sets_;
  std::map<WorkerId, std::unique_ptr<Notify>> waiting_;
};

}  // namespace ebb::control
