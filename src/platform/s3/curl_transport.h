// HTTP requests by libcurl on our loop: many at a time over kept connections, each sent at most once.
// Destroying a request's task ends it; destroying the transport ends them all.
#pragma once
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "env/object_store.h"
#include "platform/asio_loop.h"

namespace ebb {

struct CurlLimits {
  Duration connect = 5s;
  Duration total = 30s;            // from the moment it is sent; waiting for a turn does not count
  Duration stall = 15s;            // in whole seconds: not a byte in either direction for so long
  std::size_t in_flight_max = 64;  // further ones wait for their turn
  std::size_t reply_bytes_max = 64 * MiB;
};

struct CurlRequest {
  std::string method = "GET", url;
  std::vector<std::string> headers;  // "name: value"
  SharedBytes body;                  // null: none
  std::string ca_file;               // empty: the system's
};

struct CurlReply {
  int status = 0;
  std::map<std::string, std::string> headers;  // names in lower case
  Bytes body;
};

class CurlTransport final {
 public:
  explicit CurlTransport(AsioLoop& loop, CurlLimits limits = {});
  CurlTransport(const CurlTransport&) = delete;
  ~CurlTransport();
  // unavailable: no whole reply; the request may have been carried out. invalid: it cannot be sent at all (a
  // certificate that is not trusted, a CA file that cannot be read).
  Task<Result<CurlReply>> send(CurlRequest request);
  // Ends every request under way, as unavailable; further ones likewise.
  void close();
  // How often a connection was made, for tests and metrics.
  std::uint64_t connections_made() const;

 private:
  class Core;
  class Transfer;
  static Task<Result<CurlReply>> run(std::shared_ptr<Core> core, CurlRequest request);
  std::shared_ptr<Core> core_;
};

}  // namespace ebb
