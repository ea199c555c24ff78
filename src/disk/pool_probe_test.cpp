// The probe of a pool: passes what keeps its promises, however bad the line to it, and names each promise
// that is broken.
#include "disk/pool_probe.h"

#include <gtest/gtest.h>

#include "sim/run_in.h"
#include "sim/sim_store.h"

namespace ebb::disk {
namespace {

// A store that breaks one promise.
class Liar final : public ReclaimableStore, private StoreInspector {
 public:
  enum class Lie {
    none,
    absent_ignored,
    absent_never_holds,
    absent_refused_but_done,
    match_ignored,
    match_never_holds,
    match_creates,
    match_refused_but_done,
    match_not_implemented,
    reads_stale,
    one_tag_for_all,
    missing_is_empty,
    missing_is_forbidden,
    range_ignores_offset,
    range_past_the_end_fails,
    races_by_looking_first,
    races_without_winner,
    objects_expire,
    writes_arrive_from_elsewhere,
    rules_are_secret,
    nothing_allowed
  };
  Liar(ObjectStore& under, Lie lie) : under_(under), lie_(lie) {}

  Task<Result<ObjectTag>> put(std::string key, SharedBytes body, PutCondition condition) override {
    using Kind = PutCondition::Kind;
    if (lie_ == Lie::nothing_allowed) co_return fail(Code::invalid, "status 403, SignatureDoesNotMatch");
    auto is = [&](Kind kind, Lie lie) { return condition.kind == kind && lie_ == lie; };
    if (lie_ == Lie::races_without_winner && key.contains("/race")) {
      // The first comers of a race are turned away, all others too.
      if (condition.kind == Kind::match || key.contains("/race-"))
        co_return fail(Code::conflict, "another was first");
    }
    if (is(Kind::absent, Lie::absent_never_holds) || is(Kind::match, Lie::match_never_holds))
      co_return fail(Code::conflict, "no");
    if (is(Kind::match, Lie::match_not_implemented))
      co_return fail(Code::invalid, "status 501, NotImplemented");
    if (is(Kind::absent, Lie::absent_ignored) || is(Kind::match, Lie::match_ignored))
      condition = PutCondition::always();
    if (lie_ == Lie::match_creates && condition.kind == Kind::match) {
      if (auto there = co_await under_.get(key); !there) condition = PutCondition::always();
    }
    if (lie_ == Lie::races_by_looking_first && condition.kind != Kind::none) {
      auto there = co_await under_.get(key);
      bool holds = condition.kind == Kind::absent ? !there : there && there->tag == condition.tag;
      if (!holds) co_return fail(Code::conflict, "looked, and it did not hold");
      condition = PutCondition::always();
    }
    if (lie_ == Lie::reads_stale) {
      if (auto there = co_await under_.get(key)) before_[key] = *there;
    }
    auto done = co_await under_.put(key, body, condition);
    bool does_all_the_same =
        is(Kind::absent, Lie::absent_refused_but_done) || is(Kind::match, Lie::match_refused_but_done);
    if (!done && does_all_the_same)
      (void)co_await under_.put(key, std::make_shared<const Bytes>(to_bytes("oops")), PutCondition::always());
    co_return done;
  }

  Task<Result<StoredObject>> get(std::string key) override {
    auto object = co_await under_.get(key);
    if (object && lie_ == Lie::one_tag_for_all) object->tag = {"same"};
    if (lie_ == Lie::reads_stale && key.ends_with("/overwritten") && before_.contains(key)) {
      auto old = before_.extract(key).mapped();
      if (++reads_ % 5 == 0) co_return StoredObject{old.body, object->tag};
    }
    if (!object && lie_ == Lie::missing_is_empty) co_return StoredObject{{}, {"none"}};
    if (!object && lie_ == Lie::missing_is_forbidden)
      co_return fail(Code::invalid, "status 403, AccessDenied");
    co_return object;
  }
  Task<Result<Bytes>> get_range(std::string key, std::uint64_t offset, std::size_t length) override {
    auto part = co_await under_.get_range(key, lie_ == Lie::range_ignores_offset ? 0 : offset, length);
    if (part && part->empty() && lie_ == Lie::range_past_the_end_fails)
      co_return fail(Code::invalid, "InvalidRange");
    co_return part;
  }

