// A plan from question to answer.
#include "planning/fleet_plan.h"

#include <gtest/gtest.h>

namespace ebb::planning {
namespace {

using placement::none;

TEST(FleetPlan, SaysWhereToWhenAndWhatBindsIt) {
  placement::FleetNumbers fleet;
  fleet.kinds = {{{100, 100}, 0}};
  fleet.kind_of.resize(6), fleet.is_closed.resize(6);
  fleet.domains = {{0, 0, 1, 1, 2, 2}};
  fleet.shapes = {{{30, 10}, 0}};
  fleet.groups = {{.apart = {0, 1}}};
  std::vector<float> seconds, clone_bytes;
  std::vector<std::uint32_t> tenants;
  for (std::uint32_t vm = 0; vm < 6; ++vm) {
    fleet.shape_of.push_back(0), fleet.group_of.push_back(vm < 2 ? 0 : none),
        fleet.worker_of.push_back(vm == 1 ? 2 : 0);
    if (vm > 3) fleet.worker_of.back() = 4;
    seconds.push_back(10), clone_bytes.push_back(vm == 2 ? 1e9f : 0), tenants.push_back(0);
  }
  const std::vector<std::uint32_t> tenant_max{1};
  FleetPlanRequest request;
  request.sources = {0};
  request.seconds = seconds, request.clone_bytes = clone_bytes, request.tenants = tenants;
  request.tenant_max = tenant_max;
  request.budgets = {{1, 30}};
  placement::Placer placer(fleet);
  const auto plan = plan_fleet(fleet, &placer, request, state_of(fleet));
  ASSERT_EQ(plan.rows.size(), 3u);
  EXPECT_TRUE(plan.unplaced.empty());
  EXPECT_EQ(plan.makespan, 30) << "one of the tenant at a time";
  EXPECT_EQ(plan.bounds.front().name, "moves at a time of one tenant");
  for (const auto& row : plan.rows) {
    EXPECT_EQ(row.from, 0u);
    EXPECT_NE(row.to, 0u);
    if (row.vm == 0) EXPECT_NE(fleet.domain(1, row.to), 1u) << "its fellow is in that rack";
    EXPECT_EQ(row.end - row.start, 10);
  }
  EXPECT_EQ(plan.state, state_of(fleet));
  fleet.groups[0].apart = {0, 2};
  EXPECT_NE(plan.state, state_of(fleet)) << "another rule";
  fleet.groups[0].apart = {0, 1};
  EXPECT_EQ(plan.state, state_of(fleet));
  request.budgets = {{0, 30}};
  const auto blocked = plan_fleet(fleet, &placer, request, "");
  EXPECT_EQ(blocked.unplaced, std::vector<placement::VmIndex>{0});
  EXPECT_EQ(blocked.bounds.front().seconds, 20) << "of what moves";
  fleet.worker_of[5] = 5;
  EXPECT_NE(plan.state, state_of(fleet)) << "another fleet";
}

}  // namespace
}  // namespace ebb::planning
