// `ebb pool check`: one line a promise, and an exit code that a script can use.
#include "disk/pool_probe.h"
#include "fake_world.h"
#include "golden.h"
#include "memory_store.h"

namespace ebb {
namespace {

struct PoolCheckTest : testing::Test {
  fake::World world;
  MemoryStore::Conditions conditions = MemoryStore::Conditions::kept;
  bool answers = true;
  std::optional<StoreFinding> rules;
  std::string opened;

  PoolCheckTest() {
    world.open_pool = [this](std::string url) -> Task<Result<std::unique_ptr<ReclaimableStore>>> {
      return open(this, url);
    };
  }
  static Task<Result<std::unique_ptr<ReclaimableStore>>> open(PoolCheckTest* self, std::string url) {
    self->opened = url;
    if (!url.starts_with("s3://")) co_return fail_field("url", "'{}' is no pool URL", url);
    auto store = std::make_unique<MemoryStore>(self->world.loop, self->conditions);
    store->answers = self->answers, store->rules = self->rules;
    co_return std::unique_ptr<ReclaimableStore>(std::move(store));
  }
};

TEST_F(PoolCheckTest, AGoodStoreIsOkLineByLine) {
  EXPECT_EQ(world.ebb({"pool", "check", "s3://pool?endpoint=http://h:1"}), 0) << world.screen.talk;
  EXPECT_EQ(opened, "s3://pool?endpoint=http://h:1");
  expect_golden("pool_check.txt", world.screen.data);
  EXPECT_TRUE(world.screen.talk.starts_with("the store keeps every promise")) << world.screen.talk;
  EXPECT_TRUE(world.http.seen.empty()) << "no control plane is needed";
}

TEST_F(PoolCheckTest, AStoreThatIgnoresConditionsIsNamedAndFails) {
  conditions = MemoryStore::Conditions::ignored;
  EXPECT_EQ(world.ebb({"pool", "check", "s3://pool"}), 1);
  expect_golden("pool_check_wrong.txt", world.screen.data);
  EXPECT_TRUE(world.screen.talk.starts_with("ebb: this store must not hold disks")) << world.screen.talk;
}

TEST_F(PoolCheckTest, WhatTheStoreDoesNotTellIsNoFaultAndIsSaid) {
  rules = StoreFinding::unknown("status 403, AccessDenied");
  EXPECT_EQ(world.ebb({"pool", "check", "s3://pool"}), 0);
  EXPECT_TRUE(
      world.screen.data.ends_with("expiry                      NOT KNOWN: status 403, AccessDenied\n"
                                  "replication                 NOT KNOWN: status 403, AccessDenied\n"))
      << world.screen.data;
  EXPECT_TRUE(world.screen.talk.contains("rest on, as far as it tells")) << world.screen.talk;
  rules = StoreFinding::harmful("objects are removed");
  EXPECT_EQ(world.ebb({"pool", "check", "s3://pool"}), 1);
  EXPECT_TRUE(world.screen.data.contains("expiry                      WRONG: objects are removed\n"))
      << world.screen.data;
}

TEST_F(PoolCheckTest, JsonIsTheWholeReport) {
  conditions = MemoryStore::Conditions::ignored;
  EXPECT_EQ(world.ebb({"--json", "pool", "check", "s3://pool"}), 1);
  auto report = json::read_text<disk::ProbeReport>(world.screen.data);
  ASSERT_TRUE(report) << world.screen.data;
  EXPECT_EQ(report->checks.size(), 6u);
  EXPECT_FALSE(report->is_good());
  EXPECT_GT(report->took_ms, 0u);
}

TEST_F(PoolCheckTest, AStoreThatDoesNotAnswerFailsWithoutAVerdict) {
  answers = false;
  EXPECT_EQ(world.ebb({"pool", "check", "s3://pool"}), 1);
  EXPECT_EQ(world.screen.data, "");
  EXPECT_TRUE(world.screen.talk.contains("no answer")) << world.screen.talk;
}

TEST_F(PoolCheckTest, AWrongUrlOrNoneIsAWrongCommandLine) {
  EXPECT_EQ(world.ebb({"pool", "check", "pool"}), 2);
  EXPECT_EQ(world.screen.talk, "ebb: 'pool' is no pool URL\n");
  EXPECT_EQ(world.ebb({"pool", "check"}), 2);
  EXPECT_EQ(world.ebb({"pool"}), 2);
}

}  // namespace
}  // namespace ebb
