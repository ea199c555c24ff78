// Unix and TCP sockets.
#pragma once
#include <optional>
#include <sys/types.h>

#include "env/stream.h"
#include "platform/asio_loop.h"

namespace ebb {

struct SocketOptions {
  mode_t unix_mode = 0660;  // of the unix sockets that we listen on
  std::optional<uid_t>
      unix_uid;  // their owner: who, besides us, may connect (QEMU runs under a user of its own)
  std::optional<gid_t> unix_gid;
};

class SocketNetwork final : public Network {
 public:
  explicit SocketNetwork(AsioLoop& loop, SocketOptions options = {}) : loop_(loop), options_(options) {}
  Result<std::unique_ptr<Listener>> listen(std::string address, StreamHandler handler) override;
  Task<Result<std::unique_ptr<Stream>>> connect(std::string address) override;

 private:
  AsioLoop& loop_;
  SocketOptions options_;
};

}  // namespace ebb
