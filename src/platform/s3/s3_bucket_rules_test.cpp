#include "platform/s3/s3_bucket_rules.h"

#include <gtest/gtest.h>

namespace ebb {
namespace {

using Kind = StoreFinding::Kind;
const PoolPlace pool{"b", "cell-1"};

CurlReply reply(int status, std::string_view body) { return {status, {}, to_bytes(body)}; }

std::string lifecycle(std::string_view rules) {
  return fmt::format("<?xml version=\"1.0\"?><LifecycleConfiguration xmlns=\"x\">{}</LifecycleConfiguration>",
                     rules);
}

TEST(BucketRules, OnlyARuleInForceThatRemovesLivingObjectsOfThePoolIsHarm) {
  const std::pair<const char*, Kind> cases[] = {
      {"", Kind::harmless},
      {"<Rule><Status>Enabled</Status><Prefix/><Expiration><Days>1</Days></Expiration></Rule>",
       Kind::harmful},
      {"<Rule><Status>Enabled</Status><Filter/><Expiration><Date>2030</Date></Expiration></Rule>",
       Kind::harmful},
      {"<Rule><Status>Enabled</Status><Prefix>cell-1/s/</Prefix><Expiration><Days>1</Days></Expiration></"
       "Rule>",
       Kind::harmful},
      {"<Rule><Status>Enabled</Status><Prefix>cell</Prefix><Expiration><Days>1</Days></Expiration></Rule>",
       Kind::harmful},
      {"<Rule><Status>Disabled</Status><Prefix/><Expiration><Days>1</Days></Expiration></Rule>",
       Kind::harmless},
      {"<Rule><Status>Enabled</Status><Prefix>cell-10</Prefix><Expiration><Days>1</Days></Expiration></Rule>",
       Kind::harmless},
      {"<Rule><Status>Enabled</Status><Prefix>logs/</Prefix><Expiration><Days>1</Days></Expiration></Rule>",
       Kind::harmless},
      {"<Rule><Status>Enabled</Status><Prefix>cell-1/probe/</Prefix><Expiration><Days>1</Days></Expiration>"
       "</Rule>",
       Kind::harmless},
      {"<Rule><Status>Enabled</Status><Prefix/><Expiration><ExpiredObjectDeleteMarker>true"
       "</ExpiredObjectDeleteMarker></Expiration></Rule>",
       Kind::harmless},
      {"<Rule><Status>Enabled</Status><Prefix/><NoncurrentVersionExpiration><NoncurrentDays>1"
       "</NoncurrentDays></NoncurrentVersionExpiration></Rule>",
       Kind::harmless},
      {"<Rule><Status>Enabled</Status><Prefix>logs/</Prefix></Rule><Rule><Status>Enabled</Status><Prefix/>"
       "<Expiration><Days>9</Days></Expiration></Rule>",
       Kind::harmful},
      {"<Rule><Status>Enabled</Status>", Kind::unknown},
  };
  for (const auto& [rules, kind] : cases)
    EXPECT_EQ(expiry_of(reply(200, lifecycle(rules)), pool).kind, kind) << rules;
}

TEST(BucketRules, OnlyTheStoresWordForNoRulesIsTakenForIt) {
  auto says = [](int status, std::string_view code) {
    return reply(status, fmt::format("<Error><Code>{}</Code></Error>", code));
  };
  EXPECT_EQ(expiry_of(says(404, "NoSuchLifecycleConfiguration"), pool).kind, Kind::harmless);
  EXPECT_TRUE(replication_targets(says(404, "ReplicationConfigurationNotFoundError"), pool));
  for (auto [status, code] : {std::pair(404, "NoSuchKey"), std::pair(404, ""), std::pair(403, "AccessDenied"),
                              std::pair(501, "NotImplemented"), std::pair(301, "PermanentRedirect")}) {
    EXPECT_EQ(expiry_of(says(status, code), pool).kind, Kind::unknown) << status << code;
    EXPECT_FALSE(replication_targets(says(status, code), pool)) << status << code;
  }
  auto listing = reply(200, "<ListBucketResult><Name>b</Name></ListBucketResult>");
  EXPECT_EQ(expiry_of(listing, pool).kind, Kind::unknown) << "the answer to another question";
  EXPECT_FALSE(replication_targets(listing, pool));
}

TEST(BucketRules, ReplicationNamesEachTargetOfObjectsOfThePoolOnce) {
  auto rule = [](std::string_view status, std::string_view prefix, std::string_view bucket) {
    return fmt::format(
        "<Rule><ID>r</ID><Status>{}</Status><Filter><Prefix>{}</Prefix></Filter><Destination><Bucket>{}"
        "</Bucket></Destination></Rule>",
        status, prefix, bucket);
  };
  auto document = fmt::format("<ReplicationConfiguration><Role/>{}{}{}{}</ReplicationConfiguration>",
                              rule("Enabled", "", "arn:aws:s3:::far"), rule("Enabled", "cell-1/v/", "far"),
                              rule("Disabled", "", "off"), rule("Enabled", "logs/", "logs"));
  auto targets = replication_targets(reply(200, document), pool);
  ASSERT_TRUE(targets);
  EXPECT_EQ(*targets, std::vector<std::string>{"far"});
}

}  // namespace
}  // namespace ebb
