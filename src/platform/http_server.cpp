#include "env/scope.h"
#include "platform/beast_http_parts.h"
#include "platform/http_connection.h"
#include "platform/http_parse.h"

namespace ebb::http {
namespace {

constexpr std::size_t read_ahead_max = 64 * KiB;  // of a client that sends requests before it has its reply
constexpr std::size_t connections_max = 60'000;   // long polls of a whole cell
constexpr Duration linger = 2s;                   // for a refused client to finish sending
constexpr std::size_t linger_bytes_max = 64 * MiB;

struct Server {
  Loop& loop;
  HttpHandler handler;
  HttpLimits limits;
  std::size_t body_bytes_max;
  std::size_t connections = 0;
};

struct Counted {
  explicit Counted(std::size_t& c) : count(c) { ++count; }
  Counted(const Counted&) = delete;
  ~Counted() { --count; }
  std::size_t& count;
};

// A request as it came, and what its sender expects of the reply.
struct Incoming {
  HttpRequest request;
  bool keep_alive = false;
  bool is_http_1_0 = false;
};

// nullopt: the client has gone, or was too slow.
using Arrival = std::optional<std::expected<Incoming, Refusal>>;

Task<Arrival> read_request(std::shared_ptr<Server> server, Connection* connection) {
  RequestParser parser({server->limits.header_bytes_max, server->body_bytes_max});
  bool continued = false;
  // One deadline for all headers, so that a byte a minute holds nothing; for bodies, one for each piece.
  std::optional<Deadline> deadline;
  deadline.emplace(server->loop, *connection->stream, server->limits.idle);
  for (;;) {
    if (auto fed = parser.feed(connection->buffer); !fed) co_return std::unexpected(fed.error());
    if (parser.done()) break;
    if (parser.header_done()) {
      if (parser.wants_continue() && !std::exchange(continued, true)) {
        if (!co_await Connection::write(connection, server->loop, "HTTP/1.1 100 Continue\r\n\r\n", "",
                                        server->limits.idle)) {
          co_return std::nullopt;
        }
      }
      deadline.emplace(server->loop, *connection->stream, server->limits.idle);
    }
    auto more = co_await Connection::read_more(connection);
    if (!more || !*more) co_return std::nullopt;
  }
  co_return Incoming{parser.take(), parser.keep_alive(), parser.is_http_1_0()};
}

// Ends when the client closes its side. Reads ahead a little, for clients that pipeline.
Task<void> until_gone(Connection* connection, std::function<void()> report) {
  while (connection->buffer.size() < read_ahead_max) {
    auto more = co_await Connection::read_more(connection);
    if (!more || !*more) {
      report();
      co_return;
    }
  }
}

// The result of `work`, or nullopt when the client went first (work is then destroyed).
template <class T>
Task<std::optional<T>> unless_gone(Loop& loop, Connection* connection, Task<T> work) {
  OneShot<std::optional<T>> first(loop);
  auto done = first.completer();
  Scope scope(loop);
  scope.spawn([](Task<T> body, decltype(done) report) -> Task<void> { report(co_await body); }(
                                                          std::move(work), done));
  scope.spawn(until_gone(connection, [done] { done(std::nullopt); }));
  co_return co_await first;
}

class ChunkWriter final : public BodyWriter {
 public:
  ChunkWriter(Loop& loop, Connection* connection, Framing framing, Duration limit)
      : loop_(loop), connection_(connection), framing_(framing), limit_(limit) {}

  Task<Status> write(std::string piece) override {
    if (piece.empty() || framing_ == Framing::none) co_return Status{};
    std::string head;
    if (framing_ == Framing::chunked) {
      head = fmt::format("{:x}\r\n", piece.size());
      piece += "\r\n";
    }
    co_return co_await Connection::write(connection_, loop_, head, piece, limit_);
  }
  Task<Status> finish() {
    if (framing_ != Framing::chunked) co_return Status{};
    co_return co_await Connection::write(connection_, loop_, "0\r\n\r\n", "", limit_);
  }

