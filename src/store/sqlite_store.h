// Records in one SQLite file (WAL, synchronous=FULL): the embedded default. The only place with SQL.
#pragma once
#include <memory>
#include <string>

#include "env/offload.h"
#include "store/record_store.h"

namespace ebb {

class SqliteStore final : public RecordStore {
 public:
  // Opens or creates the file. invalid: made by a newer version, or not ours; busy: another process has it
  // open.
  static Result<std::unique_ptr<SqliteStore>> open(Loop& loop, Offload& threads, std::string path);
  ~SqliteStore() override;

  Task<Result<StoreSnapshot>> load() override;
  Task<Status> commit(CommitBatch batch) override;
  Task<Result<std::vector<std::string>>> journal(std::uint64_t since, std::size_t limit) override;

 private:
  class Database;  // used from one job at a time, under its own mutex
  SqliteStore(Loop& loop, Offload& threads, std::shared_ptr<Database> database);
  Loop& loop_;
  Offload& threads_;
  std::shared_ptr<Database> database_;
};

}  // namespace ebb
