#include "base/checksum.h"

#include <isa-l.h>

namespace ebb {

std::uint32_t crc32c(ByteView bytes, std::uint32_t seed) {
  // ISA-L takes a non-const pointer, and leaves the initial and final inversion to the caller.
  auto* data = const_cast<unsigned char*>(reinterpret_cast<const unsigned char*>(bytes.data()));
  std::uint32_t crc = ~seed;
  constexpr std::size_t chunk = std::size_t{1} << 30;  // ISA-L's length is an int
  for (std::size_t at = 0; at < bytes.size(); at += chunk) {
    crc = crc32_iscsi(data + at, static_cast<int>(std::min(chunk, bytes.size() - at)), crc);
  }
  return ~crc;
}

}  // namespace ebb
