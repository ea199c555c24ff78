#include "s3_request.h"

#include <boost/beast/http/empty_body.hpp>
#include <boost/beast/http/parser.hpp>
#include <charconv>

namespace ebb::s3test {
namespace {

namespace http = boost::beast::http;

constexpr std::uint32_t head_bytes_max = 32 * 1024;
constexpr std::size_t key_bytes_max = 1024;

std::string lower(std::string_view text) {
  std::string out(text);
  for (auto& c : out)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  return out;
}

int hex_value(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

enum class Plus { kept, space };

std::optional<std::string> percent_decode(std::string_view text, Plus plus) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '%') {
      if (i + 2 >= text.size() || hex_value(text[i + 1]) < 0 || hex_value(text[i + 2]) < 0)
        return std::nullopt;
      out += static_cast<char>(hex_value(text[i + 1]) * 16 + hex_value(text[i + 2]));
      i += 2;
    } else {
      out += text[i] == '+' && plus == Plus::space ? ' ' : text[i];
    }
  }
  return out;
}

std::unexpected<Refusal> refuse(int status, std::string code, std::string message) {
  return std::unexpected(Refusal{status, std::move(code), std::move(message)});
}

Answer<std::map<std::string, std::string>> parse_query(std::string_view text) {
  std::map<std::string, std::string> query;
  while (!text.empty()) {
    auto part = text.substr(0, text.find('&'));
    text.remove_prefix(std::min(text.size(), part.size() + 1));
    auto equals = part.find('=');
    auto name = percent_decode(part.substr(0, equals), Plus::space);
    auto value = percent_decode(equals == part.npos ? "" : part.substr(equals + 1), Plus::space);
    if (!name || !value) return refuse(400, "InvalidURI", "The query is not percent-encoded rightly.");
    if (!query.emplace(*name, *value).second)
      return refuse(400, "InvalidArgument", "A query parameter is given twice.");
  }
  return query;
}

Answer<void> name_object(Request& request, std::string_view domain) {
  auto* host = request.header("host");
  if (!host) return refuse(400, "InvalidRequest", "Missing required header for this request: Host");
  auto name = host->substr(0, host->rfind(':'));
  auto suffix = "." + std::string(domain);
  if (name.size() > suffix.size() && name.ends_with(suffix)) {
    request.bucket = name.substr(0, name.size() - suffix.size());
    request.key = request.path.substr(1);
  } else {
    auto slash = request.path.find('/', 1);
    request.bucket = request.path.substr(1, slash == std::string::npos ? slash : slash - 1);
    request.key = slash == std::string::npos ? "" : request.path.substr(slash + 1);
  }
  if (request.key.size() > key_bytes_max) return refuse(400, "KeyTooLongError", "Your key is too long");
  return {};
}

using Parser = http::request_parser<http::empty_body>;

Answer<Request> read_head(const Parser& parser, std::string_view domain) {
  const auto& message = parser.get();
  Request request;
  request.method = std::string(message.method_string());
  request.target = std::string(message.target());
  for (const auto& field : message)
    request.headers.emplace(lower(std::string_view(field.name_string())), std::string(field.value()));
  request.keep_alive = parser.keep_alive();
  if (auto* expect = request.header("expect")) request.wants_continue = lower(*expect) == "100-continue";
  if (parser.chunked())
    return refuse(411, "MissingContentLength", "You must provide the Content-Length HTTP header.");
  request.content_length = static_cast<std::size_t>(parser.content_length().value_or(0));

  std::string_view target = request.target;
  auto question = target.find('?');
  auto path = percent_decode(target.substr(0, question), Plus::kept);
  if (!path || !path->starts_with('/')) return refuse(400, "InvalidURI", "Couldn't parse the specified URI.");
  request.path = std::move(*path);
  if (question != target.npos) {
    auto query = parse_query(target.substr(question + 1));
    if (!query) return std::unexpected(query.error());
    request.query = std::move(*query);
  }
  if (auto named = name_object(request, domain); !named) return std::unexpected(named.error());
  return request;
}

}  // namespace

const std::string* Request::header(const std::string& name) const {
  auto found = headers.find(name);
  return found == headers.end() ? nullptr : &found->second;
}

Answer<std::optional<Request>> parse_head(std::string& buffer, std::string_view domain) {
  auto end = buffer.find("\r\n\r\n");
  if (end == std::string::npos) {
    if (buffer.size() > head_bytes_max)
      return refuse(400, "RequestHeaderSectionTooLarge", "Your request header section exceeds the maximum.");
    return std::nullopt;
  }
  // Beast takes a head in one piece only from a parser that never saw less.
  Parser parser;
  parser.eager(false);
  parser.header_limit(head_bytes_max);
  parser.body_limit(boost::none);
  boost::system::error_code error;
  auto used = parser.put(boost::asio::buffer(buffer.data(), end + 4), error);
  if (error || !parser.is_header_done())
    return refuse(400, "BadRequest", "An error occurred when parsing the HTTP request.");
  auto request = read_head(parser, domain);
  buffer.erase(0, used);
  if (!request) return std::unexpected(request.error());
  return std::move(*request);
}

std::string percent_encode(std::string_view text, std::string_view kept) {
  constexpr std::string_view digits = "0123456789ABCDEF", plain = "-._~";
  std::string out;
  for (char c : text) {
    bool alphanumeric = (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
    if (alphanumeric || plain.find(c) != plain.npos || kept.find(c) != kept.npos) {
      out += c;
    } else {
      auto byte = static_cast<unsigned char>(c);
      out += {'%', digits[byte >> 4], digits[byte & 15]};
    }
  }
  return out;
}

Answer<std::optional<ByteRange>> parse_range(std::string_view header, std::uint64_t size) {
  constexpr std::string_view unit = "bytes=";
  if (!header.starts_with(unit) || header.find(',') != header.npos) return std::nullopt;
  header.remove_prefix(unit.size());
  auto dash = header.find('-');
  if (dash == header.npos) return std::nullopt;
  auto number = [](std::string_view text) -> std::optional<std::uint64_t> {
    std::uint64_t value = 0;
    auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
    return value;
  };
  auto first = number(header.substr(0, dash)), last = number(header.substr(dash + 1));
  auto unsatisfiable = Refusal{416, "InvalidRange", "The requested range is not satisfiable"};
  if (dash == 0) {  // "-n": the last n bytes
    if (!last) return std::nullopt;
    if (*last == 0 || size == 0) return std::unexpected(unsatisfiable);
    auto length = std::min(*last, size);
    return ByteRange{size - length, length};
  }
  bool open_ended = dash + 1 == header.size();
  if (!first || (!open_ended && (!last || *last < *first))) return std::nullopt;
  if (*first >= size) return std::unexpected(unsatisfiable);
  auto end = open_ended ? size : std::min(*last, size - 1) + 1;
  return ByteRange{*first, end - *first};
}

}  // namespace ebb::s3test
