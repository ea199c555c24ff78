#include "platform/http_parse.h"

#include <boost/asio/buffer.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/status.hpp>

#include "base/json.h"

namespace beast = boost::beast;

namespace ebb::http {
namespace {

// A body that is kept as text, or handed on piece by piece.
struct PieceBody {
  struct value_type {
    std::string text;
    const PieceHandler* on_piece = nullptr;
    std::size_t text_bytes_max = 0;  // the parser's own limit is off for streams
  };
  class reader {
   public:
    template <bool is_request, class Fields>
    reader(beast::http::header<is_request, Fields>& header, value_type& value) : value_(value) {
      if constexpr (!is_request) is_ok_ = [&header] { return header.result_int() == 200; };
    }
    // The first moment at which the status is known.
    void init(const boost::optional<std::uint64_t>& length, beast::error_code& error) {
      error = {};
      if (is_ok_ && !is_ok_()) value_.on_piece = nullptr;
      if (length && !value_.on_piece)
        value_.text.reserve(std::min(static_cast<std::size_t>(*length), value_.text_bytes_max));
    }
    template <class Buffers>
    std::size_t put(const Buffers& buffers, beast::error_code& error) {
      error = {};
      std::size_t total = 0;
      for (auto at = boost::asio::buffer_sequence_begin(buffers);
           at != boost::asio::buffer_sequence_end(buffers); ++at) {
        boost::asio::const_buffer buffer(*at);
        std::string_view piece(static_cast<const char*>(buffer.data()), buffer.size());
        total += piece.size();
        if (value_.on_piece) {
          (*value_.on_piece)(piece);
        } else if (piece.size() > value_.text_bytes_max - value_.text.size()) {
          error = beast::http::error::body_limit;
        } else {
          value_.text += piece;
        }
      }
      return total;
    }
    void finish(beast::error_code& error) { error = {}; }

