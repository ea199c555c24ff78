#include <gtest/gtest.h>

#include "base/random.h"
#include "placement/placement_planner.h"

namespace ebb::placement {
namespace {

constexpr std::uint64_t M = 1024 * 1024;
Candidate worker(const char* id, std::uint64_t cpu, std::uint64_t mem_mb, std::string refusal = {}) {
  return {WorkerId(id), {cpu, mem_mb * M}, {}, {PoolId("main")}, {}, std::move(refusal)};
}
Request request(const char* id, std::uint64_t cpu, std::uint64_t mem_mb) {
  return {VmId(id), {cpu, mem_mb * M}, {PoolId("main")}, {}, {}};
}

TEST(Placement, FillsTheFullerWorkerFirst) {
  auto a = worker("a", 8000, 1000), b = worker("b", 8000, 1000);
  b.used = {2000, 600 * M};
  auto choices = place({a, b}, {request("v", 1000, 200)});
  EXPECT_EQ(choices[0].worker, WorkerId("b"));
}

TEST(Placement, NamesEveryRefusal) {
  auto full = worker("full", 8000, 100), far = worker("far", 8000, 9000);
  far.pools.clear();
  auto r = request("v", 1000, 200);
  r.excluded[WorkerId("bad")] = "could not boot it";
  auto choices = place({worker("held", 8000, 9000, "held by operator"), full, far, worker("bad", 8000, 9000),
                        worker("slow", 500, 9000)},
                       {r});
  ASSERT_FALSE(choices[0].worker);
  EXPECT_EQ(
      describe(choices[0].refusals),
      "held: held by operator; full: 200 MiB of memory needed, 100 MiB free; far: cannot reach pool main; "
      "bad: could not boot it; slow: 1.0 cores needed, 0.5 free");
  EXPECT_EQ(describe(place({}, {r})[0].refusals), "there is no other worker");
}

TEST(Placement, NamesAllThatKeepsAWorkerAwayNotTheFirstThingAlone) {
  auto w = worker("w", 500, 100, "held by operator, does not answer");
  w.pools.clear();
  auto r = request("v", 1000, 200);
  r.excluded[WorkerId("w")] = "could not boot it";
  EXPECT_EQ(describe(place({w}, {r})[0].refusals),
            "w: held by operator, does not answer, could not boot it, cannot reach pool main, "
            "200 MiB of memory needed, 100 MiB free, 1.0 cores needed, 0.5 free");
}

TEST(Placement, WorkersWithTheSameReasonAreNamedTogether) {
  std::vector<Candidate> workers;
  for (std::size_t i = 0; i < names_shown_max + 2; ++i)
    workers.push_back(worker(fmt::format("a{:02}", i).c_str(), 8000, 100));
  workers.push_back(worker("b", 8000, 9000, "does not answer"));
  workers.push_back(worker("c", 8000, 9000, "does not answer"));
  auto text = describe(place(workers, {request("v", 1000, 200)})[0].refusals);
  EXPECT_TRUE(text.starts_with("a00, a01, a02,")) << text;
  EXPECT_TRUE(
      text.ends_with("a30, a31 and 2 more: 200 MiB of memory needed, 100 MiB free; "
                     "b, c: does not answer"))
      << text;
}

TEST(Placement, NeverOverfillsAndIsDeterministic) {
  Random random(7);
  for (int round = 0; round < 200; ++round) {
    std::vector<Candidate> workers;
    for (int i = 0; i < 6; ++i)
      workers.push_back(
          worker(fmt::format("w{}", i).c_str(), 1000 * random.below(16), 100 * random.below(40)));
    std::vector<Request> requests;
    for (int i = 0; i < 40; ++i)
      requests.push_back(
          request(fmt::format("v{:02}", i).c_str(), 1000 * (1 + random.below(4)), 50 + random.below(800)));
    auto choices = place(workers, requests);
    ASSERT_EQ(choices.size(), requests.size());
    std::map<WorkerId, Resources> used;
    for (const auto& c : choices) {
      auto needs =
          std::find_if(requests.begin(), requests.end(), [&](auto& r) { return r.vm == c.vm; })->needs;
      if (c.worker) used[*c.worker] += needs;
      EXPECT_EQ(c.refusals.size(), c.worker ? 0 : workers.size());
    }
    for (const auto& w : workers) EXPECT_TRUE(used[w.worker].fits_in(w.capacity));
    std::reverse(requests.begin(), requests.end());
    auto again = place(workers, requests);
    for (std::size_t i = 0; i < choices.size(); ++i) EXPECT_EQ(again[i].worker, choices[i].worker);
  }
}

}  // namespace
}  // namespace ebb::placement
