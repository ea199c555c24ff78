// A client of our own for tests of the server: what it sends is built by hand, and what comes back is taken
// apart.
#pragma once
#include <gtest/gtest.h>

#include "disk/nbd/align_layer.h"
#include "disk/nbd/nbd_protocol.h"
#include "disk/nbd/nbd_server.h"
#include "disk/nbd/testing.h"

namespace ebb::disk::testing {

using namespace nbd;

// Bytes as a client would send them.
struct Wire {
  Bytes bytes;
  Wire& u16(std::uint16_t v) { return append_be(bytes, v), *this; }
  Wire& u32(std::uint32_t v) { return append_be(bytes, v), *this; }
  Wire& u64(std::uint64_t v) { return append_be(bytes, v), *this; }
  Wire& raw(ByteView more) { return append(bytes, more), *this; }
  Wire& text(std::string_view t) { return raw(as_bytes(t)); }
  Wire& add(const Wire& other) { return raw(other.bytes); }
};
inline Wire hello(std::uint32_t flags = 3) { return Wire().u32(flags); }
inline Wire option(std::uint32_t number, const Wire& data = {}) {
  return Wire().u64(option_magic).u32(number).u32(static_cast<std::uint32_t>(data.bytes.size())).add(data);
}
inline Wire go_data(std::string_view name, std::vector<std::uint16_t> infos = {}) {
  Wire out;
  out.u32(static_cast<std::uint32_t>(name.size())).text(name).u16(static_cast<std::uint16_t>(infos.size()));
  for (auto info : infos) out.u16(info);
  return out;
}
inline Wire context_data(std::string_view name, std::vector<std::string> queries) {
  Wire out;
  out.u32(static_cast<std::uint32_t>(name.size())).text(name).u32(static_cast<std::uint32_t>(queries.size()));
  for (const auto& query : queries) out.u32(static_cast<std::uint32_t>(query.size())).text(query);
  return out;
}
inline Wire request(std::uint16_t command, std::uint64_t cookie, std::uint64_t offset, std::uint32_t length,
                    std::uint16_t flags = 0) {
  return Wire().u32(request_magic).u16(flags).u16(command).u64(cookie).u64(offset).u32(length);
}

struct OptionAnswer {
  std::uint32_t option, type;
  Bytes data;
};
struct Answer {
  std::uint32_t error = 0;
  std::uint16_t chunk = 0;  // type of a structured chunk
  Bytes data;
  bool is_last = true;
};

struct NbdTest : ::testing::Test {
  static constexpr std::size_t disk_bytes = 1 * MiB;

  NbdTest() { reconnect(); }

  void reconnect(NbdLimits limits = {}) {
    ended = false;
    client = connect(limits, &ended);
  }
  // A connection that has been greeted. `room`: bytes that it holds for a client that does not read.
  std::unique_ptr<Stream> connect(NbdLimits limits = {}, bool* out = nullptr, std::size_t room = ~0ull) {
    auto [ours, theirs] = make_pipe(loop, room);
    NbdExports exports{[this](std::string name) -> Result<std::shared_ptr<BlockDevice>> {
                         if (lookup_failure) return fail(*lookup_failure);
                         if (name != "disk-1" && name != "")
                           return fail(Code::not_found, "no disk '{}' here", name);
                         return std::static_pointer_cast<BlockDevice>(layer);
                       },
                       [this] { return names; },
                       {},
                       [](std::string name) { return fmt::format("about {}", name); }};
    server.spawn([](Loop& l, std::unique_ptr<Stream> stream, NbdExports what, NbdLimits how,
                    bool* has_ended) -> Task<void> {
      co_await serve_nbd(l, std::move(stream), std::move(what), how);
      if (has_ended) *has_ended = true;
    }(loop, std::move(theirs), exports, limits, out));
    loop.run(0s);
    auto before = std::exchange(client, std::move(ours));
    receive(18);  // greeting
    return std::exchange(client, std::move(before));
  }
  // Talks over another connection than before.
  void turn_to(std::unique_ptr<Stream>& other) { std::swap(client, other); }

