// Broken lines: cut bodies, silence, lost connections, many at a time, and the ends of tasks and stores.
#include "platform/s3/test_s3_server.h"

namespace ebb {
namespace {

// Says exactly these bytes, request by request, and then closes, waits, or goes on.
class RawServer {
 public:
  struct Answer {
    std::string bytes;
    enum class Then { next, close, silence } then = Then::next;
  };
  std::function<Answer(std::size_t number)> answer;  // of the request, counted from 1
  std::size_t requests = 0, connections = 0;

  explicit RawServer(AsioLoop& loop) : loop_(loop), network_(loop) {
    listener_ = network_
                    .listen("127.0.0.1:0",
                            [this](std::unique_ptr<Stream> stream) { return serve(this, std::move(stream)); })
                    .value();
  }
  std::string url() const {
    return fmt::format("s3://pool?endpoint=http://{}&credentials=env", listener_->address());
  }

 private:
  static Task<void> serve(RawServer* self, std::unique_ptr<Stream> stream) {
    ++self->connections;
    std::string got;
    for (;;) {
      auto end = got.find("\r\n\r\n");
      std::size_t body = 0;
      if (auto at = got.find("Content-Length: "); at < end) body = std::stoul(got.substr(at + 16));
      if (end == std::string::npos || got.size() < end + 4 + body) {
        Bytes piece(64 * KiB);
        auto count = co_await stream->read_some(piece);
        if (!count || *count == 0) co_return;
        got += as_text(ByteView(piece).first(*count));
        continue;
      }
      got.erase(0, end + 4 + body);
      auto reply = self->answer(++self->requests);
      if (!reply.bytes.empty()) {
        std::vector<ByteView> parts{as_bytes(reply.bytes)};
        [[maybe_unused]] auto written = co_await stream->write_all(parts);
      }
      if (reply.then == Answer::Then::close) co_return;
      if (reply.then == Answer::Then::silence) co_await sleep_for(self->loop_, 1h);
    }
  }
  AsioLoop& loop_;
  SocketNetwork network_;
  std::unique_ptr<Listener> listener_;
};

std::string reply_of(std::string_view head, std::string_view body) {
  return fmt::format("HTTP/1.1 200 OK\r\nETag: \"t\"\r\n{}\r\n\r\n{}", head, body);
}

struct S3FaultTest : S3Test {
  using Then = RawServer::Answer::Then;
  S3FaultTest() { limits.retries_max = 0; }
  // What a get gives when the server says this.
  Result<std::string> get_of(std::string bytes, Then then) {
    server.answer = [=](std::size_t) { return RawServer::Answer{bytes, then}; };
    auto store = open(server.url());
    return get(*store, "k");
  }
  void expect_no_data(std::string bytes, Then then = Then::close) {
    auto got = get_of(bytes, then);
    ASSERT_FALSE(got) << bytes << " gave " << *got;
    EXPECT_EQ(got.error().code, Code::unavailable) << bytes << ": " << got.error();
  }
  RawServer server{loop};
};

TEST_F(S3FaultTest, ATruncatedBodyIsNeverData) {
  EXPECT_EQ(get_of(reply_of("Content-Length: 4", "body"), Then::close), "body");
  expect_no_data(reply_of("Content-Length: 5", "body"));
  expect_no_data(reply_of("Content-Length: 5", ""));
  expect_no_data(reply_of("Connection: close", "body"));  // nobody says where it ends
  EXPECT_EQ(get_of(reply_of("Transfer-Encoding: chunked", "4\r\nbody\r\n0\r\n\r\n"), Then::close), "body");
  expect_no_data(reply_of("Transfer-Encoding: chunked", "4\r\nbody\r\n"));
  expect_no_data(reply_of("Transfer-Encoding: chunked", "4\r\nbo"));
  expect_no_data("HTTP/1.1 200 OK\r\nETag:");
  expect_no_data("nonsense\r\n\r\n");
  expect_no_data("");
}

TEST_F(S3FaultTest, AGetWhoseConnectionBreaksIsTriedAgain) {
  limits.retries_max = 2;
  server.answer = [](std::size_t number) {
    if (number == 1) return RawServer::Answer{"", Then::close};
    if (number == 2) return RawServer::Answer{reply_of("Content-Length: 9", "half"), Then::close};
    return RawServer::Answer{reply_of("Content-Length: 5", "whole")};
  };
  auto store = open(server.url());
  EXPECT_EQ(get(*store, "k"), "whole");
  EXPECT_EQ(server.requests, 3u);
}

// libcurl would send it again by itself over a new connection; by then the first may have been carried out.
TEST_F(S3FaultTest, AConditionalPutOnAKeptConnectionThatBreaksIsSentOnce) {
  limits.retries_max = 4;
  server.answer = [](std::size_t number) {
    if (number == 1) return RawServer::Answer{reply_of("Content-Length: 0", "")};
    return RawServer::Answer{"", Then::close};
  };
  auto store = open(server.url());
  ASSERT_TRUE(put(*store, "k", "x", PutCondition::if_absent()));
  auto lost = put(*store, "k", "y", PutCondition::if_absent());
  EXPECT_EQ(lost.error().code, Code::unavailable) << lost.error();
  EXPECT_EQ(server.requests, 2u);
  EXPECT_EQ(server.connections, 1u) << "the second request went over the kept connection";
}

TEST_F(S3FaultTest, AStoreThatDoesNotAnswerIsUnavailableAfterTheTimeOut) {
  limits.transfer.total = 200ms;
  auto began = loop.now();
  expect_no_data("", Then::silence);
  expect_no_data(reply_of("Content-Length: 5", "bo"), Then::silence);
  EXPECT_GE(loop.now() - began, 400ms);
  EXPECT_LT(loop.now() - began, 5s);
}

TEST_F(S3FaultTest, ABodyThatStallsIsGivenUpBeforeTheTotalTimeOut) {
  limits.transfer.stall = 1s;
  auto began = loop.now();
  expect_no_data(reply_of("Content-Length: 5", "bo"), Then::silence);
  EXPECT_LT(loop.now() - began, 10s);
}

TEST_F(S3FaultTest, NobodyListeningIsUnavailable) {
  auto url = server.url();
  auto away = open("s3://pool?endpoint=http://127.0.0.1:1&credentials=env");
  EXPECT_EQ(code_of_get(*away, "k"), Code::unavailable);
  auto unknown = open("s3://pool?endpoint=http://store.invalid&credentials=env");
  EXPECT_EQ(code_of_get(*unknown, "k"), Code::unavailable);
}

TEST_F(S3FaultTest, AReplyThatIsTooLongIsRefused) {
  limits.transfer.reply_bytes_max = 1000;
  auto got = get_of(reply_of("Content-Length: 2000", std::string(2000, 'x')), Then::close);
  EXPECT_EQ(got.error().code, Code::invalid) << got.error();
}

struct S3ManyTest : S3Test {
  TestS3Server server{loop};

