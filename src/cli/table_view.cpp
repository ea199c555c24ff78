#include "cli/table_view.h"

#include <algorithm>

#include "base/check.h"
#include "base/text.h"

namespace ebb {

std::string paint(std::string_view text, Tone tone, Palette palette) {
  if (palette == Palette::plain || tone == Tone::normal) return std::string(text);
  auto code = [&] {
    switch (tone) {
      case Tone::normal:
        return 0;
      case Tone::strong:
        return 1;
      case Tone::faint:
        return 2;
      case Tone::good:
        return 32;
      case Tone::waiting:
        return 33;
      case Tone::bad:
        return 31;
    }
    return 0;
  }();
  return fmt::format("\x1b[{}m{}\x1b[0m", code, text);
}

namespace {
bool continues(char c) { return (static_cast<unsigned char>(c) & 0xC0) == 0x80; }
}  // namespace

std::size_t columns_of(std::string_view text) {
  return static_cast<std::size_t>(
      std::count_if(text.begin(), text.end(), [](char c) { return !continues(c); }));
}

std::string cut(std::string_view text, std::size_t columns) {
  if (columns_of(text) <= columns) return std::string(text);
  std::size_t dots = std::min<std::size_t>(3, columns), keep = columns - dots, end = 0;
  while (end < text.size() && (keep > 0 || continues(text[end]))) {
    if (!continues(text[end])) --keep;
    ++end;
  }
  return std::string(text.substr(0, end)) + std::string(dots, '.');
}

std::string pad_right(std::string_view text, std::size_t columns) {
  auto used = columns_of(text);
  return std::string(text) + std::string(columns > used ? columns - used : 0, ' ');
}

std::string pad_left(std::string_view text, std::size_t columns) {
  auto used = columns_of(text);
  return std::string(columns > used ? columns - used : 0, ' ') + std::string(text);
}

std::string bar(double share, std::size_t columns) {
  if (columns < 3) return "";
  auto inside = columns - 2;
  auto filled = static_cast<std::size_t>(std::clamp(share, 0.0, 1.0) * static_cast<double>(inside) + 1e-9);
  return "[" + std::string(filled, '#') + std::string(inside - filled, '-') + "]";
}

void Table::add(std::vector<std::string> row) {
  CHECK(row.size() == headers_.size());
  for (auto& cell : row) {
    if (cell.empty()) cell = "-";
    // A cell is one line, whatever an error message brought.
    std::replace(cell.begin(), cell.end(), '\n', ' ');
  }
  rows_.push_back(std::move(row));
}

std::string Table::text(std::string_view indent) const {
  auto headers = headers_;
  std::vector<std::size_t> widths;
  std::vector<bool> to_the_right;
  for (std::size_t i = 0; i < headers.size(); ++i) {
    to_the_right.push_back(headers[i].starts_with('>'));
    if (to_the_right[i]) headers[i].erase(0, 1);
    widths.push_back(columns_of(headers[i]));
    for (const auto& row : rows_) widths[i] = std::max(widths[i], columns_of(row[i]));
  }
  std::string out;
  auto add_line = [&](const std::vector<std::string>& cells) {
    std::string line;
    for (std::size_t i = 0; i < cells.size(); ++i) {
      line += to_the_right[i] ? pad_left(cells[i], widths[i]) : pad_right(cells[i], widths[i]);
      line += "  ";
    }
    line.erase(line.find_last_not_of(' ') + 1);
    out += std::string(indent) + line + "\n";
  };
  add_line(headers);
  for (const auto& row : rows_) add_line(row);
  return out;
}

std::string ago(WallMs then, WallMs now) {
  auto apart = std::chrono::milliseconds(now - then);
  if (apart > -1s && apart < 1s) return "now";
  if (apart < 0s) return "in " + format_duration(-apart);
  return format_duration(apart) + " ago";
}

std::string labels_text(const Labels& labels) {
  std::string text;
  for (const auto& [key, value] : labels)
    text += fmt::format("{}{}={}", text.empty() ? "" : ", ", key, value);
  return text;
}

}  // namespace ebb
