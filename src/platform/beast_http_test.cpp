#include "platform/beast_http.h"

#include <unistd.h>

#include "platform/asio_loop.h"
#include "platform/socket_network.h"
#include "platform/test_folder.h"

namespace ebb {
namespace {

HttpRequest request_of(std::string method, std::string target = "/") {
  return {std::move(method), std::move(target), {}, {}};
}

HttpResponse text_reply(std::string body) {
  return {200, {{"content-type", "text/plain"}}, std::move(body), {}};
}

struct BeastHttpTest : testing::Test {
  template <class T>
  T run(Task<T> task) {
    return run_until_done(loop, std::move(task));
  }
  std::unique_ptr<HttpServer> serve(HttpHandler handler, std::size_t body_bytes_max = 8 * MiB) {
    return http.serve("unix:" + (folder / "s"), std::move(handler), body_bytes_max).value();
  }
  Result<HttpResponse> get(const HttpServer& server, std::string target) {
    return run(http.request(server.address(), request_of("GET", std::move(target)), 5s));
  }
  // What comes back for raw bytes, until the server closes or is silent.
  std::string raw(const std::string& address, std::string text, Duration silence = 300ms) {
    return run([](BeastHttpTest* t, std::string to, std::string send, Duration quiet) -> Task<std::string> {
      auto stream = (co_await t->network.connect(to)).value();
      [[maybe_unused]] auto sent = co_await stream->write_all({as_bytes(send)});
      std::string got;
      for (;;) {
        Bytes piece(64 * KiB);
        auto count = co_await with_timeout(t->loop, stream->read_some(piece), quiet);
        if (!count || !*count || **count == 0) co_return got;
        got += as_text(ByteView(piece).first(**count));
      }
    }(this, address, std::move(text), silence));
  }
  TestFolder folder;
  AsioLoop loop;
  SocketNetwork network{loop};
  BeastHttp http{loop, network, {.idle = 400ms}};
};

Task<HttpResponse> echo(HttpRequest request) {
  co_return text_reply(
      fmt::format("{} {} [{}] {}", request.method, request.target, request.headers["x-test"], request.body));
}

TEST_F(BeastHttpTest, RequestsAndRepliesGoThroughOverUnixAndTcp) {
  for (std::string address : {"unix:" + (folder / "a"), std::string("127.0.0.1:0")}) {
    auto server = http.serve(address, echo, 1 * MiB).value();
    auto reply =
        run(http.request(server->address(), {"POST", "/v1/things?a=b", {{"x-test", "yes"}}, "body"}, 5s));
    ASSERT_TRUE(reply) << reply.error();
    EXPECT_EQ(reply->status, 200);
    EXPECT_EQ(reply->body, "POST /v1/things?a=b [yes] body");
    EXPECT_EQ(reply->headers["content-type"], "text/plain");
  }
}

TEST_F(BeastHttpTest, StatusAndErrorBodiesAreHandedOnAsTheyAre) {
  auto server = serve([](HttpRequest) -> Task<HttpResponse> {
    co_return HttpResponse{404, {}, "{\"code\":\"not_found\"}", {}};
  });
  auto reply = get(*server, "/x").value();
  EXPECT_EQ(reply.status, 404);
  EXPECT_EQ(reply.body, "{\"code\":\"not_found\"}");
}

TEST_F(BeastHttpTest, LargeBodiesGoWholeBothWays) {
  auto server =
      serve([](HttpRequest request) -> Task<HttpResponse> { co_return text_reply(std::move(request.body)); });
  std::string body(8 * MiB, 'x');
  for (std::size_t i = 0; i < body.size(); i += 97) body[i] = static_cast<char>(i % 256);
  auto reply = run(http.request(server->address(), {"PUT", "/", {}, body}, 20s)).value();
  EXPECT_TRUE(reply.body == body);
}

TEST_F(BeastHttpTest, OneConnectionServesManyRequests) {
  int connections = 0;
  auto server = serve(echo);
  auto front = network
                   .listen("unix:" + (folder / "front"),
                           [&](std::unique_ptr<Stream> stream) {
                             ++connections;
                             return [](std::unique_ptr<Stream> client, Network& n, AsioLoop& l,
                                       std::string to) -> Task<void> {
                               std::unique_ptr<Stream> back = (co_await n.connect(to)).value();
                               auto pump = [](Stream* a, Stream* b) -> Task<void> {
                                 Bytes piece(64 * KiB);
                                 for (;;) {
                                   auto count = co_await a->read_some(piece);
                                   if (!count || *count == 0 ||
                                       !co_await b->write_all({ByteView(piece).first(*count)}))
                                     co_return;
                                 }
                               };
                               Scope scope(l);
                               scope.spawn(pump(client.get(), back.get()));
                               co_await pump(back.get(), client.get());
                             }(std::move(stream), network, loop, server->address());
                           })
                   .value();
  for (int i = 0; i < 5; ++i) {
    EXPECT_TRUE(run(http.request(front->address(), request_of("GET"), 5s)));
  }
  EXPECT_EQ(connections, 1);
}

// A server that closes each connection after `replies` answers, without saying so.
struct RudeServer {
  RudeServer(Network& network, std::string address, int replies, bool ends_first = false)
      : listener(network
                     .listen(address,
                             [this, replies, ends_first](std::unique_ptr<Stream> stream) {
                               return answer(this, std::move(stream), replies, ends_first);
                             })
                     .value()) {}
  static Task<void> answer(RudeServer* self, std::unique_ptr<Stream> stream, int replies, bool swallow) {
    for (int i = 0;; ++i) {
      Bytes piece(64 * KiB);
      auto count = co_await stream->read_some(piece);
      if (!count || *count == 0) co_return;
      ++self->requests;
      if (i == replies) co_return;  // read, and closed without a reply
      if (!co_await stream->write_all({as_bytes("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")}))
        co_return;
      if (!swallow && i + 1 == replies) co_return;
    }
  }
  int requests = 0;
  std::unique_ptr<Listener> listener;
};

TEST_F(BeastHttpTest, AKeptConnectionThatTheServerClosedIsNoError) {
  RudeServer server(network, "unix:" + (folder / "r"), 1);
  for (auto method : {"GET", "POST", "POST", "GET"}) {
    auto reply = run(http.request(server.listener->address(), request_of(method), 5s));
    EXPECT_TRUE(reply) << reply.error();
    run_until_done(loop, sleep_for(loop, 5ms));
  }
  EXPECT_EQ(server.requests, 4);
}

TEST_F(BeastHttpTest, AGetIsRepeatedWhenItsKeptConnectionDiesUnansweredButAPostIsNot) {
  RudeServer server(network, "unix:" + (folder / "r"), 1, true);
  ASSERT_TRUE(run(http.request(server.listener->address(), {}, 5s)));
  EXPECT_TRUE(run(http.request(server.listener->address(), {}, 5s)));
  EXPECT_EQ(server.requests, 3);
  auto post = run(http.request(server.listener->address(), request_of("POST"), 5s));
  ASSERT_FALSE(post);
  EXPECT_EQ(post.error().code, Code::unavailable);
  EXPECT_EQ(server.requests, 4) << "it may have been carried out: sent once only";
}

TEST_F(BeastHttpTest, AReplyThatIsTooLateIsUnavailableAndItsHandlerIsDestroyed) {
  auto ended = std::make_shared<int>(0);
  struct Witness {
    std::shared_ptr<int> count;
    ~Witness() { ++*count; }
  };
  auto server = serve([this, ended](HttpRequest) {
    return [](AsioLoop& l, std::shared_ptr<int> count) -> Task<HttpResponse> {
      Witness witness{count};
      co_await sleep_for(l, 1h);
      co_return text_reply("late");
    }(loop, ended);
  });
  auto reply = run(http.request(server->address(), {}, 50ms));
  ASSERT_FALSE(reply);
  EXPECT_EQ(reply.error().code, Code::unavailable);
  EXPECT_NE(reply.error().message.find("may have been carried out"), std::string::npos);
  run_until_done(loop, sleep_for(loop, 20ms));
  EXPECT_EQ(*ended, 1);
}

TEST_F(BeastHttpTest, ALongPollMayTakeLongerThanTheIdleLimit) {
  auto server = serve([this](HttpRequest) {
    return [](AsioLoop& l) -> Task<HttpResponse> {
      co_await sleep_for(l, 700ms);
      co_return text_reply("changed");
    }(loop);
  });
  EXPECT_EQ(get(*server, "/").value().body, "changed");
}

TEST_F(BeastHttpTest, ABodyOverTheLimitIs413AndTheServerLivesOn) {
  auto server = serve(echo, 1000);
  auto reply = run(http.request(server->address(), {"POST", "/", {}, std::string(3 * MiB, 'x')}, 5s));
  ASSERT_TRUE(reply) << reply.error();
  EXPECT_EQ(reply->status, 413);
  EXPECT_NE(reply->body.find("\"code\":\"invalid\""), std::string::npos);
  auto chunked = raw(server->address(), "POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n800\r\n" +
                                            std::string(0x800, 'x') + "\r\n0\r\n\r\n");
  EXPECT_EQ(chunked.substr(0, 12), "HTTP/1.1 413");
  EXPECT_EQ(get(*server, "/").value().status, 200);
}

TEST_F(BeastHttpTest, MalformedRequestsAre400AndTheServerLivesOn) {
  auto server = serve(echo);
  for (std::string text : {"nonsense\r\n\r\n", "GET /\r\n\r\n", "GET / HTTP/1.1\r\nno colon\r\n\r\n",
                           "GET / HTTP/9.9\r\n\r\n", "POST / HTTP/1.1\r\ncontent-length: -1\r\n\r\n",
                           "POST / HTTP/1.1\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n",
                           "POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\nZZ\r\n",
                           "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 tls\r\n\r\n"}) {
    auto reply = raw(server->address(), text);
    EXPECT_EQ(reply.substr(0, 12), "HTTP/1.1 400") << text << " -> " << reply;
    EXPECT_NE(reply.find("\"code\":\"invalid\""), std::string::npos) << reply;
  }
  auto huge = raw(server->address(), "GET / HTTP/1.1\r\nx: " + std::string(100 * 1024, 'x'));
  EXPECT_EQ(huge.substr(0, 12), "HTTP/1.1 431") << huge;
  EXPECT_EQ(get(*server, "/").value().status, 200);
}

TEST_F(BeastHttpTest, ASlowClientIsCutOff) {
  auto server = serve(echo);
  auto start = loop.now();
  EXPECT_EQ(raw(server->address(), "GET / HTTP/1.1\r\nhost", 5s), "");
  EXPECT_LT(loop.now() - start, 3s);
  EXPECT_EQ(raw(server->address(), "POST / HTTP/1.1\r\ncontent-length: 10\r\n\r\nabc", 5s), "");
  EXPECT_LT(loop.now() - start, 4s);
}

TEST_F(BeastHttpTest, PipelinedAndOldRequestsAreAnswered) {
  auto server = serve(echo);
  auto two = raw(server->address(), "GET /1 HTTP/1.1\r\n\r\nGET /2 HTTP/1.1\r\nconnection: close\r\n\r\n");
  EXPECT_NE(two.find("GET /1"), std::string::npos);
  EXPECT_NE(two.find("GET /2"), std::string::npos);
  auto old = raw(server->address(), "GET /old HTTP/1.0\r\n\r\n");
  EXPECT_NE(old.find("GET /old"), std::string::npos);
  EXPECT_NE(old.find("connection: close"), std::string::npos);
  auto head = raw(server->address(), "HEAD / HTTP/1.1\r\nconnection: close\r\n\r\n");
  EXPECT_TRUE(head.ends_with("\r\n\r\n")) << head;
  auto expecting =
      raw(server->address(), "POST / HTTP/1.1\r\ncontent-length: 2\r\nexpect: 100-continue\r\n\r\n");
  EXPECT_EQ(expecting, "HTTP/1.1 100 Continue\r\n\r\n");
}

TEST_F(BeastHttpTest, AReplyCannotBeSplitByAHeaderValue) {
  auto server = serve([](HttpRequest) -> Task<HttpResponse> {
    co_return HttpResponse{200, {{"x-evil", "a\r\nset-cookie: b"}, {"x-good", "c"}}, "", {}};
  });
  auto reply = get(*server, "/").value();
  EXPECT_FALSE(reply.headers.contains("set-cookie"));
  EXPECT_EQ(reply.headers["x-good"], "c");
  EXPECT_EQ(run(http.request(server->address(), request_of("GET", "/a b"), 1s)).error().code, Code::invalid);
  EXPECT_EQ(run(http.request(server->address(), {"GET", "/", {{"x", "a\r\nb: c"}}, ""}, 1s)).error().code,
            Code::invalid);
}

Task<void> count_to(BodyWriter& writer, AsioLoop& loop, int last) {
  for (int i = 1; i <= last; ++i) {
    if (!co_await writer.write(fmt::format("{};", i))) co_return;
    co_await sleep_for(loop, 2ms);
  }
}

TEST_F(BeastHttpTest, AStreamArrivesPieceByPiece) {
  auto server = serve([this](HttpRequest) -> Task<HttpResponse> {
    co_return HttpResponse{200, {}, "", [this](BodyWriter& writer) { return count_to(writer, loop, 5); }};
  });
  std::vector<std::string> pieces;
  auto ended = run(http.request_stream(server->address(), {},
                                       [&](std::string_view piece) { pieces.emplace_back(piece); }));
  ASSERT_TRUE(ended) << ended.error();
  EXPECT_EQ(pieces, (std::vector<std::string>{"1;", "2;", "3;", "4;", "5;"}));
  EXPECT_EQ(get(*server, "/").value().body, "1;2;3;4;5;") << "a whole request takes a streamed reply too";
}

TEST_F(BeastHttpTest, AStreamWhoseClientWentIsDestroyed) {
  auto ended = std::make_shared<int>(0);
  struct Witness {
    std::shared_ptr<int> count;
    ~Witness() { ++*count; }
  };
  auto server = serve([this, ended](HttpRequest) -> Task<HttpResponse> {
    co_return HttpResponse{200, {}, "", [this, ended](BodyWriter& writer) {
                             return [](BodyWriter& w, AsioLoop& l, std::shared_ptr<int> count) -> Task<void> {
                               Witness witness{count};
                               [[maybe_unused]] auto first = co_await w.write("first");
                               co_await sleep_for(l, 1h);
                             }(writer, loop, ended);
                           }};
  });
  std::string got;
  auto cut = run(with_timeout(
      loop, http.request_stream(server->address(), {}, [&](std::string_view p) { got += p; }), 100ms));
  EXPECT_FALSE(cut);
  EXPECT_EQ(got, "first");
  run_until_done(loop, sleep_for(loop, 20ms));
  EXPECT_EQ(*ended, 1);
}

TEST_F(BeastHttpTest, AStreamRequestAnsweredWithAnErrorCarriesItsBody) {
  auto server = serve([](HttpRequest) -> Task<HttpResponse> {
    co_return HttpResponse{410, {}, "{\"code\":\"fenced\",\"message\":\"a newer owner exists\"}", {}};
  });
  auto ended =
      run(http.request_stream(server->address(), {}, [](std::string_view) { ADD_FAILURE() << "no piece"; }));
  ASSERT_FALSE(ended);
  EXPECT_EQ(ended.error().code, Code::fenced);
  EXPECT_NE(ended.error().message.find("a newer owner exists"), std::string::npos);
}

TEST_F(BeastHttpTest, ABrokenStreamIsUnavailable) {
  auto listener =
      network
          .listen("unix:" + (folder / "b"),
                  [](std::unique_ptr<Stream> stream) -> Task<void> {
                    Bytes piece(1024);
                    [[maybe_unused]] auto got = co_await stream->read_some(piece);
                    [[maybe_unused]] auto sent = co_await stream->write_all(
                        {as_bytes("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n")});
                  })
          .value();
  auto ended = run(http.request_stream(listener->address(), {}, [](std::string_view) {}));
  ASSERT_FALSE(ended);
  EXPECT_EQ(ended.error().code, Code::unavailable);
  EXPECT_EQ(run(http.request(listener->address(), {}, 1s)).error().code, Code::unavailable);
}

TEST_F(BeastHttpTest, ManyRequestsAtOnceGetTheirOwnReplies) {
  auto server = serve(echo);
  std::vector<Task<Result<HttpResponse>>> requests;
  for (int i = 0; i < 200; ++i)
    requests.push_back(http.request(server->address(), request_of("GET", fmt::format("/{}", i)), 10s));
  auto replies = run(when_all(loop, std::move(requests)));
  for (std::size_t i = 0; i < replies.size(); ++i) {
    ASSERT_TRUE(replies[i]) << replies[i].error();
    EXPECT_EQ(replies[i]->body, fmt::format("GET /{} [] ", i));
  }
}

TEST_F(BeastHttpTest, CurlUnderstandsUs) {
  if (system("command -v curl >/dev/null") != 0) GTEST_SKIP() << "curl is not installed";
  auto server = serve(echo);
  auto output = folder / "out";
  auto command = fmt::format(
      "curl -sS --max-time 5 --unix-socket {} -d hi http://x/curl -o {} && curl -sS --max-time 5 "
      "--unix-socket {} "
      "-T /bin/ls http://x/up >/dev/null",
      folder / "s", output, folder / "s");
  EXPECT_EQ(run(blocking(loop, [command] { return system(command.c_str()); })), 0);
  EXPECT_EQ(run(blocking(loop, [output] { return std::filesystem::file_size(output); })),
            std::string("POST /curl [] hi").size());
}

}  // namespace
}  // namespace ebb
