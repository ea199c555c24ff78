#include "platform/posix_files.h"

#include <sys/wait.h>
#include <unistd.h>

#include "platform/os_error.h"
#include "platform/posix_calls.h"
#include "platform/test_folder.h"

namespace ebb {
namespace {

struct PosixFilesTest : testing::Test {
  template <class T>
  T run(Task<T> task) {
    return run_until_done(loop, std::move(task));
  }
  TestFolder folder;
  AsioLoop loop;
  PosixFiles files{loop};
};

TEST_F(PosixFilesTest, AFileKeepsWhatIsWritten) {
  auto file = run(files.open(folder / "a", OpenMode::create)).value();
  ASSERT_TRUE(run(file->write(0, to_bytes("hello"))));
  ASSERT_TRUE(run(file->write(10, to_bytes("world"))));
  ASSERT_TRUE(run(file->sync()));
  EXPECT_EQ(run(file->size()), 15u);
  EXPECT_EQ(run(file->read(10, 100)), to_bytes("world")) << "shorter only at the end";
  EXPECT_TRUE(is_all_zero(run(file->read(5, 5)).value()));
  ASSERT_TRUE(run(file->resize(5)));
  EXPECT_EQ(run(files.read_all(folder / "a")), to_bytes("hello"));
  EXPECT_EQ(run(file->read(100, 10)), Bytes{});
}

TEST_F(PosixFilesTest, ErrorsNameThePathAndTheCause) {
  auto missing = run(files.open(folder / "missing", OpenMode::read));
  ASSERT_FALSE(missing);
  EXPECT_EQ(missing.error().code, Code::not_found);
  EXPECT_NE(missing.error().message.find(folder / "missing"), std::string::npos);
  EXPECT_NE(missing.error().message.find("No such file"), std::string::npos);
  EXPECT_EQ(run(files.open(folder.path(), OpenMode::read)).error().code, Code::invalid);
  EXPECT_EQ(run(files.remove(folder / "missing")).error().code, Code::not_found);
  EXPECT_EQ(run(files.list(folder / "missing")).error().code, Code::not_found);
  EXPECT_EQ(run(files.open(folder / "missing/deeper", OpenMode::create)).error().code, Code::not_found);
}

TEST_F(PosixFilesTest, AFullDiskIsSaidInWords) {
  auto full = run(files.open("/dev/full", OpenMode::read_write)).value();
  auto written = run(full->write(0, to_bytes("x")));
  ASSERT_FALSE(written);
  EXPECT_EQ(written.error().code, Code::busy);
  EXPECT_NE(written.error().message.find("no space left on"), std::string::npos) << written.error().message;
  EXPECT_NE(written.error().message.find("free some"), std::string::npos);
}

TEST_F(PosixFilesTest, WriteAtomicReplacesAWholeFileAndLeavesNothingElse) {
  auto path = folder / "state";
  ASSERT_TRUE(run(files.write_atomic(path, to_bytes("old"))));
  ASSERT_TRUE(run(files.write_atomic(path, Bytes(3 * MiB, std::byte{7}))));
  EXPECT_EQ(run(files.read_all(path)), Bytes(3 * MiB, std::byte{7}));
  EXPECT_EQ(run(files.list(folder.path())), std::vector<std::string>{"state"});
}

TEST_F(PosixFilesTest, AProcessKilledInWriteAtomicLeavesOldOrNewContentAndNothingThatIsListed) {
  auto path = folder / "state";
  ASSERT_TRUE(run(files.write_atomic(path, Bytes(100 * KiB, std::byte{0}))));
  Random random(11);
  for (int round = 0; round < 15; ++round) {
    auto child = fork();
    if (child == 0) {
      AsioLoop own;
      PosixFiles own_files(own);
      for (unsigned i = 1;; ++i) {
        std::ignore =
            run_until_done(own, own_files.write_atomic(path, Bytes(100 * KiB, static_cast<std::byte>(i))));
      }
    }
    timespec pause{0, static_cast<long>(1'000'000 + random.below(10'000'000))};
    nanosleep(&pause, nullptr);
    kill(child, SIGKILL);
    waitpid(child, nullptr, 0);
    auto bytes = run(files.read_all(path)).value();
    ASSERT_EQ(bytes.size(), 100 * KiB);
    ASSERT_EQ(std::count(bytes.begin(), bytes.end(), bytes[0]), static_cast<std::ptrdiff_t>(bytes.size()));
    ASSERT_EQ(run(files.list(folder.path())), std::vector<std::string>{"state"});
  }
}

TEST_F(PosixFilesTest, AFailedWriteAtomicLeavesTheOldContent) {
  auto path = folder / "state";
  ASSERT_TRUE(run(files.make_dirs(path + "/a-folder-cannot-be-replaced-by-a-file")));
  EXPECT_FALSE(run(files.write_atomic(path, to_bytes("new"))));
  EXPECT_EQ(run(files.list(folder.path())), std::vector<std::string>{"state"});
}

TEST_F(PosixFilesTest, FoldersAreMadeListedAndRemoved) {
  ASSERT_TRUE(run(files.make_dirs(folder / "a/b/c")));
  ASSERT_TRUE(run(files.make_dirs(folder / "a/b/c")));
  ASSERT_TRUE(run(files.write_atomic(folder / "a/z", {})));
  EXPECT_EQ(run(files.list(folder / "a")), (std::vector<std::string>{"b", "z"}));
  EXPECT_FALSE(run(files.make_dirs(folder / "a/z/below-a-file")));
  ASSERT_TRUE(run(files.remove_tree(folder / "a")));
  ASSERT_TRUE(run(files.remove_tree(folder / "a")));
  ASSERT_TRUE(run(files.remove_tree(folder / "never/was")));
  EXPECT_EQ(run(files.list(folder.path())), std::vector<std::string>{});
}

TEST_F(PosixFilesTest, ALockExcludesOthersUntilItIsDroppedOrItsProcessIsKilled) {
  auto first = run(files.lock(folder / "lock"));
  ASSERT_TRUE(first);
  auto second = run(files.lock(folder / "lock"));
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code, Code::busy);
  first->reset();
  EXPECT_TRUE(run(files.lock(folder / "lock")));

