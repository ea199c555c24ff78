// CRC32C (Castagnoli, RFC 3720 appendix B.4), by hardware where there is some.
#pragma once
#include <cstdint>

#include "base/bytes.h"

namespace ebb {

// The CRC32C of `bytes`; `seed` is the CRC of what came before, 0 at the start.
std::uint32_t crc32c(ByteView bytes, std::uint32_t seed = 0);

}  // namespace ebb
