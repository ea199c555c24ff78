// Byte streams between processes: unix and TCP sockets, or pipes in the simulator.
#pragma once
#include <functional>
#include <memory>
#include <string>

#include "base/bytes.h"
#include "base/result.h"
#include "env/task.h"

namespace ebb {

class Stream {
 public:
  virtual ~Stream() = default;  // closes
  // At least one byte, at most into.size(); 0 at the end. `into` outlives the task.
  virtual Task<Result<std::size_t>> read_some(MutableBytes into) = 0;
  // All of it, gathered in order; the spans outlive the task. One write at a time.
  virtual Task<Status> write_all(std::vector<ByteView> parts) = 0;
  // Ends reads and writes that wait.
  virtual void close() = 0;
};

// Fills `into` exactly. An end in between is `unavailable`; an end before the first byte likewise.
Task<Status> read_exactly(Stream& stream, MutableBytes into);

// Called once a connection, on the loop; the task lives in the listener's scope.
using StreamHandler = std::function<Task<void>(std::unique_ptr<Stream>)>;

// Listening until destroyed; destroying it also ends the connections' tasks.
class Listener {
 public:
  virtual ~Listener() = default;
  virtual std::string address() const = 0;  // as it was bound: "unix:/path" or "127.0.0.1:34567"
};

class Network {
 public:
  virtual ~Network() = default;
  // "unix:/path" (a stale socket file is replaced; a live one is `busy`) or "host:port" (port 0: any free
  // one).
  virtual Result<std::unique_ptr<Listener>> listen(std::string address, StreamHandler handler) = 0;
  virtual Task<Result<std::unique_ptr<Stream>>> connect(std::string address) = 0;
};

}  // namespace ebb
