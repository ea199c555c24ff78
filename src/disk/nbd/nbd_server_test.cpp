#include "disk/nbd/nbd_server.h"

#include <gtest/gtest.h>

#include "disk/nbd/align_layer.h"
#include "disk/nbd/nbd_protocol.h"
#include "disk/nbd/testing.h"

namespace ebb::disk {
namespace {

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

Wire hello(std::uint32_t flags = 3) { return Wire().u32(flags); }
Wire option(std::uint32_t number, const Wire& data = {}) {
  return Wire().u64(option_magic).u32(number).u32(static_cast<std::uint32_t>(data.bytes.size())).add(data);
}
Wire go_data(std::string_view name, std::vector<std::uint16_t> infos = {}) {
  Wire out;
  out.u32(static_cast<std::uint32_t>(name.size())).text(name).u16(static_cast<std::uint16_t>(infos.size()));
  for (auto info : infos) out.u16(info);
  return out;
}
Wire context_data(std::string_view name, std::vector<std::string> queries) {
  Wire out;
  out.u32(static_cast<std::uint32_t>(name.size())).text(name).u32(static_cast<std::uint32_t>(queries.size()));
  for (const auto& query : queries) out.u32(static_cast<std::uint32_t>(query.size())).text(query);
  return out;
}
Wire request(std::uint16_t command, std::uint64_t cookie, std::uint64_t offset, std::uint32_t length,
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
};

struct NbdServerTest : ::testing::Test {
  static constexpr std::size_t disk_bytes = 1 * MiB;

  NbdServerTest() { reconnect(); }

  void reconnect(NbdLimits limits = {}) {
    auto [ours, theirs] = testing::make_pipe(loop);
    client = std::move(ours);
    NbdExports exports{[this](std::string name) -> Result<std::shared_ptr<BlockDevice>> {
                         if (name != "disk-1" && name != "")
                           return fail(Code::not_found, "no disk '{}' here", name);
                         return std::static_pointer_cast<BlockDevice>(layer);
                       },
                       [] { return std::vector<std::string>{"disk-1", "disk-2"}; },
                       {}};
    ended = false;
    server.spawn(
        [](Loop& l, std::unique_ptr<Stream> stream, NbdExports what, NbdLimits how, bool* out) -> Task<void> {
          co_await serve_nbd(l, std::move(stream), std::move(what), how);
          *out = true;
        }(loop, std::move(theirs), exports, limits, &ended));
    loop.run(0s);
    receive(18);  // greeting
  }

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
    return {error, 0, receive(error == 0 ? data : 0)};
  }
  Answer chunk(std::uint64_t cookie) {
    auto head = receive(20);
    EXPECT_EQ(load_be<std::uint32_t>(head), chunk_magic);
    EXPECT_EQ(load_be<std::uint16_t>(head, 4), chunk_done);
    EXPECT_EQ(load_be<std::uint64_t>(head, 8), cookie);
    Answer out{0, load_be<std::uint16_t>(head, 6), receive(load_be<std::uint32_t>(head, 16))};
    if (out.chunk == chunk_error) out.error = load_be<std::uint32_t>(out.data);
    return out;
  }
  std::uint32_t error_of(const Wire& wire) {
    send(wire);
    return simple(load_be<std::uint64_t>(wire.bytes, 8)).error;
  }
  // The connection has ended, and another one works.
  void expect_ended_alone() {
    loop.run(1s);
    EXPECT_TRUE(ended);
    reconnect();
    enter();
    EXPECT_EQ(error_of(request(cmd_flush, 1, 0, 0)), nbd_ok);
  }

