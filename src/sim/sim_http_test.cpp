#include "sim/sim_http.h"

#include <gtest/gtest.h>

#include "sim/run_in.h"

namespace ebb::sim {
namespace {

class SimHttpTest : public testing::Test {
 protected:
  void SetUp() override { serve(); }
  void serve() {
    server_ = &world_.start_process("control", "ebbd");
    auto& http = server_->make<SimHttp>(*server_, network_);
    auto bound =
        http.serve("control:7000", [this](HttpRequest request) { return answer(std::move(request)); }, 1000);
    ASSERT_TRUE(bound);
    server_->own(std::move(*bound));
  }
  Task<HttpResponse> answer(HttpRequest request) {
    handled_.push_back(request.body);
    co_await sleep_for(server_->loop(), work_);
    HttpResponse response;
    response.body = "re: " + request.body;
    if (request.target == "/stream") response.stream = [this](BodyWriter& writer) { return stream(writer); };
    co_return response;
  }
  Task<void> stream(BodyWriter& writer) {
    for (auto piece : {"one", "two", "three"}) {
      if (!co_await writer.write(piece)) co_return;
      ++pieces_written_;
      co_await sleep_for(server_->loop(), 1s);
    }
  }
  std::string ask(std::string text, std::string address = "control:7000", Duration limit = 5s) {
    auto reply =
        run_in(client_,
               http_.request(address, {.method = "POST", .target = "/", .headers = {}, .body = text}, limit));
    if (!reply) return "(never)";
    return *reply ? fmt::format("{} {}", (*reply)->status, (*reply)->body) : (*reply).error().message;
  }
  std::int64_t elapsed_ms() { return to_ms(world_.loop().now().time_since_epoch()); }

  SimWorld world_;
  SimHttpNetwork network_{world_};
  SimProcess& client_ = world_.start_process("worker", "agent");
  SimHttp http_{client_, network_};
  SimProcess* server_ = nullptr;
  std::vector<std::string> handled_;
  Duration work_ = 1ms;
  int pieces_written_ = 0;
};

TEST_F(SimHttpTest, ARequestIsAnswered) {
  EXPECT_EQ(ask("a"), "200 re: a");
  EXPECT_LT(elapsed_ms(), 10);
}

TEST_F(SimHttpTest, AnUnknownAddressIsRefusedAtOnceAndATooLargeBodyWith413) {
  EXPECT_EQ(ask("a", "control:7001"), "control:7001: connection refused");
  EXPECT_LT(elapsed_ms(), 10);
  EXPECT_EQ(ask(std::string(1001, 'x')), "413 ");
}

TEST_F(SimHttpTest, ALostReplyWasHandledAndALostRequestWasNot) {
  network_.options().lose_reply = 1;
  EXPECT_EQ(ask("a"), "control:7000: no reply in time");
  EXPECT_EQ(elapsed_ms(), 5000);
  network_.options().lose_reply = 0, network_.options().lose_request = 1;
  EXPECT_EQ(ask("b"), "control:7000: no reply in time");
  EXPECT_EQ(handled_, std::vector<std::string>{"a"});
}

TEST_F(SimHttpTest, ARepeatedRequestIsHandledTwiceAndAnsweredOnce) {
  network_.options().repeat = 1;
  EXPECT_EQ(ask("a"), "200 re: a");
  ASSERT_TRUE(world_.loop().run_for(1s));
  EXPECT_EQ(handled_, (std::vector<std::string>{"a", "a"}));
}

TEST_F(SimHttpTest, ACutLinkIsSilentAndMendedWorksAgain) {
  world_.links().cut("worker", "control");
  EXPECT_EQ(ask("a"), "control:7000: no reply in time");
  world_.links().mend("control", "worker");
  EXPECT_EQ(ask("b"), "200 re: b");
  EXPECT_EQ(handled_, std::vector<std::string>{"b"});
}

TEST_F(SimHttpTest, AKilledServerBreaksItsConnectionsAndItsSuccessorServes) {
  work_ = 1h;
  world_.loop().call_at(world_.loop().now() + 1s, [this] { server_->kill(); });
  EXPECT_EQ(ask("a", "control:7000", 1min), "the connection broke");
  EXPECT_EQ(ask("b"), "control:7000: connection refused");
  work_ = 1ms;
  serve();
  EXPECT_EQ(ask("c"), "200 re: c");
}

TEST_F(SimHttpTest, APausedServerHandlesTheRequestWhenItIsContinued) {
  server_->pause();
  EXPECT_EQ(ask("a"), "control:7000: no reply in time");
  EXPECT_TRUE(handled_.empty());
  server_->resume();
  ASSERT_TRUE(world_.loop().run_for(1s));
  EXPECT_EQ(handled_, std::vector<std::string>{"a"});
}

TEST_F(SimHttpTest, UnixAddressesAreTheHostsOwn) {
  auto& daemon = world_.start_process("worker", "diskd");
  auto handler = [](HttpRequest) -> Task<HttpResponse> {
    co_return HttpResponse{.headers = {}, .body = "diskd", .stream = {}};
  };
  auto& http = daemon.make<SimHttp>(daemon, network_);
  daemon.own(*http.serve("unix:/run/diskd", handler, 1000));
  EXPECT_EQ(http.serve("unix:/run/diskd", handler, 1000).error().code, Code::busy);
  EXPECT_EQ(ask("", "unix:/run/diskd"), "200 diskd");
  auto& other = world_.start_process("worker-2", "agent");
  SimHttp other_http(other, network_);
  EXPECT_FALSE(*run_in(other, other_http.request("unix:/run/diskd", {}, 1s)));
}

TEST_F(SimHttpTest, AStreamDeliversItsPiecesInOrderAndEnds) {
  std::string seen;
  auto status =
      run_in(client_, http_.request_stream("control:7000", {.target = "/stream", .headers = {}, .body = {}},
                                           [&](std::string_view piece) { seen += piece; }));
  EXPECT_TRUE(*status);
  EXPECT_EQ(seen, "onetwothreere: ");
  // A client that does not stream gets the whole body.
  auto whole =
      run_in(client_, http_.request("control:7000", {.target = "/stream", .headers = {}, .body = {}}, 1min));
  EXPECT_EQ((*whole)->body, "re: onetwothree");
}

TEST_F(SimHttpTest, AStreamsServerLearnsThatItsClientHasGone) {
  auto status = run_in(
      client_,
      http_.request_stream("control:7000", {.target = "/stream", .headers = {}, .body = {}}, [](auto) {}),
      500ms);
  EXPECT_EQ(status, std::nullopt);
  ASSERT_TRUE(world_.loop().run_for(10s));
  EXPECT_EQ(pieces_written_, 1);
}

}  // namespace
}  // namespace ebb::sim
