#include "base/text.h"
#include "platform/beast_http_parts.h"
#include "platform/http_connection.h"
#include "platform/http_parse.h"

namespace ebb::http {
namespace {

constexpr Duration connect_limit = 10s;
constexpr Duration sweep_every = 30s;

std::string host_of(const std::string& address) {
  return address.starts_with("unix:") ? "localhost" : address;
}

bool may_repeat(const std::string& method) { return method == "GET" || method == "HEAD" || method == "PUT"; }

// An idle connection brings nothing but its end. What comes unasked makes it useless too.
Task<void> watch_idle(Loop& loop, Stream* stream, std::shared_ptr<bool> closed, Duration limit) {
  Deadline deadline(loop, *stream, limit);
  std::array<std::byte, 1> byte;
  [[maybe_unused]] auto ended = co_await stream->read_some(byte);
  *closed = true;
  stream->close();
}

// How far a request on one connection came.
struct Attempt {
  Result<HttpResponse> response;
  bool sent = false;  // whole; a server does nothing about half a request
  bool reply_began = false;
  bool keep_alive = false;
};

Task<Attempt> attempt(Loop& loop, Connection* connection, const HttpRequest* request, std::string host,
                      HttpLimits limits) {
  auto head = request_head(*request, host);
  if (auto sent = co_await Connection::write(connection, loop, head, request->body, limits.idle); !sent) {
    co_return Attempt{std::unexpected(std::move(sent).error())};
  }
  bool began = false;
  for (;;) {
    ResponseParser parser({limits.header_bytes_max, limits.reply_bytes_max}, request->method == "HEAD",
                          nullptr);
    // After an interim reply (1xx) the real one may be in the buffer already.
    auto fed = parser.feed(connection->buffer);
    while (fed && !parser.done()) {
      auto more = co_await Connection::read_more(connection);
      began = began || !connection->buffer.empty();
      fed = !more   ? Status(std::unexpected(std::move(more).error()))
            : *more ? parser.feed(connection->buffer)
                    : parser.end();
    }
    if (!fed) co_return Attempt{std::unexpected(std::move(fed).error()), true, began};
    auto response = parser.take();
    if (response.status >= 200)
      co_return Attempt{std::move(response), true, true, parser.keep_alive() && connection->buffer.empty()};
  }
}

}  // namespace

std::unique_ptr<Stream> KeptConnections::take(const std::string& address) {
  auto found = kept_.find(address);
  if (found == kept_.end()) return nullptr;
  while (!found->second.empty()) {
    auto kept = std::move(found->second.back());
    found->second.pop_back();
    if (*kept.closed) continue;
    kept.watch.reset();
    return std::move(kept.stream);
  }
  return nullptr;
}

void KeptConnections::keep(const std::string& address, std::unique_ptr<Stream> stream) {
  sweep();
  auto& list = kept_[address];
  std::erase_if(list, [](const Kept& kept) { return *kept.closed; });
  if (list.size() >= limits_.kept_connections_max) return;
  Kept kept{std::move(stream), std::make_shared<bool>(false), std::make_unique<Scope>(loop_)};
  kept.watch->spawn(watch_idle(loop_, kept.stream.get(), kept.closed, limits_.kept_idle));
  list.push_back(std::move(kept));
}

// Addresses that are not used any more must not pile up.
void KeptConnections::sweep() {
  if (loop_.now() < swept_ + sweep_every) return;
  swept_ = loop_.now();
  for (auto& [address, list] : kept_) std::erase_if(list, [](const Kept& kept) { return *kept.closed; });
  std::erase_if(kept_, [](const auto& entry) { return entry.second.empty(); });
}

Task<Result<HttpResponse>> Client::exchange(std::string address, HttpRequest request) {
  Connection connection{kept_.take(address), {}};
  bool reused = connection.stream != nullptr;
  for (;;) {
    if (!connection.stream) {
      EBB_CO_TRY(fresh, co_await network_.connect(address));
      connection = Connection{std::move(fresh), {}};
    }
    auto result = co_await attempt(loop_, &connection, &request, host_of(address), limits_);
    if (result.response) {
      if (result.keep_alive) kept_.keep(address, std::move(connection.stream));
      co_return std::move(result.response);
    }
    // The server may have closed a kept connection just as we took it: then, and only once, a fresh one.
    bool untouched = !result.sent || (!result.reply_began && may_repeat(request.method));
    if (!std::exchange(reused, false) || !untouched) {
      co_return fail(std::move(result.response.error())
                         .within(fmt::format("{} {} at {}", request.method, request.target, address)));
    }
    connection.stream.reset();
  }
}

Task<Result<HttpResponse>> Client::request(std::string address, HttpRequest request, Duration limit) {
  EBB_CO_CHECKED(check_request(request));
  auto what = fmt::format("{} {} at {}", request.method, request.target, address);
  auto result = co_await with_timeout(loop_, exchange(std::move(address), std::move(request)), limit);
  if (!result) {
    co_return fail(Code::unavailable, "{}: no reply within {}; the request may have been carried out", what,
                   format_duration(limit));
  }
  co_return std::move(*result);
}

Task<Status> Client::request_stream(std::string address, HttpRequest request, PieceHandler on_piece) {
  EBB_CO_CHECKED(check_request(request));
  auto fresh = co_await with_timeout(loop_, network_.connect(address), connect_limit);
  if (!fresh)
    co_return fail(Code::unavailable, "cannot connect to {}: no answer within {}", address,
                   format_duration(connect_limit));
  if (!*fresh) co_return std::unexpected(std::move(*fresh).error());
  Connection connection{std::move(**fresh), {}};
  auto head = request_head(request, host_of(address));
  EBB_CO_CHECKED(co_await Connection::write(&connection, loop_, head, request.body, limits_.idle));
  ResponseParser parser({limits_.header_bytes_max, limits_.reply_bytes_max}, false, &on_piece);
  while (!parser.done()) {
    EBB_CO_TRY(more, co_await Connection::read_more(&connection));
    EBB_CO_CHECKED(more ? parser.feed(connection.buffer) : parser.end());
  }
  auto response = parser.take();
  if (response.status != 200) co_return fail(error_of_reply(response));
  co_return Status{};
}

}  // namespace ebb::http
