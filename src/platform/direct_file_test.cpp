#include "platform/direct_file.h"

#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "platform/posix_files.h"
#include "platform/test_folder.h"

namespace ebb {
namespace {

constexpr auto block = BlockBuffer::block_bytes;

std::shared_ptr<BlockBuffer> filled(std::size_t bytes, int value) {
  auto buffer = std::make_shared<BlockBuffer>(bytes);
  std::ranges::fill(buffer->first(bytes), static_cast<std::byte>(value));
  return buffer;
}

// Everything on a ring, and on threads.
struct DirectFileTest : testing::TestWithParam<bool> {
  void SetUp() override {
    if (GetParam()) {
      auto used = files->use_ring();
      if (!used) GTEST_SKIP() << used.error().message;
    }
  }
  template <class T>
  T run(Task<T> task) {
    return run_until_done(loop, std::move(task));
  }
  TestFolder folder;
  AsioLoop loop;
  std::optional<PosixFiles> files{loop};
};

TEST_P(DirectFileTest, WholeBlocksAreWrittenAndReadBack) {
  auto file = run(files->open_direct(folder / "a", OpenMode::create)).value();
  ASSERT_TRUE(run(file->write(0, filled(8 * block, 1), 8 * block)));
  ASSERT_TRUE(run(file->write(2 * block, filled(4 * block, 2), block)));
  ASSERT_TRUE(run(file->sync()));
  auto into = filled(8 * block, 9);
  EXPECT_EQ(run(file->read(block, into, 2 * block)), 2 * block);
  EXPECT_EQ(into->first(1)[0], std::byte{1});
  EXPECT_EQ(into->first(2 * block)[block], std::byte{2});
  EXPECT_EQ(into->first(3 * block)[2 * block], std::byte{9});
  EXPECT_EQ(run(file->read(7 * block, into, 4 * block)), block) << "shorter only at the end";
  EXPECT_EQ(run(file->read(100 * block, into, block)), 0u);
  auto seen = run(files->read_all(folder / "a")).value();
  EXPECT_EQ(seen.size(), 8 * block);
  EXPECT_EQ(seen[2 * block], std::byte{2}) << "past the page cache, but not past its readers";
}

TEST_P(DirectFileTest, AFileThatEndsInABlockIsReadToItsEnd) {
  ASSERT_TRUE(run(files->write_atomic(folder / "a", Bytes(block + 100, std::byte{3}))));
  auto file = run(files->open_direct(folder / "a", OpenMode::read)).value();
  EXPECT_EQ(run(file->read(0, filled(4 * block, 0), 4 * block)), block + 100);
}

TEST_P(DirectFileTest, WhatIsNotWholeBlocksIsRefused) {
  auto file = run(files->open_direct(folder / "a", OpenMode::create)).value();
  for (auto [offset, length] :
       {std::pair<std::uint64_t, std::size_t>(0, 100), {512, block}, {0, 0}, {0, 2 * block}})
    EXPECT_EQ(run(file->write(offset, filled(block, 1), length)).error().code, Code::invalid);
  EXPECT_EQ(run(file->read(1, filled(block, 1), block)).error().code, Code::invalid);
}

TEST_P(DirectFileTest, ErrorsNameThePathAndTheCause) {
  EXPECT_EQ(run(files->open_direct(folder / "missing", OpenMode::read_write)).error().code, Code::not_found);
  auto file = run(files->open_direct(folder / "a", OpenMode::create)).value();
  auto reader = run(files->open_direct(folder / "a", OpenMode::read)).value();
  auto refused = run(reader->write(0, filled(block, 1), block));
  ASSERT_FALSE(refused);
  EXPECT_NE(refused.error().message.find(folder / "a"), std::string::npos) << refused.error().message;
}

TEST_P(DirectFileTest, AFullDiskIsSaidInWords) {
  auto full = run(files->open_direct("/dev/full", OpenMode::read_write)).value();
  auto written = run(full->write(0, filled(block, 1), block));
  ASSERT_FALSE(written);
  EXPECT_EQ(written.error().code, Code::busy);
  EXPECT_NE(written.error().message.find("no space left on"), std::string::npos) << written.error().message;
}

TEST_P(DirectFileTest, AFileSystemWithoutDirectRequestsKeepsThePromisesAllTheSame) {
  TestFolder memory("/dev/shm");
  auto file = run(files->open_direct(memory / "a", OpenMode::create)).value();
  ASSERT_TRUE(run(file->write(block, filled(block, 7), block)));
  ASSERT_TRUE(run(file->sync()));
  EXPECT_EQ(run(files->read_all(memory / "a")).value()[block], std::byte{7});
}

TEST_P(DirectFileTest, MoreRequestsThanARingHoldsAllEnd) {
  auto file = run(files->open_direct(folder / "a", OpenMode::create)).value();
  constexpr int count = 1000;
  int written = 0;
  auto all = [&]() -> Task<void> {
    Scope scope(loop);
    for (int i = 0; i < count; ++i) {
      scope.spawn([](DirectFile* f, int n, int* done) -> Task<void> {
        if (co_await f->write(static_cast<std::uint64_t>(n) * block, filled(block, n), block)) ++*done;
      }(file.get(), i, &written));
    }
    co_await scope.join();
  };
  run_until_done(loop, all());
  EXPECT_EQ(written, count);
  auto bytes = run(files->read_all(folder / "a")).value();
  ASSERT_EQ(bytes.size(), count * block);
  for (int i = 0; i < count; ++i)
    ASSERT_EQ(bytes[static_cast<std::size_t>(i) * block + 5], static_cast<std::byte>(i));
}

TEST_P(DirectFileTest, AWriteWhoseTaskIsDestroyedStillHasItsBytes) {
  auto file = run(files->open_direct(folder / "a", OpenMode::create)).value();
  {
    Scope scope(loop);
    for (int i = 0; i < 500; ++i) {
      scope.spawn([](DirectFile* f, int n) -> Task<void> {
        (void)co_await f->write(static_cast<std::uint64_t>(n) * block, filled(block, 1), block);
      }(file.get(), i));
    }
    loop.post([&] { loop.post([&] { loop.stop(); }); });
    loop.run();
  }
  file.reset();  // while requests are under way
  files.reset();
  PosixFiles again(loop);
  auto bytes = run(again.read_all(folder / "a")).value();
  EXPECT_TRUE(std::all_of(bytes.begin(), bytes.end(),
                          [](std::byte b) { return b == std::byte{1} || b == std::byte{0}; }));
}

TEST_P(DirectFileTest, ARenamedFileIsNeverLaidOverAnother) {
  ASSERT_TRUE(run(files->write_atomic(folder / "a", to_bytes("a"))));
  ASSERT_TRUE(run(files->write_atomic(folder / "b", to_bytes("b"))));
  EXPECT_EQ(run(files->rename(folder / "a", folder / "b")).error().code, Code::conflict);
  EXPECT_EQ(run(files->rename(folder / "missing", folder / "c")).error().code, Code::not_found);
  ASSERT_TRUE(run(files->rename(folder / "a", folder / "c")));
  EXPECT_EQ(run(files->list(folder.path())), (std::vector<std::string>{"b", "c"}));
  EXPECT_EQ(run(files->read_all(folder / "c")), to_bytes("a"));
}

INSTANTIATE_TEST_SUITE_P(Ways, DirectFileTest, testing::Values(true, false),
                         [](const auto& info) { return info.param ? "Ring" : "Threads"; });

// As a container's filter does.
void refuse_io_uring() {
  sock_filter filter[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_io_uring_setup, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  };
  sock_fprog program{std::size(filter), filter};
  CHECK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
  CHECK(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0);
}

TEST(Uring, WhereTheKernelRefusesOneThreadsDoTheWork) {
  TestFolder folder;
  auto child = fork();
  if (child == 0) {
    refuse_io_uring();
    AsioLoop loop;
    PosixFiles files(loop);
    auto refused = files.use_ring();
    if (refused || refused.error().message.find("not permitted") == std::string::npos) _exit(1);
    auto file = run_until_done(loop, files.open_direct(folder / "a", OpenMode::create));
    if (!file || !run_until_done(loop, (*file)->write(0, filled(block, 4), block))) _exit(2);
    _exit(run_until_done(loop, (*file)->sync()) ? 0 : 3);
  }
  int status = 0;
  waitpid(child, &status, 0);
  EXPECT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 0);
}

}  // namespace
}  // namespace ebb
