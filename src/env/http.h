// HTTP/1.1 as control plane, agent, disk daemon and CLI use it: whole requests, whole replies, and event
// streams.
#pragma once
#include <functional>
#include <map>
#include <memory>
#include <string>

#include "base/result.h"
#include "base/time.h"
#include "env/task.h"

namespace ebb {

struct HttpRequest {
  std::string method = "GET";
  std::string target = "/";                    // path and query, percent-encoded
  std::map<std::string, std::string> headers;  // names in lower case
  std::string body;
};

// Writes a long reply piece by piece; an error means that the client has gone.
class BodyWriter {
 public:
  virtual ~BodyWriter() = default;
  virtual Task<Status> write(std::string piece) = 0;
};

struct HttpResponse {
  int status = 200;
  std::map<std::string, std::string> headers;
  std::string body;
  // If set, called after the headers have gone out; the reply ends when its task ends (chunked encoding).
  std::function<Task<void>(BodyWriter&)> stream;
};

using HttpHandler = std::function<Task<HttpResponse>(HttpRequest)>;

class HttpServer {
 public:
  virtual ~HttpServer() = default;          // stops listening and ends the handlers
  virtual std::string address() const = 0;  // as it was bound, port filled in
};

// Pieces of a streamed reply, as they come.
using PieceHandler = std::function<void(std::string_view)>;

class Http {
 public:
  virtual ~Http() = default;
  // `address` as in Network::listen. Bodies over `body_bytes_max` are answered with 413.
  virtual Result<std::unique_ptr<HttpServer>> serve(std::string address, HttpHandler handler,
                                                    std::size_t body_bytes_max) = 0;
  // unavailable: no connection, or no whole reply within `limit` - the request may have been carried out.
  virtual Task<Result<HttpResponse>> request(std::string address, HttpRequest request, Duration limit) = 0;
  // Ends when the server ends the stream (ok) or the connection breaks (unavailable). A reply other than 200
  // is returned as an error that carries its body.
  virtual Task<Status> request_stream(std::string address, HttpRequest request, PieceHandler on_piece) = 0;
};

}  // namespace ebb
