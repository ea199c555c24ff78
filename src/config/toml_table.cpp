#include "config/toml_table.h"

#define TOML_EXCEPTIONS 0
#define TOML_HEADER_ONLY 1
#include <fstream>
#include <set>
#include <sstream>
#include <toml++/toml.h>

#include "base/text.h"

namespace ebb {

// One table of the file, and what has been asked of it. `table` is null for a table that is absent.
struct TomlTable::Node {
  std::shared_ptr<const toml::table> file;  // keeps everything alive
  const toml::table* table = nullptr;
  std::string name;  // of the file
  std::string path;  // "pools.main"; empty at the root
  std::set<std::string, std::less<>> known;
  std::vector<std::shared_ptr<Node>> children;

  std::string path_to(std::string_view key) const {
    return path.empty() ? std::string(key) : path + "." + std::string(key);
  }
  const toml::node* find(std::string_view key) {
    known.emplace(key);
    return table ? table->get(key) : nullptr;
  }
  std::unexpected<Error> wrong(const toml::node* at, std::string_view key, std::string_view what) const {
    auto line = at ? at->source().begin.line : table ? table->source().begin.line : 0;
    auto where = line > 0 ? fmt::format("{}:{}", name, line) : name;
    return fail_field(path_to(key), "{}: {}: {}", where, path_to(key), what);
  }
  std::shared_ptr<Node> child(const toml::table* of, std::string_view key) {
    auto node = std::make_shared<Node>(Node{file, of, name, path_to(key), {}, {}});
    children.push_back(node);
    return node;
  }
  Status finish() const;
};

namespace {

std::size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  for (std::size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (std::size_t i = 1; i <= a.size(); ++i) {
    auto diagonal = std::exchange(row[0], i);
    for (std::size_t j = 1; j <= b.size(); ++j) {
      auto substituted = diagonal + (a[i - 1] != b[j - 1]);
      diagonal = row[j];
      row[j] = std::min({substituted, row[j] + 1, row[j - 1] + 1});
    }
  }
  return row[b.size()];
}

std::string proposal(std::string_view key, const std::set<std::string, std::less<>>& known) {
  std::string_view best;
  std::size_t least = key.size() / 2 + 1;  // further away is another word
  for (const auto& candidate : known) {
    if (auto distance = edit_distance(key, candidate); distance < least) least = distance, best = candidate;
  }
  if (!best.empty()) return fmt::format("did you mean '{}'?", best);
  return known.empty() ? "no keys are known here" : fmt::format("known are: {}", fmt::join(known, ", "));
}

std::string type_name(const toml::node& node) {
  std::ostringstream out;
  out << node.type();
  return out.str();
}

}  // namespace

Status TomlTable::Node::finish() const {
  if (table) {
    for (const auto& [key, value] : *table) {
      if (!known.contains(key.str())) {
        return wrong(&value, key.str(), fmt::format("unknown key; {}", proposal(key.str(), known)));
      }
    }
  }
  for (const auto& child : children) EBB_CHECKED(child->finish());
  return {};
}

Result<TomlTable> TomlTable::load(std::string path) {
  std::ifstream in(path, std::ios::binary);
  if (!in) return fail(Code::not_found, "cannot open the configuration file {}", path);
  std::ostringstream text;
  text << in.rdbuf();
  if (!in || !text) return fail(Code::unavailable, "cannot read the configuration file {}", path);
  return parse(std::move(text).str(), std::move(path));
}

Result<TomlTable> TomlTable::parse(std::string text, std::string name) {
  toml::parse_result parsed = toml::parse(text, name);
  if (!parsed) {
    const auto& error = parsed.error();
    return fail(Code::invalid, "{}:{}: {}", name, error.source().begin.line, error.description());
  }
  auto file = std::make_shared<const toml::table>(std::move(parsed).table());
  const auto* root = file.get();
  return TomlTable(std::make_shared<Node>(Node{std::move(file), root, std::move(name), "", {}, {}}));
}

std::unexpected<Error> TomlTable::wrong(std::string_view key, std::string_view what) const {
  return node_->wrong(node_->find(key), key, what);
}

bool TomlTable::has(std::string_view key) const { return node_->find(key) != nullptr; }

Result<std::string> TomlTable::string(std::string_view key) const {
  const auto* value = node_->find(key);
  if (!value) return wrong(key, "is required");
  if (!value->is_string()) return wrong(key, fmt::format("must be a string, not {}", type_name(*value)));
  return value->as_string()->get();
}
Result<std::string> TomlTable::string(std::string_view key, std::string fallback) const {
  if (!has(key)) return fallback;
  return string(key);
}

Result<std::int64_t> TomlTable::integer(std::string_view key, std::int64_t low, std::int64_t high) const {
  const auto* value = node_->find(key);
  if (!value) return wrong(key, "is required");
  if (!value->is_integer())
    return wrong(key, fmt::format("must be a whole number, not {}", type_name(*value)));
  auto number = value->as_integer()->get();
  if (number < low || number > high)
    return wrong(key, fmt::format("must be from {} to {}, not {}", low, high, number));
  return number;
}
Result<std::int64_t> TomlTable::integer(std::string_view key, std::int64_t low, std::int64_t high,
                                        std::int64_t fallback) const {
  if (!has(key)) return fallback;
  return integer(key, low, high);
}

Result<bool> TomlTable::boolean(std::string_view key, bool fallback) const {
  const auto* value = node_->find(key);
  if (!value) return fallback;
  if (!value->is_boolean())
    return wrong(key, fmt::format("must be true or false, not {}", type_name(*value)));
  return value->as_boolean()->get();
}

Result<std::uint64_t> TomlTable::size(std::string_view key) const {
  const auto* value = node_->find(key);
  if (value && value->is_integer() && value->as_integer()->get() >= 0)
    return static_cast<std::uint64_t>(value->as_integer()->get());
  if (value && !value->is_string())
    return wrong(key, fmt::format("must be a size such as \"64MiB\", not {}", type_name(*value)));
  EBB_TRY(text, string(key));
  auto bytes = parse_size(text);
  if (!bytes) return wrong(key, bytes.error().message);
  return *bytes;
}
Result<std::uint64_t> TomlTable::size(std::string_view key, std::uint64_t fallback) const {
  if (!has(key)) return fallback;
  return size(key);
}

Result<Duration> TomlTable::duration(std::string_view key) const {
  const auto* value = node_->find(key);
  if (value && !value->is_string())
    return wrong(key, fmt::format("must be a duration such as \"90s\", not {}", type_name(*value)));
  EBB_TRY(text, string(key));
  auto parsed = parse_duration(text);
  if (!parsed) return wrong(key, parsed.error().message);
  return *parsed;
}
Result<Duration> TomlTable::duration(std::string_view key, Duration fallback) const {
  if (!has(key)) return fallback;
  return duration(key);
}

Result<std::vector<std::string>> TomlTable::string_list(std::string_view key) const {
  std::vector<std::string> out;
  const auto* value = node_->find(key);
  if (!value) return out;
  if (!value->is_array())
    return wrong(key, fmt::format("must be a list of strings, not {}", type_name(*value)));
  for (const auto& item : *value->as_array()) {
    if (!item.is_string())
      return node_->wrong(&item, key, fmt::format("must be a list of strings, but has {}", type_name(item)));
    out.push_back(item.as_string()->get());
  }
  return out;
}

Result<TomlTable> TomlTable::table(std::string_view key) const {
  const auto* value = node_->find(key);
  if (value && !value->is_table())
    return wrong(key, fmt::format("must be a table, not {}", type_name(*value)));
  return TomlTable(node_->child(value ? value->as_table() : nullptr, key));
}

Result<std::map<std::string, TomlTable>> TomlTable::tables(std::string_view key) const {
  EBB_TRY(outer, table(key));
  std::map<std::string, TomlTable> out;
  if (!outer.node_->table) return out;
  for (const auto& [name, value] : *outer.node_->table) {
    EBB_TRY(inner, outer.table(name.str()));
    out.emplace(std::string(name.str()), std::move(inner));
  }
  return out;
}

Result<std::map<std::string, std::int64_t>> TomlTable::integer_map(std::string_view key, std::int64_t low,
                                                                   std::int64_t high) const {
  EBB_TRY(outer, table(key));
  std::map<std::string, std::int64_t> out;
  if (!outer.node_->table) return out;
  for (const auto& [name, value] : *outer.node_->table) {
    EBB_TRY(number, outer.integer(name.str(), low, high));
    out.emplace(std::string(name.str()), number);
  }
  return out;
}

Result<std::map<std::string, std::string>> TomlTable::string_map(std::string_view key) const {
  EBB_TRY(outer, table(key));
  std::map<std::string, std::string> out;
  if (!outer.node_->table) return out;
  for (const auto& [name, value] : *outer.node_->table) {
    EBB_TRY(text, outer.string(name.str()));
    out.emplace(std::string(name.str()), std::move(text));
  }
  return out;
}

Status TomlTable::finish() const { return node_->finish(); }

Result<LogLevel> read_log_level(const TomlTable& file) {
  EBB_TRY(name, file.string("log_level", "info"));
  for (auto [level, text] : {std::pair{LogLevel::debug, "debug"},
                             {LogLevel::info, "info"},
                             {LogLevel::warning, "warning"},
                             {LogLevel::error, "error"}}) {
    if (name == text) return level;
  }
  return file.wrong("log_level", "must be one of: debug, info, warning, error");
}

}  // namespace ebb
