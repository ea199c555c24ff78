// Where the control plane's records live. As small as the owner loop needs: load a snapshot, commit a batch.
#pragma once
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "env/task.h"

namespace ebb {

inline constexpr std::size_t commit_ops_max =
    100;  // records + journal + outbox; etcd's limit, kept everywhere
inline constexpr std::size_t commit_bytes_max = 1024 * 1024;
inline constexpr std::uint32_t schema_version = 1;

struct StoredRecord {
  std::string kind, id, json;
  bool operator==(const StoredRecord&) const = default;
};

// An effect that has been decided and may not have been carried out yet.
struct StoredEffect {
  std::string key, json;
  bool operator==(const StoredEffect&) const = default;
};

struct CommitBatch {
  std::uint64_t expected_revision =
      0;  // precondition: nobody has committed since; the new revision is one more
  std::vector<StoredRecord> puts;
  std::vector<std::pair<std::string, std::string>> erases;  // kind, id
  std::vector<std::string> journal;                         // JSON of JournalEntry
  std::vector<StoredEffect> effects_add;
  std::vector<std::string> effects_done;  // keys

  std::size_t ops() const {
    return puts.size() + erases.size() + journal.size() + effects_add.size() + effects_done.size();
  }
  std::size_t bytes() const;
};

struct StoreSnapshot {
  std::uint64_t revision = 0;
  std::vector<StoredRecord> records;
  std::vector<StoredEffect> effects;
};

class RecordStore {
 public:
  virtual ~RecordStore() = default;
  virtual Task<Result<StoreSnapshot>> load() = 0;
  // All or nothing, durable. fenced: another process has committed; invalid: over the limits; busy: no space,
  // nothing has changed; unavailable: the outcome is unknown, the caller must load again before it decides
  // anything.
  virtual Task<Status> commit(CommitBatch batch) = 0;
  // Journal entries (JSON, oldest first) with a revision above `since`, at most `limit`.
  virtual Task<Result<std::vector<std::string>>> journal(std::uint64_t since, std::size_t limit) = 0;
};

}  // namespace ebb
