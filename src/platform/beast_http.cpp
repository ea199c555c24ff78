#include "platform/beast_http.h"

#include "platform/beast_http_parts.h"

namespace ebb {

struct BeastHttp::Impl {
  Loop& loop;
  Network& network;
  HttpLimits limits;
  http::Client client{loop, network, limits};
};

BeastHttp::BeastHttp(Loop& loop, Network& network, HttpLimits limits)
    : impl_(new Impl{loop, network, limits}) {}
BeastHttp::~BeastHttp() = default;

Result<std::unique_ptr<HttpServer>> BeastHttp::serve(std::string address, HttpHandler handler,
                                                     std::size_t body_bytes_max) {
  return http::serve(impl_->loop, impl_->network, impl_->limits, std::move(address), std::move(handler),
                     body_bytes_max);
}

Task<Result<HttpResponse>> BeastHttp::request(std::string address, HttpRequest request, Duration limit) {
  return impl_->client.request(std::move(address), std::move(request), limit);
}

Task<Status> BeastHttp::request_stream(std::string address, HttpRequest request, PieceHandler on_piece) {
  return impl_->client.request_stream(std::move(address), std::move(request), std::move(on_piece));
}

}  // namespace ebb
