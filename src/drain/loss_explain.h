// What disks lose with a worker that is dead: what it last said and the announced bound while it is away, and
// exactly once it is back.
#pragma once
#include "model/fleet.h"

namespace ebb::drain {

// Of each VM that `worker` owns, or that was taken from it without its word.
std::vector<DiskLoss> losses_at(const Fleet& fleet, const Seen& seen, const WorkerId& worker);
// Of one VM, with each worker that it was taken from or that cannot be asked; what is proven to be nothing is
// left out.
std::vector<DiskLoss> losses_of(const Fleet& fleet, const Seen& seen, const Vm& vm);

Reason explain(const DiskLoss& loss);
// The disk that this log of the worker went into, or is being written into; null: there is none.
const Disk* rescue_of(const Fleet& fleet, const WorkerId& worker, const OrphanLog& log);
// Of each orphaned log that the worker reports: what it holds, and where that goes.
std::vector<Reason> explain_orphans(const Fleet& fleet, const WorkerId& worker, const AgentReport& report);

}  // namespace ebb::drain
