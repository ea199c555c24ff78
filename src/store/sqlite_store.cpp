#include "store/sqlite_store.h"

#include <filesystem>
#include <mutex>
#include <sqlite3.h>

namespace ebb {
namespace {

constexpr const char* schema = R"(
  PRAGMA journal_mode=WAL;
  PRAGMA synchronous=FULL;
  CREATE TABLE IF NOT EXISTS meta(key TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
  CREATE TABLE IF NOT EXISTS records(kind TEXT, id TEXT, json TEXT NOT NULL, PRIMARY KEY(kind, id)) WITHOUT ROWID;
  CREATE TABLE IF NOT EXISTS effects(key TEXT PRIMARY KEY, json TEXT NOT NULL) WITHOUT ROWID;
  CREATE TABLE IF NOT EXISTS journal(n INTEGER PRIMARY KEY, revision INTEGER NOT NULL, json TEXT NOT NULL);
  CREATE INDEX IF NOT EXISTS journal_revision ON journal(revision);
)";
constexpr std::int64_t journal_rows_max = 200'000;  // older entries fall away

bool holds_bytes(const std::string& path) {
  std::error_code none;
  auto size = std::filesystem::file_size(path, none);
  return !none && size > 0;
}

}  // namespace

class SqliteStore::Database {
 public:
  explicit Database(sqlite3* handle, std::string path) : db_(handle), path_(std::move(path)) {}
  ~Database() { sqlite3_close(db_); }

  Error error(std::string_view doing) const {
    int code = sqlite3_errcode(db_) & 0xff;
    if (code == SQLITE_BUSY || code == SQLITE_LOCKED) {
      return {Code::busy, fmt::format("{} {}: another process has it open", doing, path_), {}};
    }
    if (code == SQLITE_FULL) {
      return {Code::busy,
              fmt::format("{} {}: no space left on the device; nothing was changed: free some and try again",
                          doing, path_),
              {}};
    }
    if (code == SQLITE_NOTADB || code == SQLITE_CORRUPT) {
      return {Code::corrupt, fmt::format("{} {}: {}", doing, path_, sqlite3_errmsg(db_)), {}};
    }
    return {Code::unavailable, fmt::format("{} {}: {}", doing, path_, sqlite3_errmsg(db_)), {}};
  }

  Status execute(const char* sql, std::string_view doing) {
    if (sqlite3_exec(db_, sql, nullptr, nullptr, nullptr) != SQLITE_OK) return fail(error(doing));
    return {};
  }

  // Runs one statement with bound values; `row` is called for each result row.
  struct Value {
    std::variant<std::int64_t, std::string_view> v;
    Value(std::int64_t n) : v(n) {}
    Value(const std::string& s) : v(std::string_view(s)) {}
  };
  using Row = std::function<void(sqlite3_stmt*)>;
  Status run(const char* sql, std::vector<Value> values, std::string_view doing, const Row& row = {}) {
    sqlite3_stmt* raw = nullptr;
    if (sqlite3_prepare_v2(db_, sql, -1, &raw, nullptr) != SQLITE_OK) return fail(error(doing));
    std::unique_ptr<sqlite3_stmt, decltype(&sqlite3_finalize)> statement(raw, sqlite3_finalize);
    int at = 0;
    for (const auto& value : values) {
      ++at;
      if (const auto* number = std::get_if<std::int64_t>(&value.v)) {
        sqlite3_bind_int64(raw, at, *number);
      } else {
        auto text = std::get<std::string_view>(value.v);
        sqlite3_bind_text(raw, at, text.data(), static_cast<int>(text.size()), SQLITE_TRANSIENT);
      }
    }
    while (true) {
      int code = sqlite3_step(raw);
      if (code == SQLITE_DONE) return {};
      if (code != SQLITE_ROW) return fail(error(doing));
      if (row) row(raw);
    }
  }
  static std::string text(sqlite3_stmt* s, int column) {
    auto* data = reinterpret_cast<const char*>(sqlite3_column_text(s, column));
    return data ? std::string(data, static_cast<std::size_t>(sqlite3_column_bytes(s, column)))
                : std::string();
  }
  Result<std::int64_t> meta(const std::string& key, std::int64_t otherwise) {
    std::int64_t value = otherwise;
    EBB_CHECKED(run("SELECT value FROM meta WHERE key=?", {key}, "reading",
                    [&](auto* s) { value = sqlite3_column_int64(s, 0); }));
    return value;
  }

