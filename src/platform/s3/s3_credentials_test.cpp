// Keys: from the environment, from a file, from the instance; and that they appear in no message.
#include "platform/s3/s3_credentials.h"

#include <filesystem>
#include <fstream>

#include "base/text.h"
#include "platform/s3/test_s3_server.h"

namespace ebb {
namespace {

TEST(S3KeysTest, TheEnvironmentGivesKeysAndAToken) {
  Variables variables{{"AWS_ACCESS_KEY_ID", "id"}, {"AWS_SECRET_ACCESS_KEY", "secret"}};
  EXPECT_EQ(keys_from_environment(variables), (S3Keys{"id", "secret", "", std::nullopt}));
  variables["AWS_SESSION_TOKEN"] = "token";
  EXPECT_EQ(keys_from_environment(variables), (S3Keys{"id", "secret", "token", std::nullopt}));
  variables.erase("AWS_SECRET_ACCESS_KEY");
  EXPECT_TRUE(keys_from_environment(variables).error().message.contains("AWS_SECRET_ACCESS_KEY"));
  EXPECT_EQ(keys_from_environment({}).error().field, "credentials");
}

TEST(S3KeysTest, AFileIsReadAsAwsReadsIt) {
  auto keys = keys_from_ini(
      "# mine\n[other]\naws_access_key_id=no\n\n[default]\r\naws_access_key_id = id\n"
      "aws_secret_access_key=se/cr+et==\n region = x\naws_session_token = "
      "token\n[last]\naws_access_key_id=no\n",
      "/keys");
  EXPECT_EQ(keys, (S3Keys{"id", "se/cr+et==", "token", std::nullopt}));
  auto wrong = [](std::string_view text) { return keys_from_ini(text, "/keys").error().message; };
  EXPECT_EQ(wrong(""), "/keys has no section [default]");
  EXPECT_EQ(wrong("[default]\naws_access_key_id=id"), "/keys: [default] has no aws_secret_access_key");
  EXPECT_EQ(wrong("[default]\nsecret"), "/keys has a line that is no NAME = VALUE");
}

TEST(S3KeysTest, TheMetadataServicesAnswerIsChecked) {
  auto keys = keys_from_instance(
      R"({"Code":"Success","Type":"AWS-HMAC","AccessKeyId":"id","SecretAccessKey":"secret","Token":"t","Expiration":"2026-11-23T16:14:46Z"})");
  ASSERT_TRUE(keys) << keys.error();
  EXPECT_EQ(keys->session_token, "t");
  EXPECT_EQ(format_time(keys->expires.value()), "2026-11-23T16:14:46Z");
  for (auto text :
       {"", "[]", "{}", R"({"Code":"Failed"})", R"({"AccessKeyId":"id","SecretAccessKey":"top-secret"})",
        R"({"AccessKeyId":"id","SecretAccessKey":"top-secret","Expiration":"soon"})"}) {
    auto wrong = keys_from_instance(text);
    ASSERT_FALSE(wrong) << text;
    EXPECT_EQ(wrong.error().code, Code::unavailable);
    EXPECT_FALSE(wrong.error().message.contains("top-secret"));
  }
}

struct S3CredentialsTest : S3Test {
  TestS3Server server{loop};  // also the metadata service
  CurlTransport transport{loop};
  TestFolder folder;

  std::unique_ptr<S3Credentials> make(std::string options, Variables of, S3KeyLimits key_limits = {}) {
    return make_s3_credentials(loop, transport, parse_s3_url("s3://pool" + options).value(), std::move(of),
                               key_limits);
  }
  bool comes(const std::function<bool()>& what) {
    for (const auto limit = loop.now() + 10s; !what() && loop.now() < limit;) run(sleep_for(loop, 1ms));
    return what();
  }
  std::string metadata() const { return "http://" + server.address(); }
};

// The metadata service of an instance whose keys end after `lifetime`.
struct Metadata {
  AsioLoop& loop;
  WallMs lifetime_ms;
  int given = 0;
  bool is_away = false;

