#include "disk/nbd/nbd_session.h"
#include "disk/nbd/reply_queue.h"

namespace ebb::disk::nbd {
namespace {

constexpr std::size_t descriptors_max = 4096;         // of a block status; the client asks again for the rest
constexpr std::uint64_t status_bytes_max = 32 * MiB;  // looked up before others have a turn
constexpr std::size_t large_reply_bytes = 64 * KiB;   // sent before anything else is done
constexpr std::size_t piece_readers_max = 4;          // of one read, at the same time
constexpr std::uint64_t skipped_bytes_max =
    64 * MiB;  // of a write that is too long; more ends the connection

Task<void> let_others_run(Loop& loop) {
  OneShot<bool> turn(loop);
  loop.post([done = turn.completer()] { done(true); });
  co_await turn;
}

class Session {
 public:
  Session(Loop& loop, Stream& stream, Reader& reader, Agreement agreement, NbdLimits limits)
      : loop_(loop),
        reader_(reader),
        device_(std::move(agreement.device)),
        terms_(agreement.terms),
        room_(loop, limits.requests_max, limits.request_bytes_max),
        replies_(loop, stream),
        requests_(loop) {}
  Task<Status> run();

 private:
  using Place = Room::Place;
  struct PieceReads {
    std::vector<ReadPiece> pieces;
    std::size_t next = 0;
    bool has_failed = false;
  };

  Task<Status> read_requests();
  Task<Status> read_payload(Request* request);
  Task<void> read(Request request, Place place);
  Task<void> read_whole(Request request, Place place);
  Task<void> read_pieces(Request request, Place place, std::vector<ReadPiece> pieces);
  Task<bool> read_next_pieces(const Request* request, PieceReads* reads);
  Task<void> tell_status(Request request, Place place);
  Task<Result<std::vector<Extent>>> find_status(const Request* request);
  Task<void> change(Request request, Place place);
  void start(Request request, Place place);
  void finish(Reply reply, Place place);
  Task<void> send(Reply reply, Place place);
  void refuse(const Request& request, Refusal refusal, Place place,
              std::optional<std::uint64_t> at = std::nullopt);

