#include "base/json.h"

namespace ebb::json {

Result<Value> parse(std::string_view text, std::size_t bytes_max) {
  if (text.size() > bytes_max)
    return fail(Code::invalid, "JSON of {} bytes is over the limit of {}", text.size(), bytes_max);
  boost::json::parse_options options;
  options.max_depth = 32;
  boost::json::stream_parser parser({}, options);
  boost::system::error_code error;
  auto used = parser.write_some(text.data(), text.size(), error);
  if (!error && parser.done()) {
    if (text.find_first_not_of(" \t\r\n", used) != std::string_view::npos) {
      return fail(Code::invalid, "malformed JSON at byte {}: text after the document", used);
    }
  } else if (!error) {
    parser.finish(error);
  }
  if (error) return fail(Code::invalid, "malformed JSON at byte {}: {}", used, error.message());
  return parser.release();
}

std::string to_text(const Value& value) { return boost::json::serialize(value); }

namespace {
void pretty(std::string& out, const Value& value, std::size_t indent) {
  auto newline = [&](std::size_t depth) { out += "\n" + std::string(depth * 2, ' '); };
  if (value.is_object() && !value.get_object().empty()) {
    out += "{";
    bool first = true;
    for (const auto& item : value.get_object()) {
      if (!std::exchange(first, false)) out += ",";
      newline(indent + 1);
      out += boost::json::serialize(item.key()) + ": ";
      pretty(out, item.value(), indent + 1);
    }
    newline(indent);
    out += "}";
  } else if (value.is_array() && !value.get_array().empty()) {
    out += "[";
    bool first = true;
    for (const auto& item : value.get_array()) {
      if (!std::exchange(first, false)) out += ",";
      newline(indent + 1);
      pretty(out, item, indent + 1);
    }
    newline(indent);
    out += "]";
  } else {
    out += boost::json::serialize(value);
  }
}
}  // namespace

std::string to_pretty_text(const Value& value) {
  std::string out;
  pretty(out, value, 0);
  return out;
}

namespace detail {

std::unexpected<Error> wrong_type(const std::string& path, std::string_view wanted) {
  return fail_field(path, "{} must be {}", path.empty() ? "the document" : "'" + path + "'", wanted);
}

std::unexpected<Error> unknown_field(const std::string& path, std::string_view name) {
  auto full = join(path, name);
  return fail_field(full, "unknown field '{}'", full);
}

std::unexpected<Error> unknown_name(const std::string& path, std::string_view name,
                                    const std::string& known) {
  return fail_field(path, "'{}' is '{}'; it must be one of: {}", path, name, known);
}

Result<std::int64_t> read_int(const Value& v, std::int64_t low, std::uint64_t high, const std::string& path) {
  if (v.is_uint64()) {
    if (v.get_uint64() > high) return fail_field(path, "'{}' is too large", path);
    return static_cast<std::int64_t>(v.get_uint64());
  }
  if (!v.is_int64()) return wrong_type(path, "a whole number");
  auto number = v.get_int64();
  if (number < low || (number >= 0 && static_cast<std::uint64_t>(number) > high)) {
    return fail_field(path, "'{}' is out of range", path);
  }
  return number;
}

}  // namespace detail
}  // namespace ebb::json
