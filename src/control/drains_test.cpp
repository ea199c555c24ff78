// Drains of many workers, and what operators do to a drain that runs.
#include "control/testing/fleet3.h"

namespace ebb::control {
namespace {

const Labels old_rack{{"rack", "old"}};

// Two workers in a rack, two elsewhere; three VMs in the rack.
struct TwoRacks : ControlWorld {
  TwoRacks() : ControlWorld(0) {
    for (auto name : {"a1", "a2"}) add_worker(name, 2 * GiB, old_rack);
    tick(3);
    import_image("guest");
    for (auto name : {"v1", "v2", "v3"}) create_vm(name, Storage::object, 700 * MiB);
    EXPECT_TRUE(tick_until([&] { return is_running("v1") && is_running("v2") && is_running("v3"); }));
    for (auto name : {"b1", "b2"}) add_worker(name, 4 * GiB, {{"rack", "new"}});
    tick(3);
  }
  HttpResponse post(const CreateDrain& wish) { return ask("POST", "/v1/drains", json::write_text(wish)); }
  CreateDrain rack() const {
    CreateDrain wish;
    wish.selector = old_rack;
    return wish;
  }
  DrainView start(const CreateDrain& wish) {
    auto reply = post(wish);
    EXPECT_EQ(reply.status, 201) << reply.body;
    return *json::read_text<DrainView>(reply.body);
  }
  DrainView view(const DrainId& id) { return get<DrainView>("/v1/drains/" + id.value); }
  bool is_held(const char* worker) {
    return !get<WorkerView>(fmt::format("/v1/workers/{}", worker)).holds.empty();
  }
  std::string refusal(const CreateDrain& wish, int status) {
    auto reply = post(wish);
    EXPECT_EQ(reply.status, status) << reply.body;
    auto error = json::read_text<ErrorBody>(reply.body);
    return error ? error->message : "";
  }
};

TEST(Drains, OfARackHoldsAllOfItFirstAndIsDoneWhenAllOfItIsEmpty) {
  TwoRacks w;
  w.workers()["a2"].exports = 1;  // a debt of one of them
  auto drain = w.start(w.rack()).drain;
  EXPECT_EQ(drain.workers, (std::vector{WorkerId("a1"), WorkerId("a2")}));
  EXPECT_EQ(drain.selector, old_rack);
  EXPECT_TRUE(w.is_held("a1") && w.is_held("a2"));
  ASSERT_TRUE(w.tick_until([&] { return w.view(drain.id).workers.at(0).is_empty; }));
  auto view = w.view(drain.id);
  EXPECT_NE(view.status, "done");
  EXPECT_FALSE(view.workers.at(1).is_empty);
  EXPECT_TRUE(w.tick_until([&] { return w.view(drain.id).remaining == 0; }));
  w.tick(20);
  EXPECT_NE(w.view(drain.id).status, "done");
  EXPECT_EQ(w.view(drain.id).waiting_for.at(0).text, "a2 still has 1 disk export open");
  w.workers()["a2"].exports = 0;
  ASSERT_TRUE(w.tick_until([&] { return w.view(drain.id).status == "done"; }));
  EXPECT_EQ(w.view(drain.id).moved, 3u);
  for (auto name : {"v1", "v2", "v3"}) {
    EXPECT_TRUE(w.is_running(name));
    EXPECT_TRUE(w.worker_of(name).starts_with("b")) << "never from one worker of the rack to the next";
  }
  for (const auto& m : w.view(drain.id).migrations) EXPECT_TRUE(m.migration.target.value.starts_with("b"));
}

TEST(Drains, APlanOfManyTellsWhereEachMoveComesFromAndWhatBindsIt) {
  TwoRacks w;
  auto wish = w.rack();
  wish.validate_only = true, wish.options.parallel_max = 1;
  auto plan = json::read_text<DrainPlan>(w.post(wish).body);
  ASSERT_TRUE(plan) << plan.error().message;
  EXPECT_EQ(plan->workers.size(), 2u);
  ASSERT_EQ(plan->moves.size(), 3u);
  std::map<WorkerId, std::uint32_t> from;
  for (const auto& move : plan->moves) {
    EXPECT_EQ(move.source.value, w.worker_of(move.vm.value));
    EXPECT_EQ(move.wave, ++from[move.source]) << "one at a time from each, both at once";
  }
  EXPECT_EQ(plan->eta_ms, 2 * plan->moves[0].predicted_total_ms) << "two of the three come from one worker";
  ASSERT_FALSE(plan->bounds.empty());
  EXPECT_EQ(plan->bounds[0].ms, plan->eta_ms) << "and that is as fast as can be: " << plan->bounds[0].name;
  EXPECT_FALSE(w.is_held("a1")) << "a plan changes nothing";
}

TEST(Drains, APlanIsCarriedOutForTheWorkersThatItWasMadeOf) {
  TwoRacks w;
  CreateDrain wish;
  wish.workers = {WorkerId("b1")}, wish.validate_only = true;  // nothing lives there
  auto plan = json::read_text<DrainPlan>(w.post(wish).body);
  ASSERT_TRUE(plan);
  wish.validate_only = false, wish.state_hash = plan->state_hash;
  wish.workers.emplace_back("b2");
  EXPECT_TRUE(w.refusal(wish, 409).contains("b2 of the plan: new"))
      << "nobody has seen that it would be emptied, too";
  wish.workers.pop_back();
  EXPECT_EQ(w.post(wish).status, 201);
}

TEST(Drains, WhatNamesNoWorkerOrOneOfAnotherDrainIsRefused) {
  TwoRacks w;
  CreateDrain wish;
  EXPECT_EQ(w.refusal(wish, 400), "name a worker, or a selector of labels");
  wish.selector = Labels{};
  EXPECT_EQ(w.refusal(wish, 400), "'selector' must name at least one label")
      << "not all of the fleet by a slip";
  wish.selector = Labels{{"rack", "none"}};
  EXPECT_EQ(w.refusal(wish, 404), "no worker has the labels rack=none");
  wish.selector.reset(), wish.workers = {WorkerId("a1"), WorkerId("a9")};
  EXPECT_EQ(w.refusal(wish, 404), "there is no worker 'a9'");
  wish.workers = {WorkerId("a1")};
  auto first = w.start(wish).drain;
  EXPECT_TRUE(w.refusal(w.rack(), 409).contains("a1 is being drained by " + first.id.value + " (a1)"));
  EXPECT_FALSE(w.is_held("a2")) << "nothing was begun";
  wish.workers = {WorkerId("a1"), WorkerId("a1")};
  EXPECT_EQ(w.post(wish).status, 200) << "the same workers: it is that drain";
  CreateDrain dead = w.rack();
  dead.workers = {WorkerId("b1")}, dead.selector.reset(), dead.options.source_dead = true;
  EXPECT_TRUE(w.refusal(dead, 400).contains("b1 answers"));
}

TEST(Drains, PausedLetNoMoveBeginAndGoOnWhenResumed) {
  TwoRacks w;
  auto wish = w.rack();
  wish.options.parallel_max = 1;
  auto id = w.start(wish).drain.id;
  const auto verb = [&](const char* v) {
    return w.ask("POST", fmt::format("/v1/drains/{}:{}", id, v)).status;
  };
  ASSERT_TRUE(w.tick_until([&] { return w.view(id).drain.state == DrainState::running; }));
  EXPECT_EQ(verb("pause"), 200);
  EXPECT_EQ(verb("pause"), 200) << "again is fine";
  w.tick(60);
  const auto moved = w.view(id).moved;
  EXPECT_LT(moved, 3u);
  w.tick(60);
  EXPECT_EQ(w.view(id).moved, moved) << "those under way have ended, and no other has begun";
  EXPECT_EQ(w.view(id).status, "paused");
  EXPECT_TRUE(w.is_held("a1") && w.is_held("a2"));
  w.restart();
  w.tick(5);
  EXPECT_EQ(w.view(id).status, "paused");
  bool is_named = false;
  for (const auto& reason : w.view(id).waiting_for)
    is_named |= reason.who == "operator: ebb resume " + id.value;
  EXPECT_TRUE(is_named);
  EXPECT_EQ(verb("resume"), 200);
  ASSERT_TRUE(w.tick_until([&] { return w.view(id).status == "done"; }));
  EXPECT_EQ(verb("pause"), 409) << "it has ended";
}

TEST(Drains, CancelledGiveAllTheirWorkersBack) {
  TwoRacks w;
  auto id = w.start(w.rack()).drain.id;
  w.tick(1);
  EXPECT_EQ(w.ask("POST", "/v1/drains/" + id.value + ":cancel").status, 200);
  EXPECT_FALSE(w.is_held("a1") || w.is_held("a2"));
  ASSERT_TRUE(w.tick_until([&] { return w.is_running("v1") && w.is_running("v2") && w.is_running("v3"); }));
}

TEST(Drains, OfMoreWorkersThanACommitTakesHoldAllOfThem) {
  TwoRacks w;
  constexpr std::size_t many = 300;
  for (std::size_t i = 0; i < many; ++i) w.register_worker(fmt::format("c{}", i), GiB, {{"rack", "many"}});
  CreateDrain wish;
  wish.selector = Labels{{"rack", "many"}};
  auto id = w.start(wish).drain.id;
  auto held = [&] {
    std::size_t count = 0;
    for (const auto& [hold_id, hold] : w.control().owner().fleet().holds())
      count += hold.owner == "drain:" + id.value;
    return count;
  };
  EXPECT_LT(held(), many);
  ASSERT_TRUE(w.tick_until([&] { return held() == many; }));
  EXPECT_EQ(w.ask("POST", "/v1/drains/" + id.value + ":cancel").status, 200);
  EXPECT_TRUE(w.tick_until([&] { return held() == 0; }));
}

TEST(Drains, OfAnEarlierVersionAreRead) {
  TwoRacks w;
  auto id = w.start(w.rack()).drain.id;
  w.ask("POST", "/v1/drains/" + id.value + ":cancel");
  auto& text = w.records().records.at({"drain", id.value});
  auto value = json::parse(text);
  ASSERT_TRUE(value);
  value->as_object().erase("workers");
  value->as_object()["worker"] = "a1";
  text = json::to_text(*value);
  w.restart();
  EXPECT_EQ(w.view(id).drain.workers, std::vector{WorkerId("a1")});
}

// Of three workers; the source has let go of the VM, and whoever has it now dies before it is up there.
struct DeadTarget : ::testing::Test {
  Fleet3 w;
  std::string source, drain, target;

