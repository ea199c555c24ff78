#include "base/large_pages.h"

#include <cstdlib>
#include <filesystem>
#include <unistd.h>

namespace ebb {
namespace {

#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
constexpr bool has_glibc_malloc = false;
#else
constexpr bool has_glibc_malloc = true;
#endif

}  // namespace

void use_large_pages(char** argv) {
  constexpr const char* tunables = "GLIBC_TUNABLES";
  if (!has_glibc_malloc || std::getenv(tunables)) return;
  std::error_code error;
  // By its name, which is what others see of a process.
  const auto program = std::filesystem::read_symlink("/proc/self/exe", error);
  if (error || ::setenv(tunables, "glibc.malloc.hugetlb=1", 1) != 0) return;
  ::execv(program.c_str(), argv);
  ::unsetenv(tunables);  // it goes on as it is
}

}  // namespace ebb
