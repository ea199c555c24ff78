#include "control/api/router.h"

#include <charconv>

#include "base/text.h"

namespace ebb::control {
namespace {

int status_of(Code code) {
  switch (code) {
    case Code::not_found:
      return 404;
    case Code::conflict:
    case Code::fenced:
      return 409;
    case Code::invalid:
      return 400;
    case Code::busy:
    case Code::unavailable:
      return 503;
    case Code::corrupt:
    case Code::internal:
      return 500;
  }
  return 500;
}

std::optional<std::string> percent_decode(std::string_view text) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '%') {
      out += text[i] == '+' ? ' ' : text[i];
      continue;
    }
    unsigned value = 0;
    if (i + 2 >= text.size()) return std::nullopt;
    auto [end, error] = std::from_chars(text.data() + i + 1, text.data() + i + 3, value, 16);
    if (error != std::errc{} || end != text.data() + i + 3) return std::nullopt;
    out += static_cast<char>(value);
    i += 2;
  }
  return out;
}

// Matches one path against one pattern; a "{name}" takes all of its segment up to the pattern's next literal
// (":verb").
bool match(std::string_view pattern, std::string_view path, std::map<std::string, std::string>& params) {
  auto wanted = split(pattern, '/'), given = split(path, '/');
  if (wanted.size() != given.size()) return false;
  for (std::size_t i = 0; i < wanted.size(); ++i) {
    auto open = wanted[i].find('{');
    if (open == std::string_view::npos) {
      if (wanted[i] != given[i]) return false;
      continue;
    }
    auto close = wanted[i].find('}');
    auto verb = wanted[i].substr(close + 1);
    if (given[i].size() <= verb.size() || !given[i].ends_with(verb)) return false;
    auto value = percent_decode(given[i].substr(0, given[i].size() - verb.size()));
    if (!value || (verb.empty() && value->find(':') != std::string::npos)) return false;
    params[std::string(wanted[i].substr(open + 1, close - open - 1))] = *value;
  }
  return true;
}

// Takes the same time wherever the first difference is.
bool same_secret(std::string_view a, std::string_view b) {
  unsigned difference = a.size() == b.size() ? 0 : 1;
  for (std::size_t i = 0; i < std::min(a.size(), b.size()); ++i)
    difference |= static_cast<unsigned char>(a[i] ^ b[i]);
  return difference == 0;
}

HttpResponse plain_error(int status, std::string code, std::string message) {
  return json_reply(status, json::write(ErrorBody{std::move(code), std::move(message), std::nullopt}));
}

}  // namespace

Result<std::uint64_t> Call::number(const std::string& name, std::uint64_t otherwise) const {
  auto found = query.find(name);
  if (found == query.end()) return otherwise;
  std::uint64_t value = 0;
  const auto& text = found->second;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (text.empty() || error != std::errc{} || end != text.data() + text.size())
    return fail_field(name, "'{}' must be a whole number", name);
  return value;
}

Router::Router(std::string operator_token, std::string join_token)
    : operator_token_(std::move(operator_token)), join_token_(std::move(join_token)) {}

void Router::add(std::string method, std::string pattern, Access access, Handler handler) {
  routes_.push_back({std::move(method), std::move(pattern), access, std::move(handler)});
}

bool Router::is_allowed(const HttpRequest& request, Access access) const {
  if (access == Access::open) return true;
  auto found = request.headers.find("authorization");
  if (found == request.headers.end() || !found->second.starts_with("Bearer ")) return false;
  auto given = std::string_view(found->second).substr(7);
  return same_secret(given, access == Access::join_token ? join_token_ : operator_token_);
}

Task<HttpResponse> Router::handle(HttpRequest request) const {
  Call call;
  std::string_view target = request.target;
  auto question = target.find('?');
  auto path = target.substr(0, question);
  if (question != std::string_view::npos) {
    for (auto item : split(target.substr(question + 1), '&')) {
      auto equals = item.find('=');
      auto name = percent_decode(item.substr(0, equals));
      auto value =
          percent_decode(equals == std::string_view::npos ? std::string_view() : item.substr(equals + 1));
      if (!name || !value)
        co_return plain_error(400, "invalid", "the query is not percent-encoded as it should be");
      if (!name->empty() && !call.query.emplace(*name, *value).second)
        co_return plain_error(400, "invalid", fmt::format("'{}' is there twice in the query", *name));
    }
  }
  bool path_known = false;
  for (const auto& route : routes_) {
    call.params.clear();
    if (!match(route.pattern, path, call.params)) continue;
    path_known = true;
    if (route.method != request.method) continue;
    if (!is_allowed(request, route.access)) {
      co_return plain_error(401, "unauthenticated",
                            "this needs the header 'authorization: Bearer TOKEN' with the right token");
    }
    call.request = std::move(request);
    co_return co_await route.handler(std::move(call));
  }
  if (path_known)
    co_return plain_error(405, "invalid", fmt::format("{} is not possible on {}", request.method, path));
  co_return plain_error(404, "not_found", fmt::format("there is nothing at {}", path));
}

HttpResponse json_reply(int status, const json::Value& value) {
  HttpResponse reply;
  reply.status = status;
  reply.headers["content-type"] = "application/json";
  reply.body = json::to_text(value);
  return reply;
}

HttpResponse error_reply(const Error& error) {
  ErrorBody body{std::string(to_string(error.code)), error.message, std::nullopt};
  if (!error.field.empty()) body.field = error.field;
  return json_reply(status_of(error.code), json::write(body));
}

}  // namespace ebb::control
