// Text in columns, colours, bars, and relative times: what all views are made of.
#pragma once
#include <string>
#include <string_view>
#include <vector>

#include "base/time.h"
#include "model/fleet_types.h"

namespace ebb {

enum class Palette { plain, colored };
enum class Tone { normal, strong, faint, good, waiting, bad };

// `text` in the colour of `tone`, or as it is.
std::string paint(std::string_view text, Tone tone, Palette palette);

// Columns that `text` takes: UTF-8 characters (ours are all one column wide).
std::size_t columns_of(std::string_view text);
// `text` cut to `columns`, with "..." where something is missing.
std::string cut(std::string_view text, std::size_t columns);
std::string pad_right(std::string_view text, std::size_t columns);
std::string pad_left(std::string_view text, std::size_t columns);

// "[####----]", `columns` wide with its brackets; `share` from 0 to 1.
std::string bar(double share, std::size_t columns);

// Rows under headers, two spaces between columns, nothing after the last. A header that begins with '>' makes
// its column right-aligned. An empty cell is shown as "-".
class Table final {
 public:
  explicit Table(std::vector<std::string> headers) : headers_(std::move(headers)) {}
  void add(std::vector<std::string> row);
  std::string text(std::string_view indent = "") const;

 private:
  std::vector<std::string> headers_;
  std::vector<std::vector<std::string>> rows_;
};

// "12 s ago", "now" within a second, "in 5 s" for what is to come.
std::string ago(WallMs then, WallMs now);

// "web=1, zone=a"
std::string labels_text(const Labels& labels);

}  // namespace ebb
