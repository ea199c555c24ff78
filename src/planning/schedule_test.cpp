// Schedules: each limit on its own, then random ones against a sweep over time.
#include "planning/schedule.h"

#include <cmath>
#include <gtest/gtest.h>

#include "base/random.h"

namespace ebb::planning {
namespace {

using placement::none;

ScheduleInput input_of(std::vector<Job> jobs) {
  ScheduleInput input;
  input.workers = 20, input.domains = 4, input.targets = 10, input.target_domains = 2;
  input.jobs = std::move(jobs);
  return input;
}

TEST(Schedule, KeepsToTheLimitsOfASourceAndOfATarget) {
  auto input = input_of({});
  for (std::uint32_t i = 0; i < 6; ++i) input.jobs.push_back({.seconds = 10, .from = 0, .to = 10 + i});
  EXPECT_EQ(schedule(input).makespan, 30);
  for (std::uint32_t i = 0; i < 6; ++i) input.jobs[i].from = i, input.jobs[i].to = 10;
  const auto found = schedule(input);
  EXPECT_EQ(found.makespan, 30);
  EXPECT_EQ(std::ranges::max(found.wave), 3u);
  EXPECT_EQ(std::ranges::count(found.start, 0.0), 2);
}

TEST(Schedule, ABudgetCountsWhoIsNotYetHealthy) {
  auto input = input_of({});
  input.budgets = {{.away_max = 1, .healthy_seconds = 30}};
  for (std::uint32_t i = 0; i < 3; ++i)
    input.jobs.push_back({.seconds = 10, .from = i, .to = 10 + i, .budget = 0});
  EXPECT_EQ(schedule(input).makespan, 90);  // 10 + 30 + 10 + 30 + 10
  EXPECT_EQ(makespan_bounds(input).front().name, "a budget");
  EXPECT_EQ(makespan_bounds(input).front().seconds, 90);
}

TEST(Schedule, WhatABudgetForbidsNeverStartsAndHoldsNobodyUp) {
  auto input =
      input_of({{.seconds = 10, .from = 0, .to = 10, .budget = 0}, {.seconds = 10, .from = 0, .to = 11}});
  input.budgets = {{.away_max = 0, .healthy_seconds = 30}};
  const auto found = schedule(input);
  EXPECT_LT(found.start[0], 0);
  EXPECT_EQ(found.start[1], 0);
  EXPECT_EQ(found.makespan, 10);
  EXPECT_EQ(makespan_bounds(input).front().seconds, 10);
}

TEST(Schedule, BootsComeNoFasterThanTheirTokens) {
  auto input = input_of({});
  for (std::uint32_t i = 0; i < 10; ++i) input.jobs.push_back({.seconds = 1, .from = i, .to = 10 + i});
  input.limits.boots_per_second = 2, input.limits.boots_at_once = 4;
  EXPECT_NEAR(schedule(input).makespan, 4,
              1e-6);  // four at once, six more in three seconds, and the last one's own
}

TEST(Schedule, LimitsOfNothingForbidAndDivideNothing) {
  auto input = input_of({{.seconds = 10, .from = 0, .to = 10, .is_clone = true, .bytes = 1},
                         {.seconds = 5, .from = 0, .to = 11}});
  input.limits.clones_per_domain = 0;
  input.limits.boots_per_second = 1, input.limits.boots_at_once = 0;
  const auto found = schedule(input);
  EXPECT_LT(found.start[0], 0);
  EXPECT_EQ(found.makespan, 5);
  for (const auto& bound : makespan_bounds(input)) EXPECT_FALSE(std::isnan(bound.seconds)) << bound.name;
  EXPECT_EQ(makespan_bounds(input).front().seconds, 5);
}

TEST(Schedule, OfThoseWhoShareTheWorstQueueThoseGoFirstWhoStandInAnotherLongOne) {
  auto input = input_of({});
  input.budgets = {{.away_max = 1, .healthy_seconds = 0}};
  input.tenant_max = {2};
  for (std::uint32_t i = 0; i < 6; ++i)
    input.jobs.push_back({.seconds = 10, .from = i, .to = 10 + i, .budget = i < 3 ? none : 0, .tenant = 0});
  EXPECT_EQ(makespan_bounds(input).front().seconds, 30);
  EXPECT_EQ(schedule(input).makespan, 30);
}

TEST(Schedule, WhoNeedsRoomWaitsUntilItIsThere) {
  auto input = input_of({{.seconds = 40, .from = 10, .to = 11}, {.seconds = 5, .from = 0, .to = 10}});
  input.precedences = {{1, 0}};
  const auto found = schedule(input);
  EXPECT_EQ(found.start[1], 40);
  EXPECT_EQ(found.wave, (std::vector<std::uint32_t>{1, 2}));
}

// Between the start and the end of each job nothing may ever be over its limit; and no schedule is better than its bound.
TEST(Schedule, RandomOnesHoldAtEachInstant) {
  for (std::uint64_t seed = 1; seed <= 300; ++seed) {
    Random random(seed);
    auto input = input_of({});
    input.budgets = {{1, 5}, {2, 0}, {1, 20}};
    input.tenant_max = {1, 3, 100};
    input.limits.clones_per_domain = 2;
    if (seed % 3 == 0) input.limits.boots_per_second = 0.5, input.limits.boots_at_once = 3;
    const auto count = 1 + random.below(60);
    for (std::uint32_t j = 0; j < count; ++j) {
      const auto from = static_cast<std::uint32_t>(random.below(10)),
                 to = static_cast<std::uint32_t>(10 + random.below(10));
      const bool is_clone = random.chance(0.3);
      input.jobs.push_back(
          {.seconds = 1 + random.unit() * 20,
           .from = from,
           .to = to,
           .from_domain = from / 5,
           .to_domain = to / 5,
           .is_clone = is_clone,
           .bytes = is_clone ? 1e9 : 0,
           .budget = random.chance(0.3) ? static_cast<std::uint32_t>(random.below(3)) : none,
           .tenant = random.chance(0.5) ? static_cast<std::uint32_t>(random.below(3)) : none});
      if (j > 0 && random.chance(0.1))
        input.precedences.push_back({j, static_cast<std::uint32_t>(random.below(j))});
    }
    for (const auto order : {Order::critical_first, Order::longest_first, Order::first_in_first_out}) {
      const auto found = schedule(input, order);
      ASSERT_GE(found.makespan, makespan_bounds(input).front().seconds - 1e-6) << seed;
      const auto end = [&](std::size_t j) { return found.start[j] + input.jobs[j].seconds; };
      for (const auto& p : input.precedences) ASSERT_GE(found.start[p.move], end(p.after) - 1e-9) << seed;
      for (std::size_t i = 0; i < count; ++i) {
        ASSERT_GE(found.start[i], 0) << seed << ": job " << i << " never starts";
        const auto now = found.start[i];
        std::size_t source = 0, target = 0, out = 0, in = 0, budget = 0, tenant = 0, started = 0;
        for (std::size_t j = 0; j < count; ++j) {
          const auto &a = input.jobs[i], &b = input.jobs[j];
          started += found.start[j] <= now;
          const bool is_under_way = found.start[j] <= now && end(j) > now + 1e-9;
          if (is_under_way) {
            source += a.from == b.from, target += a.to == b.to;
            out += a.is_clone && b.is_clone && a.from_domain == b.from_domain,
                in += a.is_clone && b.is_clone && a.to_domain == b.to_domain;
            tenant += a.tenant != none && a.tenant == b.tenant;
          }
          if (a.budget != none && a.budget == b.budget)
            budget += found.start[j] <= now && end(j) + input.budgets[a.budget].healthy_seconds > now + 1e-9;
        }
        ASSERT_LE(source, 2u) << seed;
        ASSERT_LE(target, 2u) << seed;
        ASSERT_TRUE(out <= 2 && in <= 2) << seed;
        if (input.jobs[i].budget != none)
          ASSERT_LE(budget, input.budgets[input.jobs[i].budget].away_max) << seed;
        if (input.jobs[i].tenant != none) ASSERT_LE(tenant, input.tenant_max[input.jobs[i].tenant]) << seed;
        if (input.limits.boots_per_second > 0)
          ASSERT_LE(static_cast<double>(started), 3 + now * 0.5 + 1e-3) << seed;
      }
    }
  }
}

}  // namespace
}  // namespace ebb::planning
