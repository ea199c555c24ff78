// Drains of whole fleets in virtual time: small ones here; `ebb-sim fleet` plays them at any size.
#include "what_if.h"

#include <gtest/gtest.h>

#include "drain_choice.h"
#include "fleet_maker.h"
#include "what_if_command.h"

namespace ebb::what_if {
namespace {

FleetRecords fleet_of(std::string trace, std::uint32_t workers, double use = 0.6) {
  auto fleet = make_fleet({.trace = std::move(trace), .workers = workers, .use = use});
  EXPECT_TRUE(fleet) << fleet.error().message;
  return std::move(*fleet);
}

WhatIfOptions options_for(std::string_view drain, std::uint64_t seed = 1) {
  WhatIfOptions options;
  options.drains.push_back(parse_drain_wish(drain).value());
  options.drain_options.partial = true;
  options.patience = 2min, options.failures.back_after = 2min;
  options.seed = seed;
  return options;
}

WhatIfReport ask(const FleetRecords& fleet, const WhatIfOptions& options) {
  auto report = ask_what_if(fleet, options);
  EXPECT_TRUE(report) << report.error().message;
  return report ? *report : WhatIfReport{};
}

class EachTrace : public testing::TestWithParam<const char*> {};

TEST_P(EachTrace, ARackIsEmptiedWithinTheRulesAndNotBelowItsBound) {
  const auto fleet = fleet_of(GetParam(), 120);
  const auto report = ask(fleet, options_for("rack=r2"));
  EXPECT_EQ(report.violations, std::vector<std::string>());
  ASSERT_EQ(report.drains.size(), 1u);
  EXPECT_EQ(report.drains[0].state, "done") << text_of(report);
  EXPECT_GT(report.moves.done, 10u);
  EXPECT_EQ(report.drains[0].not_emptied, 0u);
  ASSERT_GT(report.bound_ms, 0u);
  // A phase takes about as long as was measured, not just as long.
  EXPECT_GT(report.makespan_to_bound, 0.9) << text_of(report);
  EXPECT_EQ(report.moves.bounces, 0u);
  for (const auto& [mechanism, i] : report.moves.interruptions) EXPECT_GT(i.median_ms, 1000u) << mechanism;
}

TEST_P(EachTrace, FailuresMeanwhileBreakNoRule) {
  const auto fleet = fleet_of(GetParam(), 200);
  auto options = options_for("15%", 7);
  options.failures = {.dead = 0.05, .boots = 0.05, .standbys = 0.05, .back_after = 2min};
  const auto report = ask(fleet, options);
  EXPECT_EQ(report.violations, std::vector<std::string>());
  for (const auto& drain : report.drains) EXPECT_TRUE(drain.is_explained()) << text_of(report);
  EXPECT_EQ(report.troubles.killed, 10u);
  EXPECT_EQ(report.troubles.back + report.troubles.declared_dead, 10u);
  EXPECT_GT(report.troubles.declared_dead, 0u);
  EXPECT_GT(report.moves.of_dead, 0u);
  EXPECT_GT(report.moves.failed_targets, 0u);
  EXPECT_GT(report.moves.bounces, 0u);
}

INSTANTIATE_TEST_SUITE_P(Traces, EachTrace, testing::Values("azure", "huawei", "alibaba"),
                         [](const auto& trace) { return std::string(trace.param); });

TEST(WhatIf, TheSameSeedGivesTheSameRun) {
  const auto fleet = fleet_of("azure", 60);
  auto options = options_for("10%", 3);
  options.failures = {.dead = 0.05, .boots = 0.05, .standbys = 0.05, .back_after = 2min};
  const auto first = ask(fleet, options), again = ask(fleet, options);
  EXPECT_EQ(first.hash, again.hash);
  EXPECT_EQ(first.makespan_ms, again.makespan_ms);
  options.seed = 4;
  EXPECT_NE(ask(fleet, options).hash, first.hash);
}

TEST(WhatIf, ADrainThatDoesNotFitNamesWhatIsInItsWay) {
  auto fleet = fleet_of("azure", 40, 0.9);
  auto options = options_for("50%");
  options.drain_options.partial = false;
  options.patience = 2min;
  const auto report = ask(fleet, options);
  EXPECT_EQ(report.violations, std::vector<std::string>());
  ASSERT_EQ(report.drains.size(), 1u);
  EXPECT_EQ(report.drains[0].state, "blocked");
  EXPECT_GT(report.drains[0].blockers_all, 0u);
  EXPECT_GT(report.drains[0].not_emptied, 0u);
  EXPECT_TRUE(report.is_ok());
  EXPECT_NE(text_of(report).find("no worker can take it"), std::string::npos) << text_of(report);
}

TEST(WhatIf, ABudgetThatBindsIsSeenInTheReport) {
  auto fleet = fleet_of("azure", 60);
  fleet.budgets.clear();
  for (std::size_t i = 0; i < 100; ++i) fleet.vms[i].spec.labels["tier"] = "db";
  Budget budget;
  budget.id = BudgetId("db"), budget.selector = {{"tier", "db"}}, budget.away_max = 1;
  fleet.budgets.push_back(budget);
  const auto report = ask(fleet, options_for("20%"));
  EXPECT_EQ(report.violations, std::vector<std::string>());
  EXPECT_EQ(report.budgets.touched, 1u);
  EXPECT_EQ(report.budgets.exhausted, 1u);
  EXPECT_EQ(report.budgets.slack_least, 0u);
  EXPECT_EQ(report.budgets.tightest, budget.id);
  EXPECT_GT(report.budgets.tightest_full_ms, 5'000u);
}

TEST(DrainChoice, AShareOfManyWorkersBecomesSeveralDrains) {
  FleetRecords fleet;
  for (int i = 0; i < 12'000; ++i) {
    Worker w;
    w.id = WorkerId(fmt::format("w{}", i)), w.labels = {{"rack", fmt::format("r{}", i / 20)}, {"zone", "z"}};
    fleet.workers.push_back(std::move(w));
  }
  Random random(1);
  const auto choices = choose_workers(fleet, {parse_drain_wish("50%").value()}, random);
  ASSERT_TRUE(choices);
  ASSERT_EQ(choices->size(), 2u);
  EXPECT_EQ((*choices)[0].what, "50% (1 of 2)");
  std::set<std::uint32_t> all;
  for (const auto& choice : *choices) {
    EXPECT_LE(choice.workers.size(), 5000u);
    all.insert(choice.workers.begin(), choice.workers.end());
  }
  EXPECT_EQ(all.size(), 6000u);
}

TEST(DrainChoice, WhatSelectsNobodyOrSomebodyTwiceIsRefused) {
  const auto fleet = fleet_of("azure", 40);
  const auto refusal = [&](std::vector<std::string_view> texts) {
    std::vector<DrainWish> wishes;
    for (const auto text : texts) wishes.push_back(parse_drain_wish(text).value());
    Random random(1);
    const auto choices = choose_workers(fleet, wishes, random);
    return choices ? std::string("none") : choices.error().message;
  };
  EXPECT_EQ(refusal({"rack=nowhere"}), "'--drain rack=nowhere' selects no worker of this fleet");
  EXPECT_EQ(refusal({"rack=r1", "rack=r1"}), "worker-1 is in '--drain rack=r1' and in '--drain rack=r1'");
}

TEST(Command, WrongWordsAreNamed) {
  const auto refusal = [](std::vector<std::string_view> words) {
    const auto command = read_command(words);
    return command ? std::string("none") : command.error().message;
  };
  EXPECT_EQ(refusal({"--trace", "azure", "--workers", "10"}), "say --drain: what is to be emptied");
  EXPECT_EQ(refusal({"--drain", "10%"}), "say --trace: a file of 'ebb export', or azure, huawei or alibaba");
  EXPECT_EQ(refusal({"--trace", "azure", "--drain", "110%"}),
            "'110%' is no share of a fleet: it must be above 0% and at most 100%");
  EXPECT_EQ(refusal({"--trace", "azure", "--drain", "r7"}),
            "'r7' must be rack=NAME, zone=NAME, KEY=VALUE or a share such as 10%");
  EXPECT_EQ(refusal({"--workers", "0"}), "--workers '0' must be a number from 1 to 1000000");
  EXPECT_EQ(refusal({"--failures", "fire=1"}),
            "--failures 'fire=1' must be dead=PERCENT, boot=PERCENT or standby=PERCENT");
  EXPECT_EQ(refusal({"--colour", "red"}), "there is no option '--colour'");
  EXPECT_EQ(refusal({"--drain"}), "'--drain' is no option with a value");
}

TEST(Maker, AnUnknownTraceIsRefusedWithThoseThatThereAre) {
  const auto fleet = make_fleet({.trace = "borg", .workers = 10});
  ASSERT_FALSE(fleet);
  EXPECT_EQ(fleet.error().message, "there is no trace 'borg'; there are: azure, huawei, alibaba");
}

TEST(Maker, EveryFleetIsWithinItsRulesBeforeAnythingMoves) {
  for (const auto* trace : {"azure", "huawei", "alibaba"}) {
    const auto fleet = fleet_of(trace, 300);
    std::map<WorkerId, const Worker*> workers;
    std::map<WorkerId, Resources> used;
    std::map<GroupId, const Group*> groups;
    for (const auto& worker : fleet.workers) workers[worker.id] = &worker;
    for (const auto& group : fleet.groups) groups[group.id] = &group;
    std::map<std::pair<GroupId, std::string>, std::uint32_t> together;
    for (const auto& vm : fleet.vms) {
      used[*vm.worker] += footprint(vm.spec);
      if (vm.spec.worker_labels)
        EXPECT_TRUE(has_labels(workers.at(*vm.worker)->labels, *vm.spec.worker_labels));
      if (!vm.spec.group) continue;
      for (const auto& apart : groups.at(*vm.spec.group)->apart) {
        const auto domain = domains_of(*workers.at(*vm.worker))[static_cast<std::size_t>(apart.level)];
        EXPECT_LE((++together[{*vm.spec.group, domain}]), apart.most) << trace << " " << vm.id.value;
      }
    }
    for (const auto& [id, taken] : used)
      EXPECT_TRUE(taken.fits_in(workers.at(id)->capacity)) << trace << " " << id.value;
    EXPECT_GT(fleet.vms.size(), 300u) << trace;
  }
}

}  // namespace
}  // namespace ebb::what_if
