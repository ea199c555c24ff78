#include <csignal>
#include <filesystem>
#include <fstream>
#include <gtest/gtest.h>
#include <sqlite3.h>
#include <sys/resource.h>

#include "store/memory_store.h"
#include "store/sqlite_store.h"

namespace ebb {
namespace {

// Runs everything at once, in order: these tests are about the records, not about time.
class InlineLoop final : public Loop, public Offload {
 public:
  Instant now() const override { return now_; }
  WallMs wall_now() const override { return 0; }
  void post(Callback callback) override { queue_.push_back(std::move(callback)); }
  std::uint64_t call_at(Instant when, Callback callback) override {
    now_ = std::max(now_, when);
    post(std::move(callback));
    return 0;
  }
  void cancel(std::uint64_t) override {}
  Random& random() override { return random_; }
  void run(Callback work, Callback then) override {
    work();
    post(std::move(then));
  }
  template <class T>
  T wait(Task<T> task) {
    std::optional<T> out;
    auto body = [](Task<T> t, std::optional<T>* o) -> Task<void> { o->emplace(co_await t); }(std::move(task),
                                                                                             &out);
    body.start();
    while (!queue_.empty()) {
      auto callback = std::move(queue_.front());
      queue_.pop_front();
      callback();
    }
    return std::move(*out);
  }

 private:
  Instant now_{};
  std::deque<Callback> queue_;
  Random random_{1};
};

struct Folder {
  std::filesystem::path path;
  Folder() {
    std::string name = (std::filesystem::temp_directory_path() / "ebb-store-XXXXXX").string();
    path = mkdtemp(name.data());
  }
  ~Folder() { std::filesystem::remove_all(path); }
  std::string file() const { return (path / "records.db").string(); }
};

CommitBatch batch_at(std::uint64_t revision) {
  CommitBatch batch;
  batch.expected_revision = revision;
  batch.puts = {{"vm", "a", fmt::format("{{\"at\":{}}}", revision)}};
  batch.journal = {"\"entry\""};
  batch.effects_add = {{"key", "{}"}};
  return batch;
}

// One suite for both: they must give the same answers.
void behaves_as_a_record_store(InlineLoop& loop, RecordStore& store) {
  ASSERT_TRUE(loop.wait(store.commit(batch_at(0))));
  auto stale = loop.wait(store.commit(batch_at(0)));
  ASSERT_FALSE(stale);
  EXPECT_EQ(stale.error().code, Code::fenced);
  auto second = batch_at(1);
  second.erases = {{"vm", "gone"}}, second.effects_add.clear(), second.effects_done = {"key"};
  ASSERT_TRUE(loop.wait(store.commit(second)));
  auto snapshot = loop.wait(store.load());
  ASSERT_TRUE(snapshot);
  EXPECT_EQ(snapshot->revision, 2u);
  EXPECT_EQ(snapshot->records, (std::vector<StoredRecord>{{"vm", "a", "{\"at\":1}"}}));
  EXPECT_TRUE(snapshot->effects.empty());
  EXPECT_EQ(loop.wait(store.journal(1, 10))->size(), 1u);
  EXPECT_EQ(loop.wait(store.journal(0, 1))->size(), 1u);
  auto big = batch_at(2);
  for (std::size_t i = 0; i < commit_ops_max; ++i) big.puts.push_back({"vm", fmt::format("{}", i), "{}"});
  EXPECT_EQ(loop.wait(store.commit(big)).error().code, Code::invalid);
  EXPECT_EQ(loop.wait(store.load())->revision, 2u);
}

TEST(MemoryStore, BehavesAsARecordStore) {
  InlineLoop loop;
  MemoryStore store(loop, std::make_shared<MemoryRecords>());
  behaves_as_a_record_store(loop, store);
}

TEST(SqliteStore, BehavesAsARecordStore) {
  InlineLoop loop;
  Folder folder;
  auto store = SqliteStore::open(loop, loop, folder.file());
  ASSERT_TRUE(store) << store.error().message;
  behaves_as_a_record_store(loop, **store);
}

TEST(SqliteStore, ASecondProcessIsRefused) {
  InlineLoop loop;
  Folder folder;
  auto first = SqliteStore::open(loop, loop, folder.file());
  ASSERT_TRUE(first);
  auto second = SqliteStore::open(loop, loop, folder.file());
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code, Code::busy) << second.error().message;
  first->reset();
  EXPECT_TRUE(SqliteStore::open(loop, loop, folder.file()));
}

// Every file of the folder with its bytes.
std::map<std::string, std::string> contents(const Folder& folder) {
  std::map<std::string, std::string> found;
  for (const auto& entry : std::filesystem::directory_iterator(folder.path)) {
    std::ifstream in(entry.path(), std::ios::binary);
    found[entry.path().filename()] = {std::istreambuf_iterator<char>(in), {}};
  }
  return found;
}

void run_sql(const Folder& folder, const std::string& sql) {
  sqlite3* db = nullptr;
  ASSERT_EQ(sqlite3_open(folder.file().c_str(), &db), SQLITE_OK);
  EXPECT_EQ(sqlite3_exec(db, sql.c_str(), nullptr, nullptr, nullptr), SQLITE_OK) << sqlite3_errmsg(db);
  sqlite3_close(db);
}

// What a later version may have made of the tables.
constexpr const char* newer = R"(
  UPDATE meta SET value=99 WHERE key='schema';
  DROP TABLE journal;
  CREATE TABLE journal(n INTEGER PRIMARY KEY, era INTEGER NOT NULL, body BLOB);
  DROP TABLE effects;
)";

