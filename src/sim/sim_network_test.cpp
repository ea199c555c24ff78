#include "sim/sim_network.h"

#include <gtest/gtest.h>

#include "sim/run_in.h"

namespace ebb::sim {
namespace {

class SimNetworkTest : public testing::Test {
 protected:
  void SetUp() override {
    auto& network = server_.make<SimNetwork>(server_, sockets_);
    auto listener =
        network.listen("127.0.0.1:0", [](std::unique_ptr<Stream> stream) { return echo(std::move(stream)); });
    ASSERT_TRUE(listener);
    address_ = "server" + (*listener)->address().substr(9);
    server_.own(std::move(*listener));
  }
  static Task<void> echo(std::unique_ptr<Stream> stream) {
    Bytes buffer(3);
    while (true) {
      auto count = co_await stream->read_some(buffer);
      if (!count || *count == 0) co_return;
      if (!co_await stream->write_all({ByteView(buffer).first(*count)})) co_return;
    }
  }
  static Task<Result<std::string>> say(Network* network, std::string address, std::string text) {
    EBB_CO_TRY(stream, co_await network->connect(address));
    EBB_CO_CHECKED(co_await stream->write_all({as_bytes(text)}));
    Bytes reply(text.size());
    EBB_CO_CHECKED(co_await read_exactly(*stream, reply));
    co_return std::string(as_text(reply));
  }

  SimWorld world_;
  SimSockets sockets_;
  SimProcess& server_ = world_.start_process("server", "program");
  SimProcess& client_ = world_.start_process("client", "program");
  SimNetwork network_{client_, sockets_};
  std::string address_;
};

TEST_F(SimNetworkTest, BytesArriveInOrder) {
  EXPECT_EQ(**run_in(client_, say(&network_, address_, "hello, there")), "hello, there");
}

TEST_F(SimNetworkTest, AKilledServerEndsItsStreamsAndRefusesNewOnes) {
  auto hold = [](Network* network, std::string address) -> Task<Status> {
    EBB_CO_TRY(stream, co_await network->connect(address));
    Bytes one(1);
    co_return co_await read_exactly(*stream, one);
  };
  world_.loop().call_at(world_.loop().now() + 1s, [this] { server_.kill(); });
  EXPECT_EQ(run_in(client_, hold(&network_, address_))->error().message,
            "the other side closed the connection");
  EXPECT_EQ(run_in(client_, say(&network_, address_, "x"))->error().code, Code::unavailable);
}

TEST_F(SimNetworkTest, AnotherHostsLoopbackIsNotReachable) {
  EXPECT_FALSE(*run_in(client_, say(&network_, "127.0.0.1" + address_.substr(6), "x")));
}

}  // namespace
}  // namespace ebb::sim