  testing::StepLoop loop;
  std::shared_ptr<testing::MemoryDevice> memory = std::make_shared<testing::MemoryDevice>(loop, disk_bytes);
  std::shared_ptr<AlignLayer> layer = std::make_shared<AlignLayer>(loop, memory);
  std::unique_ptr<Stream> client;
  bool ended = false, structured = false;
  Scope server{loop};
};

TEST_F(NbdServerTest, GoTellsSizeFlagsAndBlockSizes) {
  send(hello().add(option(opt_go, go_data("disk-1", {info_name, info_block_size}))));
  auto about = answer();
  EXPECT_EQ(about.type, rep_info);
  EXPECT_EQ(load_be<std::uint16_t>(about.data), info_export);
  EXPECT_EQ(load_be<std::uint64_t>(about.data, 2), disk_bytes);
  EXPECT_EQ(load_be<std::uint16_t>(about.data, 10),
            has_flags | send_flush | send_fua | send_trim | send_write_zeroes | can_multi_conn);
  auto sizes = answer();
  EXPECT_EQ(load_be<std::uint16_t>(sizes.data), info_block_size);
  EXPECT_EQ(load_be<std::uint32_t>(sizes.data, 2), 1u);
  EXPECT_EQ(load_be<std::uint32_t>(sizes.data, 6), 4096u);
  EXPECT_EQ(load_be<std::uint32_t>(sizes.data, 10), 32u << 20);
  auto name = answer();
  EXPECT_EQ(as_text(ByteView(name.data).subspan(2)), "disk-1");
  EXPECT_EQ(answer_type(), rep_ack);
  EXPECT_EQ(error_of(request(cmd_flush, 7, 0, 0)), nbd_ok);
}

TEST_F(NbdServerTest, TheOldWayInWorksWithAndWithoutZeroes) {
  for (std::uint32_t flags : {0u, 1u, 3u}) {
    reconnect();
    send(hello(flags).add(option(opt_export_name, Wire().text("disk-1"))));
    auto about = receive(flags & 2 ? 10 : 134);
    EXPECT_EQ(load_be<std::uint64_t>(about), disk_bytes);
    EXPECT_EQ(error_of(request(cmd_flush, 7, 0, 0)), nbd_ok);
  }
  reconnect();
  send(hello().add(option(opt_export_name, Wire().text("nothing"))));
  expect_ended_alone();
}

TEST_F(NbdServerTest, OptionsAreAnsweredAndHagglingGoesOn) {
  send(hello().add(option(opt_list)));
  auto first = answer(), second = answer();
  EXPECT_EQ(first.type, rep_server);
  EXPECT_EQ(as_text(ByteView(first.data).subspan(4)), "disk-1");
  EXPECT_EQ(as_text(ByteView(second.data).subspan(4)), "disk-2");
  EXPECT_EQ(answer_type(), rep_ack);
  auto refused = [&](const Wire& wire) { return send(wire), answer_type(); };
  EXPECT_EQ(refused(option(opt_list, Wire().text("x"))), rep_err_invalid);
  EXPECT_EQ(refused(option(opt_structured_reply, Wire().text("x"))), rep_err_invalid);
  EXPECT_EQ(refused(option(5)), rep_err_unsup) << "TLS";
  EXPECT_EQ(refused(option(11)), rep_err_unsup) << "extended headers";
  EXPECT_EQ(refused(option(0xffffffff, Wire().text("anything"))), rep_err_unsup);
  EXPECT_EQ(refused(option(opt_go, Wire().u32(100).text("short"))), rep_err_invalid);
  EXPECT_EQ(refused(option(opt_go, Wire().u32(0xffffffff).text("short"))), rep_err_invalid);
  EXPECT_EQ(refused(option(opt_go, go_data("disk-1").text("more"))), rep_err_invalid);
  EXPECT_EQ(refused(option(opt_go, Wire().u32(0).u16(7))), rep_err_invalid);
  EXPECT_EQ(refused(option(opt_go)), rep_err_invalid);
  EXPECT_EQ(refused(option(opt_set_meta_context, context_data("disk-1", {}))), rep_err_invalid)
      << "before structured replies";
  send(option(opt_go, go_data("nothing")));
  auto unknown = answer();
  EXPECT_EQ(unknown.type, rep_err_unknown);
  EXPECT_EQ(as_text(unknown.data), "no disk 'nothing' here");
  send(option(opt_info, go_data("disk-1")));
  EXPECT_EQ(answer_type(), rep_info);
  EXPECT_EQ(answer_type(), rep_info);
  EXPECT_EQ(answer_type(), rep_ack);
  send(option(opt_abort));
  EXPECT_EQ(answer_type(), rep_ack);
  EXPECT_TRUE(ended);
}

TEST_F(NbdServerTest, MetadataContextsAreListedAndSelected) {
  send(hello().add(option(opt_structured_reply)));
  EXPECT_EQ(answer_type(), rep_ack);
  for (std::vector<std::string> queries :
       {std::vector<std::string>{}, {"base:"}, {"x:y", "base:allocation"}}) {
    send(option(opt_list_meta_context, context_data("disk-1", queries)));
    EXPECT_EQ(as_text(ByteView(answer().data).subspan(4)), "base:allocation");
    EXPECT_EQ(answer_type(), rep_ack);
  }
  send(option(opt_set_meta_context, context_data("disk-1", {"qemu:dirty-bitmap:x"})));
  EXPECT_EQ(answer_type(), rep_ack) << "none selected";
  send(option(opt_set_meta_context, context_data("nothing", {"base:allocation"})));
  EXPECT_EQ(answer_type(), rep_err_unknown);
  send(option(opt_set_meta_context, Wire().u32(0).u32(5)));
  EXPECT_EQ(answer_type(), rep_err_invalid);
}

TEST_F(NbdServerTest, AContextOfAnotherExportIsNotCarriedOver) {
  send(hello()
           .add(option(opt_structured_reply))
           .add(option(opt_set_meta_context, context_data("", {"base:allocation"}))));
  EXPECT_EQ(answer_type(), rep_ack);
  EXPECT_EQ(answer_type(), rep_meta_context);
  EXPECT_EQ(answer_type(), rep_ack);
  send(option(opt_go, go_data("disk-1")));
  while (answer().type != rep_ack) {
  }
  send(request(cmd_block_status, 1, 0, 4096));
  EXPECT_EQ(chunk(1).error, nbd_einval);
}

TEST_F(NbdServerTest, GarbageInTheHandshakeEndsThatConnectionOnly) {
  std::vector<Wire> garbage{
      Wire().u32(0xffffffff),                                 // client flags
      hello().u64(0x1234567812345678).u64(0),                 // option magic
      hello().u64(option_magic).u32(opt_go).u32(0xffffffff),  // option length
      hello().u64(option_magic).u32(99).u32(option_bytes_max + 1),
      Wire().text("GET / HTTP/1.1\r\nHost: x\r\n\r\n"),
  };
  for (const auto& wire : garbage) {
    reconnect();
    send(wire);
    expect_ended_alone();
  }
}

TEST_F(NbdServerTest, ADawdlingHandshakeIsCutOff) {
  send(hello());
  loop.run(40s);
  expect_ended_alone();
}

TEST_F(NbdServerTest, AnEndlessHandshakeIsCutOff) {
  Wire many = hello();
  for (int i = 0; i < 1100; ++i) many.add(option(99));
  send(many);
  expect_ended_alone();
}

TEST_F(NbdServerTest, DisconnectingAnywhereIsFine) {
  Wire whole =
      hello().add(option(opt_go, go_data("disk-1"))).add(request(cmd_write, 1, 0, 4096)).raw(Bytes(4096));
  for (std::size_t cut = 0; cut < whole.bytes.size(); cut += cut < 120 ? 1 : 500) {
    reconnect();
    send(Wire().raw(ByteView(whole.bytes).first(cut)));
    client.reset();
    loop.run(1s);
    EXPECT_TRUE(ended) << "cut at " << cut;
  }
  reconnect();
  enter();
}

TEST_F(NbdServerTest, WhatIsWrittenIsRead) {
  for (bool is_structured : {false, true}) {
    reconnect();
    enter(is_structured);
    Bytes data(10000);
    for (std::size_t i = 0; i < data.size(); ++i) data[i] = static_cast<std::byte>(i * 31 + 1);
    send(request(cmd_write, 1, 4000, 10000).raw(data));
    EXPECT_EQ(simple(1).error, nbd_ok);
    send(request(cmd_read, 2, 4000, 10000));
    if (is_structured) {
      auto read = chunk(2);
      EXPECT_EQ(read.chunk, chunk_data);
      EXPECT_EQ(load_be<std::uint64_t>(read.data), 4000u);
      EXPECT_TRUE(std::equal(data.begin(), data.end(), read.data.begin() + 8, read.data.end()));
    } else {
      EXPECT_EQ(simple(2, 10000).data, data);
    }
  }
}

TEST_F(NbdServerTest, ZeroesTravelAsAHoleUnlessTheClientMindsFragments) {
  enter(true);
  send(request(cmd_read, 1, 0, 65536));
  auto hole = chunk(1);
  EXPECT_EQ(hole.chunk, chunk_hole);
  EXPECT_EQ(load_be<std::uint32_t>(hole.data, 8), 65536u);
  send(request(cmd_read, 2, 0, 65536, cmd_df));
  EXPECT_EQ(chunk(2).data.size(), 65536u + 8);
}

TEST_F(NbdServerTest, BlockStatusTellsHoles) {
  enter(true, true);
  send(request(cmd_write, 1, 8192, 4096).raw(Bytes(4096, std::byte{1})));
  EXPECT_EQ(simple(1).error, nbd_ok);
  send(request(cmd_block_status, 2, 0, 1 * MiB));
  auto status = chunk(2);
  EXPECT_EQ(status.chunk, chunk_block_status);
  Wire expected;
  expected.u32(allocation_context_id).u32(8192).u32(3).u32(4096).u32(0).u32(1 * MiB - 12288).u32(3);
  EXPECT_EQ(status.data, expected.bytes);
  send(request(cmd_block_status, 3, 100, 1 * MiB - 100, cmd_req_one));
  EXPECT_EQ(chunk(3).data, Wire().u32(allocation_context_id).u32(8092).u32(3).bytes);
}

TEST_F(NbdServerTest, FuaFlushesAfterTheWrite) {
  enter();
  send(request(cmd_write, 1, 0, 4096, cmd_fua).raw(Bytes(4096)));
  EXPECT_EQ(simple(1).error, nbd_ok);
  EXPECT_EQ(error_of(request(cmd_trim, 2, 0, 4096, cmd_fua)), nbd_ok);
  EXPECT_EQ(error_of(request(cmd_write_zeroes, 3, 0, 8192, cmd_fua | cmd_no_hole)), nbd_ok);
  EXPECT_EQ(error_of(request(cmd_flush, 4, 0, 0, cmd_fua)), nbd_ok);
  EXPECT_EQ(memory->log, (std::vector<std::string>{"write 0 4096", "flush", "trim 0 4096", "flush",
                                                   "zero 0 8192", "flush", "flush"}));
}

TEST_F(NbdServerTest, BadRequestsGetTheirErrnoAndTheConnectionLivesOn) {
  enter();
  constexpr auto end = disk_bytes;
  EXPECT_EQ(error_of(request(cmd_read, 1, end, 1)), nbd_einval);
  EXPECT_EQ(error_of(request(cmd_read, 2, end - 1, 2)), nbd_einval);
  EXPECT_EQ(error_of(request(cmd_read, 3, ~0ull, 0xffffffff)), nbd_einval);
  EXPECT_EQ(error_of(request(cmd_read, 4, 0, payload_bytes_max + 1)), nbd_einval);
  EXPECT_EQ(error_of(request(cmd_write, 5, end - 1, 2).raw(Bytes(2))), nbd_enospc);
  EXPECT_EQ(error_of(request(cmd_write, 6, ~0ull, 2).raw(Bytes(2))), nbd_enospc);
  EXPECT_EQ(error_of(request(cmd_write_zeroes, 7, end, 1)), nbd_enospc);
  EXPECT_EQ(error_of(request(cmd_trim, 8, 0, 0xffffffff)), nbd_einval);
  EXPECT_EQ(error_of(request(cmd_flush, 9, 1, 0)), nbd_einval);
  EXPECT_EQ(error_of(request(5, 10, 0, 1)), nbd_einval) << "cache";
  EXPECT_EQ(error_of(request(0xffff, 11, 0, 0)), nbd_einval);
  EXPECT_EQ(error_of(request(cmd_block_status, 12, 0, 1)), nbd_einval);
  EXPECT_EQ(error_of(request(cmd_read, 13, 0, 1, 0x8000)), nbd_einval);
  EXPECT_EQ(error_of(request(cmd_write_zeroes, 14, 0, 1, 16)), nbd_einval) << "fast zero was not offered";
  EXPECT_TRUE(memory->log.empty()) << "nothing reached the device";
  for (auto command : {cmd_write, cmd_trim, cmd_write_zeroes})
    EXPECT_EQ(error_of(request(command, 15, 0, 0)), nbd_ok) << "nothing";
  EXPECT_EQ(error_of(request(cmd_read, 16, 0, 0)), nbd_ok);
}

TEST_F(NbdServerTest, AReadOnlyExportRefusesEveryChange) {
  memory->read_only = true;
  reconnect();
  send(hello().add(option(opt_go, go_data("disk-1"))));
  EXPECT_TRUE(load_be<std::uint16_t>(answer().data, 10) & flag_read_only);
  while (answer().type != rep_ack) {
  }
  EXPECT_EQ(error_of(request(cmd_write, 1, 0, 4).raw(Bytes(4))), nbd_eperm);
  EXPECT_EQ(error_of(request(cmd_trim, 2, 0, 4096)), nbd_eperm);
  EXPECT_EQ(error_of(request(cmd_write_zeroes, 3, 0, 4096)), nbd_eperm);
  EXPECT_EQ(error_of(request(cmd_flush, 4, 0, 0)), nbd_ok);
}

TEST_F(NbdServerTest, ErrorsOfTheDeviceBecomeErrnos) {
  const std::vector<std::pair<Code, std::uint32_t>> codes{{Code::unavailable, nbd_eio},
                                                          {Code::corrupt, nbd_eio},
                                                          {Code::fenced, nbd_eshutdown},
                                                          {Code::invalid, nbd_einval}};
  enter(true);
  for (auto [code, number] : codes) {
    memory->failure = Error{code, "why it failed", {}};
    send(request(cmd_read, 1, 0, 4096));
    auto read = chunk(1);
    EXPECT_EQ(read.error, number);
    EXPECT_EQ(as_text(ByteView(read.data).subspan(6)), "why it failed");
    send(request(cmd_write, 2, 0, 4096).raw(Bytes(4096)));
    EXPECT_EQ(chunk(2).error, number);
  }
}

TEST_F(NbdServerTest, GarbageInTransmissionEndsThatConnectionOnly) {
  for (const auto& wire :
       {Wire().raw(Bytes(28, std::byte{0xff})), request(cmd_write, 1, 0, payload_bytes_max + 1),
        request(cmd_write, 1, 0, 0xffffffff)}) {
    reconnect();
    enter();
    send(wire);
    expect_ended_alone();
  }
}

TEST_F(NbdServerTest, RepliesComeInAnyOrderAndWhole) {
  Random random(3);
  memory->delay = [&random] { return Duration(random.below(1'000'000)); };
  enter();
  Wire all;
  for (std::uint64_t i = 0; i < 100; ++i) all.add(request(cmd_read, i, i * 4096, 4096));
  for (std::size_t i = 0; i < 100; ++i) memory->data[i * 4096] = static_cast<std::byte>(i);
  send(all);
  std::vector<std::uint64_t> order;
  for (int i = 0; i < 100; ++i) {
    auto head = receive(16);
    EXPECT_EQ(load_be<std::uint32_t>(head), simple_reply_magic);
    order.push_back(load_be<std::uint64_t>(head, 8));
    EXPECT_EQ(receive(4096)[0], static_cast<std::byte>(order.back()));
  }
  EXPECT_FALSE(std::is_sorted(order.begin(), order.end()));
  std::sort(order.begin(), order.end());
  for (std::uint64_t i = 0; i < 100; ++i) EXPECT_EQ(order[i], i);
}

TEST_F(NbdServerTest, RequestsInFlightAreBounded) {
  memory->delay = [] { return Duration(1h); };
  reconnect({.requests_max = 10, .request_bytes_max = 64 * MiB});
  enter();
  Wire many;
  for (std::uint64_t i = 0; i < 50; ++i) many.add(request(cmd_read, i, 0, 4096));
  send(many);
  EXPECT_EQ(memory->log.size(), 10u);

  memory->log.clear();
  reconnect({.request_bytes_max = 100 * KiB});
  enter();
  many = {};
  for (std::uint64_t i = 0; i < 50; ++i) many.add(request(cmd_read, i, 0, 32 * KiB));
  send(many);
  EXPECT_EQ(memory->log.size(), 3u);
  server.cancel();
}

TEST_F(NbdServerTest, RequestsUnderWayAreFinishedWhenTheClientLeavesOrVanishes) {
  memory->delay = [] { return Duration(100ms); };
  for (bool politely : {true, false}) {
    memory->log.clear();
    memory->data.assign(disk_bytes, std::byte{0});
    reconnect();
    enter();
    Wire wire = request(cmd_write, 1, 0, 4096).raw(Bytes(4096, std::byte{9}));
    if (politely) wire.add(request(cmd_disc, 2, 0, 0));
    std::ignore = loop.run_until_done([](Stream* s, Wire w) -> Task<bool> {
      std::ignore = co_await s->write_all({w.bytes});
      co_return true;
    }(client.get(), wire));
    client.reset();
    loop.run(1s);
    EXPECT_TRUE(ended);
    EXPECT_EQ(memory->data[0], std::byte{9});
  }
}

TEST_F(NbdServerTest, DestroyingTheServerWithRequestsInFlightIsSafe) {
  memory->delay = [] { return Duration(1h); };
  enter();
  Wire many;
  for (std::uint64_t i = 0; i < 20; ++i) {
    many.add(request(cmd_read, i, 0, 4096))
        .add(request(cmd_write, 100 + i, 10, 100))
        .raw(Bytes(100))
        .add(request(cmd_flush, 200 + i, 0, 0));
  }
  send(many);
  EXPECT_FALSE(ended);
  server.cancel();
  loop.run(2h);
  EXPECT_EQ(pending(), 0u);
}

TEST_F(NbdServerTest, RandomBytesAtEveryStageNeverHarmTheNextClient) {
  for (std::uint64_t seed = 1; seed <= 200; ++seed) {
    SCOPED_TRACE(fmt::format("seed {}", seed));
    Random random(seed);
    Wire whole = hello()
                     .add(option(opt_structured_reply))
                     .add(option(opt_set_meta_context, context_data("disk-1", {"base:allocation"})));
    whole.add(option(opt_go, go_data("disk-1")));
    for (std::uint64_t i = 0; i < 5; ++i) {
      whole.add(request(cmd_write, i, random.below(disk_bytes), 100).raw(Bytes(100)))
          .add(request(cmd_read, i, random.below(disk_bytes), 5000));
      whole.add(request(cmd_block_status, i, random.below(disk_bytes), 100'000))
          .add(request(cmd_trim, i, 0, 10'000));
    }
    for (int i = 0; i < 4; ++i)
      whole.bytes[random.below(whole.bytes.size())] = static_cast<std::byte>(random.next());
    reconnect();
    send(whole);
    client.reset();
    loop.run(1h);
    ASSERT_TRUE(ended);
  }
  reconnect();
  enter();
  EXPECT_EQ(error_of(request(cmd_flush, 1, 0, 0)), nbd_ok);
}

}  // namespace
}  // namespace ebb::disk
