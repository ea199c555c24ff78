// Commits whose outcome the owner does not learn: it reads the records again before it decides anything else.
#include "control/owner.h"

#include <gtest/gtest.h>

#include "sim/run_in.h"
#include "store/memory_store.h"

namespace ebb::control {
namespace {

// Loses the answer of the next commit, before or after it was carried out; may then refuse to be read.
class FaultyStore final : public RecordStore {
 public:
  enum class Fault { none, lost_before, lost_after } next = Fault::none;
  bool is_readable = true;

  explicit FaultyStore(RecordStore& inner) : inner_(inner) {}
  Task<Result<StoreSnapshot>> load() override {
    if (!is_readable) co_return fail(Code::unavailable, "the disk is gone");
    co_return co_await inner_.load();
  }
  Task<Status> commit(CommitBatch batch) override {
    auto fault = std::exchange(next, Fault::none);
    if (fault == Fault::lost_before) co_return fail(Code::unavailable, "no answer");
    auto done = co_await inner_.commit(std::move(batch));
    if (fault == Fault::lost_after) co_return fail(Code::unavailable, "no answer");
    co_return done;
  }
  Task<Result<std::vector<std::string>>> journal(std::uint64_t since, std::size_t limit) override {
    return inner_.journal(since, limit);
  }

 private:
  RecordStore& inner_;
};

struct World {
  sim::SimWorld world;
  sim::SimProcess& process = world.start_process("control", "owner");
  std::shared_ptr<MemoryRecords> records = std::make_shared<MemoryRecords>();
  MemoryStore store{process.loop(), records};
  FaultyStore faulty{store};
  Owner owner{process.loop(), faulty, Logger()};
  std::vector<Touched> told;

