// What the two sides of HTTP share: a stream with the bytes that were read ahead of their use, and a limit on
// waiting.
#pragma once
#include "env/loop.h"
#include "env/stream.h"

namespace ebb::http {

inline constexpr std::size_t read_bytes = 64 * KiB;  // asked of the stream at once
inline constexpr std::size_t write_bytes =
    256 * KiB;  // given to the stream at once: each such piece has its own deadline

// Closes the stream when it is still there at the end of `limit`.
class Deadline {
 public:
  Deadline(Loop& loop, Stream& stream, Duration limit)
      : loop_(loop),
        timer_(loop.call_at(loop.now() + limit, [this, &stream] { passed_ = true, stream.close(); })) {}
  Deadline(const Deadline&) = delete;
  ~Deadline() { loop_.cancel(timer_); }
  bool passed() const { return passed_; }

 private:
  Loop& loop_;
  bool passed_ = false;
  std::uint64_t timer_;
};

struct Connection {
  std::unique_ptr<Stream> stream;
  std::string buffer;  // read, and not yet used

  // Appends to the buffer; false at the end of the stream. Nothing is lost when the task is destroyed.
  static Task<Result<bool>> read_more(Connection* self) {
    Bytes piece(read_bytes);
    EBB_CO_TRY(count, co_await self->stream->read_some(piece));
    self->buffer += as_text(ByteView(piece).first(count));
    co_return count > 0;
  }

  // A peer that takes none of `limit` worth of waiting is cut off.
  static Task<Status> write(Connection* self, Loop& loop, std::string_view head, std::string_view body,
                            Duration limit) {
    auto first = std::min(body.size(), write_bytes);
    for (bool is_first = true; is_first || !body.empty(); is_first = false) {
      auto piece = body.substr(0, is_first ? first : std::min(body.size(), write_bytes));
      std::vector<ByteView> parts;
      if (is_first) parts.push_back(as_bytes(head));
      parts.push_back(as_bytes(piece));
      Deadline deadline(loop, *self->stream, limit);
      EBB_CO_CHECKED(co_await self->stream->write_all(std::move(parts)));
      body.remove_prefix(piece.size());
    }
    co_return Status{};
  }
};

}  // namespace ebb::http
