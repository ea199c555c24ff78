// HTTP between simulated processes: requests and replies take time, get lost, come late or twice; hosts are
// cut off; a paused server answers when it is continued; a killed one breaks its connections. "unix:"
// addresses are the host's own and lose nothing. Crash points: "http.request before|after" at the client,
// "http.handle before|after" at the server.
#pragma once
#include "env/http.h"
#include "sim/sim_world.h"

namespace ebb::sim {

struct SimHttpOptions {
  Duration latency = 1ms, local_latency = 100us;  // one way; the seed varies them
  Duration late_max = 30s;
  // Probabilities for each request between hosts.
  double lose_request = 0;  // never handled; the caller waits until its limit
  double lose_reply = 0;    // handled; the caller waits until its limit
  double repeat = 0;        // handled twice, the second time somewhat later
  double delay = 0;         // handled after its caller's limit
};

struct SimHttpEndpoint;

class SimHttpNetwork final {
 public:
  explicit SimHttpNetwork(SimWorld& world, SimHttpOptions options = {}) : world_(world), options_(options) {}
  SimHttpNetwork(const SimHttpNetwork&) = delete;

  SimHttpOptions& options() { return options_; }
  void heal();
  SimWorld& world() { return world_; }

 private:
  friend class SimHttp;
  std::shared_ptr<SimHttpEndpoint> find(const std::string& resolved);

  SimWorld& world_;
  SimHttpOptions options_;
  std::uint32_t last_port_ = 40'000;
  std::map<std::string, std::weak_ptr<SimHttpEndpoint>> endpoints_;
};

class SimHttp final : public Http {
 public:
  SimHttp(SimProcess& process, SimHttpNetwork& network) : process_(process), network_(network) {}

  Result<std::unique_ptr<HttpServer>> serve(std::string address, HttpHandler handler,
                                            std::size_t body_bytes_max) override;
  Task<Result<HttpResponse>> request(std::string address, HttpRequest request, Duration limit) override;
  Task<Status> request_stream(std::string address, HttpRequest request, PieceHandler on_piece) override;

 private:
  struct Exchange;
  // Sends the request on its way; `exchange` hears of what comes back.
  void send(std::string address, HttpRequest request, std::shared_ptr<Exchange> exchange);
  void arrive(std::string resolved, HttpRequest request, std::shared_ptr<Exchange> exchange);
  static Task<void> handle(SimHttpEndpoint* endpoint, HttpRequest request,
                           std::shared_ptr<Exchange> exchange);

  SimProcess& process_;
  SimHttpNetwork& network_;
};

}  // namespace ebb::sim
