#include "disk/nbd/nbd_session.h"
#include "env/scope.h"

namespace ebb::disk::nbd {
namespace {

constexpr std::size_t descriptors_max =
    4096;  // of one block status reply; the client asks again for the rest

struct Request {
  std::uint16_t flags = 0, command = 0;
  std::uint64_t cookie = 0, offset = 0;
  std::uint32_t length = 0;
  Bytes data;  // of a write
};

// Why a request is answered with an error; number 0 is none.
struct Refusal {
  std::uint32_t number = nbd_ok;
  std::string message;
};

Refusal refusal_of(const Error& error) {
  switch (error.code) {
    case Code::invalid:
      return {nbd_einval, error.message};
    // The client is to leave, and finds the disk elsewhere or nowhere.
    case Code::fenced:
      return {nbd_eshutdown, error.message};
    case Code::not_found:
    case Code::conflict:
    case Code::busy:
    case Code::unavailable:
    case Code::corrupt:
    case Code::internal:
      return {nbd_eio, error.message};
  }
  return {nbd_eio, error.message};
}

std::uint16_t allowed_flags(std::uint16_t command) {
  switch (command) {
    case cmd_read:
      return cmd_fua | cmd_df;
    case cmd_write_zeroes:
      return cmd_fua | cmd_no_hole;
    case cmd_block_status:
      return cmd_fua | cmd_req_one;
    default:
      return cmd_fua;  // clients are known to set it everywhere
  }
}

// What can be said of a request without doing it.
Refusal check(const Request& request, const Agreement& agreement) {
  const auto& device = *agreement.device;
  bool writes =
      request.command == cmd_write || request.command == cmd_trim || request.command == cmd_write_zeroes;
  switch (request.command) {
    case cmd_read:
    case cmd_write:
    case cmd_flush:
    case cmd_trim:
    case cmd_write_zeroes:
      break;
    case cmd_block_status:
      if (!agreement.has_allocation) return {nbd_einval, "no metadata context was selected"};
      if (request.length == 0) return {nbd_einval, "block status of nothing"};
      break;
    default:
      return {nbd_einval, fmt::format("unknown command {}", request.command)};
  }
  if (request.flags & ~allowed_flags(request.command))
    return {nbd_einval, fmt::format("flags {:#x} do not fit the command", request.flags)};
  if (writes && device.is_read_only()) return {nbd_eperm, "the export is read-only"};
  if (request.command == cmd_flush) {
    if (request.offset != 0 || request.length != 0) return {nbd_einval, "a flush has no range"};
    return {};
  }
  if (request.command == cmd_read && request.length > payload_bytes_max) {
    return {nbd_einval, fmt::format("a read of more than {} bytes", payload_bytes_max)};
  }
  auto size = device.size_bytes();
  if (request.length > size || request.offset > size - request.length) {
    bool needs_room = request.command == cmd_write || request.command == cmd_write_zeroes;
    return {needs_room ? nbd_enospc : nbd_einval, "the range ends beyond the disk"};
  }
  return {};
}

class Session {
 public:
  Session(Loop& loop, Stream& stream, Reader& reader, Agreement agreement, NbdLimits limits)
      : stream_(stream),
        reader_(reader),
        agreement_(std::move(agreement)),
        limits_(limits),
        room_(loop),
        output_(loop),
        requests_(loop) {}
  Task<Status> run();

 private:
  Task<Status> read_requests();
  Task<void> execute(Request request);
  Task<Refusal> execute_read(const Request* request);
  Task<Refusal> execute_block_status(const Request* request);
  Task<Refusal> execute_plain(Request* request);
  Task<void> send(Bytes head, Bytes data);
  Task<void> send_done(const Request* request, Refusal refusal);
  Bytes chunk_head(const Request& request, std::uint16_t flags, std::uint16_t type, std::size_t length) const;

  // The room that a request takes while it is under way.
  struct Place {
    Place(Session* s, std::size_t b) : session(s), bytes(b) {
      ++session->in_flight_, session->bytes_in_flight_ += bytes;
    }
    Place(Place&& other) noexcept : session(std::exchange(other.session, nullptr)), bytes(other.bytes) {}
    Place& operator=(Place&&) = delete;
    ~Place() {
      if (!session) return;
      --session->in_flight_, session->bytes_in_flight_ -= bytes;
      session->room_.notify_all();
    }
    Session* session;
    std::size_t bytes;
  };
  Task<Place> take_place(std::size_t bytes);
  static Task<void> run_request(Session* self, Request request, [[maybe_unused]] Place place) {
    co_await self->execute(std::move(request));
  }