  Loop& loop_;
  Reader& reader_;
  const std::shared_ptr<BlockDevice> device_;
  const Terms terms_;
  Room room_;
  ReplyQueue replies_;
  Scope requests_;  // last: its tasks use all of the above
};

Task<Status> Session::run() {
  auto ended = co_await read_requests();
  co_await requests_.join();
  co_await replies_.drain();
  co_return ended;
}

Task<Status> Session::read_requests() {
  std::array<std::byte, request_bytes> header;
  for (;;) {
    if (!reader_.take(header) && !co_await reader_.read(header))
      co_return Status{};  // the usual end of a killed client
    if (load_be<std::uint32_t>(header) != request_magic)
      co_return fail(Code::invalid, "a request with a wrong magic number");
    auto request = parse_request(header);
    if (request.command == cmd_disc) co_return Status{};
    auto bytes = takes_memory(request) ? request.length : 0;
    if (!room_.has_room(bytes)) co_await room_.wait_for_room(bytes);
    auto place = room_.take(bytes);
    if (request.command == cmd_write) EBB_CO_CHECKED(co_await read_payload(&request));
    if (auto refusal = check_request(request, terms_, *device_); refusal.number != nbd_ok)
      refuse(request, std::move(refusal), std::move(place));
    else
      start(std::move(request), std::move(place));
  }
}

Task<Status> Session::read_payload(Request* request) {
  if (request->length > skipped_bytes_max)
    co_return fail(Code::invalid, "a write of {} bytes", request->length);
  if (request->length > payload_bytes_max) co_return co_await reader_.skip(request->length);
  request->data.resize(request->length);
  co_return co_await reader_.read(request->data);
}

void Session::start(Request request, Place place) {
  switch (request.command) {
    case cmd_read:
      return requests_.spawn(read(std::move(request), std::move(place)));
    case cmd_block_status:
      return requests_.spawn(tell_status(std::move(request), std::move(place)));
    default:
      return requests_.spawn(change(std::move(request), std::move(place)));
  }
}

Task<void> Session::read(Request request, Place place) {
  bool may_have_parts = terms_.is_structured && !request.has(cmd_df) && request.length >= hole_bytes_min;
  if (!may_have_parts) co_return co_await read_whole(std::move(request), std::move(place));
  auto extents = co_await device_->extents(request.offset, request.length);
  if (extents && extents->empty()) extents = fail(Code::internal, "the device returned no extents");
  if (!extents) co_return refuse(request, refusal_of(extents.error()), std::move(place));
  auto pieces = plan_read(*extents);
  if (pieces.size() > 1) {
    co_await read_pieces(std::move(request), std::move(place), std::move(pieces));
  } else if (pieces[0].is_hole) {
    finish(hole_chunk(request, Last::yes, request.offset, request.length), std::move(place));
  } else {
    co_await read_whole(std::move(request), std::move(place));
  }
}

Task<void> Session::read_whole(Request request, Place place) {
  auto data = co_await device_->gather(request.offset, request.length);
  if (data && data->size() != request.length) data = fail(Code::internal, "the device returned too little");
  if (!data) co_return refuse(request, refusal_of(data.error()), std::move(place), request.offset);
  if (!terms_.is_structured) {
    auto reply = simple_reply(request, nbd_ok);
    reply.slices = std::move(*data);
    co_await send(std::move(reply), std::move(place));
  } else if (data->empty()) {
    finish(chunk(request, Last::yes, chunk_none, 0), std::move(place));
  } else if (data->size() >= block_bytes && !request.has(cmd_df) && data->is_all_zero()) {
    finish(hole_chunk(request, Last::yes, request.offset, request.length), std::move(place));
  } else {
    co_await send(data_chunk(request, Last::yes, request.offset, std::move(*data)), std::move(place));
  }
}

// Each piece is sent as it comes, so that what is slow or broken holds up only itself.
Task<void> Session::read_pieces(Request request, Place place, std::vector<ReadPiece> pieces) {
  PieceReads reads{std::move(pieces)};
  std::vector<Task<bool>> readers;
  for (std::size_t i = 0; i < std::min(reads.pieces.size(), piece_readers_max); ++i)
    readers.push_back(read_next_pieces(&request, &reads));
  std::ignore = co_await when_all(loop_, std::move(readers));
  finish(chunk(request, Last::yes, chunk_none, 0), std::move(place));
}

Task<bool> Session::read_next_pieces(const Request* request, PieceReads* reads) {
  while (reads->next < reads->pieces.size() && !reads->has_failed) {
    auto piece = reads->pieces[reads->next++];
    if (piece.is_hole) {
      replies_.push(hole_chunk(*request, Last::no, piece.offset, piece.length));
      continue;
    }
    auto data = co_await device_->gather(piece.offset, piece.length);
    if (data && data->size() != piece.length) data = fail(Code::internal, "the device returned too little");
    if (!data) {
      reads->has_failed = true;
      replies_.push(error_chunk(*request, Last::no, refusal_of(data.error()), piece.offset));
    } else if (data->is_all_zero()) {
      replies_.push(hole_chunk(*request, Last::no, piece.offset, piece.length));
    } else {
      co_await send(data_chunk(*request, Last::no, piece.offset, std::move(*data)), {});
    }
  }
  co_return true;
}

Task<void> Session::tell_status(Request request, Place place) {
  auto extents = co_await find_status(&request);
  if (!extents) co_return refuse(request, refusal_of(extents.error()), std::move(place));
  Bytes data;
  data.reserve(4 + 8 * extents->size());
  append_be(data, allocation_context_id);
  for (const auto& extent : *extents) {
    append_be(data, static_cast<std::uint32_t>(extent.length));
    append_be(data, extent.is_hole ? state_hole | state_zero : 0u);
  }
  auto reply = chunk(request, Last::yes, chunk_block_status, data.size());
  reply.data = std::move(data);
  finish(std::move(reply), std::move(place));
}

// As much as one reply tells, and looked up in parts: a request may be for 4 GiB.
Task<Result<std::vector<Extent>>> Session::find_status(const Request* request) {
  std::vector<Extent> out;
  const std::size_t count_max = request->has(cmd_req_one) ? 1 : descriptors_max;
  for (auto at = request->offset, end = at + request->length; at < end;) {
    auto stop = std::min(end, (at + status_bytes_max) / block_bytes * block_bytes);
    EBB_CO_TRY(found, co_await device_->extents(at, stop - at));
    if (found.empty()) co_return fail(Code::internal, "the device returned no extents");
    for (const auto& extent : found) {
      if (!out.empty() && out.back().is_hole == extent.is_hole)
        out.back().length += extent.length;
      else if (out.size() == count_max)
        co_return out;
      else
        out.push_back(extent);
    }
    at = stop;
    if (at < end) co_await let_others_run(loop_);
  }
  co_return out;
}

Task<void> Session::change(Request request, Place place) {
  Status done;
  switch (request.command) {
    case cmd_write:
      done = co_await device_->write(request.offset, std::move(request.data));
      break;
    case cmd_trim:
      done = co_await device_->trim(request.offset, request.length);
      break;
    case cmd_write_zeroes:
      done = co_await device_->write_zeroes(
          request.offset, request.length,
          request.has(cmd_no_hole) ? ZeroMode::keep_space : ZeroMode::may_unmap);
      break;
    case cmd_cache:
      // Reading brings it near; a failure is told, and harms nothing.
      if (auto read = co_await device_->read(request.offset, request.length); !read)
        done = fail(std::move(read).error());
      break;
    default:
      done = co_await device_->flush();
      break;
  }
  bool changes = request.command != cmd_flush && request.command != cmd_cache;
  if (done && changes && request.has(cmd_fua)) done = co_await device_->flush();
  if (!done) co_return refuse(request, refusal_of(done.error()), std::move(place));
  finish(simple_reply(request, nbd_ok), std::move(place));
}

void Session::finish(Reply reply, Place place) {
  reply.place = std::move(place);
  replies_.push(std::move(reply));
}

Task<void> Session::send(Reply reply, Place place) {
  reply.place = std::move(place);
  if (reply.slices.size() >= large_reply_bytes)
    co_await replies_.send(std::move(reply));
  else
    replies_.push(std::move(reply));
}

void Session::refuse(const Request& request, Refusal refusal, Place place, std::optional<std::uint64_t> at) {
  if (terms_.is_structured)
    finish(error_chunk(request, Last::yes, std::move(refusal), at), std::move(place));
  else
    finish(simple_reply(request, static_cast<ErrorNumber>(refusal.number)), std::move(place));
}

}  // namespace

Task<Status> serve_requests(Loop& loop, Stream* stream, Reader* reader, Agreement agreement,
                            NbdLimits limits) {
  Session session(loop, *stream, *reader, std::move(agreement), limits);
  co_return co_await session.run();
}

}  // namespace ebb::disk::nbd
