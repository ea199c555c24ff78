// The outside world, for the mains: one of each, in the order in which they need each other.
#pragma once
#include "platform/asio_loop.h"
#include "platform/beast_http.h"
#include "platform/folder_store.h"
#include "platform/host.h"
#include "platform/posix_files.h"
#include "platform/socket_network.h"

namespace ebb {

struct RealEnv {
  explicit RealEnv(SocketOptions sockets = {}) : network(loop, sockets) {}

  AsioLoop loop;
  PosixFiles files{loop};
  SocketNetwork network;
  BeastHttp http{loop, network};
};

}  // namespace ebb