  int ready[2];
  ASSERT_EQ(pipe(ready), 0);
  auto child = fork();
  if (child == 0) {
    AsioLoop own;
    PosixFiles own_files(own);
    auto held = run_until_done(own, own_files.lock(folder / "lock"));
    [[maybe_unused]] auto told = write(ready[1], held ? "y" : "n", 1);
    for (;;) pause();
  }
  char answer = 0;
  ASSERT_EQ(read(ready[0], &answer, 1), 1);
  EXPECT_EQ(answer, 'y');
  EXPECT_EQ(run(files.lock(folder / "lock")).error().code, Code::busy);
  kill(child, SIGKILL);
  waitpid(child, nullptr, 0);
  EXPECT_TRUE(run(files.lock(folder / "lock")));
  close(ready[0]), close(ready[1]);
}

TEST_F(PosixFilesTest, ReadsFilesThatTellNoSize) {
  EXPECT_GT(run(files.read_all("/proc/self/status")).value().size(), 100u);
}

TEST_F(PosixFilesTest, AWriteWhoseTaskIsDestroyedStillHasItsBytes) {
  auto file = run(files.open(folder / "a", OpenMode::create)).value();
  {
    Scope scope(loop);
    for (int i = 0; i < 50; ++i) {
      scope.spawn([](File* f, int n) -> Task<void> {
        [[maybe_unused]] auto written =
            co_await f->write(static_cast<std::uint64_t>(n) * 4096, Bytes(4096, std::byte{1}));
      }(file.get(), i));
    }
    loop.post([&] { loop.post([&] { loop.stop(); }); });
    loop.run();
  }
  file.reset();  // while calls are under way
  auto again = run(files.open(folder / "a", OpenMode::read)).value();
  auto bytes = run(again->read(0, 50 * 4096)).value();
  EXPECT_TRUE(std::all_of(bytes.begin(), bytes.end(),
                          [](std::byte b) { return b == std::byte{1} || b == std::byte{0}; }));
}

TEST(PosixCalls, ParentOf) {
  EXPECT_EQ(posix::parent_of("/a/b"), "/a");
  EXPECT_EQ(posix::parent_of("/a/b/"), "/a");
  EXPECT_EQ(posix::parent_of("/a"), "/");
  EXPECT_EQ(posix::parent_of("/"), "/");
  EXPECT_EQ(posix::parent_of("a"), ".");
  EXPECT_EQ(posix::parent_of("a/b"), "a");
}

}  // namespace
}  // namespace ebb
