#include "platform/folder_store.h"

#include <linux/magic.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/checksum.h"
#include "platform/test_folder.h"

namespace ebb {
namespace {

SharedBytes shared(std::string_view text) { return std::make_shared<const Bytes>(to_bytes(text)); }

struct FolderStoreTest : testing::Test {
  template <class T>
  T run(Task<T> task) {
    return run_until_done(loop, std::move(task));
  }
  std::unique_ptr<ReclaimableStore> open() {
    return run(open_object_store(loop, "dir:" + folder.path())).value();
  }
  TestFolder folder;
  AsioLoop loop;
};

TEST_F(FolderStoreTest, GetsBackWhatWasPut) {
  auto store = open();
  auto tag = run(store->put("v/disk-1/HEAD", shared("one"), PutCondition::always())).value();
  auto object = run(store->get("v/disk-1/HEAD")).value();
  EXPECT_EQ(object.body, to_bytes("one"));
  EXPECT_EQ(object.tag, tag);
  EXPECT_EQ(run(store->get_range("v/disk-1/HEAD", 1, 100)), to_bytes("ne"));
  EXPECT_EQ(run(store->get_range("v/disk-1/HEAD", 0, 2)), to_bytes("on"));
  EXPECT_EQ(run(store->get_range("v/disk-1/HEAD", 7, 2)), Bytes{});
}

TEST_F(FolderStoreTest, LargeObjectsOfAnyLengthAreGotBackWhole) {
  auto store = open();
  Random random(3);
  for (std::size_t bytes : {256 * KiB, 256 * KiB + 1, 1 * MiB, 1 * MiB + 4095, 3 * MiB + 4097}) {
    auto body = std::make_shared<Bytes>(bytes);
    for (auto& b : *body) b = static_cast<std::byte>(random.below(256));
    auto key = fmt::format("s/{}", bytes);
    ASSERT_TRUE(run(store->put(key, body, PutCondition::if_absent())));
    EXPECT_TRUE(run(store->get(key)).value().body == *body) << bytes;
    for (std::size_t from : {0, 1, 4096, 5000}) {
      auto part = run(store->get_range(key, from, 256 * KiB + 100)).value();
      auto wanted = ByteView(*body).subspan(from).first(std::min(256 * KiB + 100, bytes - from));
      EXPECT_TRUE(std::ranges::equal(part, wanted)) << bytes << " from " << from;
    }
  }
}

TEST_F(FolderStoreTest, WhatIsNotThereIsNotFound) {
  auto store = open();
  ASSERT_TRUE(run(store->put("a/b", shared("x"), PutCondition::always())));
  for (auto key : {"nothing", "a", "a/b/c", "a/c"})
    EXPECT_EQ(run(store->get(key)).error().code, Code::not_found) << key;
  EXPECT_EQ(run(store->get_range("nothing", 0, 1)).error().code, Code::not_found);
}

TEST_F(FolderStoreTest, CreateIfAbsentNeverReplaces) {
  auto store = open();
  ASSERT_TRUE(run(store->put("k", shared("first"), PutCondition::if_absent())));
  EXPECT_EQ(run(store->put("k", shared("second"), PutCondition::if_absent())).error().code, Code::conflict);
  EXPECT_EQ(run(store->get("k")).value().body, to_bytes("first"));
}

TEST_F(FolderStoreTest, CompareAndSetTakesOnlyTheCurrentTag) {
  auto store = open();
  auto first = run(store->put("k", shared("1"), PutCondition::if_absent())).value();
  auto second = run(store->put("k", shared("2"), PutCondition::if_match(first))).value();
  EXPECT_EQ(run(store->put("k", shared("3"), PutCondition::if_match(first))).error().code, Code::conflict);
  EXPECT_EQ(run(store->get("k")).value().tag, second);
  EXPECT_EQ(run(store->put("none", shared("3"), PutCondition::if_match(first))).error().code, Code::conflict);
  EXPECT_EQ(run(store->get("none")).error().code, Code::not_found);
}

TEST_F(FolderStoreTest, KeysCannotLeaveThePool) {
  auto store = open();
  for (std::string key :
       {"", "/etc/passwd", "../x", "a/../../x", "a//b", "a/", "./a", ".ebb/tmp/x", "a/.ebb", "a\nb", "ä"}) {
    EXPECT_EQ(run(store->put(key, shared("x"), PutCondition::always())).error().code, Code::invalid) << key;
    EXPECT_EQ(run(store->get(key)).error().code, Code::invalid) << key;
    EXPECT_EQ(run(store->get_range(key, 0, 1)).error().code, Code::invalid) << key;
  }
  EXPECT_EQ(run(store->get(std::string(2000, 'a'))).error().code, Code::invalid);
  EXPECT_EQ(run(store->get(std::string(300, 'a'))).error().code, Code::invalid);
  EXPECT_TRUE(run(store->put("s/0f/disk-1/00000001.2/000000017", shared("x"), PutCondition::always())));
}

TEST_F(FolderStoreTest, FileSystemsThatCannotPromiseAreRefusedByName) {
  for (long type : {long{NFS_SUPER_MAGIC}, 0xff534d42L, 0xfe534d42L, long{FUSE_SUPER_MAGIC}, long{V9FS_MAGIC},
                    long{AFS_SUPER_MAGIC}, long{CEPH_SUPER_MAGIC}, 0x12345678L}) {
    EXPECT_NE(why_not_a_pool(type), "") << std::hex << type;
  }
  EXPECT_NE(why_not_a_pool(NFS_SUPER_MAGIC).find("NFS"), std::string::npos);
  EXPECT_EQ(why_not_a_pool(EXT4_SUPER_MAGIC), "");
  EXPECT_EQ(why_not_a_pool(0x58465342), "");
  auto proc = run(open_object_store(loop, "dir:/proc"));
  ASSERT_FALSE(proc);
  EXPECT_EQ(proc.error().code, Code::invalid);
  EXPECT_NE(proc.error().message.find("/proc cannot hold a pool"), std::string::npos) << proc.error().message;
}

TEST_F(FolderStoreTest, UnknownUrlsAreRefusedWithWhatIsKnown) {
  for (auto url : {"", "s3://bucket", "dir:", "dir:relative", "/plain"}) {
    auto opened = run(open_object_store(loop, url));
    ASSERT_FALSE(opened) << url;
    EXPECT_EQ(opened.error().code, Code::invalid);
    EXPECT_NE(opened.error().message.find("dir:/"), std::string::npos);
  }
}

// Runs `work` in `count` processes that begin together; returns their exit codes.
std::vector<int> race(int count, const std::function<int(int)>& work) {
  int gate[2];
  EXPECT_EQ(pipe(gate), 0);
  std::vector<pid_t> children;
  for (int i = 0; i < count; ++i) {
    auto child = fork();
    if (child == 0) {
      ::close(gate[1]);
      char byte;
      [[maybe_unused]] auto opened = ::read(gate[0], &byte, 1);  // returns when the parent closes its end
      _exit(work(i));
    }
    children.push_back(child);
  }
  ::close(gate[0]);
  ::close(gate[1]);
  std::vector<int> codes;
  for (auto child : children) {
    int status = 0;
    waitpid(child, &status, 0);
    codes.push_back(WIFEXITED(status) ? WEXITSTATUS(status) : 100 + WTERMSIG(status));
  }
  return codes;
}

int put_in_child(const std::string& url, const std::string& key, SharedBytes body, PutCondition condition) {
  AsioLoop loop;
  auto store = run_until_done(loop, open_object_store(loop, url));
  if (!store) return 99;
  auto put = run_until_done(loop, (*store)->put(key, body, condition));
  return put ? 0 : put.error().code == Code::conflict ? 1 : 98;
}

TEST_F(FolderStoreTest, OfTwentyRacingProcessesExactlyOneWins) {
  auto store = open();
  auto url = "dir:" + folder.path();
  for (int round = 0; round < 5; ++round) {
    auto key = fmt::format("race/{}", round);
    auto body = [&](int i) { return shared(fmt::format("round {} writer {}", round, i)); };
    auto created =
        race(20, [&](int i) { return put_in_child(url, key, body(i), PutCondition::if_absent()); });
    ASSERT_EQ(std::count(created.begin(), created.end(), 0), 1);
    ASSERT_EQ(std::count(created.begin(), created.end(), 1), 19);
    auto winner = std::find(created.begin(), created.end(), 0) - created.begin();
    auto object = run(store->get(key)).value();
    EXPECT_EQ(object.body, *body(static_cast<int>(winner)));

    auto replaced = race(
        20, [&](int i) { return put_in_child(url, key, body(100 + i), PutCondition::if_match(object.tag)); });
    ASSERT_EQ(std::count(replaced.begin(), replaced.end(), 0), 1);
    ASSERT_EQ(std::count(replaced.begin(), replaced.end(), 1), 19);
    winner = std::find(replaced.begin(), replaced.end(), 0) - replaced.begin();
    EXPECT_EQ(run(store->get(key)).value().body, *body(static_cast<int>(100 + winner)));
  }
}

TEST_F(FolderStoreTest, RacingTasksOfOneProcessHaveOneWinnerToo) {
  auto store = open();
  std::vector<Task<Result<ObjectTag>>> puts;
  for (int i = 0; i < 20; ++i)
    puts.push_back(store->put("k", shared(fmt::format("{}", i)), PutCondition::if_absent()));
  auto results = run(when_all(loop, std::move(puts)));
  EXPECT_EQ(std::count_if(results.begin(), results.end(), [](auto& r) { return r.has_value(); }), 1);
}

// A body that proves itself: a checksum before a large random-looking rest.
Bytes provable(std::uint64_t seed) {
  Random random(seed);
  Bytes rest;
  for (int i = 0; i < 64 * 1024; ++i) append_le(rest, random.next());
  Bytes out;
  append_le(out, crc32c(rest));
  append(out, rest);
  return out;
}
bool proves_itself(const Bytes& body) {
  return body.size() > 4 && load_le<std::uint32_t>(body) == crc32c(ByteView(body).subspan(4));
}

[[noreturn]] void put_forever(const std::string& url, std::uint64_t seed) {
  AsioLoop loop;
  auto store = run_until_done(loop, open_object_store(loop, url)).value();
  for (std::uint64_t i = 0;; ++i) {
    auto body = std::make_shared<const Bytes>(provable(seed + i));
    std::ignore =
        run_until_done(loop, store->put(fmt::format("new/{}-{}", seed, i), body, PutCondition::if_absent()));
    auto head = run_until_done(loop, store->get("HEAD"));
    auto condition = head ? PutCondition::if_match(head->tag) : PutCondition::if_absent();
    std::ignore = run_until_done(loop, store->put("HEAD", body, condition));
  }
}

void sleep_for_us(std::uint64_t us) { std::this_thread::sleep_for(std::chrono::microseconds(us)); }

void wait_for_file(const std::filesystem::path& path) {
  while (!std::filesystem::exists(path)) sleep_for_us(1000);
}

TEST_F(FolderStoreTest, AProcessKilledInTheMiddleOfPutsLeavesWholeObjectsOnly) {
  auto url = "dir:" + folder.path();
  Random random(7);
  for (std::uint64_t round = 1; round <= 10; ++round) {
    auto child = fork();
    if (child == 0) put_forever(url, round * 1000);
    // However slow the machine: half of them die among their puts, the others perhaps before the first one.
    if (round % 2 == 0) wait_for_file(folder / fmt::format("new/{}-0", round * 1000));
    sleep_for_us(5'000 + random.below(40'000));
    kill(child, SIGKILL);
    waitpid(child, nullptr, 0);
  }
  auto store = open();
  auto head = run(store->get("HEAD"));
  if (head) EXPECT_TRUE(proves_itself(head->body));
  std::size_t seen = 0;
  if (std::filesystem::exists(folder / "new")) {
    for (const auto& entry : std::filesystem::directory_iterator(folder / "new")) {
      auto object = run(store->get("new/" + entry.path().filename().string())).value();
      EXPECT_TRUE(proves_itself(object.body)) << entry.path();
      ++seen;
    }
  }
  EXPECT_GT(seen, 0u);
  EXPECT_TRUE(std::filesystem::is_empty(folder / ".ebb/tmp"))
      << "unfinished objects are removed when the pool is opened";
}

// 0 if a full file system is reported as one and leaves the pool as it was. Mounts a tiny one that only we
// see.
int fill_up(const std::string& path) {
  constexpr int cannot_mount = 77;
  if (unshare(CLONE_NEWNS) != 0 || mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0)
    return cannot_mount;
  if (mount("tmpfs", path.c_str(), "tmpfs", 0, "size=1m") != 0) return cannot_mount;
  AsioLoop loop;
  auto store = run_until_done(loop, open_object_store(loop, "dir:" + path)).value();
  auto put = [&](std::string key, std::size_t bytes, PutCondition condition) {
    return run_until_done(loop,
                          store->put(key, std::make_shared<const Bytes>(bytes, std::byte{1}), condition));
  };
  if (!put("small", 1000, PutCondition::if_absent())) return 1;
  for (auto condition : {PutCondition::always(), PutCondition::if_absent()}) {
    auto large = put("large", 2 * MiB, condition);
    if (large || large.error().code != Code::busy) return 2;
    if (large.error().message.find("no space left") == std::string::npos) return 3;
  }
  if (run_until_done(loop, store->get("large")).error().code != Code::not_found) return 4;
  if (!std::filesystem::is_empty(path + "/.ebb/tmp")) return 5;
  return put("another", 1000, PutCondition::if_absent()) ? 0 : 6;
}

TEST_F(FolderStoreTest, AFullFileSystemIsSaidInWordsAndLeavesNothingBehind) {
  auto code = race(1, [&](int) { return fill_up(folder.path()); }).front();
  if (code == 77) GTEST_SKIP() << "may not mount a file system";
  EXPECT_EQ(code, 0);
}

// As when its file system is unmounted: an empty folder in its place is no empty pool.
TEST_F(FolderStoreTest, AFolderThatGoesAwayIsWaitedForAndNotMadeAnew) {
  const auto path = folder.path() + "/pool", away = folder.path() + "/away";
  auto store = run(open_object_store(loop, "dir:" + path)).value();
  ASSERT_TRUE(run(store->put("a/b", shared("1"), PutCondition::if_absent())));
  std::filesystem::rename(path, away);
  for (bool is_replaced : {false, true}) {
    if (is_replaced) std::filesystem::create_directory(path);
    auto put = run(store->put("a/c", shared("2"), PutCondition::if_absent()));
    ASSERT_FALSE(put);
    EXPECT_EQ(put.error().code, Code::unavailable);
    EXPECT_NE(put.error().message.find(path), std::string::npos) << put.error().message;
    EXPECT_EQ(run(store->get("a/b")).error().code, Code::unavailable);
    EXPECT_EQ(run(store->get("a/none")).error().code, Code::unavailable);
    EXPECT_EQ(std::filesystem::exists(path), is_replaced);
  }
  EXPECT_TRUE(std::filesystem::is_empty(path));
  std::filesystem::remove(path);
  std::filesystem::rename(away, path);
  EXPECT_EQ(run(store->get("a/b")).value().body, to_bytes("1"));
  EXPECT_TRUE(run(store->put("a/c", shared("2"), PutCondition::if_absent())));
}

TEST_F(FolderStoreTest, ErrorsNameTheConfiguredPath) {
  auto store = open();
  ASSERT_TRUE(run(store->put("a", shared("1"), PutCondition::if_absent())));
  auto put = run(store->put("a/b", shared("1"), PutCondition::if_absent()));
  ASSERT_FALSE(put);
  EXPECT_NE(put.error().message.find(folder.path()), std::string::npos) << put.error().message;
  EXPECT_EQ(put.error().message.find("/proc"), std::string::npos) << put.error().message;
}

TEST_F(FolderStoreTest, AnUnfinishedObjectOfALivingProcessIsLeftAlone) {
  auto first = open();
  std::vector<Task<Result<ObjectTag>>> puts;
  for (int i = 0; i < 30; ++i) {
    puts.push_back(first->put(fmt::format("k{}", i),
                              std::make_shared<const Bytes>(provable(static_cast<std::uint64_t>(i))),
                              PutCondition::if_absent()));
  }
  Scope scope(loop);
  scope.spawn([](AsioLoop& l, std::string url) -> Task<void> {
    for (int i = 0; i < 30; ++i) EXPECT_TRUE((co_await open_object_store(l, url)).has_value());
  }(loop, "dir:" + folder.path()));
  for (auto& result : run(when_all(loop, std::move(puts)))) EXPECT_TRUE(result) << result.error();
}

}  // namespace
}  // namespace ebb
