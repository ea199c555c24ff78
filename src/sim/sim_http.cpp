#include "sim/sim_http.h"

#include "env/scope.h"
#include "sim/sim_network.h"

namespace ebb::sim {

struct SimHttpEndpoint {
  SimHttpEndpoint(SimProcess& owner, std::string bound, HttpHandler handles, std::size_t body_max)
      : process(owner),
        address(std::move(bound)),
        handler(std::move(handles)),
        body_bytes_max(body_max),
        scope(owner.loop()) {}
  SimProcess& process;
  std::string address;
  HttpHandler handler;
  std::size_t body_bytes_max;
  Scope scope;
};

namespace {

class SimHttpServer final : public HttpServer {
 public:
  explicit SimHttpServer(std::shared_ptr<SimHttpEndpoint> endpoint) : endpoint_(std::move(endpoint)) {}
  std::string address() const override { return endpoint_->address; }

 private:
  std::shared_ptr<SimHttpEndpoint> endpoint_;
};

bool is_local(std::string_view address) { return address.starts_with("unix:"); }

}  // namespace

// One request on its way, as the two sides share it. What comes back travels in order and after a delay; what
// is never answered because the server's side is gone breaks the connection.
struct SimHttp::Exchange {
  SimWorld& world;
  SimProcess& client;
  std::string from, to;  // hosts
  Duration latency;
  bool is_reply_lost = false;
  std::function<void(Result<HttpResponse>)> done;
  std::weak_ptr<PieceHandler> on_piece;  // set if the client streams; gone when the client is
  bool is_streaming = false;
  bool is_answered = false;
  Instant last_delivery{};

  // Runs `deliver` at the client's side, after everything sent before.
  void send_back(std::function<void()> deliver) {
    if (is_reply_lost || !world.links().connected(from, to)) return;
    last_delivery = std::max(last_delivery, world.loop().now() + world.vary(latency));
    world.loop().call_at(last_delivery, std::move(deliver));
  }
  void answer(Result<HttpResponse> response) {
    if (std::exchange(is_answered, true)) return;
    send_back([done = done, response = std::move(response)] { done(response); });
  }
};

namespace {

// Breaks the connection unless the exchange has been answered when the last of its server's side goes away.
template <class Exchange>
struct BreakIfDropped {
  std::shared_ptr<Exchange> exchange;
  explicit BreakIfDropped(std::shared_ptr<Exchange> e) : exchange(std::move(e)) {}
  BreakIfDropped(const BreakIfDropped&) = delete;
  ~BreakIfDropped() { exchange->answer(fail(Code::unavailable, "the connection broke")); }
};

template <class Exchange>
class SimBodyWriter final : public BodyWriter {
 public:
  explicit SimBodyWriter(std::shared_ptr<Exchange> exchange) : exchange_(std::move(exchange)) {}
  Task<Status> write(std::string piece) override {
    auto& e = *exchange_;
    if (!e.is_streaming) {
      collected += piece;
      co_return Status{};
    }
    bool is_gone = e.on_piece.expired() || !e.world.links().connected(e.from, e.to);
    if (is_gone) co_return fail(Code::unavailable, "the client has gone");
    e.send_back([client = &e.client, on_piece = e.on_piece, piece = std::move(piece)] {
      client->loop().post([on_piece, piece] {
        if (auto handler = on_piece.lock()) (*handler)(piece);
      });
    });
    co_return Status{};
  }
  std::string collected;