  // `count` gets at the same time.
  std::vector<Result<StoredObject>> get_many(S3Store& store, int count) {
    std::vector<Task<Result<StoredObject>>> tasks;
    for (int i = 0; i < count; ++i) tasks.push_back(store.get("k"));
    return run(when_all(loop, std::move(tasks)));
  }
};

TEST_F(S3ManyTest, ConnectionsAreKeptAndOnlySoManyRequestsAreInFlight) {
  limits.transfer.in_flight_max = 8;
  server.objects["/pool/cell/k"] = std::string(100'000, 'x');
  server.delay = 2ms;
  auto store = open(server.url());
  for (const auto& got : get_many(*store, 100)) {
    ASSERT_TRUE(got) << got.error();
    EXPECT_EQ(got->body.size(), 100'000u);
  }
  EXPECT_EQ(server.busy_max, 8u);
  for (int i = 0; i < 10; ++i) EXPECT_TRUE(get(*store, "k"));
  CurlTransport transport(loop);
  for (int i = 0; i < 10; ++i) {
    CurlRequest request;
    request.url = "http://" + server.address() + "/pool/cell/k";
    EXPECT_TRUE(run(transport.send(request)));
  }
  EXPECT_EQ(transport.connections_made(), 1u);
}

// Many who are refused together do not come back together: each pause is drawn anew, from nothing up to its limit.
TEST_F(S3ManyTest, PausesBetweenTriesAreSpreadOverAllOfTheirLimit) {
  constexpr int clients = 32;
  constexpr Duration late = 1s;  // of a machine that is busy with others
  limits.retries_max = 5, limits.retry_first = 200ms, limits.retry_max = 400ms;
  std::map<std::string, std::vector<Instant>> tries;
  server.script = [&](const HttpRequest& request) {
    tries[request.target].push_back(loop.now());
    return s3_error(503, "SlowDown");
  };
  std::vector<std::unique_ptr<S3Store>> stores;
  std::vector<Task<Result<StoredObject>>> gets;
  for (int i = 0; i < clients; ++i) {
    stores.push_back(open(server.url()));
    gets.push_back(stores.back()->get(fmt::format("k{}", i)));
  }
  for (const auto& got : run(when_all(loop, std::move(gets)))) EXPECT_FALSE(got);
  ASSERT_EQ(tries.size(), std::size_t{clients});
  Duration limit = limits.retry_first;
  for (std::size_t n = 1; n <= 5; ++n, limit = std::min<Duration>(2 * limit, limits.retry_max)) {
    Duration least = 1h, most{}, sum{};
    for (const auto& [target, at] : tries) {
      ASSERT_EQ(at.size(), 6u);
      auto pause = at[n] - at[n - 1];
      least = std::min(least, pause), most = std::max(most, pause), sum += pause;
    }
    EXPECT_GT(most - least, limit / 2) << "pause " << n;
    EXPECT_LT(most, limit + late) << "pause " << n;
    EXPECT_GT(sum / clients, limit / 4) << "pause " << n << ": some time for the store to recover";
  }
  EXPECT_NE(AsioLoop().random().next(), AsioLoop().random().next()) << "nor do other processes draw the same";
}

TEST_F(S3ManyTest, AGetThatIsGivenUpFreesItsTurn) {
  limits.transfer.in_flight_max = 1;
  server.objects["/pool/cell/k"] = "x";
  server.delay = 10min;
  auto store = open(server.url());
  for (int i = 0; i < 3; ++i) EXPECT_FALSE(run(with_timeout(loop, store->get("k"), 20ms)));
  // Also one that waits for its turn behind another that is given up.
  {
    Scope scope(loop);
    for (int i = 0; i < 3; ++i)
      scope.spawn([](S3Store* s) -> Task<void> { (void)co_await s->get("k"); }(store.get()));
    run(sleep_for(loop, 20ms));
  }
  server.delay = {};
  auto got = run(with_timeout(loop, store->get("k"), 5s));
  ASSERT_TRUE(got);
  EXPECT_TRUE(*got);
}

TEST_F(S3ManyTest, TheEndOfTheStoreEndsEverything) {
  limits.transfer.in_flight_max = 2;
  server.objects["/pool/cell/k"] = "x";
  server.delay = 10min;
  auto store = open(server.url());
  std::vector<Task<Result<StoredObject>>> tasks;
  for (int i = 0; i < 5; ++i) tasks.push_back(store->get("k"));
  loop.call_at(loop.now() + 20ms, [&store] { store.reset(); });
  auto ended = run(with_timeout(loop, when_all(loop, std::move(tasks)), 5s));
  ASSERT_TRUE(ended) << "something still waits";
  for (const auto& got : *ended) {
    ASSERT_FALSE(got);
    EXPECT_EQ(got.error().code, Code::unavailable) << got.error();
  }
}

TEST_F(S3ManyTest, LargeBodiesBothWaysAtTheSameTime) {
  auto store = open(server.url());
  std::vector<Task<Result<ObjectTag>>> puts;
  for (int i = 0; i < 12; ++i) {
    puts.push_back(store->put(fmt::format("k{}", i), std::make_shared<const Bytes>(3 * MiB, std::byte(i)),
                              i % 2 == 0 ? PutCondition::if_absent() : PutCondition::always()));
  }
  for (const auto& done : run(when_all(loop, std::move(puts)))) EXPECT_TRUE(done) << done.error();
  for (int i = 0; i < 12; ++i)
    EXPECT_EQ(get(*store, fmt::format("k{}", i)), std::string(3 * MiB, static_cast<char>(i)));
}

}  // namespace
}  // namespace ebb
