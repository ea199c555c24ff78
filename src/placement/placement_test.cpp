#include <deque>
#include <gtest/gtest.h>

#include "base/random.h"
#include "placement/placement_planner.h"

namespace ebb::placement {
namespace {

constexpr std::uint64_t M = 1024 * 1024;
Worker record(const char* id, std::uint64_t cpu, std::uint64_t mem_mb) {
  Worker worker;
  worker.id = WorkerId(id), worker.capacity = {cpu, mem_mb * M}, worker.pools = {PoolId("main")};
  return worker;
}
Candidate of(const Worker& worker, std::string refusal = {}) {
  static std::deque<Worker> kept;
  return {&kept.emplace_back(worker), {}, std::move(refusal)};
}
Candidate worker(const char* id, std::uint64_t cpu, std::uint64_t mem_mb, std::string refusal = {}) {
  return of(record(id, cpu, mem_mb), std::move(refusal));
}
Request request(const char* id, std::uint64_t cpu, std::uint64_t mem_mb) {
  return {VmId(id), {cpu, mem_mb * M}, {PoolId("main")}};
}

TEST(Placement, FillsTheFullerWorkerFirst) {
  auto a = worker("a", 8000, 1000), b = worker("b", 8000, 1000);
  b.used = {2000, 600 * M};
  auto choices = place({a, b}, {request("v", 1000, 200)});
  EXPECT_EQ(choices[0].worker, WorkerId("b"));
}

TEST(Placement, NamesEveryRefusal) {
  auto full = worker("full", 8000, 100);
  auto lacking = record("far", 8000, 9000);
  lacking.pools.clear();
  const auto far = of(lacking);
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
  auto lacking = record("w", 500, 100);
  lacking.pools.clear();
  const auto w = of(lacking, "held by operator, does not answer");
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
    for (const auto& w : workers) EXPECT_TRUE(used[w.worker->id].fits_in(w.worker->capacity));
    std::reverse(requests.begin(), requests.end());
    auto again = place(workers, requests);
    for (std::size_t i = 0; i < choices.size(); ++i) EXPECT_EQ(again[i].worker, choices[i].worker);
  }
}

Candidate in(const char* id, const char* zone, const char* rack) {
  auto worker = record(id, 64'000, 9000);
  worker.labels = {{"zone", zone}, {"rack", rack}};
  return of(worker);
}
std::vector<Request> members(const Group& group, int count) {
  std::vector<Request> requests;
  for (int i = 1; i <= count; ++i) {
    requests.push_back(request(fmt::format("v{}", i).c_str(), 1000, 100));
    requests.back().group = &group;
  }
  return requests;
}
std::string where(const std::vector<Choice>& choices) {
  std::string text;
  for (const auto& c : choices)
    text += fmt::format("{} {}; ", c.vm, c.worker ? c.worker->value : describe(c.refusals));
  return text;
}

TEST(PlacementGroups, StayApartWithThoseThatAreThereAndWithEachOther) {
  Group group{GroupId("web"), {{DomainLevel::rack, 1}}};
  const std::vector workers{in("a", "z1", "r1"), in("b", "z1", "r1"), in("c", "z1", "r2"),
                            in("d", "z2", "r1")};
  EXPECT_EQ(where(place(workers, members(group, 4))),
            "v1 a; v2 c; v3 d; v4 a, b: rack z1/r1 may have 1 of group web, and has v1; "
            "c: rack z1/r2 may have 1 of group web, and has v2; d: rack z2/r1 may have 1 of group web, and "
            "has v3; ")
      << "r1 of another zone is another rack";
  auto one = members(group, 1);
  one[0].stands = {{VmId("v9"), domains_of(*workers[0].worker)},
                   {VmId("v1"), domains_of(*workers[2].worker)}};
  EXPECT_EQ(where(place(workers, one)), "v1 c; ") << "it is not apart from itself";
}

TEST(PlacementGroups, StayTogetherWithThoseWhoDoNotLeave) {
  Group group{GroupId("db"), {{DomainLevel::worker, 1}}, DomainLevel::zone};
  const std::vector workers{in("a", "z1", "r1"), in("b", "z2", "r1"), in("c", "z2", "r2")};
  EXPECT_EQ(where(place(workers, members(group, 2))),
            "v1 a; v2 a: worker a may have 1 of group db, and has v1; b, c: group db is in zone z1; ");
  auto two = members(group, 2);
  for (auto& r : two)
    r.stands = {{VmId("v1"), domains_of(*workers[0].worker), true},
                {VmId("v2"), domains_of(*workers[0].worker), true}};
  auto elsewhere = workers;
  elsewhere.erase(elsewhere.begin());
  EXPECT_EQ(where(place(elsewhere, two)), "v1 b; v2 c; ") << "all of them leave";
}

TEST(PlacementGroups, TellWhereTheirRulesDoNotHold) {
  Group group{GroupId("web"), {{DomainLevel::rack, 1}}, DomainLevel::zone};
  const Domains r1 = {"a", "eu/z1/r1", "eu/z1", "eu"}, r2 = {"b", "eu/z2/r1", "eu/z2", "eu"};
  EXPECT_TRUE(breaches(group, {{VmId("v1"), r1}, {VmId("v1"), r1}}).empty())
      << "a VM that moves within its rack";
  EXPECT_EQ(breaches(group, {{VmId("v1"), r1}, {VmId("v2"), r1}, {VmId("v3"), r2}}),
            (std::vector<std::string>{"2 in rack eu/z1/r1, where 1 may be: v1, v2",
                                      "not together: v1, v2 in zone eu/z1; v3 in zone eu/z2"}));
  const Worker nowhere{};
  EXPECT_EQ(breaches(group, {{VmId("v1"), domains_of(nowhere)}, {VmId("v2"), domains_of(nowhere)}}),
            (std::vector<std::string>{"2 in the workers without a rack, where 1 may be: v1, v2"}));
}

}  // namespace
}  // namespace ebb::placement
