#include "env/object_store.h"

#include <algorithm>

#include "base/text.h"

namespace ebb {
namespace {
constexpr std::size_t key_bytes_max = 1024, part_bytes_max = 255;
}  // namespace

Status check_object_key(std::string_view key) {
  if (key.empty() || key.size() > key_bytes_max) {
    return fail(Code::invalid, "an object key has 1 to {} bytes, this one has {}", key_bytes_max, key.size());
  }
  if (std::any_of(key.begin(), key.end(), [](char c) { return c < 0x20 || c > 0x7e; })) {
    return fail(Code::invalid, "an object key is printable ASCII");
  }
  for (auto part : split(key, '/')) {
    if (part.empty() || part == "." || part == ".." || part == reserved_key_part ||
        part.size() > part_bytes_max) {
      return fail(Code::invalid, "object key '{}' has a part '{}', which is not allowed", key, part);
    }
  }
  return {};
}

}  // namespace ebb
