#include "disk/nbd/nbd_server.h"

#include "disk/nbd/nbd_session.h"

namespace ebb::disk {
namespace nbd {

bool Reader::take(MutableBytes into) {
  if (end_ - begin_ < into.size()) return false;
  std::memcpy(into.data(), buffer_.data() + begin_, into.size());
  begin_ += into.size();
  return true;
}

Task<Status> Reader::skip(std::uint64_t bytes) {
  Bytes scratch(std::min<std::uint64_t>(bytes, 64 * KiB));
  while (bytes > 0) {
    auto piece = std::min<std::uint64_t>(bytes, scratch.size());
    EBB_CO_CHECKED(co_await read(MutableBytes(scratch).first(piece)));
    bytes -= piece;
  }
  co_return Status{};
}

Task<Status> Reader::read(MutableBytes into) {
  while (!into.empty()) {
    if (begin_ < end_) {
      auto count = std::min(into.size(), end_ - begin_);
      std::memcpy(into.data(), buffer_.data() + begin_, count);
      begin_ += count;
      into = into.subspan(count);
      continue;
    }
    // Large payloads go straight to their place.
    if (into.size() >= buffer_.size()) co_return co_await read_exactly(stream_, into);
    EBB_CO_TRY(count, co_await stream_.read_some(buffer_));
    if (count == 0) co_return fail(Code::unavailable, "the client closed the connection");
    begin_ = 0, end_ = count;
  }
  co_return Status{};
}

std::uint16_t transmission_flags(const BlockDevice& device, bool is_structured) {
  int flags = has_flags | send_flush | send_fua | send_cache | can_multi_conn;
  flags |= device.is_read_only() ? flag_read_only : send_trim | send_write_zeroes | send_fast_zero;
  if (is_structured) flags |= send_df;
  return static_cast<std::uint16_t>(flags);
}

namespace {

struct Timer {
  Loop& loop;
  std::uint64_t id;
  ~Timer() { loop.cancel(id); }
};

}  // namespace
}  // namespace nbd

Task<void> serve_nbd(Loop& loop, std::unique_ptr<Stream> stream, NbdExports exports, NbdLimits limits) {
  nbd::Reader reader(*stream);
  std::optional<nbd::Agreement> agreement;
  {
    nbd::Timer timer{loop, loop.call_at(loop.now() + limits.handshake, [&stream] { stream->close(); })};
    auto shaken = co_await nbd::shake_hands(stream.get(), &reader, &exports);
    if (!shaken) exports.log.debug("NBD handshake ended: {}", shaken.error());
    if (!shaken || !*shaken) co_return;
    agreement = std::move(**shaken);
  }
  auto name = agreement->name;
  exports.log.debug("NBD client opened '{}'", name);
  auto served = co_await nbd::serve_requests(loop, stream.get(), &reader, std::move(*agreement), limits);
  if (served)
    exports.log.debug("NBD client left '{}'", name);
  else
    exports.log.info("NBD connection of '{}' ended: {}", name, served.error());
}

}  // namespace ebb::disk
