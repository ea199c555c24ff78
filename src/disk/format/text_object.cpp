#include "disk/format/text_object.h"

#include "base/checksum.h"
#include "base/text.h"

namespace ebb::disk {
namespace {

std::string header_of(std::string_view word, std::string_view json, int version) {
  return fmt::format("{} {} crc32c={:08x} length={}\n", word, version, crc32c(as_bytes(json)), json.size());
}
}  // namespace

Bytes encode_text(std::string_view word, std::string_view json, int version) {
  return to_bytes(header_of(word, json, version) + std::string(json));
}

Result<std::string_view> decode_text(ByteView object, std::string_view word, std::string_view what,
                                     int version) {
  auto text = as_text(object);
  auto end = text.find('\n');
  if (end == std::string_view::npos) return fail(Code::corrupt, "{} has no header line", what);
  auto header = text.substr(0, end + 1), json = text.substr(end + 1);
  for (int v = 1; v <= version; ++v)
    if (header == header_of(word, json, v)) return json;

  auto parts = split(header.substr(0, end), ' ');
  if (parts[0] != word) return fail(Code::corrupt, "{} does not begin with '{}'", what, word);
  bool is_known = false;
  for (int v = 1; v <= version; ++v) is_known |= parts.size() == 4 && parts[1] == std::to_string(v);
  if (parts.size() == 4 && !is_known && !parts[1].empty() &&
      parts[1].find_first_not_of("0123456789") == std::string_view::npos) {
    return fail(Code::invalid, "{} is of version {}; this program reads version {}", what, parts[1], version);
  }
  return fail(Code::corrupt, "{} is damaged: length or checksum do not fit", what);
}

}  // namespace ebb::disk