  std::optional<HttpResponse> operator()(const HttpRequest& request) {
    const std::string roles = "/latest/meta-data/iam/security-credentials/";
    if (is_away) return HttpResponse{503, {}, "", {}};
    if (request.target == "/latest/api/token") {
      bool is_right =
          request.method == "PUT" && request.headers.contains("x-aws-ec2-metadata-token-ttl-seconds");
      return HttpResponse{is_right ? 200 : 400, {}, "proof", {}};
    }
    auto proof = request.headers.find("x-aws-ec2-metadata-token");
    if (proof == request.headers.end() || proof->second != "proof") return HttpResponse{401, {}, "", {}};
    if (request.target == roles) return HttpResponse{200, {}, "worker-role\n", {}};
    if (request.target == roles + "worker-role") {
      return HttpResponse{
          200,
          {},
          fmt::format(
              R"({{"Code":"Success","AccessKeyId":"id-{}","SecretAccessKey":"s","Token":"t","Expiration":"{}"}})",
              ++given, format_time(loop.wall_now() + lifetime_ms)),
          {}};
    }
    return HttpResponse{404, {}, "", {}};
  }
};

TEST_F(S3CredentialsTest, AnInstancesRoleGivesKeysThatAreKept) {
  Metadata service{loop, 3'600'000};
  server.script = std::ref(service);
  auto credentials = make("?credentials=instance", {{"AWS_EC2_METADATA_SERVICE_ENDPOINT", metadata() + "/"}});
  for (int i = 0; i < 3; ++i) {
    auto keys = run(credentials->keys());
    ASSERT_TRUE(keys) << keys.error();
    EXPECT_EQ(keys->access_key, "id-1");
    EXPECT_EQ(keys->session_token, "t");
  }
  EXPECT_EQ(server.seen.size(), 3u) << "token, role and keys, once";
  credentials->forget();
  EXPECT_EQ(run(credentials->keys())->access_key, "id-2");
}

TEST_F(S3CredentialsTest, ManyWhoNeedKeysAtOnceAskOnce) {
  Metadata service{loop, 3'600'000};
  server.script = std::ref(service);
  server.delay = 10ms;
  auto credentials = make("?credentials=instance", {{"AWS_EC2_METADATA_SERVICE_ENDPOINT", metadata()}});
  std::vector<Task<Result<S3Keys>>> tasks;
  for (int i = 0; i < 5; ++i) tasks.push_back(credentials->keys());
  for (const auto& keys : run(when_all(loop, std::move(tasks)))) EXPECT_EQ(keys->access_key, "id-1");
  EXPECT_EQ(service.given, 1);
}

// Keys that end in under five minutes are renewed, and go on being used while they cannot be.
TEST_F(S3CredentialsTest, KeysAreRenewedBeforeTheyRunOut) {
  Metadata service{loop, 200'000};
  server.script = std::ref(service);
  Variables at{{"AWS_EC2_METADATA_SERVICE_ENDPOINT", metadata()}};
  auto patient = make("?credentials=instance", at);
  EXPECT_EQ(run(patient->keys())->access_key, "id-1");
  EXPECT_EQ(run(patient->keys())->access_key, "id-1") << "not asked for again at every request";
  auto eager = make("?credentials=instance", at, {.renew_before = 5min, .ask_again = 0s});
  EXPECT_EQ(run(eager->keys())->access_key, "id-2");
  EXPECT_EQ(run(eager->keys())->access_key, "id-2") << "nobody waits for the renewal";
  EXPECT_TRUE(comes([&] { return service.given == 3; }));
  service.is_away = true;
  EXPECT_TRUE(comes([&] { return run(eager->keys())->access_key == "id-3"; })) << "good until they end";
  const auto asked = server.seen.size();
  // Asked for more than once: the renewal before may still be ending, and there is one at a time.
  EXPECT_TRUE(comes([&] { return run(eager->keys()).has_value() && server.seen.size() > asked; }))
      << "it was tried";
  EXPECT_EQ(run(eager->keys())->access_key, "id-3");
  eager->forget();
  EXPECT_EQ(run(eager->keys()).error().code, Code::unavailable);
  service.is_away = false, service.lifetime_ms = -2'000;
  EXPECT_EQ(run(eager->keys()).error().code, Code::unavailable) << "these have ended already";
  service.lifetime_ms = 3'600'000;
  EXPECT_EQ(run(eager->keys())->access_key, "id-5");
  EXPECT_EQ(run(eager->keys())->access_key, "id-5");
}

TEST_F(S3CredentialsTest, AServiceThatHangsKeepsNobodyWaitingWhileTheKeysAreGood) {
  Metadata service{loop, 200'000};
  server.script = std::ref(service);
  auto credentials = make("?credentials=instance", {{"AWS_EC2_METADATA_SERVICE_ENDPOINT", metadata()}},
                          {.renew_before = 5min, .ask_again = 0s});
  EXPECT_EQ(run(credentials->keys())->access_key, "id-1");
  server.delay = 1h;
  for (int i = 0; i < 3; ++i) EXPECT_EQ(run(credentials->keys())->access_key, "id-1");
}

TEST_F(S3CredentialsTest, KeysThatAreRefusedAgainAndAgainAreNotAskedForEachTime) {
  Metadata service{loop, 3'600'000};
  server.script = std::ref(service);
  auto credentials = make("?credentials=instance", {{"AWS_EC2_METADATA_SERVICE_ENDPOINT", metadata()}});
  for (int i = 0; i < 5; ++i) {
    EXPECT_TRUE(run(credentials->keys()));
    credentials->forget();
  }
  EXPECT_TRUE(run(credentials->keys()));
  EXPECT_EQ(service.given, 2) << "once more, and then every 30 s";
}

TEST_F(S3CredentialsTest, AnInstanceWithoutARoleIsTold) {
  server.script = [](const HttpRequest& request) -> std::optional<HttpResponse> {
    if (request.method == "PUT") return HttpResponse{200, {}, "proof", {}};
    return HttpResponse{404, {}, "", {}};
  };
  auto credentials = make("?credentials=instance", {{"AWS_EC2_METADATA_SERVICE_ENDPOINT", metadata()}});
  auto refused = run(credentials->keys());
  EXPECT_EQ(refused.error().code, Code::invalid);
  EXPECT_TRUE(refused.error().message.contains("has this instance a role?")) << refused.error();
}

TEST_F(S3CredentialsTest, TheEnvironmentGoesBeforeTheInstance) {
  auto from_environment = make("", variables);
  EXPECT_EQ(run(from_environment->keys())->access_key, "AKIDEXAMPLE");
  Metadata service{loop, 3'600'000};
  server.script = std::ref(service);
  auto from_instance = make("", {{"AWS_EC2_METADATA_SERVICE_ENDPOINT", metadata()}});
  EXPECT_EQ(run(from_instance->keys())->access_key, "id-1");
}

TEST_F(S3CredentialsTest, AStoreThatCallsKeysExpiredMakesUsLookAgain) {
  auto path = folder / "keys";
  auto write = [&](std::string id) {
    std::ofstream(path) << "[default]\naws_access_key_id = " << id
                        << "\naws_secret_access_key = top-secret\n";
  };
  write("old");
  server.objects["/pool/k"] = "x";
  server.script = [](const HttpRequest& request) -> std::optional<HttpResponse> {
    if (request.headers.at("authorization").contains("Credential=new/")) return std::nullopt;
    return s3_error(400, "ExpiredToken");
  };
  limits.retries_max = 0;
  auto store = open(fmt::format("s3://pool?endpoint=http://{}&credentials={}", server.address(), path));
  EXPECT_EQ(code_of_get(*store, "k"), Code::unavailable);
  write("new");
  EXPECT_EQ(get(*store, "k"), "x");
}

TEST_F(S3CredentialsTest, AFileThatIsNotThereIsNamed) {
  auto store =
      open(fmt::format("s3://pool?endpoint=http://{}&credentials={}", server.address(), folder / "none"));
  auto refused = run(store->get("k"));
  ASSERT_FALSE(refused);
  EXPECT_TRUE(refused.error().message.contains(folder / "none")) << refused.error();
  EXPECT_TRUE(server.seen.empty());
}

}  // namespace
}  // namespace ebb
