// Reads a server's replies as a pedantic client would: each must be what the protocol allows to what was
// asked.
#pragma once
#include <map>
#include <optional>

#include "base/check.h"
#include "disk/nbd/request_rules.h"

namespace ebb::disk::testing {

using namespace nbd;

struct Reading {
  std::uint32_t error = 0;
  bool is_done = false;
  Bytes data;                                                 // of a read
  std::map<std::uint64_t, std::uint64_t> covered, broken_at;  // begin -> end; offsets of errors
  std::size_t content_chunks = 0;
};

class ReplyChecker {
 public:
  ReplyChecker(bool is_structured, bool has_allocation)
      : is_structured_(is_structured), has_allocation_(has_allocation) {}

  void asked(Request request) {
    auto cookie = request.cookie;
    requests_[cookie] = std::move(request);
  }
  // Takes whole replies from the front.
  void feed(ByteView bytes) {
    append(buffer_, bytes);
    while (take_one()) {
    }
  }
  const Reading& reading(std::uint64_t cookie) const { return readings_.at(cookie); }
  void check_all_answered() const {
    CHECK(buffer_.empty());
    for (const auto& [cookie, request] : requests_)
      CHECK(readings_.contains(cookie) && readings_.at(cookie).is_done);
  }

 private:
  bool take_one() {
    if (buffer_.size() < 16) return false;
    auto magic = load_be<std::uint32_t>(buffer_);
    CHECK(magic == simple_reply_magic || (is_structured_ && magic == chunk_magic));
    auto cookie = load_be<std::uint64_t>(buffer_, 8);
    CHECK(requests_.contains(cookie) && !readings_[cookie].is_done);
    auto size = magic == chunk_magic ? take_chunk(requests_[cookie]) : take_simple(requests_[cookie]);
    buffer_.erase(buffer_.begin(), buffer_.begin() + static_cast<std::ptrdiff_t>(size));
    return size > 0;
  }

  std::size_t take_simple(const Request& request) {
    auto& reading = readings_[request.cookie];
    CHECK(!is_structured_ || (request.command != cmd_read && request.command != cmd_block_status));
    auto error = load_be<std::uint32_t>(buffer_, 4);
    std::size_t size = 16 + (request.command == cmd_read && error == 0 ? request.length : 0);
    if (buffer_.size() < size) return 0;
    reading.error = error;
    reading.is_done = true;
    reading.data.assign(buffer_.begin() + 16, buffer_.begin() + static_cast<std::ptrdiff_t>(size));
    return size;
  }

  std::size_t take_chunk(const Request& request) {
    if (buffer_.size() < 20) return 0;
    auto flags = load_be<std::uint16_t>(buffer_, 4), type = load_be<std::uint16_t>(buffer_, 6);
    std::size_t length = load_be<std::uint32_t>(buffer_, 16);
    CHECK((flags & ~chunk_done) == 0 && length <= 32 * MiB + 8);
    if (buffer_.size() < 20 + length) return 0;
    auto data = ByteView(buffer_).subspan(20, length);
    auto& reading = readings_[request.cookie];
    reading.is_done = flags & chunk_done;
    if (type == chunk_none) {
      CHECK(length == 0 && reading.is_done);
    } else if (type == chunk_data) {
      CHECK(length >= 9);
      content(request, load_be<std::uint64_t>(data), data.subspan(8), length - 8);
    } else if (type == chunk_hole) {
      CHECK(length == 12);
      content(request, load_be<std::uint64_t>(data), {}, load_be<std::uint32_t>(data, 8));
    } else if (type == chunk_block_status) {
      status(request, data);
    } else {
      error(request, type, data);
    }
    if (reading.is_done && reading.error == 0) check_complete(request, reading);
    return 20 + length;
  }

  void content(const Request& request, std::uint64_t offset, ByteView bytes, std::uint64_t length) {
    auto& reading = readings_[request.cookie];
    CHECK(request.command == cmd_read && length > 0 && offset >= request.offset &&
          offset + length <= request.offset + request.length);
    for (const auto& [begin, end] : reading.covered) CHECK(offset + length <= begin || end <= offset);
    for (const auto& [at, unused] : reading.broken_at) CHECK(at < offset || at >= offset + length);
    reading.covered[offset] = offset + length;
    reading.data.resize(request.length);
    std::copy(bytes.begin(), bytes.end(),
              reading.data.begin() + static_cast<std::ptrdiff_t>(offset - request.offset));
    CHECK(++reading.content_chunks == 1 || !request.has(cmd_df));
  }

  void status(const Request& request, ByteView data) {
    CHECK(has_allocation_ && request.command == cmd_block_status);
    CHECK(data.size() >= 12 && data.size() % 8 == 4 && load_be<std::uint32_t>(data) == allocation_context_id);
    CHECK(data.size() == 12 || !request.has(cmd_req_one));
    std::uint64_t sum = 0;
    std::optional<std::uint32_t> before;
    for (std::size_t at = 4; at < data.size(); at += 8) {
      auto extent = load_be<std::uint32_t>(data, at), state = load_be<std::uint32_t>(data, at + 4);
      CHECK(extent > 0 && before != state);
      before = state;
      sum += extent;
    }
    CHECK(sum <= request.length);
    readings_[request.cookie].content_chunks++;
  }

  void error(const Request& request, std::uint16_t type, ByteView data) {
    CHECK(type == chunk_error || type == chunk_error_offset);
    std::size_t fixed = type == chunk_error ? 6 : 14;
    CHECK(data.size() >= fixed && load_be<std::uint16_t>(data, 4) == data.size() - fixed);
    auto& reading = readings_[request.cookie];
    reading.error = load_be<std::uint32_t>(data);
    CHECK(reading.error != 0);
    if (type == chunk_error) return;
    auto offset = load_be<std::uint64_t>(data, data.size() - 8);
    CHECK(offset >= request.offset && offset < request.offset + request.length);
    CHECK(reading.broken_at.emplace(offset, offset).second);
  }

  static void check_complete(const Request& request, const Reading& reading) {
    if (request.command == cmd_block_status) CHECK(reading.content_chunks == 1);
    if (request.command != cmd_read) return;
    std::uint64_t sum = 0;
    for (const auto& [begin, end] : reading.covered) sum += end - begin;
    CHECK(sum == request.length);
  }

  const bool is_structured_, has_allocation_;
  Bytes buffer_;
  std::map<std::uint64_t, Request> requests_;
  std::map<std::uint64_t, Reading> readings_;
};

}  // namespace ebb::disk::testing
