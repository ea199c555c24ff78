// What every object store must do, whatever it is made of: ObjectStore's promises, on a folder, on our S3
// server in its several manners, on Ceph's radosgw, and on the simulator's store, which so may stand for them.
#include <gtest/gtest.h>

#include "base/check.h"
#include "platform/s3/pool_store.h"
#include "sim/run_in.h"
#include "sim/sim_store.h"
#include "test_pools.h"

namespace ebb::s3test {
namespace {

enum class Kind {
  folder,
  own_memory,
  own_folder,
  own_host_style,
  own_unquoted,
  own_tls,
  radosgw,
  radosgw_host_style,
  simulated
};
BOOST_DESCRIBE_ENUM(Kind, folder, own_memory, own_folder, own_host_style, own_unquoted, own_tls, radosgw,
                    radosgw_host_style, simulated)

bool is_radosgw(Kind kind) { return kind == Kind::radosgw || kind == Kind::radosgw_host_style; }

// One for all tests of a kind, and one gateway for both of its styles. Each test has a prefix of its own.
struct Servers {
  TestFolder folder;
  std::unique_ptr<OwnServer> own;
  std::unique_ptr<Radosgw> radosgw;
  int tests = 0;
};

// One for each test: virtual time begins anew.
struct Simulated {
  sim::SimWorld world;
  sim::SimStore store{world};
  sim::SimProcess& process = world.start_process("host-1", "test");
};

SharedBytes shared(std::string_view text) { return std::make_shared<const Bytes>(to_bytes(text)); }
SharedBytes random_bytes(std::uint64_t seed, std::size_t size) {
  Random random(seed);
  auto out = std::make_shared<Bytes>(size);
  for (std::size_t i = 0; i < size; ++i) (*out)[i] = static_cast<std::byte>(random.next());
  return out;
}

class ConformanceTest : public testing::TestWithParam<Kind> {
 public:
  ConformanceTest()
      : simulated_(GetParam() == Kind::simulated ? std::make_unique<Simulated>() : nullptr),
        loop(simulated_ ? simulated_->process.loop() : real_loop_) {}

 protected:
  static void SetUpTestSuite() { servers_ = std::make_unique<std::map<Kind, Servers>>(); }
  static void TearDownTestSuite() { servers_.reset(); }

  void SetUp() override { url_ = make_url(); }

  // A store of its own has connections of its own.
  std::unique_ptr<ReclaimableStore> open() {
    if (simulated_) return std::make_unique<sim::SimStoreClient>(simulated_->process, simulated_->store);
    auto opened = run(open_pool_store(real_loop_, url_));
    if (!opened) ADD_FAILURE() << opened.error();
    return opened ? std::move(*opened) : nullptr;
  }
  template <class T>
  T run(Task<T> task) {
    if (!simulated_) return run_until_done(real_loop_, std::move(task));
    auto value = sim::run_in(simulated_->process, std::move(task));
    CHECK(value);
    return std::move(*value);
  }

 private:
  AsioLoop real_loop_;
  const std::unique_ptr<Simulated> simulated_;

 protected:
  Loop& loop;

 private:
  static std::string make_url() {
    auto& all = (*servers_)[is_radosgw(GetParam()) ? Kind::radosgw : GetParam()];
    auto prefix = fmt::format("test-{}", ++all.tests);
    switch (GetParam()) {
      case Kind::folder:
        return fmt::format("dir:{}/pool-{}", all.folder.path(), prefix);
      case Kind::own_memory:
        return own(all, {}).url(prefix);
      case Kind::own_folder:
        return own(all, {"--folder", all.folder / "objects"}).url(prefix);
      case Kind::own_host_style:
        return own(all, {"--if-match", "quoted"}).host_style_url(prefix);
      case Kind::own_unquoted:
        return own(all, {"--if-match", "unquoted"}).url(prefix);
      case Kind::own_tls:
        return own(all, {"--if-match", "quoted"}, Transport::tls).url(prefix);
      case Kind::radosgw:
        return radosgw(all).url(prefix);
      case Kind::radosgw_host_style:
        return radosgw(all).host_style_url(prefix);
      case Kind::simulated:
        return "";
    }
    return "";
  }
  static OwnServer& own(Servers& all, std::vector<std::string> more, Transport transport = Transport::plain) {
    if (!all.own) all.own = std::make_unique<OwnServer>(std::move(more), transport);
    return *all.own;
  }

