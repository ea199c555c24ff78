// Another network, with TLS on each connection that comes in.
#pragma once
#include "env/stream.h"

namespace ebb::s3test {

class TlsNetwork final : public Network {
 public:
  // PEM files. `below` outlives it.
  static Result<std::unique_ptr<TlsNetwork>> make(Network& below, const std::string& certificate,
                                                  const std::string& key);
  // A connection whose handshake fails is closed, and the handler hears nothing of it.
  Result<std::unique_ptr<Listener>> listen(std::string address, StreamHandler handler) override;
  Task<Result<std::unique_ptr<Stream>>> connect(std::string address) override;

 private:
  struct Context;
  TlsNetwork(Network& below, std::shared_ptr<Context> context)
      : below_(below), context_(std::move(context)) {}
  Network& below_;
  std::shared_ptr<Context> context_;
};

}  // namespace ebb::s3test
