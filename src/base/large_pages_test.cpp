#include "base/large_pages.h"

#include <array>
#include <cstdlib>
#include <fstream>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

namespace ebb {
namespace {

constexpr const char* tunables = "GLIBC_TUNABLES";
constexpr const char* child_id = "EBB_TEST_CHILD";
constexpr int was_not_started_anew = 99;
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
constexpr bool has_glibc_malloc = false;
#else
constexpr bool has_glibc_malloc = true;
#endif

// What a child that calls use_large_pages() with this environment exits with. Started anew, it runs the test of that name.
int exit_of_child(const char* tunables_before, const char* test) {
  const auto child = ::fork();
  if (child == 0) {
    ::setenv(child_id, std::to_string(::getpid()).c_str(), 1);
    if (tunables_before)
      ::setenv(tunables, tunables_before, 1);
    else
      ::unsetenv(tunables);
    auto filter = std::string("--gtest_filter=") + test, name = std::string("base_test");
    std::array<char*, 3> words{name.data(), filter.data(), nullptr};
    use_large_pages(words.data());
    ::_exit(was_not_started_anew);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

TEST(LargePages, AProgramIsStartedAnewUnderItsIdAndItsName) {
  if (const char* id = std::getenv(child_id)) {
    EXPECT_EQ(id, std::to_string(::getpid()));
    EXPECT_STREQ(std::getenv(tunables), "glibc.malloc.hugetlb=1");
    std::ifstream comm("/proc/self/comm");
    std::string name;
    comm >> name;
    EXPECT_EQ(name, "base_test");
    return;
  }
  EXPECT_EQ(exit_of_child(nullptr, "LargePages.AProgramIsStartedAnewUnderItsIdAndItsName"),
            has_glibc_malloc ? 0 : was_not_started_anew);
}

TEST(LargePages, TunablesOfTheOperatorAreLeftAlone) {
  EXPECT_EQ(exit_of_child("glibc.malloc.arena_max=2", "LargePages.None"), was_not_started_anew);
}

}  // namespace
}  // namespace ebb
