// Our S3 store against a server that misbehaves on command: every fault ends in the right error or in
// success, never in wrong data, and a conditional PUT goes out once.
#include <gtest/gtest.h>

#include "platform/s3/pool_store.h"
#include "platform/s3/s3_store.h"
#include "test_pools.h"

namespace ebb::s3test {
namespace {

SharedBytes shared(std::string_view text) { return std::make_shared<const Bytes>(to_bytes(text)); }

struct FaultTest : testing::Test {
  static void SetUpTestSuite() { server_ = std::make_unique<OwnServer>(); }
  static void TearDownTestSuite() { server_.reset(); }

  void SetUp() override {
    server().heal();
    static int tests = 0;
    prefix = fmt::format("fault-{}", ++tests);
    store = open(server());
    ASSERT_TRUE(run(store->put("old", shared("old body"), PutCondition::always())));
    // From here on the quoting of tags is known and a connection is open: a put is one request.
    auto found = run(store->find_out_quoting());
    ASSERT_TRUE(found) << found.error();
  }
  void TearDown() override { server().heal(); }

  OwnServer& server() { return *server_; }
  // With time-outs that a test can wait for.
  std::unique_ptr<S3Store> open(const OwnServer& at) {
    S3Limits limits;
    limits.transfer.connect = 2s, limits.transfer.total = 2s, limits.transfer.stall = 2s;
    limits.retry_first = 5ms, limits.retry_max = 50ms;
    return std::make_unique<S3Store>(loop, parse_s3_url(at.url(prefix)).value(), Variables{}, limits);
  }
  template <class T>
  T run(Task<T> task) {
    return run_until_done(loop, std::move(task));
  }
  std::string read_with_plain_store(const std::string& key) {
    auto object = run(open(server())->get(key));
    return object ? std::string(as_text(object->body)) : fmt::format("{}", object.error());
  }

  AsioLoop loop;
  std::string prefix;
  std::unique_ptr<S3Store> store;

