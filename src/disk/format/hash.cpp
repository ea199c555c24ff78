#include "disk/format/hash.h"

#include "base/sha256.h"

namespace ebb::disk {

std::string sha256_hex(ByteView bytes) {
  Sha256 sum;
  sum.add(bytes);
  return sum.hex();
}

bool is_sha256_hex(std::string_view text) { return ebb::is_sha256_hex(text); }

}  // namespace ebb::disk