  // Only reads: a file of a newer version, or of somebody else, is left as it is.
  Status check_version() {
    std::int64_t tables = 0, ours = 0;
    EBB_CHECKED(
        run("SELECT count(*), count(CASE name WHEN 'meta' THEN 1 END) FROM sqlite_master", {}, "reading",
            [&](auto* s) { tables = sqlite3_column_int64(s, 0), ours = sqlite3_column_int64(s, 1); }));
    if (tables == 0) return {};
    if (ours == 0) return fail(Code::invalid, "{} holds no records of ours: use another state folder", path_);
    EBB_TRY(version, meta("schema", 0));
    if (version <= static_cast<std::int64_t>(schema_version)) return {};
    return fail(Code::invalid,
                "{} was written by a newer version (schema {}, this program knows {}): use that version, or "
                "another state folder",
                path_, version, schema_version);
  }

  // Whether the log beside the file is written back into it when it is closed.
  void write_back_on_close(bool is_wanted) {
    sqlite3_db_config(db_, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, is_wanted ? 0 : 1, nullptr);
  }

  Result<StoreSnapshot> load() {
    std::scoped_lock lock(mutex_);
    broken_ = false;
    StoreSnapshot snapshot;
    EBB_TRY(revision, meta("revision", 0));
    snapshot.revision = static_cast<std::uint64_t>(revision);
    EBB_CHECKED(run("SELECT kind, id, json FROM records", {}, "reading",
                    [&](auto* s) { snapshot.records.push_back({text(s, 0), text(s, 1), text(s, 2)}); }));
    EBB_CHECKED(run("SELECT key, json FROM effects", {}, "reading",
                    [&](auto* s) { snapshot.effects.push_back({text(s, 0), text(s, 1)}); }));
    return snapshot;
  }

  Status commit(const CommitBatch& batch) {
    std::scoped_lock lock(mutex_);
    if (broken_) return fail(Code::unavailable, "{}: an earlier commit ended in an unknown state", path_);
    EBB_CHECKED(execute("BEGIN IMMEDIATE", "writing"));
    auto status = write(batch);
    if (status) status = execute("COMMIT", "committing to");
    if (status) return {};
    // An error in COMMIT that is not "full" leaves it open whether the batch is in: only a reload can tell.
    bool rolled_back = sqlite3_get_autocommit(db_) == 0 &&
                       sqlite3_exec(db_, "ROLLBACK", nullptr, nullptr, nullptr) == SQLITE_OK;
    if (!rolled_back && status.error().code == Code::unavailable) broken_ = true;
    return status;
  }

  Result<std::vector<std::string>> journal(std::uint64_t since, std::size_t limit) {
    std::scoped_lock lock(mutex_);
    std::vector<std::string> entries;
    EBB_CHECKED(run("SELECT json FROM journal WHERE revision > ? ORDER BY n LIMIT ?",
                    {static_cast<std::int64_t>(since), static_cast<std::int64_t>(limit)},
                    "reading the journal in", [&](auto* s) { entries.push_back(text(s, 0)); }));
    return entries;
  }

