#include "disk/nbd/reply_queue.h"

namespace ebb::disk::nbd {
namespace {

// Of one write: two parts a reply; and what it holds has its place until it is done.
constexpr std::size_t batch_max = 32, batch_bytes_max = 256 * KiB;

}  // namespace

Room::Place::~Place() {
  if (!room_) return;
  --room_->requests_, room_->bytes_ -= bytes_;
  room_->freed_.notify_all();
}

Task<void> Room::wait_for_room(std::size_t bytes) {
  while (!has_room(bytes)) co_await freed_.wait();
}

Room::Place Room::take(std::size_t bytes) {
  ++requests_, bytes_ += bytes;
  return Place(this, bytes);
}

Reply simple_reply(const Request& request, ErrorNumber error) {
  Reply reply;
  reply.put(simple_reply_magic).put(static_cast<std::uint32_t>(error)).put(request.cookie);
  return reply;
}

Reply chunk(const Request& request, Last last, Chunk type, std::size_t length) {
  Reply reply;
  reply.put(chunk_magic).put(last == Last::yes ? chunk_done : std::uint16_t{0});
  reply.put(static_cast<std::uint16_t>(type)).put(request.cookie).put(static_cast<std::uint32_t>(length));
  return reply;
}

Reply data_chunk(const Request& request, Last last, std::uint64_t offset, Slices data) {
  auto reply = chunk(request, last, chunk_data, 8 + data.size());
  reply.put(offset);
  reply.slices = std::move(data);
  return reply;
}

Reply hole_chunk(const Request& request, Last last, std::uint64_t offset, std::uint32_t length) {
  auto reply = chunk(request, last, chunk_hole, 12);
  reply.put(offset).put(length);
  return reply;
}

Reply error_chunk(const Request& request, Last last, Refusal refusal, std::optional<std::uint64_t> offset) {
  auto message = clipped(std::move(refusal.message));
  auto reply = chunk(request, last, offset ? chunk_error_offset : chunk_error,
                     6 + message.size() + (offset ? sizeof *offset : 0));
  reply.put(refusal.number).put(static_cast<std::uint16_t>(message.size()));
  reply.data = to_bytes(message);
  if (offset) append_be(reply.data, *offset);
  return reply;
}

void ReplyQueue::push(Reply reply) {
  waiting_.push_back(std::move(reply));
  if (is_scheduled_ || is_sending_) return;
  is_scheduled_ = true;
  scope_.spawn(send_scheduled());
}

Task<void> ReplyQueue::send(Reply reply) {
  waiting_.push_back(std::move(reply));
  co_await send_all();
}

Task<void> ReplyQueue::send_scheduled() {
  is_scheduled_ = false;
  co_await send_all();
}

// Whoever sends already takes along what has come since.
Task<void> ReplyQueue::send_all() {
  if (is_sending_) co_return;
  is_sending_ = true;
  while (!waiting_.empty()) {
    if (!co_await stream_.write_all(take_batch())) stream_.close();
    sending_.clear();
  }
  is_sending_ = false;
}

std::vector<ByteView> ReplyQueue::take_batch() {
  std::vector<ByteView> parts;
  parts.reserve(2 * std::min(waiting_.size(), batch_max));
  sending_.reserve(batch_max);
  for (std::size_t bytes = 0; !waiting_.empty() && sending_.size() < batch_max && bytes < batch_bytes_max;) {
    sending_.push_back(std::move(waiting_.front()));
    waiting_.pop_front();
    const auto& reply = sending_.back();
    parts.push_back(ByteView(reply.head).first(reply.head_bytes));
    if (!reply.data.empty()) parts.push_back(reply.data);
    for (const auto& part : reply.slices.parts()) parts.push_back(part.bytes);
    bytes += reply.data.size() + reply.slices.size();
  }
  return parts;
}

}  // namespace ebb::disk::nbd
