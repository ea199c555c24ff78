#include "disk/nbd/testing_client.h"

namespace ebb::disk {
namespace {

using namespace nbd;
using namespace testing;

struct NbdServerTest : NbdTest {};

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

TEST_F(NbdServerTest, GarbageInTransmissionEndsThatConnectionOnly) {
  for (const auto& wire : {Wire().raw(Bytes(28, std::byte{0xff})), request(cmd_write, 1, 0, 64 * MiB + 1),
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

TEST_F(NbdServerTest, ASlowReadHoldsNothingElseUp) {
  memory->delay_at = [](std::uint64_t offset) { return offset == 0 ? Duration(10s) : Duration(1ms); };
  enter();
  Wire all = request(cmd_read, 100, 0, 4096);
  for (std::uint64_t i = 1; i < 64; ++i) all.add(request(cmd_read, i, i * 4096, 4096));
  send(all);
  for (std::uint64_t i = 1; i < 64; ++i) EXPECT_EQ(simple(i, 4096).error, nbd_ok);
  EXPECT_EQ(pending(), 0u);
  EXPECT_EQ(simple(100, 4096).error, nbd_ok);
}

TEST_F(NbdServerTest, AClientThatDoesNotReadIsBoundedAndHoldsNobodyElseUp) {
  auto deaf = connect({.requests_max = 20}, nullptr, 8 * KiB);
  turn_to(deaf);
  send(hello(3).add(option(opt_go, go_data("disk-1"))));
  Wire all;
  for (std::uint64_t i = 0; i < 500; ++i) all.add(request(cmd_read, i, 0, 32 * KiB));
  send(all);
  EXPECT_LE(memory->log.size(), 22u) << "what fits in the pipe, and what may be in flight";
  EXPECT_GE(memory->log.size(), 20u);
  turn_to(deaf);
  enter();
  EXPECT_EQ(error_of(request(cmd_write, 1, 0, 4096).raw(Bytes(4096))), nbd_ok) << "the same range, even";
  turn_to(deaf);
  while (answer().type != rep_ack) {
  }
  for (std::uint64_t i = 0; i < 500; ++i) EXPECT_EQ(simple(i, 32 * KiB).error, nbd_ok);
}

}  // namespace
}  // namespace ebb::disk
