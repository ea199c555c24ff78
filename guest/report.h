// The lines that the witness writes to its port `ebb.witness`, and what a log of them promises.
//   B <boot> <first> <boot-id>   a boot begins; records below <first> were verified; it writes from <first>
//   on C <boot-id>                  the lines that follow are of this boot; precedes every D, as a log may
//   begin in mid-boot D <n>                        record n, and with it every record before n, is durable S
//   <n>                        no disk: counted to n in memory F <n>                        the disk is full
//   after record n; nothing more will be written BAD <n> <reason>             slot n is wrong, or writing it
//   failed; nothing more will be written
// A lost D is superseded by the next one. Boot ids are hexadecimal.
#pragma once
#include <charconv>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace ebb::guest {

// Numbers first..highest were reported as durable by one boot; highest < first: none yet.
struct ReportedRange {
  std::optional<std::uint32_t> boot_id;  // absent: the log did not say
  std::uint64_t first = 0;               // 0: not known until the first D
  std::uint64_t highest = 0;
  bool operator==(const ReportedRange&) const = default;
};

// Reads one channel log. Only lines that end in a newline count: the last one may have been cut off by a
// kill.
class ReportLog final {
 public:
  explicit ReportLog(std::string_view text) {
    for (std::size_t end = text.find('\n'); end != std::string_view::npos; end = text.find('\n')) {
      read_line(text.substr(0, end));
      text.remove_prefix(end + 1);
    }
  }

  const std::vector<ReportedRange>& ranges() const { return ranges_; }
  std::uint64_t highest() const { return highest_; }
  // What the log alone proves wrong: BAD lines, and boots that write numbers which were already durable.
  std::uint64_t faults() const { return fault_lines_.size(); }
  const std::vector<std::string>& fault_lines() const { return fault_lines_; }

 private:
  void read_line(std::string_view line) {
    const std::string_view whole = line;
    const std::string_view kind = next_word(line);
    if (kind == "B") begin_boot(whole, line);
    if (kind == "C") continue_boot(number<std::uint32_t>(next_word(line), 16));
    if (kind == "D") durable(whole, number<std::uint64_t>(next_word(line), 10));
    if (kind == "BAD") fault_lines_.emplace_back(whole);
  }

  void begin_boot(std::string_view whole, std::string_view line) {
    next_word(line);
    const auto first = number<std::uint64_t>(next_word(line), 10);
    if (!first) return;
    if (*first <= highest_) fault_lines_.emplace_back(whole);
    ranges_.push_back({number<std::uint32_t>(next_word(line), 16), *first, 0});
  }

  void continue_boot(std::optional<std::uint32_t> boot_id) {
    if (ranges_.empty() || ranges_.back().boot_id != boot_id) ranges_.push_back({boot_id, 0, 0});
  }

  void durable(std::string_view whole, std::optional<std::uint64_t> n) {
    if (!n) return;
    if (ranges_.empty()) ranges_.emplace_back();
    ReportedRange& range = ranges_.back();
    if (range.first == 0) range.first = *n;
    if (*n <= range.highest || *n < range.first) fault_lines_.emplace_back(whole);
    if (*n > range.highest) range.highest = *n;
    if (*n > highest_) highest_ = *n;
  }

  static std::string_view next_word(std::string_view& line) {
    const std::size_t end = line.find(' ');
    const std::string_view word = line.substr(0, end);
    line.remove_prefix(end == std::string_view::npos ? line.size() : end + 1);
    return word;
  }

  template <typename Number>
  static std::optional<Number> number(std::string_view word, int base) {
    Number value = 0;
    const auto [rest, error] = std::from_chars(word.data(), word.data() + word.size(), value, base);
    if (error != std::errc{} || rest != word.data() + word.size()) return std::nullopt;
    return value;
  }

  std::vector<ReportedRange> ranges_;
  std::uint64_t highest_ = 0;
  std::vector<std::string> fault_lines_;
};

}  // namespace ebb::guest
