#include "control/testing/control_world.h"

namespace ebb::control {
namespace {

// Two racks of two workers in each of two zones.
struct Groups : ::testing::Test {
  ControlWorld w{0};

  Groups() {
    for (const std::string zone : {"z1", "z2"})
      for (const std::string rack : {"r1", "r2"})
        for (const std::string n : {"a", "b"})
          w.add_worker(fmt::format("{}-{}-{}", zone, rack, n), 4 * GiB, {{"zone", zone}, {"rack", rack}});
    w.tick(3);
    w.import_image("guest");
  }
  HttpResponse put(const std::string& body) { return w.ask("POST", "/v1/groups", body); }
  HttpResponse run(const std::string& name, const std::string& group, const std::string& more = "") {
    return w.ask("POST", "/v1/vms",
                 fmt::format(R"({{"id":"{}","spec":{{"image":"guest","storage":"none","group":"{}"{}}}}})",
                             name, group, more));
  }
  std::string rack_of(const std::string& vm) { return w.worker_of(vm).substr(0, 5); }
  bool all_run(std::initializer_list<const char*> vms) {
    return w.tick_until([&] { return std::ranges::all_of(vms, [&](auto* vm) { return w.is_running(vm); }); });
  }
  GroupView show() { return w.get<GroupView>("/v1/groups/web"); }
};

TEST_F(Groups, AreMadeChangedListedAndRemoved) {
  EXPECT_EQ(put(R"({"id":"web","apart":[{"level":"rack","most":1}]})").status, 201);
  EXPECT_EQ(put(R"({"id":"web","apart":[{"level":"rack","most":1}]})").status, 200) << "the same wish again";
  ASSERT_EQ(run("a", "web").status, 201);
  EXPECT_EQ(show().vms, 1u);
  auto refused = w.ask("DELETE", "/v1/groups/web");
  EXPECT_EQ(refused.status, 409);
  EXPECT_TRUE(refused.body.contains("ebb vms edit a --group ''")) << refused.body;
  EXPECT_EQ(w.ask("POST", "/v1/vms/a:edit", R"({"group":""})").status, 200);
  w.restart();
  w.tick(3);
  EXPECT_EQ(w.get<Page<GroupView>>("/v1/groups").items.size(), 1u);
  EXPECT_EQ(w.ask("DELETE", "/v1/groups/web").status, 204);
  EXPECT_EQ(w.ask("DELETE", "/v1/groups/web").status, 404);
}

TEST_F(Groups, ThatMakeNoSenseAreRefused) {
  const auto before = w.records().revision;
  for (auto body : {R"({"id":"web"})", R"({"id":"Web!","apart":[{"level":"rack"}]})",
                    R"({"id":"web","apart":[{"level":"rack","most":0}]})",
                    R"({"id":"web","apart":[{"level":"row","most":1}]})",
                    R"({"id":"web","apart":[{"level":"rack","most":1},{"level":"rack","most":2}]})",
                    R"({"id":"web","apart":[{"level":"zone","most":1}],"together":"rack"})",
                    R"({"id":"web","apart":[{"level":"rack","most":1}],"together":"rack"})"})
    EXPECT_EQ(put(body).status, 400) << body;
  EXPECT_EQ(run("a", "nobody").status, 400) << "there is no such group";
  EXPECT_EQ(w.records().revision, before);
}

TEST_F(Groups, StandApartFromTheFirstPlacementThroughADrainOfARack) {
  put(R"({"id":"web","apart":[{"level":"rack","most":1}]})");
  for (auto name : {"a", "b", "c"}) ASSERT_EQ(run(name, "web").status, 201);
  ASSERT_TRUE(all_run({"a", "b", "c"}));
  std::set<std::string> racks{rack_of("a"), rack_of("b"), rack_of("c")};
  EXPECT_EQ(racks.size(), 3u);
  const auto zone = rack_of("a").substr(0, 2), rack = rack_of("a").substr(3);
  auto reply = w.ask("POST", "/v1/drains",
                     fmt::format(R"({{"workers":[],"selector":{{"zone":"{}","rack":"{}"}}}})", zone, rack));
  ASSERT_EQ(reply.status, 201) << reply.body;
  const auto id = json::read_text<DrainView>(reply.body)->drain.id.value;
  ASSERT_TRUE(w.tick_until([&] { return w.get<DrainView>("/v1/drains/" + id).status == "done"; }));
  racks.insert(rack_of("a"));
  EXPECT_EQ(racks.size(), 4u) << "to the one rack that had none";
  EXPECT_TRUE(show().breaches.empty());
}

TEST_F(Groups, ThatNoRackIsLeftForAreABlockerWithTheReason) {
  put(R"({"id":"web","apart":[{"level":"zone","most":1}]})");
  for (auto name : {"a", "b"}) ASSERT_EQ(run(name, "web").status, 201);
  ASSERT_TRUE(all_run({"a", "b"}));
  const auto zone = rack_of("a").substr(0, 2);
  auto plan = json::read_text<DrainPlan>(
      w.ask("POST", "/v1/drains",
            fmt::format(R"({{"workers":[],"selector":{{"zone":"{}"}},"validate_only":true}})", zone))
          .body);
  ASSERT_TRUE(plan);
  ASSERT_EQ(plan->blockers.size(), 1u);
  EXPECT_TRUE(plan->blockers[0].reason.contains("may have 1 of group web, and has b"))
      << plan->blockers[0].reason;
  auto moved = w.ask("POST", "/v1/vms/a:migrate", fmt::format(R"({{"target":"{}"}})", w.worker_of("b")));
  EXPECT_EQ(moved.status, 409) << "nor does an operator by mistake";
}

TEST_F(Groups, StayTogetherWhenTheirZoneIsDrained) {
  put(R"({"id":"web","apart":[{"level":"worker","most":1}],"together":"zone"})");
  for (auto name : {"a", "b", "c"}) ASSERT_EQ(run(name, "web").status, 201);
  ASSERT_TRUE(all_run({"a", "b", "c"}));
  const auto zone = rack_of("a").substr(0, 2);
  for (auto name : {"b", "c"}) EXPECT_EQ(rack_of(name).substr(0, 2), zone);
  auto reply =
      w.ask("POST", "/v1/drains", fmt::format(R"({{"workers":[],"selector":{{"zone":"{}"}}}})", zone));
  const auto id = json::read_text<DrainView>(reply.body)->drain.id.value;
  ASSERT_TRUE(w.tick_until([&] { return w.get<DrainView>("/v1/drains/" + id).status == "done"; }));
  for (auto name : {"a", "b", "c"}) EXPECT_NE(rack_of(name).substr(0, 2), zone);
  EXPECT_TRUE(show().breaches.empty());
  // And all the way back.
  EXPECT_EQ(w.ask("POST", "/v1/drains/" + id + ":undo", "{}").status, 200);
  ASSERT_TRUE(w.tick_until([&] { return w.get<DrainView>("/v1/drains/" + id).status == "undone"; }));
  for (auto name : {"a", "b", "c"}) EXPECT_EQ(rack_of(name).substr(0, 2), zone);
}

TEST_F(Groups, WhoJoinsLaterMovesNobodyAndTheBreachIsShown) {
  put(R"({"id":"web","apart":[{"level":"zone","most":1}]})");
  for (auto name : {"a", "b", "c"})
    ASSERT_EQ(w.ask("POST", "/v1/vms",
                    fmt::format(R"({{"id":"{}","spec":{{"image":"guest","storage":"none"}}}})", name))
                  .status,
              201);
  ASSERT_TRUE(all_run({"a", "b", "c"}));
  for (auto name : {"a", "b", "c"})
    EXPECT_EQ(w.ask("POST", fmt::format("/v1/vms/{}:edit", name), R"({"group":"web"})").status, 200);
  w.tick(20);
  ASSERT_EQ(show().breaches.size(), 1u);
  EXPECT_TRUE(show().breaches[0].contains("where 1 may be")) << show().breaches[0];
  EXPECT_TRUE(w.control().owner().fleet().migrations().empty());
}

TEST_F(Groups, AVmRunsOnlyWhereThereIsWhatItNeeds) {
  EXPECT_EQ(w.ask("POST", "/v1/vms",
                  R"({"id":"x","spec":{"image":"guest","storage":"none","worker_labels":{"gen":"new"}}})")
                .status,
            400)
      << "no worker has that";
  put(R"({"id":"any","apart":[{"level":"worker","most":9}]})");
  ASSERT_EQ(run("x", "any", R"(,"worker_labels":{"zone":"z2","rack":"r2"})").status, 201);
  ASSERT_TRUE(all_run({"x"}));
  EXPECT_EQ(rack_of("x"), "z2-r2");
  const auto first = w.worker_of("x");
  auto reply = w.ask("POST", "/v1/drains", fmt::format(R"({{"workers":["{}"]}})", first));
  const auto id = json::read_text<DrainView>(reply.body)->drain.id.value;
  ASSERT_TRUE(w.tick_until([&] { return w.get<DrainView>("/v1/drains/" + id).status == "done"; }));
  EXPECT_EQ(rack_of("x"), "z2-r2");
  EXPECT_NE(w.worker_of("x"), first);
}

}  // namespace
}  // namespace ebb::control
