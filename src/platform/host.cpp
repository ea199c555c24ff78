#include "platform/host.h"

#include <algorithm>
#include <charconv>
#include <cpuid.h>
#include <ctime>
#include <fstream>
#include <pwd.h>
#include <sched.h>
#include <sys/resource.h>
#include <sys/utsname.h>
#include <unistd.h>
#include <x86intrin.h>

namespace ebb {
namespace {

Result<std::string> first_line(const char* path) {
  std::ifstream in(path);
  std::string line;
  if (!std::getline(in, line)) return fail(Code::unavailable, "cannot read {}", path);
  return line;
}

// Crystal clock times ratio (leaf 0x15); many processors leave the crystal out.
std::uint32_t tsc_khz_by_cpuid() {
  unsigned a = 0, b = 0, c = 0, d = 0;
  if (__get_cpuid_max(0, nullptr) < 0x15 || !__get_cpuid(0x15, &a, &b, &c, &d) || a == 0 || b == 0 || c == 0)
    return 0;
  return static_cast<std::uint32_t>(static_cast<std::uint64_t>(c) * b / a / 1000);
}

std::int64_t raw_ns() {
  timespec t{};
  clock_gettime(CLOCK_MONOTONIC_RAW, &t);
  return t.tv_sec * 1'000'000'000 + t.tv_nsec;
}

// The clock and the counter at one moment: of some tries the one in which reading the clock took least.
std::pair<std::int64_t, std::uint64_t> clock_and_counter() {
  std::pair<std::int64_t, std::uint64_t> best;
  std::uint64_t least = ~0ull;
  for (int i = 0; i < 16; ++i) {
    auto before = __rdtsc();
    auto ns = raw_ns();
    auto after = __rdtsc();
    if (after - before < least) least = after - before, best = {ns, before + (after - before) / 2};
  }
  return best;
}

std::uint32_t tsc_khz_by_measuring() {
  auto [ns0, tsc0] = clock_and_counter();
  timespec pause{0, 50'000'000};
  nanosleep(&pause, nullptr);
  auto [ns1, tsc1] = clock_and_counter();
  if (ns1 <= ns0 || tsc1 <= tsc0) return 0;
  return static_cast<std::uint32_t>((tsc1 - tsc0) * 1'000'000 / static_cast<std::uint64_t>(ns1 - ns0));
}

}  // namespace

Result<std::string> boot_id() { return first_line("/proc/sys/kernel/random/boot_id"); }

std::uint32_t cpu_count() {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof set, &set) == 0) return static_cast<std::uint32_t>(CPU_COUNT(&set));
  return static_cast<std::uint32_t>(std::max(1L, sysconf(_SC_NPROCESSORS_ONLN)));
}

Result<std::uint64_t> memory_bytes_total() {
  auto pages = sysconf(_SC_PHYS_PAGES), page = sysconf(_SC_PAGE_SIZE);
  if (pages <= 0 || page <= 0) return fail(Code::unavailable, "the system does not tell its memory size");
  return static_cast<std::uint64_t>(pages) * static_cast<std::uint64_t>(page);
}

Result<std::uint64_t> own_memory_bytes() {
  EBB_TRY(line, first_line("/proc/self/statm"));
  auto space = line.find(' ');
  std::uint64_t pages = 0;
  if (space == std::string::npos ||
      std::from_chars(line.data() + space + 1, line.data() + line.size(), pages).ec != std::errc()) {
    return fail(Code::unavailable, "cannot understand /proc/self/statm: {}", line);
  }
  return pages * static_cast<std::uint64_t>(sysconf(_SC_PAGE_SIZE));
}

std::uint32_t tsc_khz() {
  unsigned a = 0, b = 0, c = 0, d = 0;
  if (!__get_cpuid(1, &a, &b, &c, &d) || !(d & (1u << 4))) return 0;
  auto told = tsc_khz_by_cpuid();
  return told != 0 ? told : tsc_khz_by_measuring();
}

std::string host_kernel() {
  utsname system{};
  if (uname(&system) != 0) return {};
  auto path = fmt::format("/boot/vmlinuz-{}", system.release);
  return access(path.c_str(), F_OK) == 0 ? path : std::string();
}

void raise_open_files_limit() {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur == limit.rlim_max) return;
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
}

Result<std::uint32_t> user_id(const std::string& name) {
  const passwd* entry = getpwnam(name.c_str());
  if (!entry) return fail(Code::invalid, "there is no user '{}' on this machine", name);
  return entry->pw_uid;
}

}  // namespace ebb
