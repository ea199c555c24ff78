#include "control/testing/fleet3.h"

namespace ebb::control {
namespace {

struct Budgets : ::testing::Test {
  Fleet3 w;
  const Labels web{{"app", "web"}};

  HttpResponse put(const std::string& body) { return w.ask("POST", "/v1/budgets", body); }
  BudgetView show(const char* id = "web") { return w.get<BudgetView>(fmt::format("/v1/budgets/{}", id)); }
  // Three VMs of the budget on one worker.
  std::string three_on_one() {
    for (auto name : {"w2", "w3"})
      w.ask("POST", fmt::format("/v1/workers/{}:cordon", name), R"({"reason":"x"})");
    for (auto name : {"a", "b", "c"}) w.create_vm(name, Storage::object, 128 * MiB, {}, web);
    EXPECT_TRUE(w.all_run({"a", "b", "c"}));
    for (auto name : {"w2", "w3"}) w.ask("POST", fmt::format("/v1/workers/{}:uncordon", name));
    return "w1";
  }
  std::size_t moving() {
    std::size_t count = 0;
    const auto& fleet = w.control().owner().fleet();
    for (const auto& id : fleet.open_migrations()) {
      const auto phase = fleet.migrations().at(id).phase;
      count += phase != Phase::reserving && phase != Phase::releasing;
    }
    return count;
  }
};

TEST_F(Budgets, AreMadeChangedListedAndRemoved) {
  EXPECT_EQ(put(R"({"id":"web","selector":{"app":"web"},"away_max":1})").status, 201);
  EXPECT_EQ(put(R"({"id":"web","selector":{"app":"web"},"away_max":1})").status, 200)
      << "the same wish again";
  w.create_vm("a", Storage::object, 128 * MiB, {}, web);
  w.create_vm("other");
  ASSERT_TRUE(w.all_run({"a", "other"}));
  EXPECT_EQ(show().vms, 1u);
  EXPECT_EQ(show().away, 0u);
  EXPECT_EQ(show().allowed, 1u);
  EXPECT_EQ(put(R"({"id":"web","selector":{},"present_min":2})").status, 200);
  EXPECT_EQ(show().vms, 2u);
  EXPECT_EQ(show().impossible, "budget web wants 2 present, and it is about 2: none may ever leave");
  w.restart();
  w.tick(3);
  EXPECT_EQ(w.get<Page<BudgetView>>("/v1/budgets").items.at(0).budget.present_min, 2u);
  EXPECT_EQ(w.ask("DELETE", "/v1/budgets/web").status, 204);
  EXPECT_EQ(w.ask("DELETE", "/v1/budgets/web").status, 404);
  EXPECT_TRUE(w.get<Page<BudgetView>>("/v1/budgets").items.empty());
}

TEST_F(Budgets, ThatMakeNoSenseAreRefused) {
  const auto before = w.records().revision;
  EXPECT_EQ(put(R"({"id":"Web!","away_max":1})").status, 400);
  EXPECT_EQ(put(R"({"id":"web","selector":{}})").status, 400) << "neither rule";
  EXPECT_EQ(put(R"({"id":"web","away_max":1,"healthy_ms":90000000})").status, 400);
  EXPECT_EQ(put(R"({"id":"web","away_max":-1})").status, 400);
  EXPECT_EQ(w.records().revision, before);
}

TEST_F(Budgets, ADrainMovesOneAfterTheOther) {
  put(R"({"id":"web","selector":{"app":"web"},"away_max":1})");
  auto id = w.drain(three_on_one());
  std::size_t most = 0;
  bool was_explained = false;
  ASSERT_TRUE(w.tick_until([&] {
    most = std::max(most, moving());
    for (const auto& reason : w.drain_view(id).waiting_for)
      was_explained |= reason.text.contains("budget web lets 1 of 3");
    return w.drain_view(id).status == "done";
  }));
  EXPECT_EQ(most, 1u);
  EXPECT_TRUE(was_explained);
}

TEST_F(Budgets, WithoutOneTwoMoveAtATime) {
  auto id = w.drain(three_on_one());
  std::size_t most = 0;
  ASSERT_TRUE(w.tick_until([&] {
    most = std::max(most, moving());
    return w.drain_view(id).status == "done";
  }));
  EXPECT_EQ(most, 2u);
}

TEST_F(Budgets, ThatLetNobodyGoAreABlockerOfThePlanWithWhoCanActAndHow) {
  put(R"({"id":"web","selector":{"app":"web"},"away_max":0})");
  auto source = three_on_one();
  auto plan = json::read_text<DrainPlan>(
      w.ask("POST", "/v1/drains", fmt::format(R"({{"workers":["{}"],"validate_only":true}})", source)).body);
  ASSERT_TRUE(plan);
  ASSERT_EQ(plan->blockers.size(), 3u);
  EXPECT_EQ(plan->blockers[0].reason, "budget web lets no VM be away, ever");
  EXPECT_EQ(plan->blockers[0].remedy, "change the budget: ebb budgets set web");
  auto id = w.drain(source);
  w.tick(30);
  EXPECT_EQ(w.drain_view(id).status, "blocked");
  EXPECT_EQ(moving(), 0u);
  put(R"({"id":"web","selector":{"app":"web"},"away_max":2})");
  EXPECT_TRUE(w.tick_until([&] { return w.drain_view(id).status == "done"; })) << "it goes on by itself";
}

}  // namespace
}  // namespace ebb::control
