// HTTP/1.1 messages to and from text: Beast's parser behind two small classes, fed with what a connection
// brought.
#pragma once
#include <memory>
#include <string>
#include <string_view>

#include "env/http.h"

namespace ebb::http {

// Why a request is refused: the status of the reply, and a sentence.
struct Refusal {
  int status = 400;
  std::string message;
};

struct ParseLimits {
  std::size_t header_bytes_max;
  std::size_t body_bytes_max;
};

class RequestParser final {
 public:
  explicit RequestParser(ParseLimits limits);
  ~RequestParser();
  // Takes what it can use from the front of `buffer` and erases it there.
  std::expected<void, Refusal> feed(std::string& buffer);
  bool header_done() const;
  bool done() const;
  bool wants_continue() const;  // "Expect: 100-continue"
  bool keep_alive() const;
  bool is_http_1_0() const;
  HttpRequest take();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

class ResponseParser final {
 public:
  // With `on_piece`, the body of a 200 goes there piece by piece; other bodies, up to the limit, into the
  // response.
  ResponseParser(ParseLimits limits, bool reply_to_head, const PieceHandler* on_piece);
  ~ResponseParser();
  Status feed(std::string& buffer);
  // The server closed the connection. An error unless that ends the reply.
  Status end();
  bool done() const;
  bool keep_alive() const;
  HttpResponse take();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

enum class Framing { length, chunked, until_close, none };

// Everything before the body. `length` stands in content-length where `framing` says so.
std::string request_head(const HttpRequest& request, std::string_view host);
std::string response_head(const HttpResponse& response, Framing framing, std::size_t length, bool keep_alive);
// invalid: method, target or a header would break the message's form.
Status check_request(const HttpRequest& request);

// {"code": "...", "message": "..."}
std::string error_body(Code code, std::string_view message);
// The error that a reply other than 200 stands for; carries the body.
Error error_of_reply(const HttpResponse& response);

}  // namespace ebb::http
