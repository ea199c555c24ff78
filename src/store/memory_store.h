// Records in memory: for the simulator, where it outlives the control planes that crash on it.
#pragma once
#include <functional>
#include <map>

#include "env/sync.h"
#include "store/record_store.h"

namespace ebb {

// What survives a crash. Shared by one MemoryStore after another.
struct MemoryRecords {
  std::uint64_t revision = 0;
  std::map<std::pair<std::string, std::string>, std::string> records;
  std::map<std::string, std::string> effects;
  std::vector<std::pair<std::uint64_t, std::string>> journal;
  std::uint64_t commits = 0;
  // Called before (false) and after (true) each commit is applied; the simulator crashes the control plane
  // from here.
  std::function<void(bool applied)> on_commit;
};

class MemoryStore final : public RecordStore {
 public:
  MemoryStore(Loop& loop, std::shared_ptr<MemoryRecords> records)
      : loop_(loop), records_(std::move(records)) {}
  Task<Result<StoreSnapshot>> load() override;
  Task<Status> commit(CommitBatch batch) override;
  Task<Result<std::vector<std::string>>> journal(std::uint64_t since, std::size_t limit) override;

 private:
  Loop& loop_;
  std::shared_ptr<MemoryRecords> records_;
};

}  // namespace ebb
