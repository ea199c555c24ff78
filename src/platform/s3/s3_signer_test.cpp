// Signatures against AWS's own examples: the Signature Version 4 test suite, and the examples of the S3
// documentation.
#include "platform/s3/s3_signer.h"

#include <gtest/gtest.h>

#include "platform/s3/s3_url.h"

namespace ebb {
namespace {

const std::string hash_of_nothing = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
constexpr WallMs suite_time = 1'440'938'160'000;    // 2015-08-30T12:36:00Z
constexpr WallMs example_time = 1'369'353'600'000;  // 2013-05-24T00:00:00Z

std::string suite_signature(S3Signer& signer, std::string method, std::string query, HeaderList more = {},
                            std::string_view body = "") {
  HeaderList headers{{"host", "example.amazonaws.com"}, {"x-amz-date", amz_date(suite_time)}};
  headers.insert(headers.end(), more.begin(), more.end());
  auto text = signer.authorization(
      {std::move(method), "/", std::move(query), headers, payload_hash(as_bytes(body))},
      {"AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", "", std::nullopt}, suite_time);
  return text.substr(text.find("SignedHeaders="));
}

// aws-sig-v4-test-suite.
TEST(S3Signer, AgreesWithTheTestSuiteOfSignatureVersion4) {
  S3Signer signer("us-east-1", "service");
  EXPECT_EQ(suite_signature(signer, "GET", ""),
            "SignedHeaders=host;x-amz-date, "
            "Signature=5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31");
  EXPECT_EQ(suite_signature(signer, "POST", ""),
            "SignedHeaders=host;x-amz-date, "
            "Signature=5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b");
  EXPECT_EQ(suite_signature(signer, "GET", "Param1=value1&Param2=value2"),
            "SignedHeaders=host;x-amz-date, "
            "Signature=b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500");
  EXPECT_EQ(suite_signature(signer, "POST", "", {{"content-type", "application/x-www-form-urlencoded"}},
                            "Param1=value1"),
            "SignedHeaders=content-type;host;x-amz-date, "
            "Signature=ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a");
}

// https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html
struct S3SignerExamples : testing::Test {
  std::string authorization(std::string method, std::string path, std::string query, std::string hash,
                            HeaderList more) {
    HeaderList headers{{"host", "examplebucket.s3.amazonaws.com"},
                       {"x-amz-content-sha256", hash},
                       {"x-amz-date", "20130524T000000Z"}};
    headers.insert(headers.begin(), more.begin(), more.end());
    return signer.authorization({std::move(method), std::move(path), std::move(query), headers, hash}, keys,
                                example_time);
  }
  S3Keys keys{"AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "", std::nullopt};
  S3Signer signer{"us-east-1"};
};

TEST_F(S3SignerExamples, AGetOfARange) {
  EXPECT_EQ(authorization("GET", "/test.txt", "", hash_of_nothing, {{"range", "bytes=0-9"}}),
            "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request, "
            "SignedHeaders=host;range;x-amz-content-sha256;x-amz-date, "
            "Signature=f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41");
}

TEST_F(S3SignerExamples, APutWithANameThatIsEncoded) {
  auto hash = payload_hash(as_bytes("Welcome to Amazon S3."));
  EXPECT_EQ(hash, "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072");
  EXPECT_EQ(authorization(
                "PUT", encode_s3_path("/test$file.text"), "", hash,
                {{"date", "Fri, 24 May 2013 00:00:00 GMT"}, {"x-amz-storage-class", "REDUCED_REDUNDANCY"}}),
            "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request, "
            "SignedHeaders=date;host;x-amz-content-sha256;x-amz-date;x-amz-storage-class, "
            "Signature=98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd");
}

TEST_F(S3SignerExamples, QueriesWithAndWithoutValues) {
  EXPECT_TRUE(authorization("GET", "/", "lifecycle=", hash_of_nothing, {})
                  .ends_with("fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543"));
  EXPECT_TRUE(authorization("GET", "/", "max-keys=2&prefix=J", hash_of_nothing, {})
                  .ends_with("34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7"));
}

TEST_F(S3SignerExamples, TheKeptKeyIsThatOfTheDayAndOfTheSecret) {
  auto sign = [](S3Signer& s, const S3Keys& k, WallMs now) {
    return s.authorization({"GET", "/", "", {{"host", "h"}}, hash_of_nothing}, k, now);
  };
  auto others = keys;
  others.secret_key = "another";
  auto next_day = example_time + 24 * 3'600'000;
  // Each asked of a signer that has just signed something else, and of a fresh one.
  for (auto [k, now] : {std::pair(keys, example_time),
                        {keys, next_day},
                        {others, next_day},
                        {keys, next_day},
                        {keys, example_time}}) {
    S3Signer fresh("us-east-1");
    EXPECT_EQ(sign(signer, k, now), sign(fresh, k, now));
  }
  EXPECT_NE(sign(signer, keys, example_time), sign(signer, keys, next_day));
  EXPECT_NE(sign(signer, keys, example_time), sign(signer, others, example_time));
}

TEST_F(S3SignerExamples, SpacesInValuesDoNotCount) {
  auto tight = authorization("GET", "/", "", hash_of_nothing, {{"x-amz-meta", "a b"}});
  EXPECT_EQ(authorization("GET", "/", "", hash_of_nothing, {{"x-amz-meta", "  a   b "}}), tight);
}

TEST(S3Signer, ADateIsWrittenAsAwsWantsIt) {
  EXPECT_EQ(amz_date(suite_time), "20150830T123600Z");
  EXPECT_EQ(amz_date(suite_time + 999), "20150830T123600Z");
}

}  // namespace
}  // namespace ebb
