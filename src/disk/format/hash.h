// SHA-256, which chains segments to each other.
#pragma once
#include <string>

#include "base/bytes.h"

namespace ebb::disk {

// 64 lower-case hex digits.
std::string sha256_hex(ByteView bytes);
bool is_sha256_hex(std::string_view text);

}  // namespace ebb::disk