  void send(const Wire& wire) {
    std::ignore = loop.run_until_done(client->write_all({wire.bytes}));
    loop.run(1s);
  }
  Bytes receive(std::size_t count) {
    Bytes out(count);
    EXPECT_TRUE(loop.run_until_done(read_exactly(*client, out)));
    return out;
  }
  // Everything that is there now.
  std::size_t pending() {
    Bytes out(64 * MiB);
    auto got = loop.run_until_done(with_timeout(loop, client->read_some(out), 1ms));
    return got && *got ? **got : 0;
  }
  OptionAnswer answer() {
    auto head = receive(20);
    EXPECT_EQ(load_be<std::uint64_t>(head), option_reply_magic);
    return {load_be<std::uint32_t>(head, 8), load_be<std::uint32_t>(head, 12),
            receive(load_be<std::uint32_t>(head, 16))};
  }
  std::uint32_t answer_type() { return answer().type; }

  void enter(bool is_structured = false, bool with_context = false) {
    send(hello());
    if (is_structured) {
      send(option(opt_structured_reply));
      EXPECT_EQ(answer_type(), rep_ack);
    }
    if (with_context) {
      send(option(opt_set_meta_context, context_data("disk-1", {"base:allocation"})));
      EXPECT_EQ(answer_type(), rep_meta_context);
      EXPECT_EQ(answer_type(), rep_ack);
    }
    send(option(opt_go, go_data("disk-1")));
    while (answer().type != rep_ack) {
    }
    structured = is_structured;
  }
  Answer simple(std::uint64_t cookie, std::size_t data = 0) {
    auto head = receive(16);
    EXPECT_EQ(load_be<std::uint32_t>(head), simple_reply_magic);
    EXPECT_EQ(load_be<std::uint64_t>(head, 8), cookie);
    auto error = load_be<std::uint32_t>(head, 4);
    return {error, 0, receive(error == 0 ? data : 0), true};
  }
  Answer chunk(std::uint64_t cookie) {
    auto answer = part(cookie);
    EXPECT_TRUE(answer.is_last);
    return answer;
  }
  std::vector<Answer> chunks(std::uint64_t cookie) {
    std::vector<Answer> all{part(cookie)};
    while (!all.back().is_last) all.push_back(part(cookie));
    return all;
  }
  Answer part(std::uint64_t cookie) {
    auto head = receive(20);
    EXPECT_EQ(load_be<std::uint32_t>(head), chunk_magic);
    EXPECT_EQ(load_be<std::uint64_t>(head, 8), cookie);
    Answer out{0, load_be<std::uint16_t>(head, 6), receive(load_be<std::uint32_t>(head, 16)), true};
    out.is_last = load_be<std::uint16_t>(head, 4) == chunk_done;
    if (out.chunk & 0x8000) out.error = load_be<std::uint32_t>(out.data);
    return out;
  }
  std::uint32_t error_of(const Wire& wire) {
    send(wire);
    return simple(load_be<std::uint64_t>(wire.bytes, 8)).error;
  }
  void resize(std::uint64_t bytes) {
    memory->data.resize(bytes);
    memory->allocated.resize(bytes / block_bytes);
  }
  // The connection has ended, and another one works.
  void expect_ended_alone() {
    loop.run(1s);
    EXPECT_TRUE(ended);
    reconnect();
    enter();
    EXPECT_EQ(error_of(request(cmd_flush, 1, 0, 0)), nbd_ok);
  }

  StepLoop loop;
  std::shared_ptr<MemoryDevice> memory = std::make_shared<MemoryDevice>(loop, disk_bytes);
  std::shared_ptr<AlignLayer> layer = std::make_shared<AlignLayer>(loop, memory);
  std::vector<std::string> names{"disk-1", "disk-2"};
  std::optional<Error> lookup_failure;
  std::unique_ptr<Stream> client;
  bool ended = false, structured = false;
  Scope server{loop};
};

}  // namespace ebb::disk::testing
