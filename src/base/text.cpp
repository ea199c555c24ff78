#include "base/text.h"

#include <charconv>
#include <ctime>

#include "base/id.h"

namespace ebb {
namespace {

// Splits "12.5abc" into number and lower-case unit.
Result<std::pair<double, std::string>> number_and_unit(std::string_view text) {
  double number = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc{} || number < 0)
    return fail(Code::invalid, "'{}' does not begin with a number", text);
  std::string unit(end, text.data() + text.size());
  for (auto& c : unit) c = static_cast<char>(c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c);
  return std::pair{number, unit};
}

}  // namespace

Result<std::uint64_t> parse_size(std::string_view text) {
  EBB_TRY(parts, number_and_unit(text));
  auto& [number, unit] = parts;
  double factor = 0;
  if (unit.empty() || unit == "b") factor = 1;
  if (unit == "k" || unit == "kib") factor = 1024.0;
  if (unit == "m" || unit == "mib") factor = 1024.0 * 1024;
  if (unit == "g" || unit == "gib") factor = 1024.0 * 1024 * 1024;
  if (unit == "t" || unit == "tib") factor = 1024.0 * 1024 * 1024 * 1024;
  if (factor == 0) return fail(Code::invalid, "'{}' is not a size; write for example 512M or 4GiB", text);
  if (number * factor >= 9.2e18) return fail(Code::invalid, "'{}' is too large", text);
  return static_cast<std::uint64_t>(number * factor);
}

std::string format_size(std::uint64_t bytes) {
  constexpr std::array units{"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
  auto value = static_cast<double>(bytes);
  std::size_t unit = 0;
  while (value >= 1024 && unit + 1 < units.size()) value /= 1024, ++unit;
  return value == static_cast<double>(static_cast<std::uint64_t>(value)) || value >= 100
             ? fmt::format("{:.0f} {}", value, units[unit])
             : fmt::format("{:.1f} {}", value, units[unit]);
}

Result<Duration> parse_duration(std::string_view text) {
  EBB_TRY(parts, number_and_unit(text));
  auto& [number, unit] = parts;
  double seconds = 0;
  if (unit == "ms") seconds = 1e-3;
  if (unit == "s") seconds = 1;
  if (unit == "m" || unit == "min") seconds = 60;
  if (unit == "h") seconds = 3600;
  if (unit == "d") seconds = 86400;
  if (seconds == 0)
    return fail(Code::invalid, "'{}' is not a duration; write for example 90s, 10m or 24h", text);
  if (number * seconds > 1e9) return fail(Code::invalid, "'{}' is too long", text);
  return Duration(static_cast<std::int64_t>(number * seconds * 1e9));
}

std::string format_duration(Duration d) {
  auto ms = to_ms(d);
  if (ms < 0) return "0 ms";
  if (ms < 1000) return fmt::format("{} ms", ms);
  auto s = ms / 1000;
  if (s < 10) return fmt::format("{}.{} s", s, ms % 1000 / 100);
  if (s < 60) return fmt::format("{} s", s);
  if (s < 3600) return fmt::format("{}m{:02}s", s / 60, s % 60);
  if (s < 86400) return fmt::format("{}h{:02}m", s / 3600, s % 3600 / 60);
  return fmt::format("{}d{:02}h", s / 86400, s % 86400 / 3600);
}

std::string format_time(WallMs ms) {
  std::time_t seconds = ms / 1000;
  std::tm parts{};
  gmtime_r(&seconds, &parts);
  return fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}Z", parts.tm_year + 1900, parts.tm_mon + 1,
                     parts.tm_mday, parts.tm_hour, parts.tm_min, parts.tm_sec);
}

std::vector<std::string_view> split(std::string_view text, char separator) {
  std::vector<std::string_view> parts;
  while (true) {
    auto at = text.find(separator);
    parts.push_back(text.substr(0, at));
    if (at == std::string_view::npos) return parts;
    text.remove_prefix(at + 1);
  }
}

std::string without_controls(std::string_view text) {
  std::string plain;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\x1b' && i + 1 < text.size() && text[i + 1] == '[') {
      for (i += 2; i < text.size() && (text[i] < '@' || text[i] > '~');) ++i;
    } else if (text[i] == '\n' || text[i] == '\t' || (text[i] >= ' ' && text[i] <= '~')) {
      plain += text[i];
    }
  }
  return plain;
}

bool is_hex(std::string_view text) {
  return !text.empty() && text.find_first_not_of("0123456789abcdef") == std::string_view::npos;
}

std::string to_hex(std::string_view bytes) {
  std::string text;
  for (unsigned char c : bytes) text += fmt::format("{:02x}", c);
  return text;
}

std::string first_line(std::string_view text) { return std::string(text.substr(0, text.find('\n'))); }

bool is_valid_utf8(std::string_view text) {
  for (std::size_t i = 0; i < text.size();) {
    const auto lead = static_cast<unsigned char>(text[i++]);
    if (lead < 0x80) continue;
    const int more = lead >= 0xf0 ? 3 : lead >= 0xe0 ? 2 : 1;
    if (lead < 0xc2 || lead > 0xf4 || text.size() - i < static_cast<std::size_t>(more)) return false;
    std::uint32_t point = lead & (0x3fu >> more);
    for (int n = 0; n < more; ++n) {
      const auto byte = static_cast<unsigned char>(text[i++]);
      if ((byte & 0xc0u) != 0x80u) return false;
      point = point << 6 | (byte & 0x3fu);
    }
    constexpr std::uint32_t least[] = {0, 0x80, 0x800, 0x10000};
    if (point < least[more] || point > 0x10ffff || (point >= 0xd800 && point < 0xe000)) return false;
  }
  return true;
}

bool is_valid_name(std::string_view name) {
  if (name.empty() || name.size() > 63 || name.front() == '-' || name.back() == '-') return false;
  return name.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789-") == std::string_view::npos;
}

}  // namespace ebb
