// The control plane's records, kept by nobody: what is loaded is made of the fleet, and each commit is shown to whoever watches.
#pragma once
#include <functional>

#include "env/loop.h"
#include "fleet_records.h"
#include "store/record_store.h"

namespace ebb::what_if {

// The records that a commit has changed, as they are now.
struct Committed {
  std::vector<Record> puts;
  std::vector<RecordKey> erases;
};

class WatchedRecords final : public RecordStore {
 public:
  using OnCommit = std::function<void(const Committed&)>;
  // `commit_takes`: of virtual time. `records` outlive it.
  WatchedRecords(Loop& loop, const FleetRecords& records, Duration commit_takes, OnCommit on_commit);

  Task<Result<StoreSnapshot>> load() override;
  Task<Status> commit(CommitBatch batch) override;
  Task<Result<std::vector<std::string>>> journal(std::uint64_t since, std::size_t limit) override;
  std::uint64_t revision() const { return revision_; }

 private:
  Loop& loop_;
  const FleetRecords& records_;
  const Duration commit_takes_;
  const OnCommit on_commit_;
  std::uint64_t revision_ = 1;
};

}  // namespace ebb::what_if