  Stream& stream_;
  Reader& reader_;
  const Agreement agreement_;
  const NbdLimits limits_;
  std::size_t in_flight_ = 0, bytes_in_flight_ = 0;
  Notify room_;
  AsyncMutex output_;
  Scope requests_;  // last: its tasks use all of the above
};

Task<Status> Session::run() {
  auto ended = co_await read_requests();
  co_await requests_.join();
  co_return ended;
}

Task<Session::Place> Session::take_place(std::size_t bytes) {
  while (in_flight_ > 0 &&
         (in_flight_ >= limits_.requests_max || bytes_in_flight_ + bytes > limits_.request_bytes_max)) {
    co_await room_.wait();
  }
  co_return Place(this, bytes);
}

Task<Status> Session::read_requests() {
  for (;;) {
    Bytes header(request_bytes);
    if (!co_await reader_.read(header)) co_return Status{};  // the usual end of a killed client
    if (load_be<std::uint32_t>(header) != request_magic)
      co_return fail(Code::invalid, "a request with a wrong magic number");
    Request request{load_be<std::uint16_t>(header, 4),  load_be<std::uint16_t>(header, 6),
                    load_be<std::uint64_t>(header, 8),  load_be<std::uint64_t>(header, 16),
                    load_be<std::uint32_t>(header, 24), {}};
    if (request.command == cmd_disc) co_return Status{};
    bool has_payload = request.command == cmd_write;
    // So much cannot be skipped in good faith.
    if (has_payload && request.length > payload_bytes_max)
      co_return fail(Code::invalid, "a write of {} bytes", request.length);
    bool takes_memory = has_payload || (request.command == cmd_read && request.length <= payload_bytes_max);
    auto place = co_await take_place(takes_memory ? request.length : 0);
    if (has_payload) {
      request.data.resize(request.length);
      EBB_CO_CHECKED(co_await reader_.read(request.data));
    }
    requests_.spawn(run_request(this, std::move(request), std::move(place)));
  }
}

Task<void> Session::execute(Request request) {
  auto refusal = check(request, agreement_);
  if (refusal.number == nbd_ok) {
    if (request.command == cmd_read) {
      refusal = co_await execute_read(&request);
      if (refusal.number == nbd_ok) co_return;
    } else if (request.command == cmd_block_status) {
      refusal = co_await execute_block_status(&request);
      if (refusal.number == nbd_ok) co_return;
    } else {
      refusal = co_await execute_plain(&request);
    }
  }
  co_await send_done(&request, std::move(refusal));
}

Task<Refusal> Session::execute_read(const Request* request) {
  auto data = co_await agreement_.device->read(request->offset, request->length);
  if (!data) co_return refusal_of(data.error());
  if (data->size() != request->length) co_return Refusal{nbd_eio, "the device returned too little"};
  if (!agreement_.is_structured) {
    Bytes head;
    append_be(head, simple_reply_magic);
    append_be(head, std::uint32_t{nbd_ok});
    append_be(head, request->cookie);
    co_await send(std::move(head), std::move(*data));
  } else if (data->empty()) {
    co_await send(chunk_head(*request, chunk_done, chunk_none, 0), {});
  } else if (data->size() >= block_bytes_preferred && !(request->flags & cmd_df) && is_all_zero(*data)) {
    auto head = chunk_head(*request, chunk_done, chunk_hole, 12);
    append_be(head, request->offset);
    append_be(head, request->length);
    co_await send(std::move(head), {});
  } else {
    auto head = chunk_head(*request, chunk_done, chunk_data, 8 + data->size());
    append_be(head, request->offset);
    co_await send(std::move(head), std::move(*data));
  }
  co_return Refusal{};
}

Task<Refusal> Session::execute_block_status(const Request* request) {
  auto extents = co_await agreement_.device->extents(request->offset, request->length);
  if (!extents) co_return refusal_of(extents.error());
  if (extents->empty()) co_return Refusal{nbd_eio, "the device returned no extents"};
  std::size_t count =
      std::min<std::size_t>(extents->size(), request->flags & cmd_req_one ? 1 : descriptors_max);
  Bytes data;
  append_be(data, allocation_context_id);
  for (const auto& extent : std::span(*extents).first(count)) {
    append_be(data, static_cast<std::uint32_t>(extent.length));
    append_be(data, extent.is_hole ? state_hole | state_zero : 0u);
  }
  co_await send(chunk_head(*request, chunk_done, chunk_block_status, data.size()), std::move(data));
  co_return Refusal{};
}

Task<Refusal> Session::execute_plain(Request* request) {
  auto device = agreement_.device;
  Status done;
  switch (request->command) {
    case cmd_write:
      done = co_await device->write(request->offset, std::move(request->data));
      break;
    case cmd_trim:
      done = co_await device->trim(request->offset, request->length);
      break;
    case cmd_write_zeroes:
      done = co_await device->write_zeroes(
          request->offset, request->length,
          request->flags & cmd_no_hole ? ZeroMode::keep_space : ZeroMode::may_unmap);
      break;
    default:
      done = co_await device->flush();
      break;
  }
  if (done && request->flags & cmd_fua && request->command != cmd_flush) done = co_await device->flush();
  co_return done ? Refusal{} : refusal_of(done.error());
}

Bytes Session::chunk_head(const Request& request, std::uint16_t flags, std::uint16_t type,
                          std::size_t length) const {
  Bytes head;
  append_be(head, chunk_magic);
  append_be(head, flags);
  append_be(head, type);
  append_be(head, request.cookie);
  append_be(head, static_cast<std::uint32_t>(length));
  return head;
}

Task<void> Session::send_done(const Request* request, Refusal refusal) {
  if (refusal.number != nbd_ok && agreement_.is_structured) {
    refusal.message.resize(std::min(refusal.message.size(), name_bytes_max));
    auto head = chunk_head(*request, chunk_done, chunk_error, 6 + refusal.message.size());
    append_be(head, refusal.number);
    append_be(head, static_cast<std::uint16_t>(refusal.message.size()));
    co_await send(std::move(head), to_bytes(refusal.message));
    co_return;
  }
  Bytes head;
  append_be(head, simple_reply_magic);
  append_be(head, refusal.number);
  append_be(head, request->cookie);
  co_await send(std::move(head), {});
}

// One reply at a time, each whole. When the client takes no more, the reader is to find out as well.
Task<void> Session::send(Bytes head, Bytes data) {
  auto guard = co_await output_.lock();
  if (auto sent = co_await stream_.write_all({head, data}); !sent) stream_.close();
}

}  // namespace

Task<Status> serve_requests(Loop& loop, Stream* stream, Reader* reader, Agreement agreement,
                            NbdLimits limits) {
  Session session(loop, *stream, *reader, std::move(agreement), limits);
  co_return co_await session.run();
}

}  // namespace ebb::disk::nbd