 private:
  std::shared_ptr<Exchange> exchange_;
};

}  // namespace

void SimHttpNetwork::heal() {
  options_.lose_request = options_.lose_reply = options_.repeat = options_.delay = 0;
}

std::shared_ptr<SimHttpEndpoint> SimHttpNetwork::find(const std::string& resolved) {
  auto found = endpoints_.find(resolved);
  return found == endpoints_.end() ? nullptr : found->second.lock();
}

Result<std::unique_ptr<HttpServer>> SimHttp::serve(std::string address, HttpHandler handler,
                                                   std::size_t body_bytes_max) {
  if (!is_local(address) && address.ends_with(":0"))
    address = fmt::format("{}{}", address.substr(0, address.size() - 1), ++network_.last_port_);
  auto resolved = SimSockets::resolve(process_.host(), address);
  if (network_.find(resolved)) return fail(Code::busy, "{}: address in use", address);
  auto endpoint = std::make_shared<SimHttpEndpoint>(process_, address, std::move(handler), body_bytes_max);
  network_.endpoints_[resolved] = endpoint;
  return std::make_unique<SimHttpServer>(std::move(endpoint));
}

void SimHttp::send(std::string address, HttpRequest request, std::shared_ptr<Exchange> exchange) {
  auto& world = network_.world_;
  auto& options = network_.options_;
  auto resolved = SimSockets::resolve(process_.host(), address);
  exchange->to = SimSockets::host_of(resolved);
  auto arrival = world.loop().now() + world.vary(exchange->latency);
  bool is_repeated = false;
  if (!is_local(resolved) && exchange->to != exchange->from) {
    double at = world.fault_random().unit();
    auto within = [&](double probability) { return (at -= probability) < 0; };
    if (within(options.lose_request)) return;
    if (within(options.lose_reply)) {
      exchange->is_reply_lost = true;
    } else if (within(options.repeat)) {
      is_repeated = true;
    } else if (within(options.delay)) {
      arrival += world.vary(options.late_max);
      exchange->is_reply_lost = true;
    }
  }
  // The network object outlives every process; the sender may be dead when its request arrives.
  auto deliver = [client = &process_, network = &network_, resolved, request, exchange](auto to) {
    SimHttp(*client, *network).arrive(resolved, request, to);
  };
  world.loop().call_at(arrival, [deliver, exchange] { deliver(exchange); });
  if (!is_repeated) return;
  auto second = std::make_shared<Exchange>(*exchange);
  second->is_reply_lost = true;
  world.loop().call_at(arrival + world.vary(50ms), [deliver, second] { deliver(second); });
}

void SimHttp::arrive(std::string resolved, HttpRequest request, std::shared_ptr<Exchange> exchange) {
  auto& world = network_.world_;
  if (!world.links().connected(exchange->from, exchange->to)) return;  // silence
  auto endpoint = network_.find(resolved);
  if (!endpoint) return exchange->answer(fail(Code::unavailable, "{}: connection refused", resolved));
  if (request.body.size() > endpoint->body_bytes_max) {
    HttpResponse too_large;
    too_large.status = 413;
    return exchange->answer(std::move(too_large));
  }
  auto guard = std::make_shared<BreakIfDropped<Exchange>>(exchange);
  endpoint->process.loop().post(
      [weak = std::weak_ptr(endpoint), request = std::move(request), exchange, guard]() mutable {
        auto server = weak.lock();
        if (!server) return;
        server->scope.spawn([](SimHttpEndpoint* e, HttpRequest r, std::shared_ptr<Exchange> x,
                               std::shared_ptr<BreakIfDropped<Exchange>>) -> Task<void> {
          co_await handle(e, std::move(r), std::move(x));
        }(server.get(), std::move(request), std::move(exchange), std::move(guard)));
      });
}

Task<void> SimHttp::handle(SimHttpEndpoint* endpoint, HttpRequest request,
                           std::shared_ptr<Exchange> exchange) {
  auto& process = endpoint->process;
  auto subject = fmt::format("{} {}", request.method, request.target);
  auto& points = process.world().crash_points();
  points.pass(process, "http.handle before", subject);
  co_await process.stop_here_if_dead();
  auto response = co_await endpoint->handler(std::move(request));
  points.pass(process, "http.handle after", subject);
  co_await process.stop_here_if_dead();
  if (response.stream) {
    SimBodyWriter<Exchange> writer(exchange);
    // The function must live as long as its task.
    auto stream = std::move(response.stream);
    response.stream = nullptr;
    co_await stream(writer);
    response.body += writer.collected;
  }
  exchange->answer(std::move(response));
}

Task<Result<HttpResponse>> SimHttp::request(std::string address, HttpRequest request, Duration limit) {
  auto& world = network_.world_;
  auto subject = fmt::format("{} {} {}", address, request.method, request.target);
  world.crash_points().pass(process_, "http.request before", subject);
  co_await process_.stop_here_if_dead();
  OneShot<Result<HttpResponse>> shot(process_.loop());
  auto done = shot.completer();
  auto latency = is_local(address) ? network_.options_.local_latency : network_.options_.latency;
  auto exchange = std::make_shared<Exchange>(Exchange{.world = world,
                                                      .client = process_,
                                                      .from = process_.host(),
                                                      .to = {},
                                                      .latency = latency,
                                                      .done = done,
                                                      .on_piece = {}});
  // On the process's own loop: a paused process notices its time-out late.
  struct Timer {
    Loop& loop;
    std::uint64_t id;
    ~Timer() { loop.cancel(id); }
  } timer{process_.loop(), process_.loop().call_at(process_.loop().now() + limit, [done, address] {
            done(fail(Code::unavailable, "{}: no reply in time", address));
          })};
  send(address, std::move(request), std::move(exchange));
  auto response = co_await shot;
  world.crash_points().pass(process_, "http.request after", subject);
  co_await process_.stop_here_if_dead();
  co_return response;
}

Task<Status> SimHttp::request_stream(std::string address, HttpRequest request, PieceHandler on_piece) {
  auto& world = network_.world_;
  OneShot<Result<HttpResponse>> shot(process_.loop());
  auto handler = std::make_shared<PieceHandler>(std::move(on_piece));
  auto latency = is_local(address) ? network_.options_.local_latency : network_.options_.latency;
  send(address, std::move(request),
       std::make_shared<Exchange>(Exchange{.world = world,
                                           .client = process_,
                                           .from = process_.host(),
                                           .to = {},
                                           .latency = latency,
                                           .done = shot.completer(),
                                           .on_piece = handler,
                                           .is_streaming = true}));
  EBB_CO_TRY(response, co_await shot);
  if (response.status != 200)
    co_return fail(Code::unavailable, "{}: status {}: {}", address, response.status, response.body);
  if (!response.body.empty()) (*handler)(response.body);
  co_return Status{};
}

}  // namespace ebb::sim
