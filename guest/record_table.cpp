// Records as rows of an SQLite database with a write-ahead log: what an application that trusts its disk does.
// Each record is a transaction; before the first of a boot the database must find itself whole.
#include "record_store.h"

#ifdef EBB_GUEST_SQLITE
#include <cstring>
#include <sqlite3.h>

namespace ebb::guest {
namespace {

class RecordTable final : public RecordStore {
 public:
  ~RecordTable() override {
    sqlite3_finalize(insert_);
    sqlite3_close(db_);
  }
  std::string open_and_verify(const std::string& path) override;
  std::string append(const Writer& writer) override;

 private:
  std::string failure(const char* what) const {
    return std::string(what) + ": " + (db_ ? sqlite3_errmsg(db_) : "no memory");
  }
  std::string execute(const char* sql) {
    return sqlite3_exec(db_, sql, nullptr, nullptr, nullptr) == SQLITE_OK ? "" : failure(sql);
  }
  std::string check_integrity();
  std::string verify_rows();

  sqlite3* db_ = nullptr;
  sqlite3_stmt* insert_ = nullptr;
};

std::string RecordTable::open_and_verify(const std::string& path) {
  if (sqlite3_open(path.c_str(), &db_) != SQLITE_OK) return failure("open");
  for (const char* sql :
       {"PRAGMA journal_mode=WAL", "PRAGMA synchronous=FULL",
        "CREATE TABLE IF NOT EXISTS record (number INTEGER PRIMARY KEY, body BLOB NOT NULL)"}) {
    if (auto fault = execute(sql); !fault.empty()) return fault;
  }
  if (auto fault = check_integrity(); !fault.empty()) return fault;
  if (auto fault = verify_rows(); !fault.empty()) return fault;
  const char* sql = "INSERT INTO record VALUES (?, ?)";
  return sqlite3_prepare_v2(db_, sql, -1, &insert_, nullptr) == SQLITE_OK ? "" : failure(sql);
}

std::string RecordTable::check_integrity() {
  sqlite3_stmt* check = nullptr;
  if (sqlite3_prepare_v2(db_, "PRAGMA integrity_check", -1, &check, nullptr) != SQLITE_OK)
    return failure("integrity_check");
  std::string said = "nothing";
  if (sqlite3_step(check) == SQLITE_ROW) said = reinterpret_cast<const char*>(sqlite3_column_text(check, 0));
  sqlite3_finalize(check);
  return said == "ok" ? "" : "integrity_check: " + said;
}

std::string RecordTable::verify_rows() {
  sqlite3_stmt* rows = nullptr;
  if (sqlite3_prepare_v2(db_, "SELECT body FROM record ORDER BY number", -1, &rows, nullptr) != SQLITE_OK)
    return failure("select");
  RecordWalk walk;
  std::string fault;
  int step = SQLITE_ROW;
  while (fault.empty() && (step = sqlite3_step(rows)) == SQLITE_ROW) {
    Record record{};
    if (sqlite3_column_bytes(rows, 0) != sizeof record) {
      fault = "a row is no record";
      break;
    }
    std::memcpy(&record, sqlite3_column_blob(rows, 0), sizeof record);
    const RecordFault found = walk.next(record);
    if (found != RecordFault::none) fault = std::string("record ") + fault_name(found);
    ++count_;
  }
  if (fault.empty() && step != SQLITE_DONE) fault = failure("select");
  sqlite3_finalize(rows);
  last_writer_ = walk.last_writer();
  return fault;
}

std::string RecordTable::append(const Writer& writer) {
  const Record record = make_record(count_ + 1, writer);
  sqlite3_bind_int64(insert_, 1, static_cast<sqlite3_int64>(count_ + 1));
  sqlite3_bind_blob(insert_, 2, &record, sizeof record, SQLITE_STATIC);
  const int done = sqlite3_step(insert_);
  std::string fault = done == SQLITE_DONE ? "" : failure("insert");
  full_ = done == SQLITE_FULL;
  sqlite3_reset(insert_);
  if (fault.empty()) ++count_;
  return fault;
}

}  // namespace

std::unique_ptr<RecordStore> make_record_table() { return std::make_unique<RecordTable>(); }

}  // namespace ebb::guest
#else
namespace ebb::guest {
std::unique_ptr<RecordStore> make_record_table() { return nullptr; }
}  // namespace ebb::guest
#endif
