// Objects in a bucket: what is sent, what answers mean, what is tried again and what is never.
#include "platform/s3/test_s3_server.h"

namespace ebb {
namespace {

struct S3StoreTest : S3Test {
  std::size_t requests_of(std::function<void()> act) {
    auto before = server.seen.size();
    act();
    return server.seen.size() - before;
  }
  TestS3Server server{loop};
  std::unique_ptr<S3Store> store = open(server.url());
};

TEST_F(S3StoreTest, ObjectsComeBackAsTheyWerePut) {
  auto tag = put(*store, "v/d1/HEAD", "first");
  ASSERT_TRUE(tag) << tag.error();
  auto object = run(store->get("v/d1/HEAD"));
  ASSERT_TRUE(object) << object.error();
  EXPECT_EQ(as_text(object->body), "first");
  EXPECT_EQ(object->tag, *tag);
  EXPECT_FALSE(tag->value.contains('"')) << "tags are kept without quotes";
  EXPECT_EQ(server.objects.begin()->first, "/pool/cell/v/d1/HEAD");
}

TEST_F(S3StoreTest, LargeAndEmptyBodiesGoWholeBothWays) {
  std::string large(9 * MiB + 1, 'x');
  for (std::size_t i = 0; i < large.size(); i += 997) large[i] = static_cast<char>(i);
  ASSERT_TRUE(put(*store, "large", large));
  EXPECT_EQ(get(*store, "large"), large);
  EXPECT_FALSE(server.seen[0].headers.contains("expect"));
  EXPECT_EQ(server.seen[0].headers["x-amz-content-sha256"], payload_hash(as_bytes(large)));
  ASSERT_TRUE(put(*store, "empty", ""));
  EXPECT_EQ(get(*store, "empty"), "");
}

TEST_F(S3StoreTest, EveryRequestIsSignedWithItsConditionRangeAndToken) {
  variables["AWS_SESSION_TOKEN"] = "session";
  auto with_token = open(server.url());
  ASSERT_TRUE(put(*with_token, "a b$", "x", PutCondition::if_absent()));
  (void)run(with_token->get_range("a b$", 0, 1));
  ASSERT_EQ(server.seen.size(), 2u);
  EXPECT_EQ(server.seen[0].target, "/pool/cell/a%20b%24");
  EXPECT_EQ(server.seen[0].headers["x-amz-security-token"], "session");
  EXPECT_TRUE(server.seen[0].headers["authorization"].contains(
      "SignedHeaders=host;if-none-match;x-amz-content-sha256;x-amz-date;x-amz-security-token,"));
  EXPECT_TRUE(server.seen[1].headers["authorization"].contains(
      "SignedHeaders=host;range;x-amz-content-sha256;x-amz-date;x-amz-security-token,"));
  // What was sent is what was signed.
  auto& sent = server.seen[0].headers;
  RequestToSign again{"PUT", server.seen[0].target, "", {}, sent["x-amz-content-sha256"]};
  for (auto name : {"host", "if-none-match", "x-amz-content-sha256", "x-amz-date", "x-amz-security-token"})
    again.headers.emplace_back(name, sent[name]);
  auto date = sent["x-amz-date"];
  auto when =
      parse_utc_time(fmt::format("{}-{}-{}T{}:{}:{}", date.substr(0, 4), date.substr(4, 2), date.substr(6, 2),
                                 date.substr(9, 2), date.substr(11, 2), date.substr(13)));
  S3Signer signer("us-east-1");
  EXPECT_EQ(sent["authorization"],
            signer.authorization(again, {"AKIDEXAMPLE", "top-secret", "session", {}}, when.value()));
}

TEST_F(S3StoreTest, ConditionsAreKept) {
  auto first = put(*store, "k", "first", PutCondition::if_absent());
  ASSERT_TRUE(first) << first.error();
  EXPECT_EQ(put(*store, "k", "second", PutCondition::if_absent()).error().code, Code::conflict);
  auto second = put(*store, "k", "second", PutCondition::if_match(*first));
  ASSERT_TRUE(second) << second.error();
  EXPECT_EQ(put(*store, "k", "third", PutCondition::if_match(*first)).error().code, Code::conflict);
  EXPECT_EQ(put(*store, "none", "x", PutCondition::if_match(*first)).error().code, Code::conflict);
  EXPECT_EQ(get(*store, "k"), "second");
}

TEST_F(S3StoreTest, RangesEndAtTheObjectsEnd) {
  ASSERT_TRUE(put(*store, "k", "0123456789"));
  auto range = [&](std::uint64_t offset, std::size_t length) {
    auto part = run(store->get_range("k", offset, length));
    EXPECT_TRUE(part) << part.error();
    return part ? std::string(as_text(*part)) : "error";
  };
  EXPECT_EQ(range(2, 3), "234");
  EXPECT_EQ(range(8, 5), "89");
  EXPECT_EQ(range(10, 1), "");
  EXPECT_EQ(range(1'000'000, 1), "");
  EXPECT_EQ(range(3, 0), "");
  EXPECT_EQ(run(store->get_range("none", 0, 1)).error().code, Code::not_found);
  EXPECT_EQ(run(store->get_range("none", 0, 0)).error().code, Code::not_found);
  server.script = [&](const HttpRequest&) {
    return HttpResponse{200, {{"etag", "\"t\""}}, "0123456789", {}};
  };
  EXPECT_EQ(range(2, 3), "234") << "a store that gives the whole object all the same";
  server.script = [&](const HttpRequest&) {
    return HttpResponse{206, {{"etag", "\"t\""}, {"content-range", "bytes 5-7/10"}}, "567", {}};
  };
  EXPECT_EQ(run(store->get_range("k", 2, 3)).error().code, Code::unavailable)
      << "another range than was asked for";
}

TEST_F(S3StoreTest, OnlyAWordAboutTheKeyIsNotFound) {
  EXPECT_EQ(code_of_get(*store, "none"), Code::not_found);
  server.script = [](const HttpRequest&) { return s3_error(404, "NoSuchBucket"); };
  auto no_bucket = run(store->get("k"));
  EXPECT_EQ(no_bucket.error().code, Code::invalid);
  EXPECT_TRUE(no_bucket.error().message.contains("no bucket 'pool'")) << no_bucket.error();
  EXPECT_EQ(put(*store, "k", "x").error().code, Code::invalid);
  server.script = [](const HttpRequest&) { return HttpResponse{404, {}, "<html>not here</html>", {}}; };
  EXPECT_EQ(code_of_get(*store, "k"), Code::unavailable) << "a proxy's 404 is no word of the store";
}

TEST_F(S3StoreTest, ARefusalIsFinalAndCarriesTheStoresWords) {
  server.script = [](const HttpRequest&) {
    return s3_error(403, "AccessDenied", "not you &amp; not &lt;now&gt;");
  };
  EXPECT_EQ(requests_of([&] {
              auto refused = run(store->get("k"));
              EXPECT_EQ(refused.error().code, Code::invalid);
              EXPECT_EQ(refused.error().message, "get k: status 403, AccessDenied: not you & not <now>");
            }),
            1u);
  server.script = [](const HttpRequest&) {
    return HttpResponse{301, {{"x-amz-bucket-region", "eu-north-1"}}, "", {}};
  };
  auto moved = run(store->get("k"));
  EXPECT_EQ(moved.error().field, "region");
  EXPECT_TRUE(moved.error().message.contains("its region is eu-north-1")) << moved.error();
}

TEST_F(S3StoreTest, AConditionalPutIsSentOnceWhateverTheAnswer) {
  store->set_quoting(TagQuoting::quoted);
  const std::tuple<int, const char*, Code> answers[] = {
      {409, "ConditionalRequestConflict", Code::unavailable},
      {500, "UnknownError", Code::unavailable},
      {502, "BadGateway", Code::unavailable},
      {504, "GatewayTimeout", Code::unavailable},
      {400, "RequestTimeout", Code::unavailable},
      {503, "SlowDown", Code::busy},
      {503, "ServiceUnavailable", Code::busy},
      {429, "TooManyRequests", Code::busy},
      {412, "PreconditionFailed", Code::conflict},
      {501, "NotImplemented", Code::invalid},
      {403, "AccessDenied", Code::invalid}};
  for (const auto& [status, name, code] : answers) {
    server.script = [&](const HttpRequest&) { return s3_error(status, name); };
    for (const auto& condition : {PutCondition::if_absent(), PutCondition::if_match({"t"})}) {
      EXPECT_EQ(requests_of([&] {
                  EXPECT_EQ(put(*store, "k", "x", condition).error().code, code) << status << name;
                }),
                1u);
    }
  }
}

TEST_F(S3StoreTest, GetsAndPlainPutsAreTriedAgain) {
  int failures = 3;
  server.script = [&](const HttpRequest&) -> std::optional<HttpResponse> {
    // 412 to what set no condition is no word about the object.
    const std::pair<int, const char*> answers[] = {
        {503, "SlowDown"}, {500, "InternalError"}, {412, "PreconditionFailed"}};
    if (failures-- <= 0) return std::nullopt;
    const auto& [status, name] = answers[failures % 3];
    return s3_error(status, name);
  };
  EXPECT_EQ(requests_of([&] { EXPECT_TRUE(put(*store, "k", "x")); }), 4u);
  failures = 4;
  EXPECT_EQ(requests_of([&] { EXPECT_EQ(get(*store, "k"), "x"); }), 5u);
  failures = 1001;  // the fifth answer is SlowDown
  EXPECT_EQ(requests_of([&] { EXPECT_EQ(code_of_get(*store, "k"), Code::busy); }), 5u);
  failures = 1001;
  EXPECT_EQ(requests_of([&] { EXPECT_EQ(put(*store, "k", "y").error().code, Code::busy); }), 5u);
}

TEST_F(S3StoreTest, RetryAfterIsHonoured) {
  int failures = 1;
  server.objects["/pool/cell/k"] = "x";
  server.script = [&](const HttpRequest&) -> std::optional<HttpResponse> {
    if (failures-- <= 0) return std::nullopt;
    auto slow = s3_error(503, "SlowDown");
    slow.headers["retry-after"] = "1";
    return slow;
  };
  auto began = loop.now();
  EXPECT_EQ(get(*store, "k"), "x");
  EXPECT_GE(loop.now() - began, 1s);
  // A pause that does not fit into the time is not begun.
  failures = 1;
  limits.retry_total = 500ms;
  auto hasty = open(server.url());
  began = loop.now();
  EXPECT_EQ(code_of_get(*hasty, "k"), Code::busy);
  EXPECT_LT(loop.now() - began, 500ms);
}

TEST_F(S3StoreTest, TheQuotingOfTagsIsFoundOutBeforeTheFirstUse) {
  for (auto [wanted, found] : {std::pair(TestS3Server::Tags::quoted, TagQuoting::quoted),
                               std::pair(TestS3Server::Tags::bare, TagQuoting::bare)}) {
    server.wanted = wanted;
    auto fresh = open(server.url());
    EXPECT_EQ(fresh->quoting(), TagQuoting::unknown);
    auto tag = put(*fresh, "k", "0");
    for (const char* text : {"1", "2", "3"}) {
      tag = put(*fresh, "k", text, PutCondition::if_match(*tag));
      ASSERT_TRUE(tag) << tag.error();
    }
    EXPECT_EQ(fresh->quoting(), found);
    EXPECT_EQ(requests_of([&] { EXPECT_TRUE(put(*fresh, "k", "4", PutCondition::if_match(*tag))); }), 1u);
    EXPECT_EQ(run(open(server.url())->find_out_quoting()), found);
  }
  for (const auto& [path, body] : server.objects)
    EXPECT_TRUE(path == "/pool/cell/k" || path.starts_with("/pool/cell/probe/")) << path;
}

TEST_F(S3StoreTest, AStoreThatTakesNoTagAtAllIsRefused) {
  server.wanted = TestS3Server::Tags::never;
  auto refused = put(*store, "k", "x", PutCondition::if_match({"t"}));
  EXPECT_EQ(refused.error().code, Code::invalid);
  EXPECT_TRUE(refused.error().message.contains("quoted and bare")) << refused.error();
  EXPECT_FALSE(server.objects.contains("/pool/cell/k"));
}

TEST_F(S3StoreTest, AStoreThatCannotBeAskedHowItQuotesIsAskedAgainNextTime) {
  store->set_quoting(TagQuoting::unknown);
  limits.retries_max = 0;
  auto fresh = open(server.url());
  server.script = [](const HttpRequest&) { return s3_error(500, "InternalError"); };
  EXPECT_EQ(put(*fresh, "k", "x", PutCondition::if_match({"t"})).error().code, Code::unavailable);
  EXPECT_EQ(fresh->quoting(), TagQuoting::unknown);
  server.script = nullptr;
  EXPECT_EQ(put(*fresh, "k", "x", PutCondition::if_match({"t"})).error().code, Code::conflict);
  EXPECT_EQ(fresh->quoting(), TagQuoting::quoted);
}

TEST_F(S3StoreTest, AnObjectWithoutATagIsNoObjectOfS3) {
  server.script = [](const HttpRequest&) { return HttpResponse{200, {}, "body", {}}; };
  EXPECT_EQ(code_of_get(*store, "k"), Code::invalid);
  EXPECT_EQ(put(*store, "k", "x", PutCondition::if_absent()).error().code, Code::unavailable)
      << "it may be there";
}

TEST_F(S3StoreTest, KeysThatWouldLeaveThePoolAreRefused) {
  for (const char* key : {"", "../x", "a//b", "/a", "a/./b"}) {
    EXPECT_EQ(code_of_get(*store, key), Code::invalid) << key;
    EXPECT_EQ(put(*store, key, "x").error().code, Code::invalid) << key;
  }
  EXPECT_TRUE(server.seen.empty());
}

TEST_F(S3StoreTest, NoErrorHoldsAKey) {
  server.script = [](const HttpRequest&) { return s3_error(403, "SignatureDoesNotMatch"); };
  EXPECT_FALSE(run(store->get("k")).error().message.contains("top-secret"));
  EXPECT_FALSE(server.seen[0].headers["authorization"].contains("top-secret"));
}

}  // namespace
}  // namespace ebb
