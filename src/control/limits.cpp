#include "control/limits.h"

namespace ebb::control {

Status check_length(const std::string& field, std::string_view text, std::size_t bytes_max) {
  if (text.size() <= bytes_max) return {};
  return fail_field(field, "'{}' has at most {} bytes, and these are {}", field, bytes_max, text.size());
}

Status check_labels(const std::string& field, const Labels& labels) {
  return check_length(field, json::write_text(labels), labels_bytes_max);
}

std::string shortened(std::string text, std::size_t bytes_max) {
  if (text.size() <= bytes_max) return text;
  auto end = bytes_max - 3;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80) --end;  // whole characters only
  return text.substr(0, end) + "...";
}

}  // namespace ebb::control
