// A file of settings (TOML): typed getters whose errors name file, line and key. Every key must be asked
// for before finish(), which refuses the ones that nobody knows.
#pragma once
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/log.h"
#include "base/result.h"
#include "base/time.h"

namespace ebb {

class TomlTable final {
 public:
  // not_found, or invalid with the line of the mistake.
  static Result<TomlTable> load(std::string path);
  // `name` stands for the file in errors.
  static Result<TomlTable> parse(std::string text, std::string name);

  // Without a fallback the key is required.
  Result<std::string> string(std::string_view key) const;
  Result<std::string> string(std::string_view key, std::string fallback) const;
  Result<std::int64_t> integer(std::string_view key, std::int64_t low, std::int64_t high) const;
  Result<std::int64_t> integer(std::string_view key, std::int64_t low, std::int64_t high,
                               std::int64_t fallback) const;
  Result<bool> boolean(std::string_view key, bool fallback) const;
  // "64MiB", or a number of bytes.
  Result<std::uint64_t> size(std::string_view key) const;
  Result<std::uint64_t> size(std::string_view key, std::uint64_t fallback) const;
  // "90s", "10m".
  Result<Duration> duration(std::string_view key) const;
  Result<Duration> duration(std::string_view key, Duration fallback) const;
  // Empty if absent.
  Result<std::vector<std::string>> string_list(std::string_view key) const;
  // [key]; without values if absent.
  Result<TomlTable> table(std::string_view key) const;
  // [key.NAME] for any NAME; empty if absent.
  Result<std::map<std::string, TomlTable>> tables(std::string_view key) const;
  // name = number for any name; empty if absent.
  Result<std::map<std::string, std::int64_t>> integer_map(std::string_view key, std::int64_t low,
                                                          std::int64_t high) const;
  // name = "value" for any name; empty if absent.
  Result<std::map<std::string, std::string>> string_map(std::string_view key) const;

  bool has(std::string_view key) const;
  // For checks of one's own: invalid, with file, line and key before `what`.
  std::unexpected<Error> wrong(std::string_view key, std::string_view what) const;

  // Refuses keys, here and in every table below, that no getter has asked for; proposes the nearest known
  // one.
  Status finish() const;

 private:
  struct Node;
  explicit TomlTable(std::shared_ptr<Node> node) : node_(std::move(node)) {}
  std::shared_ptr<Node> node_;
};

// The key `log_level`: debug, info (if absent), warning or error.
Result<LogLevel> read_log_level(const TomlTable& file);

}  // namespace ebb