  World() {
    EXPECT_TRUE(wait(owner.load()));
    EXPECT_TRUE(put_worker("w1"));
    owner.on_commit([this](const Touched& touched) { told.push_back(touched); });
  }
  template <class T>
  T wait(Task<T> task) {
    auto value = sim::run_in(process, std::move(task));
    EXPECT_TRUE(value);
    return std::move(*value);
  }
  Result<std::string> put_worker(const std::string& name) {
    return wait(owner.change<std::string>([name](Batch& batch) -> Result<std::string> {
      Worker worker;
      worker.id = WorkerId(name);
      batch.put(worker);
      batch.effect({"create_disk/" + name, EffectKind::create_disk, DiskId(name), PoolId("main"), {}});
      return batch.mint_id("x");
    }));
  }
  // What another control plane would read.
  void expect_the_fleet_is_what_is_stored() {
    Owner other(process.loop(), store, Logger());
    EXPECT_TRUE(wait(other.load()));
    EXPECT_EQ(owner.revision(), other.revision());
    EXPECT_EQ(owner.fleet().workers(), other.fleet().workers());
    EXPECT_EQ(owner.fleet().cell(), other.fleet().cell());
    EXPECT_EQ(owner.effects(), other.effects());
  }
};

TEST(Owner, ACommitThatWasCarriedOutAndNotAnsweredIsReadBack) {
  World w;
  w.faulty.next = FaultyStore::Fault::lost_after;
  auto lost = w.put_worker("w2");
  ASSERT_FALSE(lost);
  EXPECT_EQ(lost.error().code, Code::unavailable);
  EXPECT_TRUE(w.owner.fleet().find(WorkerId("w2"))) << "it happened";
  w.expect_the_fleet_is_what_is_stored();
  ASSERT_EQ(w.told.size(), 1u);
  EXPECT_TRUE(w.told[0].workers.contains(WorkerId("w2")) && w.told[0].effects) << "its effects go out";
  EXPECT_EQ(*w.put_worker("w3"), "x-3") << "no id is given out twice";
  EXPECT_FALSE(w.owner.broken());
  w.expect_the_fleet_is_what_is_stored();
}

TEST(Owner, ACommitThatWasNotCarriedOutLeavesNothing) {
  World w;
  w.faulty.next = FaultyStore::Fault::lost_before;
  ASSERT_FALSE(w.put_worker("w2"));
  EXPECT_FALSE(w.owner.fleet().find(WorkerId("w2")));
  EXPECT_EQ(w.owner.effects().size(), 1u);
  w.expect_the_fleet_is_what_is_stored();
  EXPECT_TRUE(w.put_worker("w2"));
  w.expect_the_fleet_is_what_is_stored();
}

TEST(Owner, WhenTheRecordsCannotBeReadBackNothingIsDecidedAnyMore) {
  World w;
  w.faulty.next = FaultyStore::Fault::lost_after, w.faulty.is_readable = false;
  ASSERT_FALSE(w.put_worker("w2"));
  ASSERT_TRUE(w.owner.broken());
  const auto commits = w.records->commits;
  w.faulty.is_readable = true;
  auto refused = w.put_worker("w3");
  ASSERT_FALSE(refused);
  EXPECT_NE(refused.error().message.find("the disk is gone"), std::string::npos) << refused.error().message;
  EXPECT_EQ(w.records->commits, commits);
}

// Puts a worker under a name, unless it is there already.
std::function<Status(Batch&)> put_once(const Owner& owner, std::string name) {
  return [&owner, name = std::move(name)](Batch& batch) -> Status {
    if (owner.fleet().find(WorkerId(name))) return fail(Code::conflict, "'{}' is there already", name);
    Worker worker;
    worker.id = WorkerId(name);
    batch.put(worker);
    return {};
  };
}

struct Together : World {
  // One decision for each name, all at once.
  std::vector<Status> put(const std::vector<std::string>& names) {
    std::vector<Task<Status>> tasks;
    for (const auto& name : names)
      tasks.push_back(owner.change_together("workers/" + name, put_once(owner, name)));
    return wait(when_all(process.loop(), std::move(tasks)));
  }
};

TEST(OwnerTogether, DecisionsAboutDifferentThingsShareACommit) {
  Together w;
  const auto commits = w.records->commits;
  for (const auto& status : w.put({"a", "b", "c", "d"})) EXPECT_TRUE(status);
  EXPECT_EQ(w.records->commits, commits + 1);
  w.expect_the_fleet_is_what_is_stored();
}

TEST(OwnerTogether, ThoseAboutTheSameThingSeeEachOther) {
  Together w;
  const auto commits = w.records->commits;
  const auto answers = w.put({"a", "a", "b", "w1"});
  EXPECT_TRUE(answers[0]);
  ASSERT_FALSE(answers[1]) << "the one before it is in the records by then";
  EXPECT_EQ(answers[1].error().code, Code::conflict);
  EXPECT_TRUE(answers[2]);
  ASSERT_FALSE(answers[3]) << "a decision that fails takes no other one with it";
  EXPECT_EQ(w.records->commits, commits + 1);
}

TEST(OwnerTogether, MoreThanACommitTakesAreSeveral) {
  Together w;
  const auto commits = w.records->commits;
  std::vector<std::string> names;
  for (int i = 0; i < 500; ++i) names.push_back(fmt::format("n{}", i));
  for (const auto& status : w.put(names)) EXPECT_TRUE(status);
  EXPECT_EQ(w.owner.fleet().workers().size(), 501u);
  EXPECT_GT(w.records->commits, commits + 1);
  EXPECT_LT(w.records->commits, commits + 50);
  w.expect_the_fleet_is_what_is_stored();
}

TEST(OwnerTogether, ALostCommitIsLostForAllOfThem) {
  Together w;
  w.faulty.next = FaultyStore::Fault::lost_before;
  for (const auto& status : w.put({"a", "b"})) {
    ASSERT_FALSE(status);
    EXPECT_EQ(status.error().code, Code::unavailable);
  }
  w.expect_the_fleet_is_what_is_stored();
  for (const auto& status : w.put({"a", "b"})) EXPECT_TRUE(status);
  w.faulty.next = FaultyStore::Fault::lost_after, w.faulty.is_readable = false;
  EXPECT_FALSE(w.put({"c"})[0]);
  EXPECT_FALSE(w.put({"d"})[0]) << "nothing is decided any more";
}

TEST(OwnerTogether, WhoeverHasGoneIsServedAllTheSame) {
  Together w;
  {
    Scope scope(w.process.loop());
    scope.spawn([](Owner* owner) -> Task<void> {
      (void)co_await owner->change_together("workers/a", put_once(*owner, "a"));
    }(&w.owner));
    w.wait([](Loop* loop) -> Task<bool> {
      co_await sleep_for(*loop, 0ms);  // virtual: whatever is due runs first, and it has asked then
      co_return true;
    }(&w.process.loop()));
  }
  EXPECT_TRUE(w.put({"b"})[0]);
  EXPECT_TRUE(w.owner.fleet().find(WorkerId("a")));
  w.expect_the_fleet_is_what_is_stored();
}

}  // namespace
}  // namespace ebb::control
