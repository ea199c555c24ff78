#include "store/memory_store.h"

namespace ebb {

std::size_t CommitBatch::bytes() const {
  std::size_t total = 0;
  for (const auto& r : puts) total += r.kind.size() + r.id.size() + r.json.size();
  for (const auto& [kind, id] : erases) total += kind.size() + id.size();
  for (const auto& j : journal) total += j.size();
  for (const auto& e : effects_add) total += e.key.size() + e.json.size();
  for (const auto& k : effects_done) total += k.size();
  return total;
}

Task<Result<StoreSnapshot>> MemoryStore::load() {
  StoreSnapshot snapshot;
  snapshot.revision = records_->revision;
  for (const auto& [key, json] : records_->records) snapshot.records.push_back({key.first, key.second, json});
  for (const auto& [key, json] : records_->effects) snapshot.effects.push_back({key, json});
  co_return snapshot;
}

Task<Status> MemoryStore::commit(CommitBatch batch) {
  auto records = records_;
  if (batch.ops() > commit_ops_max || batch.bytes() > commit_bytes_max) {
    co_return fail(Code::invalid, "a commit of {} operations and {} bytes is over the limit", batch.ops(),
                   batch.bytes());
  }
  if (records->on_commit) records->on_commit(false);
  co_await sleep_for(loop_, 1ms);
  if (batch.expected_revision != records->revision)
    co_return fail(Code::fenced, "another process has committed records");
  ++records->revision, ++records->commits;
  for (auto& r : batch.puts) records->records[{r.kind, r.id}] = std::move(r.json);
  for (auto& key : batch.erases) records->records.erase(key);
  for (auto& j : batch.journal) records->journal.emplace_back(records->revision, std::move(j));
  for (auto& e : batch.effects_add) records->effects[e.key] = std::move(e.json);
  for (auto& k : batch.effects_done) records->effects.erase(k);
  if (records->on_commit) records->on_commit(true);
  co_await sleep_for(loop_, 1ms);  // a crash may fall between the commit and the news of it
  co_return Status{};
}

Task<Result<std::vector<std::string>>> MemoryStore::journal(std::uint64_t since, std::size_t limit) {
  std::vector<std::string> entries;
  for (const auto& [revision, json] : records_->journal) {
    if (revision > since && entries.size() < limit) entries.push_back(json);
  }
  co_return entries;
}

}  // namespace ebb
