// The pool probe on real stores: good ones pass, wrong ones are named, and a store in trouble is not called
// wrong.
#include <gtest/gtest.h>

#include "disk/pool_probe.h"
#include "platform/s3/pool_store.h"
#include "test_pools.h"

namespace ebb::s3test {
namespace {

struct ProbeTest : testing::Test {
  Result<disk::ProbeReport> probe(const std::string& url) {
    auto store = run_until_done(loop, open_pool_store(loop, url));
    if (!store) return std::unexpected(store.error());
    return run_until_done(loop, disk::probe_pool(loop, **store));
  }
  void expect_good(const std::string& url) {
    auto report = probe(url);
    ASSERT_TRUE(report) << report.error();
    EXPECT_TRUE(report->is_good()) << report->what_is_wrong();
    EXPECT_GT(report->checks.size(), 3u);
    RecordProperty("probe_ms", static_cast<int>(report->took_ms));
    fmt::print("the probe took {} ms\n", report->took_ms);
  }
  AsioLoop loop;
};

TEST_F(ProbeTest, AFolderIsGood) {
  TestFolder folder;
  expect_good("dir:" + folder.path());
}

TEST_F(ProbeTest, OurServerIsGoodInAllItsManners) {
  OwnServer plain, quoted({"--if-match", "quoted"}), bare({"--if-match", "unquoted"});
  expect_good(plain.url("pool"));
  expect_good(plain.host_style_url("pool"));
  expect_good(quoted.url("pool"));
  expect_good(bare.url("pool"));
}

TEST_F(ProbeTest, CephIsGood_radosgw) {
  Radosgw radosgw;
  expect_good(radosgw.url("pool"));
}

TEST_F(ProbeTest, AStoreThatIgnoresConditionsIsRefused) {
  OwnServer server;
  server.set_fault(Fault::ignore_conditions, "PUT", 0);
  auto report = probe(server.url("pool"));
  ASSERT_TRUE(report) << report.error();
  EXPECT_FALSE(report->is_good());
  auto kept = std::count_if(report->checks.begin(), report->checks.end(),
                            [](auto& check) { return check.wrong.empty(); });
  EXPECT_LE(kept, static_cast<std::ptrdiff_t>(report->checks.size()) - 3) << report->what_is_wrong();
  fmt::print("{}\n", report->what_is_wrong());

  auto store = run_until_done(loop, open_pool_store(loop, server.url("pool"))).value();
  auto verdict = run_until_done(loop, disk::require_good_pool(loop, *store));
  ASSERT_FALSE(verdict);
  EXPECT_EQ(verdict.error().code, Code::invalid) << verdict.error();
}

TEST_F(ProbeTest, AStoreThatReadsStaleIsRefused) {
  OwnServer server;
  FaultPlan plan;
  FaultRule stale;
  stale.fault = Fault::stale_read, stale.method = "GET", stale.probability = 0.5;
  plan.rules.push_back(stale);
  server.set_faults(plan);
  auto report = probe(server.url("pool"));
  ASSERT_TRUE(report) << report.error();
  EXPECT_FALSE(report->is_good());
  fmt::print("{}\n", report->what_is_wrong());
}

// What the probe says of "expiry" and "replication".
struct RulesTest : ProbeTest {
  disk::ProbeCheck check_of(const std::string& url, const std::string& name) {
    auto report = probe(url);
    EXPECT_TRUE(report) << report.error();
    if (!report) return {};
    auto found = std::ranges::find(report->checks, name, &disk::ProbeCheck::name);
    EXPECT_NE(found, report->checks.end()) << name << " was not asked for";
    return found == report->checks.end() ? disk::ProbeCheck{} : *found;
  }
  static std::string copies_to(std::string_view bucket) {
    return fmt::format(
        "<ReplicationConfiguration><Role>r</Role><Rule><ID>copy</ID><Status>Enabled</Status><Filter><Prefix>"
        "</Prefix></Filter><Destination><Bucket>arn:aws:s3:::{}</Bucket></Destination></Rule>"
        "</ReplicationConfiguration>",
        bucket);
  }
  using Sentences = std::vector<std::string>;
};

TEST_F(RulesTest, ABucketThatRemovesObjectsByItselfIsRefused) {
  OwnServer server;
  server.set_bucket_rules(
      "lifecycle", test_bucket,
      "<LifecycleConfiguration><Rule><ID>tidy</ID><Status>Enabled</Status><Filter><Prefix>"
      "pool/</Prefix></Filter><Expiration><Days>30</Days></Expiration></Rule>"
      "</LifecycleConfiguration>");
  EXPECT_EQ(check_of(server.url("pool"), "expiry").wrong,
            Sentences{"the lifecycle rule 'tidy' of bucket 'ebb-test' removes objects of it"});
  expect_good(server.url("elsewhere"));
  auto store = run_until_done(loop, open_pool_store(loop, server.url("pool"))).value();
  auto verdict = run_until_done(loop, disk::require_good_pool(loop, *store));
  ASSERT_FALSE(verdict);
  EXPECT_TRUE(verdict.error().message.contains("expiry: the lifecycle rule 'tidy'")) << verdict.error();
}

TEST_F(RulesTest, BucketsThatAreCopiedToEachOtherAreRefusedAndACopyIsNot) {
  OwnServer server;
  server.set_bucket_rules("replication", test_bucket, copies_to("other"));
  EXPECT_EQ(check_of(server.url("pool"), "replication").unknown,
            Sentences{"objects are copied to bucket 'other', and of that: status 404, NoSuchBucket"});
  server.set_bucket_rules("replication", "other", copies_to("third"));
  expect_good(server.url("pool"));
  EXPECT_EQ(check_of(server.url("pool"), "replication"), disk::ProbeCheck({"replication", {}, {}}));
  server.set_bucket_rules("replication", "other", copies_to(test_bucket));
  EXPECT_EQ(check_of(server.url("pool"), "replication").wrong,
            Sentences{"buckets 'ebb-test' and 'other' are copied to each other"});
}

TEST_F(RulesTest, RulesThatTheStoreDoesNotTellAreUnknownAndSaidSo) {
  OwnServer secret({"--bucket-rules", "forbidden"}), without({"--bucket-rules", "not-implemented"});
  for (std::string name : {"expiry", "replication"}) {
    EXPECT_EQ(check_of(secret.url("pool"), name).unknown, Sentences{"status 403, AccessDenied"});
    EXPECT_EQ(check_of(without.url("pool"), name).unknown, Sentences{"status 501, NotImplemented"});
  }
  expect_good(secret.url("pool"));
  expect_good(without.url("pool"));
  without.set_fault(Fault::internal_error, "GET", 1);
  expect_good(without.url("pool"));
}

// The rules of a bad day: of all requests, `probability` times seven go wrong in one of seven ways.
FaultPlan bad_day(std::uint64_t seed, double probability) {
  FaultPlan plan;
  plan.seed = seed;
  for (auto fault : {Fault::slow_down, Fault::internal_error, Fault::conflict, Fault::close_before,
                     Fault::lost_reply, Fault::cut_body, Fault::false_error}) {
    FaultRule rule;
    rule.fault = fault, rule.probability = probability;
    plan.rules.push_back(rule);
  }
  return plan;
}

TEST_F(ProbeTest, AStoreInTroubleIsUnavailableOrGoodButNeverCalledWrong) {
  OwnServer server;
  int good = 0;
  constexpr double probabilities[] = {0.002, 0.02, 0.04};
  for (std::uint64_t seed = 1; seed <= 15; ++seed) {
    server.set_faults(bad_day(seed, probabilities[seed % 3]));
    auto report = probe(server.url(fmt::format("pool-{}", seed)));
    if (report) {
      ++good;
      EXPECT_TRUE(report->is_good()) << "seed " << seed << ": " << report->what_is_wrong();
    } else {
      EXPECT_TRUE(report.error().code == Code::unavailable || report.error().code == Code::busy)
          << "seed " << seed << ": " << report.error();
    }
  }
  fmt::print("{} of 15 good\n", good);
  EXPECT_GE(good, 5);
}

TEST_F(ProbeTest, OfAStoreThatDoesNotAnswerNothingIsKnown) {
  OwnServer server;
  auto url = server.url("pool");
  server.set_fault(Fault::slow_down, "", 0);
  auto report = probe(url);
  ASSERT_FALSE(report) << report->what_is_wrong();
  EXPECT_TRUE(report.error().code == Code::unavailable || report.error().code == Code::busy)
      << report.error();
  server.kill();
  report = probe(url);
  ASSERT_FALSE(report) << report->what_is_wrong();
  EXPECT_EQ(report.error().code, Code::unavailable) << report.error();
}

}  // namespace
}  // namespace ebb::s3test
