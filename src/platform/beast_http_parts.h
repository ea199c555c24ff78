// The two halves of BeastHttp.
#pragma once
#include <map>

#include "env/scope.h"
#include "platform/beast_http.h"

namespace ebb::http {

Result<std::unique_ptr<HttpServer>> serve(Loop& loop, Network& network, HttpLimits limits,
                                          std::string address, HttpHandler handler,
                                          std::size_t body_bytes_max);

// Idle connections, by address, each with a task that sees it close.
class KeptConnections {
 public:
  KeptConnections(Loop& loop, HttpLimits limits) : loop_(loop), limits_(limits) {}
  // The one used last, or null.
  std::unique_ptr<Stream> take(const std::string& address);
  void keep(const std::string& address, std::unique_ptr<Stream> stream);

 private:
  struct Kept {
    std::unique_ptr<Stream> stream;
    std::shared_ptr<bool> closed;
    std::unique_ptr<Scope> watch;  // destroyed before the stream that it reads
  };
  void sweep();

  Loop& loop_;
  HttpLimits limits_;
  Instant swept_{};
  std::map<std::string, std::vector<Kept>> kept_;
};

class Client {
 public:
  Client(Loop& loop, Network& network, HttpLimits limits)
      : loop_(loop), network_(network), limits_(limits), kept_(loop, limits) {}
  Task<Result<HttpResponse>> request(std::string address, HttpRequest request, Duration limit);
  Task<Status> request_stream(std::string address, HttpRequest request, PieceHandler on_piece);

 private:
  Task<Result<HttpResponse>> exchange(std::string address, HttpRequest request);

  Loop& loop_;
  Network& network_;
  HttpLimits limits_;
  KeptConnections kept_;
};

}  // namespace ebb::http
