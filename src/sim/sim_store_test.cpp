#include "sim/sim_store.h"

#include <gtest/gtest.h>

#include "sim/run_in.h"

namespace ebb::sim {
namespace {

SharedBytes body(std::string_view text) { return std::make_shared<const Bytes>(to_bytes(text)); }

class SimStoreTest : public testing::Test {
 protected:
  Result<ObjectTag> put(std::string key, std::string_view text, PutCondition condition) {
    return run_in(process_, client_.put(std::move(key), body(text), std::move(condition)))
        .value_or(fail(Code::internal, "did not end"));
  }
  std::string stored(const std::string& key) {
    auto* object = store_.peek(key);
    return object ? std::string(as_text(object->body)) : "(none)";
  }

  SimWorld world_;
  SimStore store_{world_};
  SimProcess& process_ = world_.start_process("worker", "program");
  SimStoreClient client_{process_, store_};
};

TEST_F(SimStoreTest, ConditionsHoldOrConflict) {
  auto first = put("k", "1", PutCondition::if_absent());
  ASSERT_TRUE(first);
  EXPECT_EQ(put("k", "2", PutCondition::if_absent()).error().code, Code::conflict);
  auto second = put("k", "2", PutCondition::if_match(*first));
  ASSERT_TRUE(second);
  EXPECT_EQ(put("k", "3", PutCondition::if_match(*first)).error().code, Code::conflict);
  EXPECT_EQ(as_text((*run_in(process_, client_.get("k")))->body), "2");
  EXPECT_EQ(as_text(**run_in(process_, client_.get_range("k", 0, 10))), "2");
  EXPECT_EQ(run_in(process_, client_.get("absent"))->error().code, Code::not_found);
}

TEST_F(SimStoreTest, ALostReplyWasReallyApplied) {
  store_.options().lose_reply = 1;
  EXPECT_EQ(put("k", "1", PutCondition::if_absent()).error().code, Code::unavailable);
  EXPECT_EQ(stored("k"), "1");
}

TEST_F(SimStoreTest, ALostOrRefusedRequestWasNot) {
  store_.options().lose_request = 1;
  EXPECT_EQ(put("k", "1", PutCondition::always()).error().code, Code::unavailable);
  store_.options().lose_request = 0, store_.options().refuse = 1;
  EXPECT_EQ(put("k", "1", PutCondition::always()).error().code, Code::unavailable);
  EXPECT_EQ(stored("k"), "(none)");
}

TEST_F(SimStoreTest, ADelayedPutIsAppliedAfterItsCallerWasTold) {
  store_.options().delay = 1;
  EXPECT_EQ(put("k", "1", PutCondition::if_absent()).error().code, Code::unavailable);
  EXPECT_EQ(stored("k"), "(none)");
  ASSERT_TRUE(world_.loop().run_for(30s));
  EXPECT_EQ(stored("k"), "1");
}

TEST_F(SimStoreTest, SuccessMayComeBackAsConflict) {
  store_.options().repeat = 1;
  EXPECT_EQ(put("k", "1", PutCondition::if_absent()).error().code, Code::conflict);
  EXPECT_EQ(stored("k"), "1");
}

TEST_F(SimStoreTest, WhatAKilledProcessHasSentStillArrives) {
  Scope scope(process_.loop());
  scope.spawn([](ObjectStore* s) -> Task<void> {
    (void)co_await s->put("k", body("1"), PutCondition::always());
  }(&client_));
  ASSERT_TRUE(world_.loop().run_for(1ms));
  process_.kill();
  EXPECT_EQ(stored("k"), "(none)");
  ASSERT_TRUE(world_.loop().run_for(1s));
  EXPECT_EQ(stored("k"), "1");
}

TEST_F(SimStoreTest, ACutOffHostAndAnOutageGetNoAnswer) {
  world_.links().cut("worker", "store");
  EXPECT_EQ(put("k", "1", PutCondition::always()).error().code, Code::unavailable);
  EXPECT_EQ(run_in(process_, client_.get("k"))->error().code, Code::unavailable);
  world_.links().mend("worker", "store");
  store_.set_outage(true);
  EXPECT_EQ(put("k", "1", PutCondition::always()).error().code, Code::unavailable);
  EXPECT_EQ(stored("k"), "(none)");
  store_.heal();
  EXPECT_TRUE(put("k", "1", PutCondition::always()));
}

TEST_F(SimStoreTest, OverwritingAnImmutableObjectIsAViolation) {
  ASSERT_TRUE(put("pool/s/00/disk/1/1", "1", PutCondition::if_absent()));
  ASSERT_TRUE(put("pool/s/00/disk/1/1", "1", PutCondition::always()));
  ASSERT_TRUE(put("pool/v/disk/HEAD", "1", PutCondition::always()));
  ASSERT_TRUE(put("pool/v/disk/HEAD", "2", PutCondition::always()));
  EXPECT_TRUE(world_.violations().empty());
  ASSERT_TRUE(put("pool/s/00/disk/1/1", "2", PutCondition::always()));
  ASSERT_EQ(world_.violations().size(), 1u);
}

TEST_F(SimStoreTest, CrashPointsStandOnBothSidesOfAPut) {
  for (auto [kind, expected] : {std::pair("store.put before", "(none)"), std::pair("store.put after", "1")}) {
    SimWorld world;
    SimStore store(world);
    auto& process = world.start_process("worker", "program");
    auto& client = process.make<SimStoreClient>(process, store);
    world.crash_points().arm(CrashPoints::of_kind(kind), 0);
    EXPECT_FALSE(run_in(process, client.put("k", body("1"), PutCondition::always())).has_value());
    ASSERT_TRUE(world.loop().run_for(1s));
    auto* object = store.peek("k");
    EXPECT_EQ(object ? as_text(object->body) : "(none)", expected);
  }
}

}  // namespace
}  // namespace ebb::sim
