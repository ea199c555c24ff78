// Base64 (RFC 4648, section 4), with padding: how bytes travel in JSON.
#pragma once
#include <string>
#include <string_view>

#include "base/result.h"

namespace ebb {

std::string to_base64(std::string_view bytes);
// Invalid unless all of `text` is base64 as to_base64 writes it.
Result<std::string> from_base64(std::string_view text);

}  // namespace ebb
