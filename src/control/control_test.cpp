#include "control/testing/fleet3.h"

namespace ebb::control {
namespace {

TEST(Control, ADrainMovesEverythingAndIsDoneOnlyWhenTheWorkerIsEmpty) {
  Fleet3 w;
  w.create_vm("a"), w.create_vm("b"), w.create_vm("c", Storage::none);
  ASSERT_TRUE(w.all_run({"a", "b", "c"}));
  auto source = w.worker_of("a");
  auto epoch = w.get<VmView>("/v1/vms/a").vm.epoch;
  w.workers()[source].exports = 1;  // a debt that keeps the drain from being done
  auto id = w.drain(source);
  ASSERT_TRUE(w.tick_until([&] {
    return w.drain_view(id).done_check.vms_owned == 0 && w.drain_view(id).done_check.migrations_open == 0;
  }));
  w.tick(20);
  auto held_up = w.drain_view(id);
  EXPECT_EQ(held_up.status, "running");
  ASSERT_FALSE(held_up.waiting_for.empty());
  EXPECT_NE(held_up.waiting_for[0].text.find("1 disk export open"), std::string::npos)
      << held_up.waiting_for[0].text;
  w.workers()[source].exports = 0;
  ASSERT_TRUE(w.tick_until([&] { return w.drain_view(id).status == "done"; }));
  for (auto vm : {"a", "b", "c"}) EXPECT_NE(w.worker_of(vm), source);
  EXPECT_GT(w.get<VmView>("/v1/vms/a").vm.epoch, epoch);
  EXPECT_EQ(w.drain_view(id).moved, 3u);
  EXPECT_FALSE(w.get<WorkerView>("/v1/workers/" + source).schedulable) << "after done the hold stays";
  EXPECT_EQ(w.ask("POST", "/v1/workers/" + source + ":return").status, 200);
  EXPECT_TRUE(w.get<WorkerView>("/v1/workers/" + source).schedulable);
}

TEST(Control, ASecondDrainOfTheSameWorkerIsTheFirstOne) {
  Fleet3 w;
  w.create_vm("a");
  ASSERT_TRUE(w.all_run({"a"}));
  auto source = w.worker_of("a");
  auto body = [&](const char* more) { return fmt::format(R"({{"workers":["{}"]{}}})", source, more); };
  auto first = w.ask("POST", "/v1/drains", body(R"(,"request_id":"r-1")"));
  EXPECT_EQ(first.status, 201);
  auto id = json::read_text<DrainView>(first.body)->drain.id;
  auto is_the_first = [&](const HttpResponse& reply) {
    EXPECT_EQ(reply.status, 200);
    EXPECT_EQ(json::read_text<DrainView>(reply.body)->drain.id, id) << reply.body;
  };
  is_the_first(w.ask("POST", "/v1/drains", body("")));
  is_the_first(w.ask("POST", "/v1/drains", body(R"(,"request_id":"r-2")")));
  ASSERT_TRUE(w.tick_until([&] { return w.drain_view(id.value).status == "done"; }));
  w.restart(), w.tick(3);
  is_the_first(
      w.ask("POST", "/v1/drains", body(R"(,"request_id":"r-1")")));  // its answer came late, if at all
  EXPECT_EQ(w.get<Page<DrainView>>("/v1/drains").items.size(), 1u);
  EXPECT_EQ(w.ask("POST", "/v1/drains", body(R"(,"request_id":"r-2")")).status, 201) << "another wish";
}

TEST(Control, AStalePlanIsRefusedWithTheDifference) {
  Fleet3 w;
  w.create_vm("a");
  ASSERT_TRUE(w.all_run({"a"}));
  auto source = w.worker_of("a"), other = std::string(source == "w2" ? "w3" : "w2");
  auto plan = [&] {
    auto reply =
        w.ask("POST", "/v1/drains", fmt::format(R"({{"workers":["{}"],"validate_only":true}})", source));
    return json::read_text<DrainPlan>(reply.body)->state_hash;
  };
  auto apply = [&](const std::string& hash) {
    return w.ask("POST", "/v1/drains",
                 fmt::format(R"({{"workers":["{}"],"state_hash":"{}"}})", source, hash));
  };
  auto old = plan();
  EXPECT_EQ(plan(), old) << "nothing has changed";
  ASSERT_EQ(w.ask("POST", fmt::format("/v1/workers/{}:cordon", other), R"({"reason":"x"})").status, 200);
  w.create_vm("b", Storage::none);
  ASSERT_TRUE(w.all_run({"b"}));
  auto refused = apply(old);
  EXPECT_EQ(refused.status, 409);
  auto error = json::read_text<ErrorBody>(refused.body);
  ASSERT_TRUE(error);
  EXPECT_EQ(error->field, "state_hash");
  EXPECT_NE(error->message.find(fmt::format("holds of {}: 0, now 1", other)), std::string::npos)
      << error->message;
  EXPECT_NE(error->message.find(fmt::format("memory taken on {}:", w.worker_of("b"))), std::string::npos)
      << error->message;
  EXPECT_TRUE(w.get<Page<DrainView>>("/v1/drains").items.empty());
  w.restart(), w.tick(3);
  refused = apply(old);
  EXPECT_EQ(refused.status, 409) << "also of a plan that nobody remembers";
  EXPECT_NE(refused.body.find("plan again"), std::string::npos) << refused.body;
  EXPECT_EQ(apply(plan()).status, 201);
}

TEST(Control, ADrainWithoutRoomElsewhereIsBlockedBeforeAnythingStops) {
  Fleet3 w;
  w.create_vm("a"), w.create_vm("b");
  ASSERT_TRUE(w.all_run({"a", "b"}));
  auto source = w.worker_of("a");
  for (auto& [name, worker] : w.workers()) {
    if (name != source)
      ASSERT_EQ(w.ask("POST", "/v1/workers/" + name + ":cordon", R"({"reason":"firmware"})").status, 200);
  }
  auto plan = json::read_text<DrainPlan>(
      w.ask("POST", "/v1/drains", fmt::format(R"({{"workers":["{}"],"validate_only":true}})", source)).body);
  ASSERT_TRUE(plan);
  EXPECT_EQ(plan->blockers.size(), 2u);
  EXPECT_TRUE(w.get<Page<DrainView>>("/v1/drains").items.empty()) << "a plan changes nothing";
  auto id = w.drain(source);
  w.tick(30);
  auto view = w.drain_view(id);
  EXPECT_EQ(view.status, "blocked");
  ASSERT_EQ(view.blockers.size(), 2u);
  EXPECT_NE(view.blockers[0].reason.find("held by operator (firmware)"), std::string::npos)
      << view.blockers[0].reason;
  EXPECT_TRUE(view.migrations.empty());
  EXPECT_TRUE(w.is_running("a") && w.is_running("b")) << "nothing was stopped";
  EXPECT_EQ(w.worker_of("a"), source);
  // Room appears: the drain goes on by itself.
  auto other = source == "w1" ? "w2" : "w1";
  ASSERT_EQ(w.ask("POST", fmt::format("/v1/workers/{}:uncordon", other)).status, 200);
  EXPECT_TRUE(w.tick_until([&] { return w.drain_view(id).status == "done"; }));
}

TEST(Control, ABlockedDrainNamesEveryReasonOfEveryWorker) {
  ControlWorld w(11);
  w.import_image("guest");
  Registration far;
  far.worker = WorkerId("w12"), far.boot_id = "boot-1", far.capacity = {16'000, 2 * GiB};
  ASSERT_EQ(w.ask("POST", "/v1/agent/register", json::write_text(far), "join-token-0").status, 200);
  w.workers()["w12"].id = far.worker;
  w.create_vm("a", Storage::object, 1 * GiB);
  ASSERT_TRUE(w.tick_until([&] { return w.is_running("a"); }));
  ASSERT_EQ(w.worker_of("a"), "w1");
  auto cordon = [&](const char* name) {
    ASSERT_EQ(w.ask("POST", fmt::format("/v1/workers/{}:cordon", name), R"({"reason":"disks"})").status, 200);
  };
  auto drain = [&](const char* name) {
    auto reply = w.ask("POST", "/v1/drains", fmt::format(R"({{"workers":["{}"],"reason":"fans"}})", name));
    return json::read_text<DrainView>(reply.body)->drain.id.value;
  };
  auto own = drain("w2");  // held twice
  cordon("w2"), cordon("w3"), cordon("w4");
  for (auto name : {"w5", "w6"}) w.workers()[name].answers = false;
  w.workers()["w4"].answers = false;  // held and silent
  const auto are_silent = [&] {
    auto at = [&](auto* name) { return w.get<WorkerView>(fmt::format("/v1/workers/{}", name)).liveness; };
    return at("w4") == Liveness::silent && at("w5") == Liveness::silent && at("w6") == Liveness::silent;
  };
  ASSERT_TRUE(w.tick_until(are_silent, 300));
  for (auto name : {"b", "c", "d", "e", "f"})
    w.create_vm(name, Storage::object, 1500 * MiB);  // w7 to w11 are full
  ASSERT_TRUE(w.tick_until([&] { return w.is_running("f") && w.is_running("e") && w.is_running("b"); }));
  auto id = drain("w1");
  w.tick(20);
  auto view = w.get<DrainView>("/v1/drains/" + id);
  ASSERT_EQ(view.status, "blocked");
  ASSERT_EQ(view.blockers.size(), 1u);
  EXPECT_EQ(view.blockers[0].reason,
            fmt::format("no worker can take it: "
                        "w10, w11, w7, w8, w9: 1.1 GiB of memory needed, 473 MiB free; "
                        "w12: cannot reach pool main; "
                        "w2: held by drain:{} (fans), held by operator (disks); "
                        "w3: held by operator (disks); "
                        "w4: held by operator (disks), does not answer; "
                        "w5, w6: does not answer",
                        own));
}

TEST(Control, ADrainThatFitsOnlyInPartMovesNothingUnlessPartialIsAskedFor) {
  Fleet3 w;
  w.create_vm("small", Storage::object, 64 * MiB), w.create_vm("big", Storage::object, 1200 * MiB);
  ASSERT_TRUE(w.all_run({"small", "big"}));
  auto source = w.worker_of("big");
  ASSERT_EQ(w.worker_of("small"), source);
  // Two more take nearly all the room there is elsewhere: 600 MiB stay free.
  w.ask("POST", fmt::format("/v1/workers/{}:cordon", source), "{}");
  w.create_vm("x", Storage::object, 1200 * MiB), w.create_vm("y", Storage::object, 1200 * MiB);
  ASSERT_TRUE(w.all_run({"x", "y"}));
  auto id = w.drain(source);
  w.tick(40);
  EXPECT_EQ(w.drain_view(id).status, "blocked");
  EXPECT_TRUE(w.drain_view(id).migrations.empty());
  EXPECT_EQ(w.worker_of("small"), source) << "what would fit was not touched either";
  ASSERT_EQ(w.ask("POST", "/v1/drains/" + id + ":cancel").status, 200);
  id = w.drain(source, R"(,"options":{"partial":true})");
  ASSERT_TRUE(w.tick_until([&] { return w.worker_of("small") != source && w.is_running("small"); }));
  w.tick(20);
  EXPECT_EQ(w.worker_of("big"), source);
  EXPECT_EQ(w.drain_view(id).status, "blocked");
}

TEST(Control, AHeldWorkerReceivesNothing) {
  Fleet3 w;
  for (auto name : {"w1", "w2"})
    w.ask("POST", fmt::format("/v1/workers/{}:cordon", name), R"({"reason":"x"})");
  for (auto name : {"a", "b", "c"}) w.create_vm(name);
  ASSERT_TRUE(w.all_run({"a", "b", "c"}));
  for (auto name : {"a", "b", "c"}) EXPECT_EQ(w.worker_of(name), "w3");
}

TEST(Control, CapacityHoldsOnBothEndsOfAMove) {
  Fleet3 w;
  w.create_vm("big", Storage::object, 1500 * MiB);
  ASSERT_TRUE(w.all_run({"big"}));
  auto source = w.worker_of("big");
  ASSERT_EQ(w.ask("POST", "/v1/vms/big:migrate").status, 201);
  w.create_vm("second", Storage::none, 1500 * MiB), w.create_vm("third", Storage::none, 1500 * MiB);
  for (int i = 0; i < 60; ++i) {
    w.tick();
    // Counted here anew, without the fleet's own arithmetic.
    std::map<WorkerId, std::uint64_t> taken;
    std::map<VmId, std::uint64_t> size;
    for (auto& view : w.get<Page<VmView>>("/v1/vms").items) {
      size[view.vm.id] = view.vm.spec.memory_bytes + machine_overhead_bytes;
      if (view.vm.worker) taken[*view.vm.worker] += size[view.vm.id];
    }
    for (auto& view : w.get<Page<MigrationView>>("/v1/migrations").items) {
      const auto& m = view.migration;
      if (!is_ended(m.phase)) taken[is_past_no_return(m.phase) ? m.source : m.target] += size[m.vm];
    }
    for (auto& [worker, bytes] : taken) EXPECT_LE(bytes, 2 * GiB) << worker.value;
  }
  EXPECT_TRUE(w.all_run({"big", "second", "third"}));
  EXPECT_NE(w.worker_of("big"), source);
}

TEST(Control, CancelBringsBackWhatHasNotPassedThePointOfNoReturn) {
  Fleet3 w;
  w.create_vm("a");
  ASSERT_TRUE(w.all_run({"a"}));
  auto source = w.worker_of("a");
  for (auto& [name, worker] : w.workers())
    worker.answers = name == source || name == "w1" || name == "w2" || name == "w3";
  auto id = w.drain(source);
  ASSERT_EQ(w.ask("POST", "/v1/drains/" + id + ":cancel").status, 200);
  ASSERT_TRUE(w.tick_until([&] {
    auto view = w.drain_view(id);
    return view.status == "cancelled" && std::all_of(view.migrations.begin(), view.migrations.end(),
                                                     [](auto& m) { return is_ended(m.migration.phase); });
  }));
  EXPECT_TRUE(w.all_run({"a"}));
  EXPECT_TRUE(w.get<WorkerView>("/v1/workers/" + source).schedulable) << "cancel releases the hold";
  EXPECT_EQ(w.ask("POST", "/v1/drains/" + id + ":cancel").status, 200) << "cancelling again is fine";
}

TEST(Control, ATargetThatCannotBootTheVmIsReplacedAndSaidSo) {
  Fleet3 w;
  w.create_vm("a");
  ASSERT_TRUE(w.all_run({"a"}));
  auto source = w.worker_of("a");
  auto plan = json::read_text<DrainPlan>(
      w.ask("POST", "/v1/drains", fmt::format(R"({{"workers":["{}"],"validate_only":true}})", source)).body);
  auto bad = plan->moves.at(0).target;
  w.workers()[bad.value].cannot_start.insert(VmId("a"));
  auto id = w.drain(source);
  ASSERT_TRUE(w.tick_until([&] { return w.drain_view(id).status == "done"; }));
  EXPECT_NE(w.worker_of("a"), source);
  EXPECT_NE(w.worker_of("a"), bad.value);
  EXPECT_TRUE(w.is_running("a"));
  auto events = w.wait(const_cast<Owner&>(w.control().owner()).journal(0, 1000));
  EXPECT_TRUE(
      std::any_of(events->begin(), events->end(), [](auto& e) { return e.kind == "vm.placed_anew"; }));
}

TEST(Control, AWorkerThatCannotTakeWhatIsWantedOfItIsNamedWithItsTrouble) {
  Fleet3 w;
  w.create_vm("a");
  ASSERT_TRUE(w.all_run({"a"}));
  auto source = w.worker_of("a");
  const std::string full = "write /agent/wishes.json: no space left";
  for (auto& [name, worker] : w.workers()) worker.trouble = full;
  auto names_it = [&](const std::string& subject) {
    auto why = w.get<WhyAnswer>("/v1/" + subject + ":why");
    return std::any_of(why.reasons.begin(), why.reasons.end(),
                       [&](auto& r) { return r.text.contains(full) && r.who.starts_with("operator"); });
  };
  w.tick();
  EXPECT_FALSE(names_it("vms/a")) << "nothing else is wanted of it";
  w.create_vm("b");
  ASSERT_TRUE(w.tick_until([&] { return w.worker_of("b") != "-"; }));
  w.tick(2);
  EXPECT_TRUE(names_it("vms/b"));
  EXPECT_TRUE(names_it("workers/" + w.worker_of("b")));
  EXPECT_FALSE(names_it("vms/a")) << "it runs on";
  w.drain(source);
  w.tick(10);
  EXPECT_TRUE(names_it("vms/a")) << "its target has the same trouble";
  for (auto& [name, worker] : w.workers()) worker.trouble.clear();
  EXPECT_TRUE(w.tick_until([&] { return w.worker_of("a") != source && w.is_running("a"); }));
  EXPECT_TRUE(w.all_run({"a", "b"}));
  EXPECT_FALSE(names_it("vms/a") || names_it("vms/b") || names_it("workers/" + w.worker_of("b")));
}

TEST(Control, ADrainIsNotDoneWhileAMovedVmRunsNowhere) {
  Fleet3 w;
  w.create_vm("a");
  ASSERT_TRUE(w.all_run({"a"}));
  auto source = w.worker_of("a");
  for (auto& [name, worker] : w.workers()) {
    if (name != source) worker.cannot_start.insert(VmId("a"));
  }
  auto id = w.drain(source);
  w.tick(120);
  EXPECT_NE(w.drain_view(id).status, "done");
  EXPECT_FALSE(w.drain_view(id).waiting_for.empty());
}

TEST(Control, ARestartInTheMiddleOfADrainChangesNothing) {
  Fleet3 w;
  for (auto name : {"a", "b", "c", "d"}) w.create_vm(name);
  ASSERT_TRUE(w.all_run({"a", "b", "c", "d"}));
  auto source = w.worker_of("a");
  auto id = w.drain(source);
  for (int i = 0; i < 400 && w.drain_view(id).status != "done"; ++i) {
    w.tick(2);
    if (i % 3 == 0) w.restart();
  }
  EXPECT_EQ(w.drain_view(id).status, "done");
  EXPECT_TRUE(w.all_run({"a", "b", "c", "d"}));
}

TEST(Control, AClientThatGoesAwayInTheMiddleOfACommitHarmsNothing) {
  for (auto after : {0ms, 1ms, 2ms, 3ms}) {
    Fleet3 w;
    auto& loop = w.sim().loop();
    auto impatient = std::make_unique<Scope>(loop);
    HttpRequest request{
        "POST", "/v1/workers/w1:cordon", {{"authorization", "Bearer operator-token-0"}}, R"({"reason":"x"})"};
    impatient->spawn([](ControlPlane* control, HttpRequest r) -> Task<void> {
      (void)co_await control->handle(std::move(r));
    }(&w.control(), request));
    EXPECT_TRUE(loop.run_for(after));
    impatient.reset();
    EXPECT_TRUE(loop.run_for(100ms));
    EXPECT_EQ(w.ask("POST", "/v1/workers/w2:cordon", R"({"reason":"y"})").status, 200)
        << "after " << after.count() << " ms";
    EXPECT_FALSE(w.control().broken());
  }
}

TEST(Control, ADeadWorkerIsDrainedOnlyWhenItIsDeclaredDeadAndSilent) {
  Fleet3 w;
  w.create_vm("a");
  ASSERT_TRUE(w.all_run({"a"}));
  auto source = w.worker_of("a");
  auto refused = w.ask("POST", "/v1/drains",
                       fmt::format(R"({{"workers":["{}"],"options":{{"source_dead":true}}}})", source));
  EXPECT_EQ(refused.status, 400) << "it answers: " << refused.body;
  w.workers()[source].answers = false;
  w.workers()[source].vms.clear();
  w.tick(400);
  EXPECT_EQ(w.worker_of("a"), source) << "silence alone moves nothing";
  auto id = w.drain(source, R"(,"options":{"source_dead":true})");
  ASSERT_TRUE(w.tick_until([&] { return w.worker_of("a") != source && w.is_running("a"); }));
}

TEST(Control, ADeadWorkersLossIsABoundBeforeAnyoneAgreesAndExactWhenItIsBack) {
  Fleet3 w;
  w.create_vm("a", Storage::object, 128 * MiB, DiskClass::local);
  ASSERT_TRUE(w.all_run({"a"}));
  const auto source = w.worker_of("a");
  const auto disk = *w.get<VmView>("/v1/vms/a").vm.disk;
  auto& worker = w.workers()[source];
  auto why = [&](const std::string& of) {
    std::string text;
    for (const auto& reason : w.get<WhyAnswer>(of + ":why").reasons) text += reason.text + "\n";
    return text;
  };
  worker.unsent = {{disk, 3 * MiB, 1'200, LossBound{}}};
  w.tick(3);
  EXPECT_FALSE(why("/v1/vms/a").contains("loses")) << why("/v1/vms/a");
  worker.answers = false, worker.vms.clear();
  w.tick(400);

  const std::string bound = "at most 1 GiB, none of them older than 1m00s; it last said, at ",
                    last = ", that 3 MiB were not in the store, the oldest for 1.2 s";
  auto reply = w.ask(
      "POST", "/v1/drains",
      fmt::format(R"({{"workers":["{}"],"options":{{"source_dead":true}},"validate_only":true}})", source));
  auto plan = json::read_text<DrainPlan>(reply.body);
  ASSERT_TRUE(plan) << reply.body;
  ASSERT_EQ(plan->losses.size(), 1u) << reply.body;
  EXPECT_EQ(plan->losses[0].disk, disk);
  EXPECT_EQ(plan->losses[0].bound, LossBound{});
  EXPECT_EQ(plan->losses[0].unsent_bytes, 3 * MiB);
  EXPECT_TRUE(plan->losses[0].text.contains(bound) && plan->losses[0].text.ends_with(last))
      << plan->losses[0].text;
  EXPECT_TRUE(why("/v1/vms/a").contains(bound)) << why("/v1/vms/a");
  EXPECT_TRUE(why("/v1/workers/" + source).contains(bound)) << why("/v1/workers/" + source);

  auto id = w.drain(source, R"(,"options":{"source_dead":true})");
  ASSERT_TRUE(w.tick_until([&] { return w.worker_of("a") != source && w.is_running("a"); }));
  ASSERT_EQ(w.drain_view(id).losses.size(), 1u);
  EXPECT_TRUE(w.drain_view(id).losses[0].text.contains(bound)) << "as long as nobody can look";
  EXPECT_TRUE(why("/v1/vms/a").contains(bound)) << why("/v1/vms/a");

  worker.answers = true, worker.unsent.clear();
  worker.orphan_logs = {{disk, 12, 48 * KiB, ""}};
  const std::string exactly = "12 records, 48 KiB";
  ASSERT_TRUE(w.tick_until([&] { return w.drain_view(id).losses.at(0).records_lost == 12u; }));
  EXPECT_FALSE(w.drain_view(id).losses.at(0).bound);
  EXPECT_EQ(w.drain_view(id).losses.at(0).bytes_lost, 48 * KiB);
  for (const auto& of : {std::string("/v1/vms/a"), "/v1/workers/" + source})
    EXPECT_TRUE(why(of).contains(exactly) && !why(of).contains("at most")) << why(of);
}

TEST(Control, StopStartAndRemoveAreIdempotentAndDrainFriendly) {
  Fleet3 w;
  w.create_vm("a");
  ASSERT_TRUE(w.all_run({"a"}));
  for (int i = 0; i < 2; ++i) EXPECT_EQ(w.ask("POST", "/v1/vms/a:stop").status, 200);
  ASSERT_TRUE(w.tick_until([&] { return !w.get<VmView>("/v1/vms/a").vm.worker; }));
  for (int i = 0; i < 2; ++i) EXPECT_EQ(w.ask("POST", "/v1/vms/a:start").status, 200);
  ASSERT_TRUE(w.all_run({"a"}));
  EXPECT_EQ(w.ask("DELETE", "/v1/images/guest").status, 409) << "an image in use stays";
  EXPECT_EQ(w.ask("DELETE", "/v1/vms/a").status, 200);
  ASSERT_TRUE(w.tick_until([&] { return w.ask("GET", "/v1/vms/a").status == 404; }));
  ASSERT_TRUE(w.tick_until([&] { return w.get<Page<Disk>>("/v1/disks").items.empty(); }));
  EXPECT_EQ(w.ask("DELETE", "/v1/images/guest").status, 204);
}

TEST(Control, AVmIsNotMovedToAWorkerThatCannotTakeIt) {
  Fleet3 w;
  w.create_vm("a");
  ASSERT_TRUE(w.all_run({"a"}));
  auto source = w.worker_of("a"), held = std::string(source == "w2" ? "w3" : "w2");
  ASSERT_EQ(w.ask("POST", fmt::format("/v1/workers/{}:cordon", held), R"({"reason":"fan"})").status, 200);
  auto before = w.records().revision;
  const std::tuple<std::string, int, std::string> cases[] = {
      {"nobody", 404, "no worker 'nobody'"},
      {source, 400, "runs on " + source + " already"},
      {held, 409, held + ": held by operator (fan)"},
  };
  for (const auto& [target, status, says] : cases) {
    auto reply = w.ask("POST", "/v1/vms/a:migrate", fmt::format(R"({{"target":"{}"}})", target));
    EXPECT_EQ(reply.status, status) << reply.body;
    EXPECT_NE(reply.body.find(says), std::string::npos) << reply.body;
  }
  EXPECT_EQ(w.records().revision, before);
}

TEST(Control, NothingIsAnsweredWithoutTheRightToken) {
  Fleet3 w;
  for (const auto& route : w.control().router().routes()) {
    if (route.access == Access::open) continue;
    auto path = route.pattern;
    if (auto at = path.find("{id}"); at != std::string::npos) path.replace(at, 4, "w1");
    EXPECT_EQ(w.ask(route.method, path, "{}", "").status, 401) << path;
    auto others = route.access == Access::join_token ? "operator-token-0" : "join-token-0";
    EXPECT_EQ(w.ask(route.method, path, "{}", others).status, 401) << path;
  }
}

TEST(Control, ATruncatedImageIsRefusedAndRemoved) {
  Fleet3 w;
  CreateImage wish;
  wish.id = ImageId("short"), wish.kernel_bytes = 100, wish.kernel_sha256 = std::string(64, 'a');
  ASSERT_EQ(w.ask("POST", "/v1/images", json::write_text(wish)).status, 201);
  EXPECT_EQ(w.ask("PUT", "/v1/images/short/kernel?offset=0&zeroes=4", "both").status, 400);
  EXPECT_EQ(w.ask("PUT", "/v1/images/short/kernel?offset=0&zeroes=99999999999", "").status, 400);
  EXPECT_EQ(w.ask("PUT", "/v1/images/short/kernel?offset=0&zeroes=101", "").status, 400)
      << "more than announced";
  EXPECT_EQ(w.ask("PUT", "/v1/images/short/kernel?offset=10", "late").status, 400);
  ASSERT_EQ(w.ask("PUT", "/v1/images/short/kernel?offset=0", std::string(60, 'k')).status, 204);
  EXPECT_EQ(w.ask("PUT", "/v1/images/short/kernel?offset=0", std::string(60, 'k')).status, 204)
      << "a repeated piece is fine";
  auto sealed = w.ask("POST", "/v1/images/short:seal");
  EXPECT_EQ(sealed.status, 400);
  EXPECT_NE(sealed.body.find("truncated: 100 bytes were announced, 60 have come"), std::string::npos)
      << sealed.body;
  EXPECT_EQ(w.ask("GET", "/v1/images/short").status, 404);
}

TEST(Control, TheZeroesOfAnImageNeedNotTravel) {
  Fleet3 w;
  const std::string begin(64 * KiB, 'd'), end(4096, 'e'), kernel = "k";
  auto sum = [](const std::string& text) {
    Sha256 s;
    s.add(as_bytes(text));
    return s.hex();
  };
  CreateImage wish;
  wish.id = ImageId("sparse"), wish.kernel_bytes = 1, wish.kernel_sha256 = sum(kernel);
  wish.disk_bytes = begin.size() + 8 * MiB + end.size();
  wish.disk_sha256 = sum(begin + std::string(8 * MiB, '\0') + end);
  ASSERT_EQ(w.ask("POST", "/v1/images", json::write_text(wish)).status, 201);
  const std::string url = "/v1/images/sparse/";
  EXPECT_EQ(w.ask("PUT", url + "kernel?offset=0", kernel).status, 204);
  EXPECT_EQ(w.ask("PUT", url + "disk?offset=0", begin).status, 204);
  for (int times = 0; times < 2; ++times)
    EXPECT_EQ(w.ask("PUT", url + fmt::format("disk?offset={}&zeroes={}", begin.size(), 8 * MiB), "").status,
              204);
  EXPECT_EQ(w.ask("PUT", url + fmt::format("disk?offset={}", begin.size() + 8 * MiB), end).status, 204);
  EXPECT_EQ(w.ask("POST", "/v1/images/sparse:seal").status, 200) << "its checksum is right";
}

TEST(Control, AVmThatNoWorkerCouldEverTakeIsRefused) {
  ControlWorld empty(0);
  empty.import_image("guest");
  empty.create_vm("a", Storage::object,
                  64 * GiB);  // whoever has no workers yet may describe VMs all the same
  Fleet3 w;
  auto refused = [&](std::uint32_t cpus, std::uint64_t memory) {
    CreateVm wish;
    wish.id = VmId("big"), wish.spec.image = ImageId("guest"), wish.spec.cpus = cpus,
    wish.spec.memory_bytes = memory;
    auto reply = w.ask("POST", "/v1/vms", json::write_text(wish));
    EXPECT_EQ(reply.status, 400) << reply.body;
    return reply.body;
  };
  const auto disks = w.get<Page<Disk>>("/v1/disks").items.size();
  EXPECT_TRUE(refused(1, 2 * GiB).contains("no worker has so much memory: 2.1 GiB needed"))
      << refused(1, 2 * GiB);
  EXPECT_TRUE(refused(17, 64 * MiB).contains("no worker has so many cores: 17 needed, 16 at most"));
  EXPECT_EQ(w.ask("GET", "/v1/vms/big").status, 404);
  EXPECT_EQ(w.get<Page<Disk>>("/v1/disks").items.size(), disks) << "nothing is left behind";
  w.create_vm("a");
  ASSERT_TRUE(w.all_run({"a"}));
  w.ask("POST", "/v1/vms/a:stop");
  ASSERT_TRUE(w.tick_until([&] { return w.worker_of("a") == "-"; }));
  EXPECT_EQ(w.ask("POST", "/v1/vms/a:edit", R"({"memory_bytes":8589934592})").status, 400);
}

TEST(Control, AnImageHasAKernelOrADiskThatFirmwareBoots) {
  Fleet3 w;
  auto refused = [&](auto change) {
    CreateImage wish;
    wish.id = ImageId("cloud"), wish.firmware = Firmware::bios;
    wish.disk_bytes = 8192, wish.disk_sha256 = std::string(64, 'a');
    change(wish);
    auto answer = w.ask("POST", "/v1/images", json::write_text(wish));
    EXPECT_EQ(answer.status, 400);
    return json::read_text<ErrorBody>(answer.body).value().field.value_or("");
  };
  EXPECT_EQ(refused([](CreateImage& i) { i.firmware.reset(); }), "kernel_bytes");
  EXPECT_EQ(refused([](CreateImage& i) { i.disk_bytes.reset(), i.disk_sha256.reset(); }), "disk_bytes");
  EXPECT_EQ(refused([](CreateImage& i) { i.kernel_bytes = 1, i.kernel_sha256 = std::string(64, 'a'); }),
            "kernel_bytes");
  EXPECT_EQ(refused([](CreateImage& i) { i.initrd_bytes = 1, i.initrd_sha256 = std::string(64, 'a'); }),
            "initrd_bytes");
  EXPECT_EQ(refused([](CreateImage& i) { i.cmdline = "quiet"; }), "cmdline");
}

TEST(Control, AnUploadThatARestartInterruptedIsRemoved) {
  Fleet3 w;
  CreateImage wish;
  wish.id = ImageId("half"), wish.kernel_bytes = 100, wish.kernel_sha256 = std::string(64, 'a');
  ASSERT_EQ(w.ask("POST", "/v1/images", json::write_text(wish)).status, 201);
  w.restart();
  ASSERT_TRUE(w.tick_until([&] { return w.ask("GET", "/v1/images/half").status == 404; }));
}

TEST(Control, EventsAndMetricsTellWhatHappened) {
  Fleet3 w;
  auto metrics = w.ask("GET", "/metrics");
  EXPECT_NE(metrics.body.find("ebb_workers{liveness=\"ready\"} 3"), std::string::npos) << metrics.body;
  auto why = w.get<WhyAnswer>("/v1/workers/w1:why");
  EXPECT_NE(why.headline.find("in service"), std::string::npos);
  w.ask("POST", "/v1/workers/w1:cordon", R"({"reason":"smoke"})");
  why = w.get<WhyAnswer>("/v1/workers/w1:why");
  ASSERT_EQ(why.reasons.size(), 1u);
  EXPECT_EQ(why.reasons[0].text, "held by operator: smoke");
  EXPECT_EQ(why.reasons[0].who, "operator: ebb uncordon w1");
  EXPECT_TRUE(why.reasons[0].since);
}

}  // namespace
}  // namespace ebb::control
