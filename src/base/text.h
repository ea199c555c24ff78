// Text for people and back: sizes, durations, times; splitting.
#pragma once
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "base/time.h"

namespace ebb {

// "128M", "1GiB", "4096", "2g" -> bytes (all units are powers of 1024).
Result<std::uint64_t> parse_size(std::string_view text);
// 134217728 -> "128 MiB".
std::string format_size(std::uint64_t bytes);
// "90s", "10m", "24h", "500ms" -> duration.
Result<Duration> parse_duration(std::string_view text);
// 754 s -> "12m34s"; under 10 s with tenths; under 1 s in ms.
std::string format_duration(Duration d);
// 2026-11-23T16:14:46Z
std::string format_time(WallMs ms);

// Without its end.
std::string first_line(std::string_view text);
std::vector<std::string_view> split(std::string_view text, char separator);
// RFC 3629: no overlong forms, no surrogates.
bool is_valid_utf8(std::string_view text);
// Control sequences of ECMA-48 (ESC [ ... letter) go, and all that is neither a line's end, a tab nor printable ASCII.
std::string without_controls(std::string_view text);
bool is_hex(std::string_view text);
std::string to_hex(std::string_view bytes);

}  // namespace ebb
