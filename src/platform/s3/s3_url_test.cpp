// The URL of a pool in a bucket: what it says, and that each mistake is named by its part.
#include "platform/s3/s3_url.h"

#include <gtest/gtest.h>

#include "platform/test_folder.h"

namespace ebb {
namespace {

S3Url parsed(std::string_view text) {
  auto url = parse_s3_url(text);
  EXPECT_TRUE(url) << text << ": " << url.error();
  return url.value_or(S3Url{});
}

TEST(S3UrlTest, ABucketAloneIsOneOfAmazonByItsHostName) {
  auto url = parsed("s3://my-bucket");
  EXPECT_EQ(url.scheme, "https");
  EXPECT_EQ(url.request_host(), "my-bucket.s3.us-east-1.amazonaws.com");
  EXPECT_EQ(url.path_of("v/d1/HEAD"), "/v/d1/HEAD");
  EXPECT_EQ(url.credentials, S3Url::Credentials::automatic);
  EXPECT_EQ(parsed("s3://my-bucket?region=eu-central-1").request_host(),
            "my-bucket.s3.eu-central-1.amazonaws.com");
}

TEST(S3UrlTest, AnEndpointHasTheBucketInThePathUnlessToldOtherwise) {
  auto url = parsed("s3://pool/cell-1/main?endpoint=http://127.0.0.1:9000");
  EXPECT_EQ(url.scheme, "http");
  EXPECT_EQ(url.request_host(), "127.0.0.1:9000");
  EXPECT_EQ(url.path_of("format"), "/pool/cell-1/main/format");
  auto by_host = parsed("s3://pool/cell-1?endpoint=https://store.example&style=host");
  EXPECT_EQ(by_host.request_host(), "pool.store.example");
  EXPECT_EQ(by_host.path_of("format"), "/cell-1/format");
  EXPECT_EQ(parsed("s3://pool?style=path").path_of("x"), "/pool/x");
}

TEST(S3UrlTest, EverythingElseIsReadAsItStands) {
  auto url = parsed(
      "s3://pool?region=eu-west-1&credentials=/etc/ebb/keys&endpoint=https://s:8443/&ca=/etc/ebb/ca.pem");
  EXPECT_EQ(url.region, "eu-west-1");
  EXPECT_EQ(url.credentials, S3Url::Credentials::file);
  EXPECT_EQ(url.credentials_file, "/etc/ebb/keys");
  EXPECT_EQ(url.ca_file, "/etc/ebb/ca.pem");
  EXPECT_EQ(url.request_host(), "s:8443");
  EXPECT_EQ(parsed("s3://pool?credentials=env").credentials, S3Url::Credentials::environment);
  EXPECT_EQ(parsed("s3://pool?credentials=instance").credentials, S3Url::Credentials::instance);
  EXPECT_EQ(parsed("s3://pool?credentials=/a%26b").credentials_file, "/a&b");
  EXPECT_EQ(parsed("s3://pool/prefix/").prefix, "prefix");
}

TEST(S3UrlTest, APortThatGoesWithoutSayingIsNotSaid) {
  EXPECT_EQ(parsed("s3://pool?endpoint=http://h:80").request_host(), "h");
  EXPECT_EQ(parsed("s3://pool?endpoint=https://h:443").request_host(), "h");
  EXPECT_EQ(parsed("s3://pool?endpoint=https://h:80").request_host(), "h:80");
  EXPECT_EQ(parsed("s3://pool?endpoint=http://[::1]:9000").request_host(), "[::1]:9000");
  EXPECT_EQ(parsed("s3://pool?endpoint=http://[::1]").request_host(), "[::1]");
}

TEST(S3UrlTest, PathsAreEncodedAsTheyAreSigned) {
  EXPECT_EQ(encode_s3_path("/a b$c/~d-e_f.g+%"), "/a%20b%24c/~d-e_f.g%2B%25");
}

TEST(S3UrlTest, EveryMistakeNamesItsPart) {
  const std::pair<const char*, const char*> wrong[] = {
      {"dir:/x", "scheme"},
      {"s3://", "bucket"},
      {"s3://ab", "bucket"},
      {"s3://Bucket", "bucket"},
      {"s3://bucket_1", "bucket"},
      {"s3://a..b", "bucket"},
      {"s3://-bucket", "bucket"},
      {"s3://bucket/a//b", "prefix"},
      {"s3://bucket/../b", "prefix"},
      {"s3://bucket/a b", "prefix"},
      {"s3://bucket?endpoint=host:80", "endpoint"},
      {"s3://bucket?endpoint=ftp://host", "endpoint"},
      {"s3://bucket?endpoint=http://", "endpoint"},
      {"s3://bucket?endpoint=http://host:0", "endpoint"},
      {"s3://bucket?endpoint=http://host:65536", "endpoint"},
      {"s3://bucket?endpoint=http://host:x", "endpoint"},
      {"s3://bucket?endpoint=http://host/path", "endpoint"},
      {"s3://bucket?endpoint=http://user@host", "endpoint"},
      {"s3://bucket?region=EU", "region"},
      {"s3://bucket?region=", "region"},
      {"s3://bucket?style=virtual", "style"},
      {"s3://bucket?credentials=keys", "credentials"},
      {"s3://bucket?ca=ca.pem", "ca"},
      {"s3://bucket?ca=/ca.pem&endpoint=http://h", "ca"},
      {"s3://bucket?colour=red", "colour"},
      {"s3://bucket?region", "region"},
      {"s3://bucket?region=a&region=b", "region"},
      {"s3://bucket?region=%4", "region"},
      {"s3://bucket?region=%zz", "region"},
  };
  for (const auto& [text, part] : wrong) {
    auto url = parse_s3_url(text);
    ASSERT_FALSE(url) << text;
    EXPECT_EQ(url.error().code, Code::invalid) << text;
    EXPECT_EQ(url.error().field, part) << text << ": " << url.error();
  }
}

}  // namespace
}  // namespace ebb
