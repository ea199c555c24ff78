#include <gtest/gtest.h>

#include "sim/run_in.h"

namespace ebb::sim {
namespace {

Task<void> tick(Loop& loop, std::string* out, char name, Duration every, int times) {
  for (int i = 0; i < times; ++i) {
    co_await sleep_for(loop, every);
    *out += name;
  }
}

std::uint64_t run_three_processes(std::uint64_t seed, std::string* order) {
  SimWorld world({.seed = seed, .order = SimLoopOptions::Order::shuffled});
  for (char name : {'a', 'b', 'c'}) {
    auto& process = world.start_process(std::string("host-") + name, "program");
    process.make<Scope>(process.loop()).spawn(tick(process.loop(), order, name, 10ms, 5));
  }
  EXPECT_TRUE(world.loop().run_for(1s));
  return world.loop().trace_hash();
}

TEST(SimLoop, TheSameSeedGivesTheSameRunAndAnotherSeedAnother) {
  std::string first, second, other;
  auto hash = run_three_processes(7, &first);
  EXPECT_EQ(hash, run_three_processes(7, &second));
  EXPECT_NE(hash, run_three_processes(8, &other));
  EXPECT_EQ(first, second);
  EXPECT_EQ(first.size(), 15u);
  EXPECT_NE(first, other);
}

TEST(SimLoop, WithinAProcessTheOrderIsKeptHoweverEventsAreShuffled) {
  for (std::uint64_t seed = 1; seed < 20; ++seed) {
    SimWorld world({.seed = seed, .order = SimLoopOptions::Order::shuffled});
    std::string order;
    auto& a = world.start_process("a", "p");
    auto& b = world.start_process("b", "p");
    for (char c : {'1', '2', '3'}) {
      a.loop().post([&order, c] { order += c; });
      b.loop().post([] {});
    }
    EXPECT_TRUE(world.loop().run_for(1ms));
    EXPECT_EQ(order, "123");
  }
}

TEST(SimLoop, RunUntilSaysWhenItsLimitPassedOrNothingIsLeft) {
  SimLoop loop;
  bool rang = false;
  loop.call_at(loop.now() + 1h, [&] { rang = true; });
  auto status = loop.run_until([&] { return rang; }, 1min);
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().message, "not within 1m00s of virtual time");
  EXPECT_EQ(to_ms(loop.now().time_since_epoch()), 60'000);
  EXPECT_TRUE(loop.run_until([&] { return rang; }, 2h));
  EXPECT_FALSE(loop.run_until([] { return false; }, 2h));
}

TEST(SimLoop, ALivelockEndsWithAMessage) {
  SimLoop loop({.events_max_per_instant = 1000});
  std::function<void()> again = [&] { loop.post([&] { again(); }); };
  again();
  auto status = loop.run_for(1s);
  ASSERT_FALSE(status);
  EXPECT_TRUE(status.error().message.contains("virtual time stands still")) << status.error().message;
}

struct Witness {
  std::string* out;
  ~Witness() { *out += "~"; }
};

TEST(SimProcess, KillingItDestroysItsTasksAndNothingOfItRunsAgain) {
  SimWorld world;
  std::string out;
  auto& process = world.start_process("host", "program");
  auto body = [](Loop& loop, std::string* o) -> Task<void> {
    Witness witness{o};
    co_await sleep_for(loop, 1s);
    *o += "ran on";
  };
  process.make<Scope>(process.loop()).spawn(body(process.loop(), &out));
  process.loop().call_at(process.loop().now() + 2s, [&] { out += "timer"; });
  process.on_death([&] { out += "dead"; });
  ASSERT_TRUE(world.loop().run_for(100ms));
  process.kill();
  EXPECT_EQ(out, "~dead");
  ASSERT_TRUE(world.loop().run_for(5s));
  EXPECT_EQ(out, "~dead");
}

TEST(SimProcess, MayKillItselfAndStopsThere) {
  SimWorld world;
  std::string out;
  auto& process = world.start_process("host", "program");
  auto body = [](SimProcess* self, std::string* o) -> Task<void> {
    Witness witness{o};
    self->kill();
    *o += "last breath";
    co_await self->stop_here_if_dead();
    *o += "ran on";
  };
  process.make<Scope>(process.loop()).spawn(body(&process, &out));
  ASSERT_TRUE(world.loop().run_for(5s));
  EXPECT_EQ(out, "last breath~");
}

TEST(SimProcess, APausedOneGetsItsEventsLateAndInOrderWhileTimeRunsOn) {
  SimWorld world;
  auto& process = world.start_process("host", "program");
  std::vector<std::pair<std::int64_t, char>> seen;
  for (auto [after, name] : {std::pair(1s, 'a'), std::pair(2s, 'b'), std::pair(30s, 'd')})
    process.loop().call_at(process.loop().now() + after, [&, letter = name] {
      seen.emplace_back(to_ms(process.loop().now().time_since_epoch()), letter);
    });
  auto cancelled = process.loop().call_at(process.loop().now() + 3s, [&] { seen.emplace_back(0, 'c'); });
  process.pause();
  ASSERT_TRUE(world.loop().run_for(10s));
  EXPECT_TRUE(seen.empty());
  process.loop().cancel(cancelled);
  process.resume();
  ASSERT_TRUE(world.loop().run_for(30s));
  EXPECT_EQ(seen, (std::vector<std::pair<std::int64_t, char>>{{10'000, 'a'}, {10'000, 'b'}, {30'000, 'd'}}));
}

Task<int> add_slowly(Loop& loop, int a, int b) {
  co_await sleep_for(loop, 1s);
  co_return a + b;
}

TEST(CallAcross, BringsTheValueBackOrNothingWhenTheOtherProcessDies) {
  SimWorld world;
  auto& caller = world.start_process("host", "caller");
  auto& callee = world.start_process("host", "callee");
  auto& scope = callee.make<Scope>(callee.loop());
  auto call = [&] { return call_across(caller, callee, scope, add_slowly(callee.loop(), 1, 2)); };
  EXPECT_EQ(run_in(caller, call()), std::optional(std::optional(3)));
  world.loop().call_at(world.loop().now() + 500ms, [&] { callee.kill(); });
  auto broken = run_in(caller, call());
  ASSERT_TRUE(broken) << "the call itself ends";
  EXPECT_EQ(*broken, std::nullopt);
}

TEST(CrashPoints, ArmEachInTurnAndEveryOneFiresOnce) {
  std::uint64_t points = 0;
  for (std::uint64_t nth = 0;; ++nth) {
    SimWorld world;
    auto& process = world.start_process("host", "program");
    world.crash_points().arm(CrashPoints::of_kind("step"), nth);
    auto body = [](SimProcess* self) -> Task<void> {
      for (int i = 0; i < 4; ++i) {
        self->world().crash_points().pass(*self, "step", std::to_string(i));
        co_await self->stop_here_if_dead();
      }
    };
    process.make<Scope>(process.loop()).spawn(body(&process));
    ASSERT_TRUE(world.loop().run_for(1s));
    if (!world.crash_points().fired()) break;
    EXPECT_EQ(world.crash_points().fired(), fmt::format("step {} by host/program#1", nth));
    EXPECT_FALSE(process.is_alive());
    ++points;
  }
  EXPECT_EQ(points, 4u);
}

}  // namespace
}  // namespace ebb::sim