 private:
  Status write(const CommitBatch& batch) {
    EBB_TRY(revision, meta("revision", 0));
    if (static_cast<std::uint64_t>(revision) != batch.expected_revision) {
      return fail(Code::fenced, "another process has committed records to {}", path_);
    }
    const std::int64_t next = revision + 1;
    EBB_CHECKED(run("INSERT OR REPLACE INTO meta VALUES('revision', ?)", {next}, "writing"));
    for (const auto& r : batch.puts) {
      EBB_CHECKED(run("INSERT OR REPLACE INTO records VALUES(?, ?, ?)", {r.kind, r.id, r.json}, "writing"));
    }
    for (const auto& [kind, id] : batch.erases)
      EBB_CHECKED(run("DELETE FROM records WHERE kind=? AND id=?", {kind, id}, "writing"));
    for (const auto& j : batch.journal)
      EBB_CHECKED(run("INSERT INTO journal(revision, json) VALUES(?, ?)", {next, j}, "writing"));
    for (const auto& e : batch.effects_add)
      EBB_CHECKED(run("INSERT OR REPLACE INTO effects VALUES(?, ?)", {e.key, e.json}, "writing"));
    for (const auto& k : batch.effects_done)
      EBB_CHECKED(run("DELETE FROM effects WHERE key=?", {k}, "writing"));
    if (next % 1000 == 0) {
      EBB_CHECKED(run("DELETE FROM journal WHERE n <= (SELECT max(n) FROM journal) - ?", {journal_rows_max},
                      "trimming"));
    }
    return {};
  }

  sqlite3* db_;
  std::string path_;
  std::mutex mutex_;
  bool broken_ = false;
};

SqliteStore::SqliteStore(Loop& loop, Offload& threads, std::shared_ptr<Database> database)
    : loop_(loop), threads_(threads), database_(std::move(database)) {}
SqliteStore::~SqliteStore() = default;

Result<std::unique_ptr<SqliteStore>> SqliteStore::open(Loop& loop, Offload& threads, std::string path) {
  sqlite3* handle = nullptr;
  int code = sqlite3_open_v2(path.c_str(), &handle,
                             SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_FULLMUTEX, nullptr);
  auto database = std::make_shared<Database>(handle, path);
  if (code != SQLITE_OK)
    return fail(Code::unavailable, "cannot open {}: {}", path, handle ? sqlite3_errmsg(handle) : "no memory");
  sqlite3_busy_timeout(handle, 1000);
  // One process owns the file from its first write until it ends; a second one is refused here, not at its
  // first commit.
  EBB_CHECKED(database->execute("PRAGMA locking_mode=EXCLUSIVE", "opening"));
  EBB_CHECKED(database->execute("BEGIN IMMEDIATE; COMMIT", "opening"));
  if (holds_bytes(path + "-wal")) database->write_back_on_close(false);
  EBB_CHECKED(database->check_version());
  database->write_back_on_close(true);
  EBB_CHECKED(database->execute(schema, "preparing"));
  EBB_CHECKED(database->run("INSERT OR REPLACE INTO meta VALUES('schema', ?)",
                            {static_cast<std::int64_t>(schema_version)}, "preparing"));
  return std::unique_ptr<SqliteStore>(new SqliteStore(loop, threads, std::move(database)));
}

Task<Result<StoreSnapshot>> SqliteStore::load() {
  return offload<Result<StoreSnapshot>>(loop_, threads_, [database = database_] { return database->load(); });
}

Task<Status> SqliteStore::commit(CommitBatch batch) {
  if (batch.ops() > commit_ops_max || batch.bytes() > commit_bytes_max) {
    co_return fail(Code::invalid, "a commit of {} operations and {} bytes is over the limit", batch.ops(),
                   batch.bytes());
  }
  auto shared = std::make_shared<CommitBatch>(std::move(batch));
  co_return co_await offload<Status>(loop_, threads_,
                                     [database = database_, shared] { return database->commit(*shared); });
}

Task<Result<std::vector<std::string>>> SqliteStore::journal(std::uint64_t since, std::size_t limit) {
  return offload<Result<std::vector<std::string>>>(
      loop_, threads_, [database = database_, since, limit] { return database->journal(since, limit); });
}

}  // namespace ebb
