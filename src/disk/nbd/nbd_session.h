// What handshake and requests share: the connection, and what was agreed on it.
#pragma once
#include "disk/nbd/nbd_server.h"
#include "disk/nbd/request_rules.h"

namespace ebb::disk::nbd {

// Reads ahead, because requests are small and many.
class Reader {
 public:
  explicit Reader(Stream& stream) : stream_(stream) {}
  // `into` outlives the task. unavailable at the end of the stream.
  Task<Status> read(MutableBytes into);
  // What is here already, without a coroutine; false if that is too little.
  bool take(MutableBytes into);
  Task<Status> skip(std::uint64_t bytes);

 private:
  Stream& stream_;
  Bytes buffer_ = Bytes(64 * KiB);
  std::size_t begin_ = 0, end_ = 0;
};

// What the client has agreed with us, once it enters transmission.
struct Agreement {
  std::string name;
  std::shared_ptr<BlockDevice> device;
  Terms terms;
};

std::uint16_t transmission_flags(const BlockDevice& device, bool is_structured);

// nullopt: the client left politely. An error says why the connection must end.
Task<Result<std::optional<Agreement>>> shake_hands(Stream* stream, Reader* reader, const NbdExports* exports);

// Serves requests until the client leaves; an error says what it did wrong.
Task<Status> serve_requests(Loop& loop, Stream* stream, Reader* reader, Agreement agreement,
                            NbdLimits limits);

}  // namespace ebb::disk::nbd
