#include "metered.h"

#include <atomic>

// A sanitizer has its own operator new, and tells of every allocation.
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define EBB_SANITIZER_TELLS 1
#include <sanitizer/allocator_interface.h>
#else
#include <cstdlib>
#include <new>
#endif

namespace {

std::atomic<std::size_t> allocated = 0;
void count(std::size_t bytes) { allocated.fetch_add(bytes, std::memory_order_relaxed); }

}  // namespace

namespace ebb::fuzz {
std::size_t allocated_bytes() { return allocated.load(std::memory_order_relaxed); }
}  // namespace ebb::fuzz

#ifdef EBB_SANITIZER_TELLS
namespace {
[[maybe_unused]] const int installed = __sanitizer_install_malloc_and_free_hooks(
    [](const volatile void*, std::size_t bytes) { count(bytes); }, [](const volatile void*) {});
}  // namespace
#else
void* operator new(std::size_t bytes) {
  count(bytes);
  if (void* memory = std::malloc(bytes > 0 ? bytes : 1)) return memory;
  throw std::bad_alloc();
}
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }
#endif