 private:
  Loop& loop_;
  Connection* connection_;
  Framing framing_;
  Duration limit_;
};

Task<bool> run_stream(HttpResponse* response, ChunkWriter* writer) {
  co_await response->stream(*writer);
  co_return true;
}

bool has_no_body(const HttpRequest& request, int status) {
  return request.method == "HEAD" || status == 204 || status == 304;
}

// False when the connection cannot go on.
Task<bool> reply(std::shared_ptr<Server> server, Connection* connection, const Incoming* incoming,
                 HttpResponse* response) {
  auto limit = server->limits.idle;
  bool keep = incoming->keep_alive;
  bool bare = has_no_body(incoming->request, response->status);
  if (!response->stream) {
    auto framing = response->status == 204 || response->status == 304 ? Framing::none : Framing::length;
    auto head = response_head(*response, framing, response->body.size(), keep);
    auto written =
        co_await Connection::write(connection, server->loop, head, bare ? "" : response->body, limit);
    co_return written&& keep;
  }
  auto framing = bare ? Framing::none : incoming->is_http_1_0 ? Framing::until_close : Framing::chunked;
  keep = keep && framing != Framing::until_close;
  auto head = response_head(*response, framing, 0, keep);
  if (!co_await Connection::write(connection, server->loop, head, "", limit)) co_return false;
  ChunkWriter writer(server->loop, connection, framing, limit);
  if (!co_await unless_gone(server->loop, connection, run_stream(response, &writer))) co_return false;
  co_return co_await writer.finish() && keep;
}

// Says why, then reads on for a moment: closing with unread input would take the reply away from the client.
Task<void> refuse(std::shared_ptr<Server> server, Connection* connection, Refusal refusal) {
  HttpResponse response{
      refusal.status, {{"content-type", "application/json"}}, error_body(Code::invalid, refusal.message), {}};
  auto head = response_head(response, Framing::length, response.body.size(), false);
  if (!co_await Connection::write(connection, server->loop, head, response.body, server->limits.idle))
    co_return;
  Deadline deadline(server->loop, *connection->stream, linger);
  for (std::size_t dropped = 0; dropped < linger_bytes_max;) {
    connection->buffer.clear();
    auto more = co_await Connection::read_more(connection);
    if (!more || !*more) co_return;
    dropped += connection->buffer.size();
  }
}

Task<void> serve_connection(std::shared_ptr<Server> server, std::unique_ptr<Stream> stream) {
  if (server->connections >= connections_max) co_return;
  Counted counted(server->connections);
  Connection connection{std::move(stream), {}};
  for (;;) {
    auto arrival = co_await read_request(server, &connection);
    if (!arrival) co_return;
    if (!*arrival) {
      co_await refuse(server, &connection, std::move(arrival->error()));
      co_return;
    }
    Incoming incoming = std::move(**arrival);
    auto response = co_await unless_gone(server->loop, &connection, server->handler(incoming.request));
    if (!response || !co_await reply(server, &connection, &incoming, &*response)) co_return;
  }
}

class ListeningServer final : public HttpServer {
 public:
  explicit ListeningServer(std::unique_ptr<Listener> listener) : listener_(std::move(listener)) {}
  std::string address() const override { return listener_->address(); }

 private:
  std::unique_ptr<Listener> listener_;
};

}  // namespace

Result<std::unique_ptr<HttpServer>> serve(Loop& loop, Network& network, HttpLimits limits,
                                          std::string address, HttpHandler handler,
                                          std::size_t body_bytes_max) {
  auto server = std::make_shared<Server>(Server{loop, std::move(handler), limits, body_bytes_max});
  EBB_TRY(listener, network.listen(std::move(address), [server](std::unique_ptr<Stream> stream) {
    return serve_connection(server, std::move(stream));
  }));
  return std::make_unique<ListeningServer>(std::move(listener));
}

}  // namespace ebb::http