  DeadTarget() {
    w.create_vm("a");
    EXPECT_TRUE(w.all_run({"a"}));
    source = w.worker_of("a");
    drain = w.drain(source);
    EXPECT_TRUE(w.tick_until([&] { return phase() == Phase::freezing; }));
    target = w.get<Page<MigrationView>>("/v1/migrations").items.at(0).migration.target.value;
    w.workers()[target].answers = false;
    EXPECT_TRUE(w.tick_until([&] { return phase() == Phase::moving_lease; }));
  }
  Phase phase() {
    const auto moves = w.get<Page<MigrationView>>("/v1/migrations").items;
    return moves.empty() ? Phase::reserving : moves.at(0).migration.phase;
  }
  void pass(int seconds) {
    for (int i = 0; i < seconds; ++i) w.sim().loop().run_for(1s), w.tick();
  }
  bool is_done(const std::string& id) {
    return w.tick_until([&] { return w.drain_view(id).status == "done"; });
  }
};

TEST_F(DeadTarget, OnceDeclaredDeadItsVmGoesOnElsewhereAndBothDrainsEnd) {
  pass(70);
  EXPECT_EQ(phase(), Phase::moving_lease) << "silence alone proves nothing";
  const auto second = w.drain(target, R"(,"options":{"source_dead":true})");
  EXPECT_TRUE(is_done(second)) << json::write_text(w.drain_view(second));
  EXPECT_TRUE(is_done(drain)) << json::write_text(w.drain_view(drain));
  EXPECT_TRUE(w.is_running("a"));
  EXPECT_NE(w.worker_of("a"), target);
  EXPECT_NE(w.worker_of("a"), source);
}

TEST_F(DeadTarget, IsNotDeclaredSoByADrainThatOnlyEmptiesIt) {
  pass(70);
  const auto second = w.drain(target);
  pass(10);
  EXPECT_EQ(phase(), Phase::moving_lease);
  w.workers()[target].answers = true;
  EXPECT_TRUE(is_done(second));
  EXPECT_TRUE(w.is_running("a"));
}

TEST_F(DeadTarget, WithItsSourceDeadTooNobodyIsWaitedFor) {
  w.add_worker("w4", 2 * GiB);
  w.workers()[source].answers = false;
  pass(70);
  EXPECT_EQ(w.ask("POST", fmt::format("/v1/drains/{}:cancel", drain), "{}").status, 200);
  for (const auto& worker : {target, source})
    w.drain(worker, R"(,"options":{"source_dead":true,"many_dead":true})");
  EXPECT_TRUE(w.tick_until([&] { return w.is_running("a"); }));
  pass(30);
  for (const auto& view : w.get<Page<DrainView>>("/v1/drains").items)
    EXPECT_TRUE(is_ended(view.drain.state)) << json::write_text(view);
}

TEST(Holds, ExpireAndAreListed) {
  TwoRacks w;
  const auto cordon = [&](const char* body) { return w.ask("POST", "/v1/workers/b1:cordon", body); };
  EXPECT_EQ(cordon(R"({"reason":"disks","expires_in_ms":0})").status, 400);
  EXPECT_EQ(cordon(R"({"reason":"disks","expires_in_ms":600000})").status, 200);
  auto holds = w.get<Page<Hold>>("/v1/holds").items;
  ASSERT_EQ(holds.size(), 1u);
  EXPECT_EQ(holds[0].worker, WorkerId("b1"));
  EXPECT_EQ(holds[0].expires_at, holds[0].since + 600'000);
  EXPECT_EQ(cordon(R"({"reason":"","expires_in_ms":3000})").status, 200) << "for less long";
  holds = w.get<Page<Hold>>("/v1/holds").items;
  ASSERT_EQ(holds.size(), 1u) << "of one owner there is one";
  EXPECT_EQ(holds[0].reason, "disks");
  EXPECT_TRUE(w.is_held("b1"));
  EXPECT_TRUE(w.tick_until([&] { return !w.is_held("b1"); }));
  EXPECT_EQ(cordon(R"({"reason":"fans"})").status, 200);
  w.tick(100);
  EXPECT_TRUE(w.is_held("b1")) << "without a time it stays";
}

TEST(Holds, OfManyWorkersComeAndGoByOneRequest) {
  TwoRacks w;
  const auto many = [&](const char* verb, const char* body) {
    return w.ask("POST", fmt::format("/v1/workers:{}", verb), body);
  };
  EXPECT_EQ(many("cordon", R"({"reason":"x"})").status, 400) << "nobody is named";
  EXPECT_EQ(many("cordon", R"({"reason":"x","selector":{}})").status, 400) << "nor is everybody";
  EXPECT_EQ(many("cordon", R"({"reason":"x","workers":["b1","nobody"]})").status, 404);
  EXPECT_FALSE(w.is_held("b1")) << "a slip changes nothing";
  const auto before = w.control().owner().commits();
  const auto held = many("cordon", R"({"reason":"fire","workers":["b1"],"selector":{"rack":"old"}})");
  ASSERT_EQ(held.status, 200) << held.body;
  EXPECT_EQ(w.control().owner().commits(), before + 1) << "all of them are durable at once";
  const auto views = json::read_text<Page<WorkerView>>(held.body);
  ASSERT_TRUE(views);
  EXPECT_GE(views->items.size(), 3u);
  for (const auto& view : views->items) {
    ASSERT_EQ(view.holds.size(), 1u) << view.worker.id.value;
    EXPECT_EQ(view.holds[0].reason, "fire");
  }
  EXPECT_EQ(many("uncordon", R"({"workers":["b1"]})").status, 200);
  EXPECT_FALSE(w.is_held("b1"));
  EXPECT_TRUE(w.is_held("a1"));
}

TEST(Holds, OfMoreWorkersThanACommitTakesAreAllSet) {
  ControlWorld w(0);
  constexpr std::size_t workers = 150;
  for (std::size_t i = 0; i < workers; ++i) w.register_worker(fmt::format("n{}", i), GiB, {{"zone", "z"}});
  const auto reply = w.ask("POST", "/v1/workers:cordon", R"({"reason":"fire","selector":{"zone":"z"}})");
  ASSERT_EQ(reply.status, 200);
  EXPECT_EQ(w.control().owner().fleet().holds().size(), workers);
}

}  // namespace
}  // namespace ebb::control
