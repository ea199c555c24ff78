// An S3 server in the test's own loop: a few objects with conditions, and whatever a test has it say instead.
#pragma once
#include <gtest/gtest.h>

#include "platform/beast_http.h"
#include "platform/s3/s3_signer.h"
#include "platform/s3/s3_store.h"
#include "platform/socket_network.h"
#include "platform/test_folder.h"

namespace ebb {

inline HttpResponse s3_error(int status, std::string code, std::string message = "said so") {
  auto body = fmt::format("<?xml version=\"1.0\"?>\n<Error><Code>{}</Code><Message>{}</Message></Error>",
                          code, message);
  return {status, {{"content-type", "application/xml"}}, std::move(body), {}};
}

inline SharedBytes body_of(std::string_view text) { return std::make_shared<const Bytes>(to_bytes(text)); }

class TestS3Server {
 public:
  enum class Tags { quoted, bare, never } wanted = Tags::quoted;
  std::map<std::string, std::string> objects;  // by path
  std::vector<HttpRequest> seen;
  // An answer instead of the usual one.
  std::function<std::optional<HttpResponse>(const HttpRequest&)> script;
  Duration delay{};
  std::size_t busy = 0, busy_max = 0;  // requests at a time

  explicit TestS3Server(AsioLoop& loop) : loop_(loop), network_(loop), http_(loop, network_) {
    server_ =
        http_
            .serve(
                "127.0.0.1:0", [this](HttpRequest request) { return handle(std::move(request)); }, 64 * MiB)
            .value();
  }
  std::string url(std::string_view more = "") const {
    return fmt::format("s3://pool/cell?endpoint=http://{}&credentials=env{}", server_->address(), more);
  }
  std::string address() const { return server_->address(); }

 private:
  static std::string tag_of(const std::string& body) { return payload_hash(as_bytes(body)).substr(0, 32); }

  Task<HttpResponse> handle(HttpRequest request) {
    seen.push_back(request);
    busy_max = std::max(busy_max, ++busy);
    if (delay > Duration{}) co_await sleep_for(loop_, delay);
    --busy;
    if (script) {
      if (auto instead = script(request)) co_return *instead;
    }
    co_return request.method == "PUT" ? put(request) : get(request);
  }

  HttpResponse put(const HttpRequest& request) {
    auto found = objects.find(request.target);
    if (request.headers.contains("if-none-match") && found != objects.end())
      return s3_error(412, "PreconditionFailed");
    if (auto match = request.headers.find("if-match"); match != request.headers.end()) {
      if (found == objects.end()) return s3_error(404, "NoSuchKey");
      auto tag = tag_of(found->second);
      bool holds = (wanted == Tags::quoted && match->second == '"' + tag + '"') ||
                   (wanted == Tags::bare && match->second == tag);
      if (!holds) return s3_error(412, "PreconditionFailed");
    }
    objects[request.target] = request.body;
    return {200, {{"etag", '"' + tag_of(request.body) + '"'}}, "", {}};
  }

  HttpResponse get(const HttpRequest& request) {
    auto found = objects.find(request.target);
    if (found == objects.end()) return s3_error(404, "NoSuchKey");
    const auto& body = found->second;
    std::map<std::string, std::string> headers{{"etag", '"' + tag_of(body) + '"'}};
    auto range = request.headers.find("range");
    if (range == request.headers.end()) return {200, headers, body, {}};
    std::size_t first = 0, last = 0;
    EXPECT_EQ(std::sscanf(range->second.c_str(), "bytes=%zu-%zu", &first, &last), 2);
    if (first >= body.size()) return s3_error(416, "InvalidRange");
    auto part = body.substr(first, last - first + 1);
    headers["content-range"] = fmt::format("bytes {}-{}/{}", first, first + part.size() - 1, body.size());
    return {206, headers, part, {}};
  }

  AsioLoop& loop_;
  SocketNetwork network_;
  BeastHttp http_;
  std::unique_ptr<HttpServer> server_;
};

struct S3Test : testing::Test {
  template <class T>
  T run(Task<T> task) {
    return run_until_done(loop, std::move(task));
  }
  std::unique_ptr<S3Store> open(std::string url) {
    return std::make_unique<S3Store>(loop, parse_s3_url(url).value(), variables, limits);
  }
  Result<ObjectTag> put(ObjectStore& store, std::string key, std::string_view text,
                        PutCondition condition = PutCondition::always()) {
    return run(store.put(std::move(key), body_of(text), std::move(condition)));
  }
  Result<std::string> get(ObjectStore& store, std::string key) {
    auto object = run(store.get(std::move(key)));
    if (!object) return fail(object.error());
    return std::string(as_text(object->body));
  }
  Code code_of_get(ObjectStore& store, std::string key) {
    auto object = run(store.get(std::move(key)));
    EXPECT_FALSE(object);
    return object ? Code::internal : object.error().code;
  }

  AsioLoop loop;
  Variables variables{{"AWS_ACCESS_KEY_ID", "AKIDEXAMPLE"}, {"AWS_SECRET_ACCESS_KEY", "top-secret"}};
  S3Limits limits{.transfer = {}, .retries_max = 4, .retry_first = 1ms, .retry_max = 5ms, .retry_total = 30s};
};

}  // namespace ebb
