#include "cli/visible_text.h"

#include <fmt/format.h>

#include "base/text.h"

namespace ebb {

std::string VisibleText::feed(std::string_view piece) {
  std::string shown;
  for (char c : piece) take(static_cast<unsigned char>(c), shown);
  return shown;
}

void VisibleText::take(unsigned char byte, std::string& shown) {
  if (!sequence_.empty()) {
    if ((byte & 0xc0) == 0x80) {
      sequence_ += static_cast<char>(byte);
      if (sequence_.size() < wanted_) return;
      // U+0080 to U+009F are C1 controls.
      const bool is_control =
          wanted_ == 2 && sequence_[0] == '\xc2' && static_cast<unsigned char>(sequence_[1]) < 0xa0;
      if (is_valid_utf8(sequence_) && !is_control) {
        shown += sequence_;
        sequence_.clear();
        return;
      }
      return give_up(shown);
    }
    give_up(shown);
  }
  if (byte >= 0xc2 && byte < 0xf5) {
    sequence_ = static_cast<char>(byte);
    wanted_ = byte < 0xe0 ? 2 : byte < 0xf0 ? 3 : 4;
  } else if (byte >= 0x80) {
    shown += fmt::format("<{:02x}>", byte);
  } else if (byte == '\n' || byte == '\t' || (byte >= ' ' && byte != 0x7f)) {
    shown += static_cast<char>(byte);
  } else if (byte != '\r') {
    shown += {'^', static_cast<char>(byte ^ 0x40)};
  }
}

std::string VisibleText::finish() {
  std::string shown;
  give_up(shown);
  return shown;
}

void VisibleText::give_up(std::string& shown) {
  for (char c : sequence_) shown += fmt::format("<{:02x}>", static_cast<unsigned char>(c));
  sequence_.clear();
}

}  // namespace ebb
