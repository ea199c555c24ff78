#include "platform/s3/s3_answer.h"

#include <gtest/gtest.h>

namespace ebb {
namespace {

// Whoever answers may not write over an operator's terminal, or fill a log.
TEST(S3Answer, ARegionFullOfTerminalCodesIsMadeFitForALog) {
  CurlReply reply{301, {{"x-amz-bucket-region", "eu-1\x1b[2J" + std::string(10'000, 'x')}}, {}};
  auto error = error_of(reply, {S3Asked::Verb::get, PutCondition::Kind::none, "bucket", "key"});
  EXPECT_EQ(error.code, Code::invalid);
  EXPECT_TRUE(error.message.contains("its region is eu-1 [2Jxxx")) << error.message;
  EXPECT_LT(error.message.size(), 1000u);
}

TEST(S3AnswerTest, KeysThatAreRefusedAreLookedForAgain) {
  auto refused = [](std::string code) {
    return CurlReply{403, {}, to_bytes("<Error><Code>" + code + "</Code></Error>")};
  };
  for (auto code : {"ExpiredToken", "InvalidAccessKeyId", "SignatureDoesNotMatch", "InvalidToken"})
    EXPECT_TRUE(is_about_keys(refused(code))) << code;
  EXPECT_FALSE(is_about_keys(refused("AccessDenied")));
  EXPECT_FALSE(is_about_old_keys(refused("InvalidAccessKeyId"))) << "refused for good: the pool is wrong";
}

}  // namespace
}  // namespace ebb
