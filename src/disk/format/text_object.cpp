#include "disk/format/text_object.h"

#include "base/checksum.h"
#include "base/text.h"

namespace ebb::disk {
namespace {
constexpr int text_version = 1;

std::string header_of(std::string_view word, std::string_view json) {
  return fmt::format("{} {} crc32c={:08x} length={}\n", word, text_version, crc32c(as_bytes(json)),
                     json.size());
}
}  // namespace

Bytes encode_text(std::string_view word, std::string_view json) {
  return to_bytes(header_of(word, json) + std::string(json));
}

Result<std::string_view> decode_text(ByteView object, std::string_view word, std::string_view what) {
  auto text = as_text(object);
  auto end = text.find('\n');
  if (end == std::string_view::npos) return fail(Code::corrupt, "{} has no header line", what);
  auto header = text.substr(0, end + 1), json = text.substr(end + 1);
  if (header == header_of(word, json)) return json;

  auto parts = split(header.substr(0, end), ' ');
  if (parts[0] != word) return fail(Code::corrupt, "{} does not begin with '{}'", what, word);
  if (parts.size() == 4 && parts[1] != std::to_string(text_version) && !parts[1].empty() &&
      parts[1].find_first_not_of("0123456789") == std::string_view::npos) {
    return fail(Code::invalid, "{} is of version {}; this program reads version {}", what, parts[1],
                text_version);
  }
  return fail(Code::corrupt, "{} is damaged: length or checksum do not fit", what);
}

}  // namespace ebb::disk
