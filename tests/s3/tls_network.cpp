#include "tls_network.h"

#include <openssl/ssl.h>

namespace ebb::s3test {

struct TlsNetwork::Context {
  Context() = default;
  Context(const Context&) = delete;
  ~Context() { SSL_CTX_free(ssl); }
  SSL_CTX* ssl = SSL_CTX_new(TLS_server_method());
};

namespace {

constexpr std::size_t piece_bytes = 64 * KiB;

// OpenSSL between two buffers, which are carried to and from the connection below. Not for a read and a write at a time: the
// server is asked and answers in turn.
class TlsStream final : public Stream {
 public:
  TlsStream(SSL_CTX* context, std::unique_ptr<Stream> below)
      : ssl_(SSL_new(context)), below_(std::move(below)) {
    SSL_set_bio(ssl_, BIO_new(BIO_s_mem()), BIO_new(BIO_s_mem()));
    SSL_set_accept_state(ssl_);
  }
  TlsStream(const TlsStream&) = delete;
  ~TlsStream() override { SSL_free(ssl_); }

  Task<Status> shake_hands() {
    for (;;) {
      auto done = SSL_do_handshake(ssl_);
      auto error = SSL_get_error(ssl_, done);
      EBB_CO_CHECKED(co_await send());
      if (done == 1) co_return Status{};
      if (error != SSL_ERROR_WANT_READ) co_return fail(Code::unavailable, "no TLS is agreed on");
      EBB_CO_TRY(count, co_await receive());
      if (count == 0) co_return fail(Code::unavailable, "the connection ended before TLS was agreed on");
    }
  }
  Task<Result<std::size_t>> read_some(MutableBytes into) override {
    for (;;) {
      std::size_t count = 0;
      auto done = SSL_read_ex(ssl_, into.data(), into.size(), &count);
      auto error = SSL_get_error(ssl_, done);
      EBB_CO_CHECKED(co_await send());
      if (done == 1) co_return count;
      if (error == SSL_ERROR_ZERO_RETURN) co_return std::size_t{0};
      if (error != SSL_ERROR_WANT_READ) co_return fail(Code::unavailable, "TLS is broken");
      EBB_CO_TRY(received, co_await receive());
      if (received == 0) co_return std::size_t{0};
    }
  }
  Task<Status> write_all(std::vector<ByteView> parts) override {
    for (auto part : parts) {
      while (!part.empty()) {
        auto piece = part.first(std::min(part.size(), piece_bytes));
        std::size_t count = 0;
        if (SSL_write_ex(ssl_, piece.data(), piece.size(), &count) != 1)
          co_return fail(Code::unavailable, "TLS is broken");
        part = part.subspan(count);
        EBB_CO_CHECKED(co_await send());
      }
    }
    co_return Status{};
  }
  void close() override { below_->close(); }

 private:
  Task<Status> send() {
    Bytes out(BIO_ctrl_pending(SSL_get_wbio(ssl_)));
    if (out.empty()) co_return Status{};
    auto count = BIO_read(SSL_get_wbio(ssl_), out.data(), static_cast<int>(out.size()));
    CHECK(count == static_cast<int>(out.size()));
    co_return co_await below_->write_all({out});
  }
  Task<Result<std::size_t>> receive() {
    Bytes in(piece_bytes);
    EBB_CO_TRY(count, co_await below_->read_some(in));
    if (count > 0)
      CHECK(BIO_write(SSL_get_rbio(ssl_), in.data(), static_cast<int>(count)) == static_cast<int>(count));
    co_return count;
  }

  SSL* ssl_;
  std::unique_ptr<Stream> below_;
};

Task<void> serve(std::shared_ptr<void> context, SSL_CTX* ssl, std::unique_ptr<Stream> below,
                 StreamHandler handler) {
  auto keeps = std::move(context);
  auto stream = std::make_unique<TlsStream>(ssl, std::move(below));
  if (co_await stream->shake_hands()) co_await handler(std::move(stream));
}

}  // namespace

Result<std::unique_ptr<TlsNetwork>> TlsNetwork::make(Network& below, const std::string& certificate,
                                                     const std::string& key) {
  auto context = std::make_shared<Context>();
  if (SSL_CTX_use_certificate_file(context->ssl, certificate.c_str(), SSL_FILETYPE_PEM) != 1)
    return fail(Code::invalid, "{} holds no certificate", certificate);
  if (SSL_CTX_use_PrivateKey_file(context->ssl, key.c_str(), SSL_FILETYPE_PEM) != 1)
    return fail(Code::invalid, "{} holds no key of that certificate", key);
  return std::unique_ptr<TlsNetwork>(new TlsNetwork(below, std::move(context)));
}

Result<std::unique_ptr<Listener>> TlsNetwork::listen(std::string address, StreamHandler handler) {
  return below_.listen(std::move(address), [context = context_, handler](std::unique_ptr<Stream> stream) {
    return serve(context, context->ssl, std::move(stream), handler);
  });
}

Task<Result<std::unique_ptr<Stream>>> TlsNetwork::connect(std::string address) {
  co_return fail(Code::invalid, "nobody connects to {} from here", address);
}

}  // namespace ebb::s3test
