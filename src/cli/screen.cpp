#include "cli/screen.h"

#include <fmt/format.h>

namespace ebb {

void LivePainter::show(const std::vector<std::string>& lines) {
  std::string text;
  if (drawn_ > 0) text += fmt::format("\x1b[{}A\r", drawn_);
  for (const auto& line : lines) text += line + "\x1b[K\n";
  if (lines.size() < drawn_) text += "\x1b[J";
  drawn_ = lines.size();
  if (!text.empty()) screen_.write(to_, text);
}

}  // namespace ebb