void expect_left_alone(InlineLoop& loop, const Folder& folder) {
  auto before = contents(folder);
  auto store = SqliteStore::open(loop, loop, folder.file());
  ASSERT_FALSE(store);
  EXPECT_EQ(store.error().code, Code::invalid);
  EXPECT_NE(store.error().message.find("newer version"), std::string::npos) << store.error().message;
  EXPECT_EQ(contents(folder), before);
}

TEST(SqliteStore, ANewerSchemaIsRefusedAndLeftAlone) {
  InlineLoop loop;
  Folder folder;
  ASSERT_TRUE(SqliteStore::open(loop, loop, folder.file()));
  run_sql(folder, newer);
  expect_left_alone(loop, folder);
  run_sql(folder, "PRAGMA journal_mode=DELETE");
  expect_left_alone(loop, folder);
}

TEST(SqliteStore, ANewerSchemaThatStillLiesInTheLogIsRefusedAndLeftAlone) {
  InlineLoop loop;
  Folder folder, copy;
  ASSERT_TRUE(SqliteStore::open(loop, loop, folder.file()));
  sqlite3* db = nullptr;
  ASSERT_EQ(sqlite3_open(folder.file().c_str(), &db), SQLITE_OK);
  ASSERT_EQ(sqlite3_exec(db, newer, nullptr, nullptr, nullptr), SQLITE_OK);
  for (auto name : {"records.db", "records.db-wal"})
    std::filesystem::copy_file(folder.path / name, copy.path / name);  // as a crash leaves them
  sqlite3_close(db);
  ASSERT_GT(std::filesystem::file_size(copy.path / "records.db-wal"), 0u);
  expect_left_alone(loop, copy);
}

TEST(SqliteStore, TheTablesOfAnotherProgramAreRefusedAndLeftAlone) {
  InlineLoop loop;
  Folder folder;
  run_sql(folder, "CREATE TABLE records(name TEXT)");
  auto before = contents(folder);
  auto store = SqliteStore::open(loop, loop, folder.file());
  ASSERT_FALSE(store);
  EXPECT_EQ(store.error().code, Code::invalid);
  EXPECT_NE(store.error().message.find("no records of ours"), std::string::npos) << store.error().message;
  EXPECT_EQ(contents(folder), before);
}

// While it lives, no file of this process grows: writes fail as on a broken device.
struct NoGrowth {
  rlimit before{};
  NoGrowth() {
    std::signal(SIGXFSZ, SIG_IGN);
    EXPECT_EQ(getrlimit(RLIMIT_FSIZE, &before), 0);
    rlimit none{1, before.rlim_max};
    EXPECT_EQ(setrlimit(RLIMIT_FSIZE, &none), 0);
  }
  ~NoGrowth() { setrlimit(RLIMIT_FSIZE, &before); }
};

TEST(SqliteStore, AfterACommitOfUnknownOutcomeNothingIsDecidedBeforeTheRecordsAreReadAgain) {
  InlineLoop loop;
  Folder folder;
  auto store = SqliteStore::open(loop, loop, folder.file());
  ASSERT_TRUE(store && loop.wait((*store)->commit(batch_at(0))));
  {
    NoGrowth broken_device;
    auto failed = loop.wait((*store)->commit(batch_at(1)));
    ASSERT_FALSE(failed);
    EXPECT_EQ(failed.error().code, Code::unavailable) << failed.error().message;
  }
  auto refused = loop.wait((*store)->commit(batch_at(1)));
  ASSERT_FALSE(refused);
  EXPECT_NE(refused.error().message.find("unknown state"), std::string::npos) << refused.error().message;
  auto snapshot = loop.wait((*store)->load());
  ASSERT_TRUE(snapshot);
  EXPECT_EQ(snapshot->revision, 1u);
  EXPECT_EQ(snapshot->records, (std::vector<StoredRecord>{{"vm", "a", "{\"at\":0}"}}));
  EXPECT_TRUE(loop.wait((*store)->commit(batch_at(1))));
}

TEST(SqliteStore, AFileThatIsNoDatabaseIsRefused) {
  InlineLoop loop;
  Folder folder;
  std::ofstream(folder.file()) << std::string(8192, 'x');
  auto store = SqliteStore::open(loop, loop, folder.file());
  ASSERT_FALSE(store);
  EXPECT_EQ(store.error().code, Code::corrupt) << store.error().message;
}

}  // namespace
}  // namespace ebb