   private:
    value_type& value_;
    std::function<bool()> is_ok_;
  };
};

template <bool is_request>
using Parser = beast::http::parser<is_request, PieceBody>;

template <class P>
beast::error_code feed_parser(P& parser, std::string& buffer) {
  std::size_t used = 0;
  beast::error_code error;
  while (!parser.is_done() && used < buffer.size()) {
    auto count = parser.put(boost::asio::buffer(buffer.data() + used, buffer.size() - used), error);
    used += count;
    if (error || count == 0) break;
  }
  buffer.erase(0, used);
  return error == beast::http::error::need_more ? beast::error_code{} : error;
}

std::map<std::string, std::string> headers_of(const beast::http::fields& fields) {
  std::map<std::string, std::string> out;
  for (const auto& field : fields) {
    std::string name(field.name_string());
    std::transform(name.begin(), name.end(), name.begin(),
                   [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
    auto [at, is_new] = out.emplace(std::move(name), std::string(field.value()));
    if (!is_new) at->second += ", " + std::string(field.value());
  }
  return out;
}

Refusal refusal_of(beast::error_code error, const ParseLimits& limits) {
  if (error == beast::http::error::body_limit) {
    return {413, fmt::format("the request's body is larger than {} bytes", limits.body_bytes_max)};
  }
  if (error == beast::http::error::header_limit) {
    return {431, fmt::format("the request's headers are larger than {} bytes", limits.header_bytes_max)};
  }
  return {400, fmt::format("malformed request: {}", error.message())};
}

bool is_token(std::string_view text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), [](unsigned char c) {
    return std::isalnum(c) ||
           std::string_view("!#$%&'*+-.^_`|~").find(static_cast<char>(c)) != std::string_view::npos;
  });
}

bool is_clean(std::string_view text) {
  return std::none_of(text.begin(), text.end(), [](unsigned char c) { return c < 0x20 || c == 0x7f; });
}

bool is_framing(std::string_view name) {
  return name == "content-length" || name == "transfer-encoding" || name == "connection";
}

}  // namespace

struct RequestParser::Impl {
  explicit Impl(ParseLimits l) : limits(l) {}
  ParseLimits limits;
  Parser<true> parser;
};

RequestParser::RequestParser(ParseLimits limits) : impl_(std::make_unique<Impl>(limits)) {
  impl_->parser.header_limit(static_cast<std::uint32_t>(limits.header_bytes_max));
  impl_->parser.body_limit(limits.body_bytes_max);
  impl_->parser.eager(true);
  impl_->parser.get().body().text_bytes_max = limits.body_bytes_max;
}
RequestParser::~RequestParser() = default;

std::expected<void, Refusal> RequestParser::feed(std::string& buffer) {
  if (auto error = feed_parser(impl_->parser, buffer))
    return std::unexpected(refusal_of(error, impl_->limits));
  return {};
}
bool RequestParser::header_done() const { return impl_->parser.is_header_done(); }
bool RequestParser::done() const { return impl_->parser.is_done(); }
bool RequestParser::wants_continue() const {
  return beast::iequals(impl_->parser.get()[beast::http::field::expect], "100-continue");
}
bool RequestParser::keep_alive() const { return impl_->parser.get().keep_alive(); }
bool RequestParser::is_http_1_0() const { return impl_->parser.get().version() < 11; }

HttpRequest RequestParser::take() {
  auto& message = impl_->parser.get();
  return {std::string(message.method_string()), std::string(message.target()), headers_of(message),
          std::move(message.body().text)};
}

struct ResponseParser::Impl {
  Parser<false> parser;
};

ResponseParser::ResponseParser(ParseLimits limits, bool reply_to_head, const PieceHandler* on_piece)
    : impl_(std::make_unique<Impl>()) {
  auto& parser = impl_->parser;
  parser.header_limit(static_cast<std::uint32_t>(limits.header_bytes_max));
  if (on_piece)
    parser.body_limit(boost::none);
  else
    parser.body_limit(limits.body_bytes_max);
  parser.eager(true);
  parser.skip(reply_to_head);
  parser.get().body().on_piece = on_piece;
  parser.get().body().text_bytes_max = limits.body_bytes_max;
}
ResponseParser::~ResponseParser() = default;

Status ResponseParser::feed(std::string& buffer) {
  if (auto error = feed_parser(impl_->parser, buffer)) {
    return fail(Code::unavailable, "the reply cannot be understood: {}", error.message());
  }
  return {};
}

Status ResponseParser::end() {
  beast::error_code error;
  if (impl_->parser.got_some()) impl_->parser.put_eof(error);
  if (error || !impl_->parser.is_done())
    return fail(Code::unavailable, "the server closed the connection before its reply was whole");
  return {};
}
bool ResponseParser::done() const { return impl_->parser.is_done(); }
bool ResponseParser::keep_alive() const { return impl_->parser.keep_alive(); }

HttpResponse ResponseParser::take() {
  auto& message = impl_->parser.get();
  return {static_cast<int>(message.result_int()), headers_of(message), std::move(message.body().text), {}};
}

std::string request_head(const HttpRequest& request, std::string_view host) {
  auto text = fmt::format("{} {} HTTP/1.1\r\n", request.method, request.target);
  if (!request.headers.contains("host")) text += fmt::format("host: {}\r\n", host);
  for (const auto& [name, value] : request.headers) {
    if (!is_framing(name)) text += fmt::format("{}: {}\r\n", name, value);
  }
  bool has_body = !request.body.empty() ||
                  (request.method != "GET" && request.method != "HEAD" && request.method != "DELETE");
  if (has_body) text += fmt::format("content-length: {}\r\n", request.body.size());
  return text + "\r\n";
}

std::string response_head(const HttpResponse& response, Framing framing, std::size_t length,
                          bool keep_alive) {
  auto reason = beast::http::obsolete_reason(static_cast<beast::http::status>(response.status));
  auto text =
      fmt::format("HTTP/1.1 {} {}\r\n", response.status, std::string_view(reason.data(), reason.size()));
  for (const auto& [name, value] : response.headers) {
    // Values may carry what a client sent: it must not begin a header of its own.
    if (is_token(name) && is_clean(value) && !is_framing(name))
      text += fmt::format("{}: {}\r\n", name, value);
  }
  if (framing == Framing::length) text += fmt::format("content-length: {}\r\n", length);
  if (framing == Framing::chunked) text += "transfer-encoding: chunked\r\n";
  if (!keep_alive) text += "connection: close\r\n";
  return text + "\r\n";
}

Status check_request(const HttpRequest& request) {
  if (!is_token(request.method)) return fail(Code::invalid, "'{}' is no HTTP method", request.method);
  if (request.target.empty() || !is_clean(request.target) || request.target.find(' ') != std::string::npos) {
    return fail(Code::invalid, "'{}' is no HTTP target", request.target);
  }
  for (const auto& [name, value] : request.headers) {
    if (!is_token(name) || !is_clean(value)) return fail(Code::invalid, "'{}' is no HTTP header", name);
  }
  return {};
}

std::string error_body(Code code, std::string_view message) {
  return json::to_text(json::Object{{"code", boost::json::string(to_string(code))},
                                    {"message", boost::json::string(message)}});
}

Error error_of_reply(const HttpResponse& response) {
  auto code = response.status == 404   ? Code::not_found
              : response.status == 409 ? Code::conflict
              : response.status == 429 ? Code::busy
              : response.status >= 500 ? Code::unavailable
                                       : Code::invalid;
  // Our own servers say it better than the status does.
  if (auto body = json::parse(response.body); body && body->is_object()) {
    if (const auto* name = body->get_object().if_contains("code"); name && name->is_string()) {
      for (auto known : {Code::not_found, Code::conflict, Code::fenced, Code::busy, Code::invalid,
                         Code::unavailable, Code::corrupt, Code::internal}) {
        if (std::string_view(name->get_string()) == to_string(known)) code = known;
      }
    }
  }
  return {code, response.body.empty() ? fmt::format("HTTP status {}", response.status) : response.body, {}};
}

}  // namespace ebb::http
