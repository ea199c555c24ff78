#include "s3_server.h"

#include "base/check.h"

namespace ebb::s3test {
namespace {

constexpr std::size_t body_bytes_max = 64 * MiB, read_bytes = 64 * KiB;

Reply refuse(const Request& request, Refusal refusal) { return refusal_reply(refusal, request); }

struct Counted {
  explicit Counted(std::uint64_t& c) : count(c) { ++count; }
  Counted(const Counted&) = delete;
  ~Counted() { --count; }
  std::uint64_t& count;
};

// What to answer instead of doing it.
std::optional<Refusal> instead(const Mishap& mishap) {
  if (mishap.is(Fault::slow_down)) return Refusal{503, "SlowDown", "Please reduce your request rate."};
  if (mishap.is(Fault::internal_error))
    return Refusal{500, "InternalError", "We encountered an internal error. Please try again."};
  if (mishap.is(Fault::conflict))
    return Refusal{409, "ConditionalRequestConflict",
                   "A conflicting operation occurred during the request to this resource."};
  return std::nullopt;
}

// What to say though it was done.
std::optional<Refusal> falsely(const Mishap& mishap) {
  if (mishap.is(Fault::false_precondition))
    return Refusal{412, "PreconditionFailed",
                   "At least one of the pre-conditions you specified did not hold"};
  if (mishap.is(Fault::false_error))
    return Refusal{500, "InternalError", "We encountered an internal error. Please try again."};
  return std::nullopt;
}

}  // namespace

struct S3Server::Connection {
  std::unique_ptr<Stream> stream;
  std::string buffer;  // what was read and belongs to no request yet
};

S3Server::S3Server(AsioLoop& loop, Network& network, ServerOptions options)
    : loop_(loop), network_(network), options_(std::move(options)), keys_(options_.more_keys) {
  keys_.push_back(options_.key);
}

S3Server::~S3Server() {
  if (listen_again_) loop_.cancel(*listen_again_);
}

Result<std::unique_ptr<S3Server>> S3Server::start(AsioLoop& loop, Network& network, ServerOptions options) {
  std::unique_ptr<S3Server> server(new S3Server(loop, network, std::move(options)));
  EBB_TRY(objects, Objects::open(loop, server->options_.folder));
  server->objects_ = std::move(objects);
  const auto& bucket = server->options_.bucket;
  if (!bucket.empty() && !server->objects_->has_bucket(bucket))
    EBB_CHECKED(server->objects_->create_bucket(bucket));
  EBB_CHECKED(server->listen(server->options_.listen));
  return server;
}

Status S3Server::listen(std::string address) {
  EBB_TRY(listener, network_.listen(std::move(address), [this](std::unique_ptr<Stream> stream) {
    return serve(std::move(stream));
  }));
  listener_ = std::move(listener);
  address_ = listener_->address();
  return {};
}

void S3Server::set_faults(FaultPlan plan) {
  auto refuse = std::chrono::milliseconds(plan.refuse_ms);
  faults_.set(std::move(plan));
  if (refuse.count() > 0) refuse_for(refuse);
}

void S3Server::refuse_for(Duration time) {
  if (listen_again_) loop_.cancel(*listen_again_);
  // Not at once: the caller may be a connection, which ends with the listener. A moment lets its answer out.
  loop_.call_at(loop_.now() + 5ms, [this, alive = std::weak_ptr(alive_)] {
    if (!alive.expired()) listener_.reset();
  });
  listen_again_ = loop_.call_at(loop_.now() + 5ms + time, [this] {
    listen_again_.reset();
    auto listening = listen(address_);
    CHECK(listening);  // somebody took the port meanwhile: a test cannot go on
  });
}

Task<void> S3Server::serve(std::unique_ptr<Stream> stream) {
  ++stats_.connections;
  Counted open(stats_.connections_open);
  Connection connection{std::move(stream), {}};
  for (;;) {
    auto request = co_await read_request(&connection);
    if (!request) co_return;
    if (!co_await answer(&connection, &*request)) co_return;
  }
}

// nullopt: the connection is over.
Task<std::optional<Request>> S3Server::read_request(Connection* connection) {
  for (;;) {
    auto head = parse_head(connection->buffer, options_.domain);
    if (!head) {
      auto reply = refusal_reply(head.error(), {});
      reply.closes_connection = true;
      co_await send(connection, std::move(reply), nullptr, {});
      co_return std::nullopt;
    }
    if (*head) {
      auto request = std::move(**head);
      if (!co_await read_body(connection, &request)) co_return std::nullopt;
      co_return request;
    }
    auto had = connection->buffer.size();
    connection->buffer.resize(had + read_bytes);
    auto got = co_await connection->stream->read_some(
        std::as_writable_bytes(std::span(connection->buffer)).subspan(had));
    connection->buffer.resize(had + got.value_or(0));
    if (!got || *got == 0) co_return std::nullopt;
  }
}

// Straight into the bytes that become the object.
Task<bool> S3Server::read_body(Connection* connection, Request* request) {
  if (request->content_length > body_bytes_max) {
    auto reply =
        refuse(*request, {400, "EntityTooLarge", "Your proposed upload exceeds the maximum allowed size"});
    reply.closes_connection = true;
    co_await send(connection, std::move(reply), request, {});
    co_return false;
  }
  auto here = std::min(connection->buffer.size(), request->content_length);
  if (request->wants_continue && here < request->content_length) {
    static constexpr std::string_view go_on = "HTTP/1.1 100 Continue\r\n\r\n";
    if (!co_await connection->stream->write_all({as_bytes(go_on)})) co_return false;
  }
  auto body = std::make_shared<Bytes>(request->content_length);
  std::ranges::copy(as_bytes(std::string_view(connection->buffer).substr(0, here)), body->begin());
  connection->buffer.erase(0, here);
  for (auto at = here; at < body->size();) {
    auto got = co_await connection->stream->read_some(MutableBytes(*body).subspan(at));
    if (!got || *got == 0) co_return false;
    at += *got;
  }
  stats_.bytes_in += body->size();
  request->body = std::move(body);
  co_return true;
}

// False when the connection is over.
Task<bool> S3Server::answer(Connection* connection, const Request* request) {
  if (request->is_control()) co_return co_await send(connection, control(*request), request, {});
  ++stats_.requests[request->method];
  Counted in_flight(stats_.in_flight);
  stats_.in_flight_max = std::max(stats_.in_flight_max, stats_.in_flight);
  auto key = check_signature(*request, keys_, loop_.wall_now());
  if (!key) co_return co_await send(connection, refuse(*request, key.error()), request, {});
  ++stats_.requests_of_keys[(*key)->access_key + " " + request->method];
  if (request->method == "DELETE" && !(*key)->may_delete)
    co_return co_await send(connection, refuse(*request, {403, "AccessDenied", "Access Denied"}), request,
                            {});

  auto mishap = faults_.draw(request->method, request->key);
  if (mishap.fault) ++stats_.faults[std::string(json::name_of(*mishap.fault))];
  if (mishap.latency.count() > 0) ++stats_.faults["latency"];
  if (auto latency = options_.latency + mishap.latency; latency.count() > 0)
    co_await sleep_for(loop_, latency);
  if (mishap.is(Fault::close_before)) co_return false;
  if (mishap.is(Fault::hang)) {
    Bytes ignored(read_bytes);
    for (;;) {
      auto got = co_await connection->stream->read_some(ignored);
      if (!got || *got == 0) co_return false;
    }
  }
  if (auto other = instead(mishap))
    co_return co_await send(connection, refuse(*request, *other), request, mishap);
  auto reply = co_await carry_out(request, mishap);
  if (mishap.is(Fault::lost_reply)) co_return false;
  if (auto lie = falsely(mishap); lie && reply.status < 300) reply = refuse(*request, *lie);
  co_return co_await send(connection, std::move(reply), request, mishap);
}

Task<bool> S3Server::send(Connection* connection, Reply reply, const Request* request, Mishap mishap) {
  if (request && !request->keep_alive) reply.closes_connection = true;
  bool is_cut = mishap.is(Fault::cut_body);
  auto head = reply_head(reply, loop_.wall_now(), ++requests_);
  auto body = reply.body ? ByteView(*reply.body).subspan(reply.offset, reply.length) : ByteView();
  if (request && request->method == "HEAD") body = {};
  if (is_cut && body.empty()) head.resize(head.size() / 2);
  if (is_cut) body = body.first(body.size() / 2);
  auto sent = co_await connection->stream->write_all({as_bytes(head), body});
  stats_.bytes_out += body.size();
  if (!request || !request->is_control()) ++stats_.statuses[std::to_string(reply.status)];
  co_return sent && !is_cut && !reply.closes_connection;
}

Reply S3Server::control(const Request& request) {
  if (request.path == "/-/stats" && request.method == "GET") {
    stats_.objects = objects_->size();
    return text_reply(200, "application/json", json::write_text(stats_) + "\n");
  }
  if (request.path == "/-/faults" && request.method == "GET")
    return text_reply(200, "application/json", json::write_text(faults_.plan()) + "\n");
  if (request.path == "/-/faults" && request.method == "PUT") {
    auto plan = parse_faults(as_text(*request.body));
    if (!plan) return text_reply(400, "text/plain", fmt::format("{} {}\n", plan.error().field, plan.error()));
    set_faults(std::move(*plan));
    return text_reply(200, "text/plain", "");
  }
  for (std::string what : {"lifecycle", "replication"}) {
    if (!request.path.starts_with("/-/" + what + "/") || request.method != "PUT") continue;
    auto bucket = request.path.substr(4 + what.size());
    if (!objects_->has_bucket(bucket) && !objects_->create_bucket(bucket))
      return text_reply(400, "text/plain", "there is no such bucket, and it cannot be made\n");
    rules_[what + "/" + bucket] = as_text(*request.body);
    return text_reply(200, "text/plain", "");
  }
  return text_reply(404, "text/plain",
                    "there are PUT and GET /-/faults, GET /-/stats, PUT /-/lifecycle/BUCKET and PUT "
                    "/-/replication/BUCKET\n");
}

}  // namespace ebb::s3test
