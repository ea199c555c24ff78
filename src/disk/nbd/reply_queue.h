// Replies of one connection on their way out: whole, in the order in which they were given, many at a time.
#pragma once
#include <array>
#include <deque>

#include "disk/nbd/request_rules.h"
#include "env/scope.h"
#include "env/stream.h"

namespace ebb::disk::nbd {

// The room that requests of a connection take, from when they are read until their last reply is sent.
class Room {
 public:
  class Place {
   public:
    Place() = default;
    Place(Place&& other) noexcept : room_(std::exchange(other.room_, nullptr)), bytes_(other.bytes_) {}
    Place& operator=(Place&& other) noexcept {
      std::swap(room_, other.room_), std::swap(bytes_, other.bytes_);
      return *this;
    }
    ~Place();

   private:
    friend Room;
    Place(Room* room, std::size_t bytes) : room_(room), bytes_(bytes) {}
    Room* room_ = nullptr;
    std::size_t bytes_ = 0;
  };

  Room(Loop& loop, std::size_t requests_max, std::size_t bytes_max)
      : requests_max_(requests_max), bytes_max_(bytes_max), freed_(loop) {}
  // For one who waits: requests are read one after the other. A single request always has room.
  bool has_room(std::size_t bytes) const {
    return requests_ == 0 || (requests_ < requests_max_ && bytes_ + bytes <= bytes_max_);
  }
  Task<void> wait_for_room(std::size_t bytes);
  Place take(std::size_t bytes);

 private:
  const std::size_t requests_max_, bytes_max_;
  std::size_t requests_ = 0, bytes_ = 0;
  Notify freed_;
};

// Its fixed part in place; then what was made for it, or what was read.
struct Reply {
  std::array<std::byte, 32> head;
  std::size_t head_bytes = 0;
  Bytes data;
  Slices slices;
  Room::Place place;  // of the request, in its last reply

  template <class T>
  Reply& put(T value) {
    store_le(head, head_bytes, swapped(value));
    head_bytes += sizeof(T);
    return *this;
  }
};

enum class Last { no, yes };  // of a request's chunks
Reply simple_reply(const Request& request, ErrorNumber error);
Reply chunk(const Request& request, Last last, Chunk type, std::size_t length);
Reply data_chunk(const Request& request, Last last, std::uint64_t offset, Slices data);
Reply hole_chunk(const Request& request, Last last, std::uint64_t offset, std::uint32_t length);
// With an offset, what lies elsewhere may still be right.
Reply error_chunk(const Request& request, Last last, Refusal refusal,
                  std::optional<std::uint64_t> offset = std::nullopt);

class ReplyQueue {
 public:
  // `stream` is closed when it takes no more, for the reader to find out.
  ReplyQueue(Loop& loop, Stream& stream) : stream_(stream), scope_(loop) {}
  // What is pushed until the loop comes round again leaves in one write.
  void push(Reply reply);
  // For much data: what waits is sent at once, while it is still in the processor's caches, and before more
  // is read.
  Task<void> send(Reply reply);
  // Until everything is sent, or cannot be.
  Task<void> drain() { return scope_.join(); }

 private:
  Task<void> send_scheduled();
  Task<void> send_all();
  std::vector<ByteView> take_batch();

  Stream& stream_;
  std::deque<Reply> waiting_;
  std::vector<Reply> sending_;
  bool is_scheduled_ = false, is_sending_ = false;
  Scope scope_;  // last: its task uses all of the above
};

}  // namespace ebb::disk::nbd
