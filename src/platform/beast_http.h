// HTTP/1.1 over any Network: Beast parses, our tasks read and write, so that ending a task ends its request.
#pragma once
#include <memory>

#include "env/http.h"
#include "env/loop.h"
#include "env/stream.h"

namespace ebb {

struct HttpLimits {
  Duration idle = 75s;  // a connection that sends or takes nothing for so long is closed
  std::size_t header_bytes_max = 32 * 1024;
  std::size_t reply_bytes_max = 64 * 1024 * 1024;  // of replies that are not streamed
  std::size_t kept_connections_max = 8;            // idle ones the client keeps, an address
  Duration kept_idle = 60s;                        // for so long; below every sane server's own limit
};

class BeastHttp final : public Http {
 public:
  BeastHttp(Loop& loop, Network& network, HttpLimits limits = {});
  BeastHttp(const BeastHttp&) = delete;
  ~BeastHttp() override;
  Result<std::unique_ptr<HttpServer>> serve(std::string address, HttpHandler handler,
                                            std::size_t body_bytes_max) override;
  Task<Result<HttpResponse>> request(std::string address, HttpRequest request, Duration limit) override;
  Task<Status> request_stream(std::string address, HttpRequest request, PieceHandler on_piece) override;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace ebb