 private:
  static inline std::unique_ptr<OwnServer> server_;
};

TEST_F(FaultTest, GetsAreTriedAgainUntilTheyAreWhole) {
  for (auto fault : {Fault::slow_down, Fault::internal_error, Fault::conflict, Fault::close_before,
                     Fault::cut_body, Fault::lost_reply, Fault::false_error, Fault::hang}) {
    SCOPED_TRACE(json::name_of(fault));
    auto times = fault == Fault::hang ? 1u : 2u;  // each takes a time-out
    server().set_fault(fault, "GET", times);
    auto before = server().stats().requests["GET"];
    auto object = run(store->get("old"));
    ASSERT_TRUE(object) << object.error();
    EXPECT_EQ(as_text(object->body), "old body");
    EXPECT_EQ(server().stats().requests["GET"] - before, times + 1);

    server().set_fault(fault, "GET", times);
    auto part = run(store->get_range("old", 4, 100));
    ASSERT_TRUE(part) << part.error();
    EXPECT_EQ(as_text(*part), "body");
  }
}

TEST_F(FaultTest, AFaultThatStaysEndsInAnErrorThatSaysWhatToDo) {
  struct Case {
    Fault fault;
    Code code;
  };
  for (auto [fault, code] :
       {Case{Fault::slow_down, Code::busy}, Case{Fault::internal_error, Code::unavailable},
        Case{Fault::close_before, Code::unavailable}, Case{Fault::cut_body, Code::unavailable},
        Case{Fault::lost_reply, Code::unavailable}}) {
    SCOPED_TRACE(json::name_of(fault));
    server().set_fault(fault, "GET", 0);
    auto object = run(store->get("old"));
    ASSERT_FALSE(object);
    EXPECT_EQ(object.error().code, code) << object.error();
    auto missing = run(store->get("none"));
    ASSERT_FALSE(missing);
    EXPECT_EQ(missing.error().code, code) << "a store in trouble has not said that the object is missing";
    EXPECT_EQ(run(store->get_range("old", 0, 4)).error().code, code);
  }
}

TEST_F(FaultTest, AWholeObjectInPlaceOfARangeIsCutToIt) {
  server().set_fault(Fault::wrong_range, "GET", 2);
  EXPECT_EQ(as_text(run(store->get_range("old", 4, 2)).value()), "bo");
  EXPECT_EQ(as_text(run(store->get_range("old", 100, 2)).value()), "");
}

TEST_F(FaultTest, UnconditionalPutsAreTriedAgain) {
  for (auto fault : {Fault::slow_down, Fault::internal_error, Fault::close_before, Fault::lost_reply,
                     Fault::cut_body, Fault::false_error}) {
    SCOPED_TRACE(json::name_of(fault));
    server().set_fault(fault, "PUT", 2);
    auto before = server().stats().requests["PUT"];
    auto put = run(store->put("new", shared(json::name_of(fault)), PutCondition::always()));
    ASSERT_TRUE(put) << put.error();
    EXPECT_EQ(server().stats().requests["PUT"] - before, 3u);
    EXPECT_EQ(read_with_plain_store("new"), json::name_of(fault));
  }
}

// The heart of it: a conditional PUT that is repeated can tell its writer "conflict" about its own success.
TEST_F(FaultTest, AConditionalPutIsSentOnceAndItsErrorSaysWhetherToReadBack) {
  enum class Done { no, yes };
  struct Case {
    Fault fault;
    Code code;
    Done done;
  };
  const Case cases[] = {{Fault::slow_down, Code::busy, Done::no},
                        {Fault::internal_error, Code::unavailable, Done::no},
                        {Fault::conflict, Code::unavailable, Done::no},
                        {Fault::close_before, Code::unavailable, Done::no},
                        {Fault::hang, Code::unavailable, Done::no},
                        {Fault::lost_reply, Code::unavailable, Done::yes},
                        {Fault::cut_body, Code::unavailable, Done::yes},
                        {Fault::false_error, Code::unavailable, Done::yes},
                        {Fault::false_precondition, Code::conflict, Done::yes}};
  for (auto [fault, code, done] : cases) {
    for (auto kind : {PutCondition::Kind::absent, PutCondition::Kind::match}) {
      SCOPED_TRACE(
          fmt::format("{} {}", json::name_of(fault), kind == PutCondition::Kind::match ? "match" : "absent"));
      auto key = fmt::format("{}-{}", json::name_of(fault), static_cast<int>(kind));
      PutCondition condition = PutCondition::if_absent();
      if (kind == PutCondition::Kind::match)
        condition =
            PutCondition::if_match(run(store->put(key, shared("before"), PutCondition::always())).value());
      ASSERT_TRUE(run(store->get("old")));  // a kept connection: where a client is tempted to send again
      server().set_fault(fault, "PUT", 1);
      auto before = server().stats();
      auto put = run(store->put(key, shared("after"), condition));
      auto after = server().stats();
      ASSERT_FALSE(put);
      EXPECT_EQ(put.error().code, code) << put.error();
      EXPECT_EQ(after.requests["PUT"] - before.requests["PUT"], 1u);
      EXPECT_EQ(after.conditional_puts - before.conditional_puts, done == Done::yes ? 1u : 0u);
      EXPECT_EQ(after.faults[std::string(json::name_of(fault))],
                before.faults[std::string(json::name_of(fault))] + 1);
      auto now = run(store->get(key));
      if (done == Done::yes) {
        ASSERT_TRUE(now) << now.error();
        EXPECT_EQ(as_text(now->body), "after");
      } else if (kind == PutCondition::Kind::match) {
        EXPECT_EQ(as_text(now.value().body), "before");
      } else {
        EXPECT_EQ(now.error().code, Code::not_found);
      }
    }
  }
}

TEST_F(FaultTest, LatencyHoldsUpNothingElse) {
  FaultPlan plan;
  plan.rules.push_back({Fault::latency, "GET", prefix + "/old", 1, 0, 1000, 50});
  ASSERT_TRUE(run(store->put("quick", shared("q"), PutCondition::always())));
  server().set_faults(plan);
  std::vector<Task<Result<StoredObject>>> gets;
  for (int i = 0; i < 40; ++i) gets.push_back(store->get("old"));
  auto began = loop.now();
  Scope scope(loop);
  std::optional<Duration> quick;
  scope.spawn([](S3Store* s, Loop* l, Instant from, std::optional<Duration>* took) -> Task<void> {
    auto got = co_await s->get("quick");
    EXPECT_TRUE(got) << got.error();
    *took = l->now() - from;
  }(store.get(), &loop, began, &quick));
  for (auto& got : run(when_all(loop, std::move(gets)))) ASSERT_TRUE(got) << got.error();
  auto all = loop.now() - began;
  EXPECT_GE(all, 1000ms);
  EXPECT_LT(all, 40 * 1000ms / 4) << "they wait side by side";
  ASSERT_TRUE(quick);
  EXPECT_LT(*quick, 1000ms);
}

TEST_F(FaultTest, AnAnswerThatComesTooLateIsNoAnswer) {
  FaultPlan plan;
  plan.rules.push_back({Fault::latency, "PUT", "", 1, 1, 2500, 0});
  server().set_faults(plan);
  auto put = run(store->put("late", shared("late"), PutCondition::if_absent()));
  ASSERT_FALSE(put);
  EXPECT_EQ(put.error().code, Code::unavailable) << put.error();
  // It is carried out all the same, later: what `unavailable` warns of.
  for (int i = 0; i < 100 && read_with_plain_store("late") != "late"; ++i)
    run_until_done(loop, sleep_for(loop, 50ms));
  EXPECT_EQ(read_with_plain_store("late"), "late");
}

TEST_F(FaultTest, AnOutageIsOverWhenItIsOver) {
  FaultPlan plan;
  plan.refuse_ms = 1500;
  server().set_faults(plan);
  run_until_done(loop, sleep_for(loop, 50ms));
  auto put = run(store->put("k", shared("1"), PutCondition::if_absent()));
  ASSERT_FALSE(put);
  EXPECT_EQ(put.error().code, Code::unavailable) << put.error();
  for (int i = 0; i < 200 && !run(store->get("old")); ++i) run_until_done(loop, sleep_for(loop, 10ms));
  EXPECT_EQ(as_text(run(store->get("old")).value().body), "old body");
  EXPECT_EQ(run(store->get("k")).error().code, Code::not_found);
  EXPECT_TRUE(run(store->put("k", shared("1"), PutCondition::if_absent())));
}

TEST_F(FaultTest, WrongKeysAndWrongBucketsAreInvalidNotUnavailable) {
  auto open_as = [&](auto change) {
    auto url = parse_s3_url(server().url("x")).value();
    Variables variables{{"AWS_ACCESS_KEY_ID", std::string(test_access_key)},
                        {"AWS_SECRET_ACCESS_KEY", std::string(test_secret_key)}};
    url.credentials = S3Url::Credentials::environment;
    change(url, variables);
    return std::make_unique<S3Store>(loop, url, variables);
  };
  auto error_of_get = [&](std::unique_ptr<S3Store> from) { return run(from->get("old")).error(); };
  EXPECT_EQ(error_of_get(open_as([](auto&, auto&) {})).code, Code::not_found);
  auto secret =
      error_of_get(open_as([](auto&, auto& variables) { variables["AWS_SECRET_ACCESS_KEY"] = "wrong"; }));
  EXPECT_EQ(secret.code, Code::invalid) << secret;
  EXPECT_NE(secret.message.find("SignatureDoesNotMatch"), std::string::npos) << secret;
  auto key = error_of_get(open_as([](auto&, auto& variables) { variables["AWS_ACCESS_KEY_ID"] = "nobody"; }));
  EXPECT_EQ(key.code, Code::invalid) << key;
  auto bucket = error_of_get(open_as([](auto& url, auto&) { url.bucket = "nothing"; }));
  EXPECT_EQ(bucket.code, Code::invalid) << bucket;
  EXPECT_NE(bucket.message.find("nothing"), std::string::npos) << bucket;
  auto region = error_of_get(open_as([](auto& url, auto&) { url.region = "eu-west-1"; }));
  EXPECT_EQ(region.code, Code::invalid) << region;
}

// Many writers and readers in weather of every kind. Each key is created once by each of two rivals; whatever
// anybody is told, it is true.
struct Rival {
  S3Store* store;
  int number;
  int told_won = 0, told_lost = 0, in_doubt = 0;
};

std::string body_of(const std::string& key, int rival) {
  return fmt::format("{} by rival {} {}", key, rival, std::string(5000, 'x'));
}

Task<bool> create_all(Rival* rival, int keys, std::map<std::string, std::set<int>>* won) {
  for (int i = 0; i < keys; ++i) {
    auto key = fmt::format("storm/{}", i);
    auto put =
        co_await rival->store->put(key, shared(body_of(key, rival->number)), PutCondition::if_absent());
    if (put) {
      ++rival->told_won;
      (*won)[key].insert(rival->number);
    } else if (put.error().code == Code::conflict) {
      ++rival->told_lost;
    } else {
      EXPECT_TRUE(put.error().code == Code::unavailable || put.error().code == Code::busy) << put.error();
      ++rival->in_doubt;
    }
    auto object = co_await rival->store->get(key);
    if (object) {
      auto text = as_text(object->body);
      EXPECT_TRUE(text == body_of(key, 0) || text == body_of(key, 1)) << key << ": " << text.substr(0, 100);
    } else if (object.error().code == Code::not_found) {
      EXPECT_FALSE(put) << key << " was created and is not there";
    }
  }
  co_return true;
}

TEST_F(FaultTest, InAStormOfFaultsNobodyIsToldAnUntruth) {
  constexpr int keys = 400;
  FaultPlan plan;
  plan.seed = 20261123;
  for (auto fault : {Fault::slow_down, Fault::internal_error, Fault::conflict, Fault::close_before,
                     Fault::cut_body, Fault::lost_reply, Fault::false_error}) {
    FaultRule rule;
    rule.fault = fault, rule.probability = 0.04;
    plan.rules.push_back(rule);
  }
  plan.rules.push_back({Fault::latency, "", "", 0.2, 0, 0, 10});
  auto before = server().stats().faults;
  server().set_faults(plan);
  auto other = open(server());
  Rival first{store.get(), 0}, second{other.get(), 1};
  std::map<std::string, std::set<int>> won;
  std::vector<Task<bool>> tasks;
  tasks.push_back(create_all(&first, keys, &won));
  tasks.push_back(create_all(&second, keys, &won));
  run(when_all(loop, std::move(tasks)));
  auto after = server().stats().faults;
  server().heal();
  for (const auto& rule : plan.rules) {
    auto name = std::string(json::name_of(rule.fault));
    if (rule.fault != Fault::latency) EXPECT_GT(after[name], before[name] + 10) << name << " has happened";
  }
  int created = 0;
  for (int i = 0; i < keys; ++i) {
    auto key = fmt::format("storm/{}", i);
    const auto& winners = won[key];
    ASSERT_LE(winners.size(), 1u) << key;
    auto object = run(store->get(key));
    if (object) ++created;
    if (!winners.empty()) EXPECT_EQ(as_text(object.value().body), body_of(key, *winners.begin())) << key;
  }
  EXPECT_GT(created, keys * 9 / 10);
  EXPECT_GT(first.told_won + second.told_won, keys / 2);
  EXPECT_GT(first.told_lost + second.told_lost, keys / 10);
  EXPECT_GT(first.in_doubt + second.in_doubt, keys / 10);
}

Task<Result<ObjectTag>> put_and_count(S3Store* store, std::string key, SharedBytes body,
                                      std::size_t* acknowledged, std::function<void()> on_acknowledged) {
  auto put = co_await store->put(std::move(key), std::move(body), PutCondition::if_absent());
  if (put) ++*acknowledged, on_acknowledged();
  co_return put;
}

// A real death: what was acknowledged is there afterwards, what was not is whole or absent.
TEST_F(FaultTest, AServerThatIsKilledKeepsWhatItAcknowledged) {
  constexpr std::size_t count = 300, dies_after = 100;
  TestFolder folder;
  OwnServer mortal({"--folder", folder / "objects"});
  auto target = open(mortal);
  auto body = [](std::size_t i) { return std::string(100'000 + i, static_cast<char>('a' + i % 26)); };
  std::size_t acknowledged = 0;
  auto die = [&] {
    if (acknowledged == dies_after) mortal.kill();
  };
  std::vector<Task<Result<ObjectTag>>> puts;
  for (std::size_t i = 0; i < count; ++i)
    puts.push_back(put_and_count(target.get(), fmt::format("k{}", i), shared(body(i)), &acknowledged, die));
  auto results = run(when_all(loop, std::move(puts)));
  EXPECT_GE(acknowledged, dies_after);
  EXPECT_LT(acknowledged, count) << "it was killed in the middle";
  mortal.start_again();
  for (std::size_t i = 0; i < count; ++i) {
    auto object = run(target->get(fmt::format("k{}", i)));
    if (results[i]) {
      ASSERT_TRUE(object) << object.error();
    } else {
      EXPECT_EQ(results[i].error().code, Code::unavailable) << results[i].error();
    }
    if (object) {
      EXPECT_TRUE(as_text(object->body) == body(i)) << i;
    } else {
      EXPECT_EQ(object.error().code, Code::not_found) << object.error();
    }
  }
}

}  // namespace
}  // namespace ebb::s3test