  Task<Status> remove(std::string key) override {
    ADD_FAILURE() << "a probe removes nothing: " << key;
    co_return Status{};
  }
  StoreInspector* inspector() override { return this; }

 private:
  Task<StoreFinding> expiry() override {
    if (lie_ == Lie::objects_expire) co_return StoreFinding::harmful("objects are removed after 30 days");
    if (lie_ == Lie::rules_are_secret) co_return StoreFinding::unknown("status 403, AccessDenied");
    co_return StoreFinding{};
  }
  Task<StoreFinding> replication() override {
    if (lie_ == Lie::writes_arrive_from_elsewhere)
      co_return StoreFinding::harmful("two buckets are copied to each other");
    if (lie_ == Lie::rules_are_secret) co_return StoreFinding::unknown("status 501, NotImplemented");
    co_return StoreFinding{};
  }

  ObjectStore& under_;
  Lie lie_;
  std::map<std::string, StoredObject> before_;
  int reads_ = 0;
};

struct Probed {
  explicit Probed(std::uint64_t seed, sim::SimStoreOptions options = {}, Liar::Lie lie = Liar::Lie::none)
      : world({.seed = seed}), store(world, options) {
    auto& process = world.start_process("worker-1", "ebb-diskd");
    auto& client = process.make<sim::SimStoreClient>(process, store);
    auto& liar = process.make<Liar>(client, lie);
    auto ended = sim::run_in(process, probe_pool(process.loop(), liar));
    EXPECT_TRUE(ended) << "did not end";
    if (ended) result = std::move(*ended);
  }
  sim::SimWorld world;
  sim::SimStore store;
  Result<ProbeReport> result = fail(Code::internal, "did not run");
};

TEST(PoolProbeTest, AGoodStorePasses) {
  Probed probed(1);
  ASSERT_TRUE(probed.result) << fmt::format("{}", probed.result.error());
  EXPECT_EQ(probed.result->what_is_wrong(), "");
  std::vector<std::string> names;
  for (const auto& check : probed.result->checks) names.push_back(check.name);
  EXPECT_EQ(names, (std::vector<std::string>{"create if absent", "replace if the tag matches",
                                             "read after overwrite", "missing objects", "ranged reads",
                                             "races", "expiry", "replication"}));
  EXPECT_GT(probed.result->took_ms, 0u);
}

TEST(PoolProbeTest, ItLeavesFewAndTinyObjectsUnderItsOwnPrefix) {
  Probed probed(2);
  auto keys = probed.store.keys("");
  EXPECT_LE(keys.size(), 16u);
  for (const auto& key : keys) {
    EXPECT_TRUE(key.starts_with("probe/")) << key;
    EXPECT_LE(probed.store.peek(key)->body.size(), 64u);
  }
}

// Whatever the line does, a good store is never called bad; at worst nothing is known.
TEST(PoolProbeTest, LostRepliesAndRepeatedRequestsAreNoBrokenPromises) {
  sim::SimStoreOptions bad_line;
  bad_line.time_out = 300ms, bad_line.late_max = 2s;
  bad_line.refuse = 0.02, bad_line.busy = 0.05, bad_line.lose_request = 0.02, bad_line.lose_reply = 0.03;
  bad_line.delay = 0.03, bad_line.repeat = 0.05;
  int known = 0;
  for (std::uint64_t seed = 1; seed <= 100; ++seed) {
    Probed probed(seed, bad_line);
    if (!probed.result) {
      EXPECT_EQ(probed.result.error().code, Code::unavailable) << "seed " << seed;
      continue;
    }
    ++known;
    EXPECT_EQ(probed.result->what_is_wrong(), "") << "seed " << seed;
  }
  EXPECT_GT(known, 50) << "most of them come to a verdict";
}

TEST(PoolProbeTest, AStoreThatIsAwayIsNotCalledBad) {
  sim::SimStoreOptions away;
  away.lose_request = 1;
  Probed probed(1, away);
  ASSERT_FALSE(probed.result);
  EXPECT_EQ(probed.result.error().code, Code::unavailable);
}

TEST(PoolProbeTest, AWrongKeyIsToldAsItIs) {
  Probed probed(1, {}, Liar::Lie::nothing_allowed);
  ASSERT_FALSE(probed.result);
  EXPECT_EQ(probed.result.error().code, Code::invalid);
  EXPECT_EQ(probed.result.error().message, "the store cannot be written: status 403, SignatureDoesNotMatch");
}

TEST(PoolProbeTest, EachBrokenPromiseIsNamed) {
  using Lie = Liar::Lie;
  const std::tuple<Lie, const char*, const char*> lies[] = {
      {Lie::absent_ignored, "create if absent", "creating an object that exists was carried out"},
      {Lie::absent_never_holds, "create if absent", "creating a new object was refused: no"},
      {Lie::absent_refused_but_done, "create if absent", "trying to create an object that exists changed it"},
      {Lie::match_ignored, "replace if the tag matches",
       "replacing an object by a stale tag was carried out"},
      {Lie::match_never_holds, "replace if the tag matches",
       "replacing an object by its current tag was refused: no"},
      {Lie::match_creates, "replace if the tag matches",
       "replacing an object that does not exist was carried out"},
      {Lie::match_refused_but_done, "replace if the tag matches",
       "trying to replace an object by a stale tag changed it"},
      {Lie::match_not_implemented, "replace if the tag matches",
       "replacing an object by its current tag was refused: status 501, NotImplemented"},
      {Lie::one_tag_for_all, "replace if the tag matches",
       "replacing an object by its current tag was refused"},
      {Lie::reads_stale, "read after overwrite",
       "reads of 21 gave something else than what had just been written"},
      {Lie::missing_is_empty, "missing objects", "an object that was never written was read"},
      {Lie::missing_is_forbidden, "missing objects", "is not reported as such: status 403, AccessDenied"},
      {Lie::range_ignores_offset, "ranged reads", "a range in the middle gave other bytes instead of the 4"},
      {Lie::range_past_the_end_fails, "ranged reads", "a range past the end was refused: InvalidRange"},
      {Lie::races_by_looking_first, "races", "were told that they had won"},
      {Lie::races_without_winner, "races", "after a race to create one object there is no object"},
      {Lie::objects_expire, "expiry", "objects are removed after 30 days"},
      {Lie::writes_arrive_from_elsewhere, "replication", "two buckets are copied to each other"},
  };
  for (const auto& [lie, name, sentence] : lies) {
    Probed probed(7, {}, lie);
    ASSERT_TRUE(probed.result) << sentence << ": " << fmt::format("{}", probed.result.error());
    EXPECT_FALSE(probed.result->is_good()) << sentence;
    bool named = false;
    for (const auto& check : probed.result->checks) {
      if (check.name != name) continue;
      for (const auto& text : check.wrong) named = named || text.contains(sentence);
    }
    EXPECT_TRUE(named) << "expected: " << name << ": " << sentence
                       << "\nfound: " << probed.result->what_is_wrong();
  }
}

TEST(PoolProbeTest, WhatTheStoreDoesNotTellIsSaidAndIsNoVerdict) {
  Probed probed(1, {}, Liar::Lie::rules_are_secret);
  ASSERT_TRUE(probed.result);
  EXPECT_TRUE(probed.result->is_good());
  EXPECT_FALSE(probed.result->is_complete());
  const auto& checks = probed.result->checks;
  ASSERT_EQ(checks.size(), 8u);
  EXPECT_EQ(checks[6].unknown, std::vector<std::string>{"status 403, AccessDenied"});
  EXPECT_EQ(checks[7].unknown, std::vector<std::string>{"status 501, NotImplemented"});
  Probed told(1);
  EXPECT_TRUE(told.result && told.result->is_complete());
}

TEST(PoolProbeTest, AVerdictIsOneSentenceForAnOperator) {
  sim::SimWorld world({.seed = 1});
  sim::SimStore store(world);
  auto& process = world.start_process("worker-1", "ebb-diskd");
  auto& client = process.make<sim::SimStoreClient>(process, store);
  auto& liar = process.make<Liar>(client, Liar::Lie::range_past_the_end_fails);
  auto good = sim::run_in(process, require_good_pool(process.loop(), client));
  EXPECT_TRUE(good && *good);
  auto bad = sim::run_in(process, require_good_pool(process.loop(), liar));
  ASSERT_TRUE(bad && !*bad);
  EXPECT_EQ(bad->error().code, Code::invalid);
  EXPECT_TRUE(bad->error().message.starts_with(
      "the store breaks promises that disks rest on: ranged reads: a range at the end was refused"))
      << bad->error().message;
}

}  // namespace
}  // namespace ebb::disk