  static Radosgw& radosgw(Servers& all) {
    if (!all.radosgw) all.radosgw = std::make_unique<Radosgw>();
    return *all.radosgw;
  }

  static inline std::unique_ptr<std::map<Kind, Servers>> servers_;
  std::string url_;
};

TEST_P(ConformanceTest, GetsBackWhatWasPutWithItsTag) {
  auto store = open(), other = open();
  auto tag = run(store->put("v/disk-1/HEAD", shared("one"), PutCondition::always()));
  ASSERT_TRUE(tag) << tag.error();
  for (auto* from : {store.get(), other.get()}) {
    auto object = run(from->get("v/disk-1/HEAD"));
    ASSERT_TRUE(object) << object.error();
    EXPECT_EQ(as_text(object->body), "one");
    EXPECT_EQ(object->tag, *tag);
  }
  auto second = run(store->put("v/disk-1/HEAD", shared("two"), PutCondition::always()));
  ASSERT_TRUE(second) << second.error();
  EXPECT_NE(*second, *tag);
  EXPECT_EQ(as_text(run(other->get("v/disk-1/HEAD")).value().body), "two");
}

TEST_P(ConformanceTest, WhatIsNotThereIsNotFound) {
  auto store = open();
  ASSERT_TRUE(run(store->put("a/b/c", shared("x"), PutCondition::always())));
  for (auto key : {"nothing", "a", "a/b", "a/b/d", "a/b/cc"}) {
    auto object = run(store->get(key));
    ASSERT_FALSE(object) << key;
    EXPECT_EQ(object.error().code, Code::not_found) << key << ": " << object.error();
    EXPECT_EQ(run(store->get_range(key, 0, 1)).error().code, Code::not_found) << key;
    EXPECT_EQ(run(store->get_range(key, 5, 0)).error().code, Code::not_found) << key;
  }
}

TEST_P(ConformanceTest, CreateIfAbsentNeverReplaces) {
  auto store = open();
  auto first = run(store->put("k", shared("first"), PutCondition::if_absent()));
  ASSERT_TRUE(first) << first.error();
  auto second = run(store->put("k", shared("second"), PutCondition::if_absent()));
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code, Code::conflict) << second.error();
  EXPECT_EQ(run(store->put("k", shared("first"), PutCondition::if_absent())).error().code, Code::conflict);
  auto object = run(store->get("k")).value();
  EXPECT_EQ(as_text(object.body), "first");
  EXPECT_EQ(object.tag, *first);
}

TEST_P(ConformanceTest, CompareAndSetTakesOnlyTheCurrentTag) {
  auto store = open();
  auto first = run(store->put("k", shared("1"), PutCondition::if_absent())).value();
  auto second = run(store->put("k", shared("2"), PutCondition::if_match(first)));
  ASSERT_TRUE(second) << second.error();
  auto stale = run(store->put("k", shared("3"), PutCondition::if_match(first)));
  ASSERT_FALSE(stale);
  EXPECT_EQ(stale.error().code, Code::conflict) << stale.error();
  auto object = run(store->get("k")).value();
  EXPECT_EQ(as_text(object.body), "2");
  EXPECT_EQ(object.tag, *second);

  auto missing = run(store->put("none", shared("3"), PutCondition::if_match(first)));
  ASSERT_FALSE(missing);
  EXPECT_EQ(missing.error().code, Code::conflict) << missing.error();
  EXPECT_EQ(run(store->get("none")).error().code, Code::not_found);
  // The tag that a get gave is as good as that of a put.
  EXPECT_TRUE(run(store->put("k", shared("4"), PutCondition::if_match(object.tag))));
}

TEST_P(ConformanceTest, KeysThatWouldLeaveThePoolAreInvalid) {
  auto store = open();
  for (std::string key : {"", "/a", "a/", "a//b", "../a", "a/./b", "a\nb", "\x7f"}) {
    EXPECT_EQ(run(store->put(key, shared("x"), PutCondition::always())).error().code, Code::invalid) << key;
    EXPECT_EQ(run(store->get(key)).error().code, Code::invalid) << key;
    EXPECT_EQ(run(store->get_range(key, 0, 1)).error().code, Code::invalid) << key;
  }
}

TEST_P(ConformanceTest, KeysMayHoldEveryPrintableCharacter) {
  auto store = open();
  std::vector<std::string> keys{"%41",   "a+b",   "a b",   "a%2fb", "a%20b",
                                "x/...", "UPPER", "upper", "~",     "a=b&c=d?e#f"};
  std::string all;
  for (char c = 0x20; c < 0x7f; ++c) {
    if (c == '/') continue;
    all += c;
    keys.push_back(fmt::format("one/{}x", c));
  }
  keys.push_back(all);
  keys.push_back(std::string(255, 'p') + "/" + std::string(255, 'q') + "/" + std::string(255, '%'));
  for (const auto& key : keys) {
    auto put = run(store->put(key, shared("body of " + key), PutCondition::if_absent()));
    ASSERT_TRUE(put) << key << ": " << put.error();
  }
  for (const auto& key : keys) {
    auto object = run(store->get(key));
    ASSERT_TRUE(object) << key << ": " << object.error();
    EXPECT_EQ(as_text(object->body), "body of " + key);
  }
  EXPECT_EQ(run(store->get("A")).error().code, Code::not_found);  // what %41 would be, decoded once too often
}

TEST_P(ConformanceTest, RangesEndWhereTheObjectEnds) {
  auto store = open();
  auto body = random_bytes(3, 1'000'000);
  ASSERT_TRUE(run(store->put("k", body, PutCondition::if_absent())));
  ASSERT_TRUE(run(store->put("empty", shared(""), PutCondition::if_absent())));
  struct Case {
    std::uint64_t offset;
    std::size_t length, wanted;
  };
  for (auto [offset, length, wanted] :
       {Case{0, 1, 1}, Case{0, 1'000'000, 1'000'000}, Case{0, 2'000'000, 1'000'000}, Case{4096, 65536, 65536},
        Case{999'999, 1, 1}, Case{999'999, 2, 1}, Case{999'000, 4096, 1000}, Case{1'000'000, 1, 0},
        Case{5'000'000, 4096, 0}, Case{17, 0, 0}, Case{std::uint64_t{1} << 40, 1, 0}}) {
    auto part = run(store->get_range("k", offset, length));
    ASSERT_TRUE(part) << offset << "+" << length << ": " << part.error();
    ASSERT_EQ(part->size(), wanted) << offset << "+" << length;
    if (wanted > 0)
      EXPECT_EQ(std::memcmp(part->data(), body->data() + offset, wanted), 0) << offset << "+" << length;
  }
  for (std::uint64_t offset : {0, 1}) {
    auto part = run(store->get_range("empty", offset, 10));
    ASSERT_TRUE(part) << part.error();
    EXPECT_TRUE(part->empty());
  }
}

TEST_P(ConformanceTest, BodiesFromEmptyToSixteenMebibytes) {
  auto store = open();
  ObjectTag last;
  for (std::size_t size : {std::size_t{0}, std::size_t{1}, std::size_t{4095}, std::size_t{65536},
                           std::size_t{8 * MiB + 1}, std::size_t{16 * MiB}, std::size_t{0}}) {
    auto body = random_bytes(size, size);
    auto condition = last.value.empty() ? PutCondition::if_absent() : PutCondition::if_match(last);
    auto put = run(store->put("k", body, condition));
    ASSERT_TRUE(put) << size << ": " << put.error();
    last = *put;
    auto object = run(store->get("k"));
    ASSERT_TRUE(object) << size << ": " << object.error();
    EXPECT_TRUE(object->body == *body) << size;
    EXPECT_EQ(object->tag, last);
  }
}

TEST_P(ConformanceTest, AReadAfterAnOverwriteGivesTheNewest) {
  auto writer = open(), reader = open();
  for (int i = 0; i < 50; ++i) {
    auto text = fmt::format("version {:03}", i);
    auto put = run(writer->put("k", shared(text), PutCondition::always()));
    ASSERT_TRUE(put) << put.error();
    EXPECT_EQ(as_text(run(reader->get("k")).value().body), text);
    EXPECT_EQ(as_text(run(writer->get_range("k", 8, 3)).value()), text.substr(8));
  }
}

TEST_P(ConformanceTest, WhatIsRemovedIsGoneAndMayBeRemovedAgain) {
  auto store = open();
  ASSERT_TRUE(run(store->put("a/one", shared("1"), PutCondition::if_absent())));
  ASSERT_TRUE(run(store->put("a/two", shared("2"), PutCondition::if_absent())));
  EXPECT_TRUE(run(store->remove("a/one")));
  auto gone = run(store->get("a/one"));
  ASSERT_FALSE(gone);
  EXPECT_EQ(gone.error().code, Code::not_found);
  EXPECT_EQ(run(store->get_range("a/one", 0, 1)).error().code, Code::not_found);
  EXPECT_TRUE(run(store->remove("a/one"))) << "again";
  EXPECT_TRUE(run(store->remove("never/was")));
  EXPECT_TRUE(run(store->remove("a"))) << "a folder of objects is no object";
  EXPECT_EQ(run(store->get("a/two")).value().body, *shared("2"));
  EXPECT_TRUE(run(store->put("a/one", shared("3"), PutCondition::if_absent()))) << "its place is free";
}

TEST_P(ConformanceTest, OfRacingWritersExactlyOneWins) {
  for (std::size_t writers : {2, 8}) {
    std::vector<std::unique_ptr<ReclaimableStore>> stores;
    for (std::size_t i = 0; i < writers; ++i) stores.push_back(open());
    for (int round = 0; round < 40; ++round) {
      auto key = fmt::format("race/{}/{}", writers, round / 2);  // made in one round, replaced in the next
      auto condition = PutCondition::if_absent();
      if (round % 2 == 1) condition = PutCondition::if_match(run(stores[0]->get(key)).value().tag);
      std::vector<Task<Result<ObjectTag>>> puts;
      for (std::size_t i = 0; i < writers; ++i)
        puts.push_back(stores[i]->put(key, shared(fmt::format("round {} writer {}", round, i)), condition));
      auto results = run(when_all(loop, std::move(puts)));
      std::vector<std::size_t> winners;
      for (std::size_t i = 0; i < writers; ++i) {
        if (results[i]) winners.push_back(i);
        // A loser may be left in doubt (radosgw answers 500 then), but is never told that it is wrong.
        else
          EXPECT_TRUE(results[i].error().code == Code::conflict ||
                      results[i].error().code == Code::unavailable)
              << results[i].error();
      }
      ASSERT_EQ(winners.size(), 1u) << key;
      auto object = run(stores[0]->get(key)).value();
      EXPECT_EQ(as_text(object.body), fmt::format("round {} writer {}", round, winners[0]));
      EXPECT_EQ(object.tag, *results[winners[0]]);
    }
  }
}

// Eight writers count together, each by compare-and-set; who is left in doubt reads back by a nonce.
Task<int> count_up(Loop* loop, ObjectStore* store, int writer, int times) {
  int done = 0;
  for (int attempt = 0; done < times && attempt < 5000; ++attempt) {
    auto current = co_await store->get("counter");
    if (!current) co_return -1;
    auto text = std::string(as_text(current->body));
    auto next = fmt::format("{} by {} for {}", std::stoi(text) + 1, writer, done);
    auto put = co_await store->put("counter", shared(next), PutCondition::if_match(current->tag));
    if (put) {
      ++done;
      continue;
    }
    if (put.error().code == Code::conflict) continue;
    if (put.error().code != Code::unavailable && put.error().code != Code::busy) co_return -1;
    // The object holds our value, or somebody's who came later and saw it, or ours was never there.
    auto after = co_await store->get("counter");
    if (!after) co_return -1;
    if (as_text(after->body) == next) ++done;
    co_await sleep_for(*loop, 1ms);
  }
  co_return done;
}

TEST_P(ConformanceTest, NoUpdateByCompareAndSetIsLost) {
  constexpr int writers = 8, times = 10;
  std::vector<std::unique_ptr<ReclaimableStore>> stores;
  std::vector<Task<int>> tasks;
  for (int i = 0; i < writers; ++i) stores.push_back(open());
  ASSERT_TRUE(run(stores[0]->put("counter", shared("0"), PutCondition::if_absent())));
  for (int i = 0; i < writers; ++i)
    tasks.push_back(count_up(&loop, stores[static_cast<std::size_t>(i)].get(), i, times));
  for (int done : run(when_all(loop, std::move(tasks)))) EXPECT_EQ(done, times);
  auto total = std::stoi(std::string(as_text(run(stores[0]->get("counter")).value().body)));
  // A writer in doubt whose value was there, and was replaced before it looked, counts once more.
  EXPECT_GE(total, writers * times);
  if (!is_radosgw(GetParam())) EXPECT_EQ(total, writers * times);
}

TEST_P(ConformanceTest, ManyRequestsAtATimeKeepTheirBodiesApart) {
  constexpr std::uint64_t count = 200;
  auto store = open();
  std::vector<SharedBytes> bodies;
  std::vector<Task<Result<ObjectTag>>> puts;
  for (std::uint64_t i = 0; i < count; ++i) {
    bodies.push_back(random_bytes(100 + i, 1000 + 997 * i));
    puts.push_back(store->put(fmt::format("many/{}", i), bodies.back(), PutCondition::if_absent()));
  }
  for (auto& put : run(when_all(loop, std::move(puts)))) ASSERT_TRUE(put) << put.error();
  std::vector<Task<Result<StoredObject>>> gets;
  std::vector<Task<Result<Bytes>>> parts;
  for (std::uint64_t i = 0; i < count; ++i) gets.push_back(store->get(fmt::format("many/{}", i)));
  for (std::uint64_t i = 0; i < count; ++i)
    parts.push_back(store->get_range(fmt::format("many/{}", i), 500, 300));
  auto objects = run(when_all(loop, std::move(gets)));
  auto middles = run(when_all(loop, std::move(parts)));
  for (std::size_t i = 0; i < count; ++i) {
    ASSERT_TRUE(objects[i]) << objects[i].error();
    EXPECT_TRUE(objects[i]->body == *bodies[i]) << i;
    ASSERT_TRUE(middles[i]) << middles[i].error();
    EXPECT_TRUE(std::ranges::equal(*middles[i], ByteView(*bodies[i]).subspan(500, 300))) << i;
  }
}

TEST_P(ConformanceTest, AnAbandonedPutIsWholeOrNotThere) {
  auto store = open();
  auto body = random_bytes(9, 8 * MiB);
  for (int i = 0; i < 10; ++i) {
    auto key = fmt::format("abandoned/{}", i);
    std::ignore = run(with_timeout(loop, store->put(key, body, PutCondition::if_absent()),
                                   std::chrono::milliseconds(2 * i)));
    auto object = run(store->get(key));
    if (object) {
      EXPECT_TRUE(object->body == *body) << key;
    } else {
      EXPECT_EQ(object.error().code, Code::not_found) << object.error();
    }
    std::ignore = run(with_timeout(loop, store->get(key), std::chrono::milliseconds(i)));
  }
  ASSERT_TRUE(run(store->put("after", shared("x"), PutCondition::if_absent())));
}

INSTANTIATE_TEST_SUITE_P(Stores, ConformanceTest,
                         testing::Values(Kind::folder, Kind::own_memory, Kind::own_folder,
                                         Kind::own_host_style, Kind::own_unquoted, Kind::own_tls,
                                         Kind::radosgw, Kind::radosgw_host_style, Kind::simulated),
                         [](const auto& info) { return std::string(json::name_of(info.param)); });

}  // namespace
}  // namespace ebb::s3test
