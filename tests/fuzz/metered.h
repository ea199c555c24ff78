// How much memory a reader asks for, held against the size of what it reads: a count that nothing has proven
// must not become an allocation.
#pragma once
#include "base/bytes.h"
#include "base/check.h"

namespace ebb::fuzz {

// By this program, since it began.
std::size_t allocated_bytes();

template <class Read>
auto metered(std::size_t bytes_max, Read read) {
  auto before = allocated_bytes();
  auto value = read();
  CHECK(allocated_bytes() - before <= bytes_max);
  return value;
}

}  // namespace ebb::fuzz
