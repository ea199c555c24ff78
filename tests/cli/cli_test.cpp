// `ebb` from its arguments to its exit code, against a scripted control plane in virtual time.
#include "cli/cli.h"

#include "fake_world.h"
#include "golden.h"
#include "sample_fleet.h"

namespace ebb {
namespace {

using fake::refuse;
using fake::reply;

struct CliTest : testing::Test {
  fake::World world;
  std::map<std::string, HttpResponse> answers;  // by "METHOD target"

  CliTest() {
    world.http.handler = [this](const HttpRequest& request) {
      auto at = answers.find(request.method + " " + request.target);
      return at == answers.end()
                 ? refuse(404, "not_found", request.method + " " + request.target + " is not there")
                 : at->second;
    };
  }
  int ebb(std::vector<std::string> args) { return world.ebb(std::move(args)); }
  std::string& data() { return world.screen.data; }
  std::string& talk() { return world.screen.talk; }
  template <class T>
  T sent() {
    return json::read_text<T>(world.http.seen.back().body).value();
  }
};

// ---- the command line ----

TEST_F(CliTest, HelpListsEveryCommandAndTheExitCodes) {
  EXPECT_EQ(ebb({"--help"}), 0);
  expect_golden("help.txt", data());
  EXPECT_EQ(talk(), "");
  EXPECT_EQ(ebb({"drain", "--help"}), 0);
  EXPECT_NE(data().find("--plan"), std::string::npos);
  EXPECT_EQ(ebb({"--version"}), 0);
  EXPECT_EQ(data(), "ebb 0.1.0\n");
}

TEST_F(CliTest, AWrongCommandLineIsExit2AndSendsNothing) {
  const std::vector<std::vector<std::string>> wrong{
      {},
      {"workerz"},
      {"drain"},
      {"drain", "a", "--rack", "x", "--rack", "y"},
      {"drain", "a", "--plan", "--detach"},
      {"drain", "a", "--parallel", "0"},
      {"cordon", "a"},
      {"run", "a"},
      {"run", "a", "--image", "i", "--memory", "lots"},
      {"run", "a", "--image", "i", "--port", "http"},
      {"run", "a", "--image", "i", "--port", "http=99999"},
      {"run", "a", "--image", "i", "--label", "=x"},
      {"run", "a", "--image", "i", "--disk-class", "fast"},
      {"run", "a", "--image", "i", "--restart", "sometimes"},
      {"run", "a", "--image", "i", "--stop-grace", "2h"},
      {"run", "a", "-f", "a.toml", "--cpus", "2"},
      {"run", "-f", "nowhere.toml"},
      {"run", "a", "--image", "i", "--stateless", "--disk-class", "local"},
      {"stop", "a", "--timeout", "soon"},
      {"images", "import", "a"},
      {"why", "pools/a"},
      {"workers", "--nonsense"},
  };
  for (const auto& args : wrong) {
    EXPECT_EQ(ebb(args), 2) << fmt::format("{}", fmt::join(args, " "));
    EXPECT_EQ(data(), "");
    EXPECT_TRUE(talk().starts_with("ebb: ")) << talk();
  }
  EXPECT_TRUE(world.http.seen.empty());
}

TEST_F(CliTest, AClassOfDisksThatIsReservedIsRefusedByName) {
  EXPECT_EQ(ebb({"run", "a", "--image", "i", "--disk-class", "replicated"}), 2);
  EXPECT_TRUE(talk().contains(
      "--disk-class: replicated is reserved: a peer's sync is not built yet; choose remote or local"))
      << talk();
  EXPECT_TRUE(world.http.seen.empty());
}

TEST_F(CliTest, TheServerComesFromTheFlagThenTheEnvironmentThenTheDefault) {
  answers["GET /v1/workers"] = reply(Page<WorkerView>{});
  EXPECT_EQ(ebb({"workers"}), 0);
  EXPECT_EQ(world.http.last_address, "127.0.0.1:7400");
  world.variables["EBB_SERVER"] = "http://cell-1:7400/";
  EXPECT_EQ(ebb({"workers"}), 0);
  EXPECT_EQ(world.http.last_address, "cell-1:7400");
  EXPECT_EQ(ebb({"workers", "--server", "cell-2:7400"}), 0);
  EXPECT_EQ(world.http.last_address, "cell-2:7400");
}

TEST_F(CliTest, TheTokenComesFromTheFileThatWasNamed) {
  answers["GET /v1/workers"] = reply(Page<WorkerView>{});
  auto bearer = [&] {
    return world.http.seen.back().headers.contains("authorization")
               ? world.http.seen.back().headers.at("authorization")
               : "";
  };
  world.files.content = {{"/a", "from-a\n"}, {"/b", "from-b"}, {"/empty", " \n"}};
  EXPECT_EQ(ebb({"workers"}), 0);
  EXPECT_EQ(bearer(), "");
  world.variables["EBB_TOKEN_FILE"] = "/b";
  EXPECT_EQ(ebb({"workers"}), 0);
  EXPECT_EQ(bearer(), "Bearer from-b");
  world.variables["EBB_TOKEN"] = "direct";
  EXPECT_EQ(ebb({"workers"}), 0);
  EXPECT_EQ(bearer(), "Bearer direct");
  EXPECT_EQ(ebb({"--token-file", "/a", "workers"}), 0);
  EXPECT_EQ(bearer(), "Bearer from-a");
  auto requests = world.http.seen.size();
  EXPECT_EQ(ebb({"--token-file", "/none", "workers"}), 2);
  EXPECT_EQ(talk(), "ebb: cannot read the token file: /none does not exist\n");
  EXPECT_EQ(ebb({"--token-file", "/empty", "workers"}), 2);
  EXPECT_EQ(world.http.seen.size(), requests);
}

// ---- exit codes ----

TEST_F(CliTest, EveryKindOfErrorHasItsExitCode) {
  const std::vector<std::tuple<int, std::string, int>> table{
      {404, "not_found", 4},   {409, "conflict", 6}, {409, "fenced", 6},  {400, "invalid", 2},
      {503, "unavailable", 5}, {503, "busy", 1},     {500, "corrupt", 1}, {500, "internal", 1},
      {401, "invalid", 2},     {413, "invalid", 2},
  };
  for (const auto& [status, code, exit] : table) {
    answers["GET /v1/vms/a"] = refuse(status, code, "because");
    EXPECT_EQ(ebb({"vms", "show", "a"}), exit) << code;
    EXPECT_EQ(data(), "");
    EXPECT_TRUE(talk().starts_with("ebb: because")) << talk();
  }
}

TEST_F(CliTest, AnUnreachableControlPlaneIsExit5AtOnce) {
  world.http.reachable = false;
  EXPECT_EQ(ebb({"drain", "worker-1"}), 5);
  EXPECT_EQ(talk(),
            "ebb: cannot reach the control plane at 127.0.0.1:7400: start it or give --server (connection "
            "refused)\n");
  EXPECT_LT(world.loop.now().time_since_epoch(), 1s);
}

// ---- lists, and JSON ----

TEST_F(CliTest, ListsAreTablesOrJsonArrays) {
  answers["GET /v1/workers"] = reply(Page<WorkerView>{sample::workers(), {}});
  answers["GET /v1/vms"] = reply(Page<VmView>{sample::vms(), {}});
  answers["GET /v1/drains"] = reply(Page<DrainView>{{sample::drain()}, {}});
  answers["GET /v1/migrations?vm=db-1&drain=D-1"] =
      reply(Page<MigrationView>{sample::drain().migrations, {}});
  EXPECT_EQ(ebb({"workers"}), 0);
  EXPECT_TRUE(data().starts_with("WORKER    STATE"));
  EXPECT_EQ(data().find('\x1b'), std::string::npos);
  EXPECT_EQ(ebb({"migrations", "--vm", "db-1", "--drain", "D-1"}), 0);
  EXPECT_EQ(ebb({"vms", "--json"}), 0);
  auto vms = json::read_text<std::vector<VmView>>(data());
  ASSERT_TRUE(vms);
  EXPECT_EQ(vms->size(), 5u);
  EXPECT_EQ(ebb({"--json", "drains"}), 0);
  EXPECT_TRUE(json::read_text<std::vector<DrainView>>(data()));
}

TEST_F(CliTest, WhyAsksForAWorkerThenAVmThenADrain) {
  answers["GET /v1/workers/worker-1:why"] = reply(WhyAnswer{"workers/worker-1", "it is held", {}});
  answers["GET /v1/vms/db-2:why"] = reply(WhyAnswer{"vms/db-2", "it waits", {}});
  answers["GET /v1/drains/D-1"] = reply(sample::blocked_drain());
  EXPECT_EQ(ebb({"why", "worker-1"}), 0);
  EXPECT_EQ(data(), "workers/worker-1: it is held\n");
  EXPECT_EQ(ebb({"why", "db-2"}), 0);
  EXPECT_EQ(data(), "vms/db-2: it waits\n");
  EXPECT_EQ(ebb({"why", "D-1"}), 0);
  EXPECT_TRUE(data().starts_with("drains/D-1: drain of worker-1 is blocked"));
  EXPECT_EQ(ebb({"why", "drains/D-1", "--json"}), 0);
  EXPECT_TRUE(json::read_text<WhyAnswer>(data()));
  EXPECT_EQ(ebb({"why", "nobody"}), 4);
  EXPECT_EQ(talk(), "ebb: there is no worker, VM, drain or disk 'nobody'\n");
}

TEST_F(CliTest, CancelTakesADrainOrAMigration) {
  answers["POST /v1/drains/D-1:cancel"] = reply(sample::drain());
  answers["POST /v1/migrations/M-2:cancel"] = reply(sample::drain().migrations[1]);
  answers["POST /v1/migrations/M-1:cancel"] = refuse(409, "conflict", "M-1 is past the point of no return");
  EXPECT_EQ(ebb({"cancel", "D-1"}), 0);
  EXPECT_EQ(ebb({"cancel", "M-2"}), 0);
  EXPECT_EQ(ebb({"cancel", "M-1"}), 6);
  EXPECT_EQ(ebb({"cancel", "X-1"}), 4);
}

TEST_F(CliTest, CordonUncordonAndReturnShowTheWorkerAndWhoStillHoldsIt) {
  auto view = sample::workers()[0];
  answers["POST /v1/workers/worker-1:cordon"] = reply(view);
  view.holds.resize(1);
  answers["POST /v1/workers/worker-1:uncordon"] = answers["POST /v1/workers/worker-1:return"] = reply(view);
  EXPECT_EQ(ebb({"cordon", "worker-1", "--reason", "noisy fan"}), 0);
  EXPECT_EQ(sent<CordonWorker>().reason, "noisy fan");
  EXPECT_EQ(ebb({"uncordon", "worker-1"}), 0);
  EXPECT_EQ(talk(), "worker-1 is still held by drain:D-1: new kernel\n");
  EXPECT_EQ(ebb({"return", "worker-1"}), 0);
}

TEST_F(CliTest, ManyWorkersAreCordonedByOneRequest) {
  const auto views = reply(Page<WorkerView>{sample::workers(), {}});
  answers["POST /v1/workers:cordon"] = answers["POST /v1/workers:uncordon"] = views;
  EXPECT_EQ(ebb({"cordon", "worker-1", "worker-2", "--zone", "b", "--reason", "fire"}), 0);
  const auto wish = sent<CordonWorkers>();
  EXPECT_EQ(wish.workers, (std::vector{WorkerId("worker-1"), WorkerId("worker-2")}));
  EXPECT_EQ(wish.selector, (Labels{{"zone", "b"}}));
  EXPECT_EQ(wish.reason, "fire");
  EXPECT_EQ(ebb({"uncordon", "--rack", "r7"}), 0);
  EXPECT_EQ(sent<UncordonWorkers>().selector, (Labels{{"rack", "r7"}}));
  EXPECT_EQ(ebb({"cordon", "--reason", "nobody is named"}), 2);
}

TEST_F(CliTest, ReturnWaitsForTheTestVmAndSaysWhyAWorkerStaysHeld) {
  auto view = sample::workers()[0];
  view.worker.returning = WorkerReturn{VmId("test-7"), 1};
  answers["POST /v1/workers/worker-1:return"] = reply(view);
  EXPECT_EQ(ebb({"return", "worker-1", "--detach"}), 0);
  EXPECT_EQ(talk().find("test VM test-7 starts on worker-1\nworker-1 takes VMs when that has run"), 0u)
      << talk();
  view.worker.returning->error = "test VM test-7: no such kernel";
  answers["GET /v1/workers/worker-1"] = reply(view);
  EXPECT_EQ(ebb({"return", "worker-1"}), 6);
  EXPECT_NE(talk().find("worker-1 has not returned: test VM test-7: no such kernel"), std::string::npos)
      << talk();
  view.worker.returning.reset();
  answers["GET /v1/workers/worker-1"] = reply(view);
  EXPECT_EQ(ebb({"return", "worker-1"}), 0);
}

TEST_F(CliTest, EventsAreLinesThatEndWithTheStream) {
  std::string body;
  for (std::uint64_t i : {1, 2})
    body += fmt::format("id: {}\ndata: {}\n\n", i,
                        json::write_text(JournalEntry{i, 0, "vm.created", "vms/a", "made"}));
  answers["GET /v1/events?since=0"] = {200, {}, body, {}};
  EXPECT_EQ(ebb({"events"}), 0);
  EXPECT_EQ(std::count(data().begin(), data().end(), '\n'), 2);
  EXPECT_EQ(ebb({"events", "--json"}), 0);
  EXPECT_EQ(data().substr(0, data().find('\n')),
            R"({"revision":1,"at":0,"kind":"vm.created","subject":"vms/a","text":"made"})");
}

TEST_F(CliTest, FollowedEventsGoOnFromTheLastOneWhenTheStreamBreaks) {
  answers["GET /v1/events?since=0&follow=true"] = {
      200, {}, "data: " + json::write_text(JournalEntry{7, 0, "a", "b", "c"}) + "\n\n", {}};
  answers["GET /v1/events?since=7&follow=true"] = {200, {}, "", {}};
  EXPECT_EQ(world.ebb({"events", "--follow"}, 2s), 130);
  EXPECT_EQ(std::count(data().begin(), data().end(), '\n'), 1) << "an entry is shown once";
  EXPECT_EQ(world.http.seen.back().target, "/v1/events?since=7&follow=true");
}

// ---- VMs ----

TEST_F(CliTest, RunSendsWhatTheOptionsSay) {
  answers["POST /v1/vms"] = reply(sample::vms()[0], 201);
  EXPECT_EQ(ebb({"run", "web", "--image", "witness", "--cpus", "2", "--memory", "256M", "--disk-class",
                 "local", "--port", "http=80", "--port", "ssh=22", "--label", "app=web"}),
            0);
  auto create = sent<CreateVm>();
  EXPECT_EQ(create.id, VmId("web"));
  EXPECT_EQ(create.spec.cpus, 2u);
  EXPECT_EQ(create.spec.memory_bytes, 256ull << 20);
  EXPECT_EQ(create.spec.storage, Storage::object);
  EXPECT_EQ(create.spec.disk_class, DiskClass::local);
  EXPECT_EQ(create.spec.ports, (std::vector<Port>{{"http", 80}, {"ssh", 22}}));
  EXPECT_EQ(create.spec.labels, (Labels{{"app", "web"}}));
  EXPECT_EQ(ebb({"run", "web", "--image", "witness", "--stateless"}), 0);
  EXPECT_EQ(sent<CreateVm>().spec.storage, Storage::none);
  EXPECT_FALSE(sent<CreateVm>().spec.disk_class);
  EXPECT_EQ(sent<CreateVm>().spec.memory_bytes, 128ull << 20);
}

TEST_F(CliTest, EditSendsOnlyWhatWasNamed) {
  answers["POST /v1/vms/web:edit"] = reply(sample::vms()[0]);
  EXPECT_EQ(ebb({"vms", "edit", "web"}), 2) << "nothing was named";
  EXPECT_TRUE(world.http.seen.empty());
  ASSERT_EQ(ebb({"vms", "edit", "web", "--restart", "on-failure", "--label", "a=b", "--no-label", "c"}), 0)
      << talk();
  EXPECT_EQ(sent<EditVm>(),
            (EditVm{.restart = Restart::on_failure, .labels = Labels{{"a", "b"}}, .no_labels = {{"c"}}}));
  ASSERT_EQ(
      ebb({"vms", "edit", "web", "--cpus", "3", "--memory", "1G", "--port", "http=80", "--stop-grace", "1m"}),
      0);
  EXPECT_EQ(
      sent<EditVm>(),
      (EditVm{.cpus = 3, .memory_bytes = 1ull << 30, .ports = {{{"http", 80}}}, .stop_grace_ms = 60'000}));
}

TEST_F(CliTest, WaitingForAVmThatEndsBadlyFails) {
  auto view = sample::vms()[0];
  view.vm.desired = VmDesired::stopped, view.seen = VmSeen::ended;
  view.vm.ended = EndedVm{WorkerId("worker-1"), 1, {std::nullopt, "the guest ended by itself (guest-panic)"}};
  answers["POST /v1/vms"] = reply(view, 201);
  answers["GET /v1/vms/" + view.vm.id.value] = reply(view);
  EXPECT_EQ(ebb({"run", view.vm.id.value, "--image", "witness", "--restart", "never", "--wait"}), 1);
  EXPECT_TRUE(data().contains("ended badly")) << data();
  view.vm.ended->end.status = 0;
  answers["GET /v1/vms/" + view.vm.id.value] = reply(view);
  EXPECT_EQ(ebb({"run", view.vm.id.value, "--image", "witness", "--restart", "never", "--wait"}), 0);
}

TEST_F(CliTest, RunTakesWhatAVmIsFromAFile) {
  answers["POST /v1/vms"] = reply(sample::vms()[0], 201);
  world.files.content["specs/web.yaml"] = "#cloud-config\n{}\n";
  world.files.content["specs/web.toml"] = R"(name = "web"
image = "witness"
cpus = 2
memory = "256MiB"
disk_class = "local"
restart = "on-failure"
stop_grace = "30s"
user_data = "web.yaml"
[ports]
http = 80
[labels]
app = "shop"
[health]
kind = "http"
port = "http"
path = "/ready"
interval = "5s"
failures = 2
)";
  ASSERT_EQ(ebb({"run", "-f", "specs/web.toml"}), 0) << talk();
  auto create = sent<CreateVm>();
  EXPECT_EQ(create.id, VmId("web"));
  EXPECT_EQ(create.spec.cpus, 2u);
  EXPECT_EQ(create.spec.memory_bytes, 256ull << 20);
  EXPECT_EQ(create.spec.disk_class, DiskClass::local);
  EXPECT_EQ(create.spec.restart, Restart::on_failure);
  EXPECT_EQ(create.spec.stop_grace_ms, 30'000u);
  EXPECT_EQ(create.spec.ports, (std::vector<Port>{{"http", 80}}));
  EXPECT_EQ(create.spec.labels, (Labels{{"app", "shop"}}));
  EXPECT_EQ(create.spec.health, (HealthCheck{.kind = HealthKind::http,
                                             .port = "http",
                                             .path = "/ready",
                                             .interval_ms = 5'000,
                                             .failures_max = 2}));
  ASSERT_TRUE(create.spec.instance_data);
  EXPECT_EQ(create.spec.instance_data->user_data, "#cloud-config\n{}\n");
  ASSERT_EQ(ebb({"run", "web-2", "-f", "specs/web.toml", "--count", "2"}), 0);
  EXPECT_EQ(sent<CreateVm>().id, VmId("web-2-2"));

  world.files.content["job.json"] = R"({"id":"job","spec":{"image":"witness","restart":"never","cpus":3}})";
  ASSERT_EQ(ebb({"run", "-f", "job.json"}), 0) << talk();
  EXPECT_EQ(sent<CreateVm>().spec.restart, Restart::never);
  EXPECT_EQ(sent<CreateVm>().spec.cpus, 3u);
}

TEST_F(CliTest, AFileThatIsNoVmIsRefusedWithTheLineAndSendsNothing) {
  const std::pair<const char*, const char*> wrong[] = {
      {"image = \"i\"\nmemroy = \"1G\"\n", "a.toml:2: memroy: unknown key; did you mean 'memory'?"},
      {"image = \"i\"\nmemory = \"lots\"\n", "a.toml:2: memory:"},
      {"image = \"i\"\n[ports]\nhttp = 99999\n", "a.toml:3: ports.http:"},
      {"image = \"i\"\nrestart = \"sometimes\"\n", "a.toml:2: restart:"},
      {"image = \"i\"\nstop_grace = \"2h\"\n", "a.toml:2: stop_grace: an hour at most"},
      {"image = \"i\"\n[health]\nkind = \"ping\"\n",
       "a.toml:3: health.kind: 'ping' is no kind of health check"},
      {"image = \"i\"\n[health]\nkind = \"tcp\"\nprot = \"web\"\n", "a.toml:4: health.prot: unknown key"},
      {"cpus = 2\n", "image"},
      {"image = \n", "a.toml:1"},
  };
  for (const auto& [text, why] : wrong) {
    world.files.content["a.toml"] = text;
    EXPECT_EQ(ebb({"run", "a", "-f", "a.toml"}), 2) << text;
    EXPECT_TRUE(talk().contains(why)) << talk();
  }
  world.files.content["a.toml"] = "image = \"i\"\n";
  EXPECT_EQ(ebb({"run", "-f", "a.toml"}), 2) << "nobody has named it";
  world.files.content["a.json"] = R"({"id":"a","spec":{"image":"i","colour":"red"}})";
  EXPECT_EQ(ebb({"run", "-f", "a.json"}), 2);
  EXPECT_TRUE(talk().contains("colour")) << talk();
  EXPECT_TRUE(world.http.seen.empty());
}

TEST_F(CliTest, RunCountMakesNumberedVms) {
  answers["POST /v1/vms"] = reply(sample::vms()[0], 201);
  EXPECT_EQ(ebb({"run", "web", "--image", "witness", "--count", "3", "--json"}), 0);
  ASSERT_EQ(world.http.seen.size(), 3u);
  EXPECT_EQ(sent<CreateVm>().id, VmId("web-3"));
  EXPECT_EQ(json::read_text<std::vector<VmView>>(data())->size(), 3u);
}

TEST_F(CliTest, WaitEndsWhenTheGuestIsUpAndTellsReasonsOnce) {
  auto view = sample::vms()[2];
  answers["POST /v1/vms"] = reply(view, 201);
  answers["GET /v1/vms/db-2"] = reply(view);
  world.loop.call_at(world.loop.now() + 3s, [&] {
    view.vm.worker = WorkerId("worker-2"), view.seen = VmSeen::running, view.waiting_for.clear();
    answers["GET /v1/vms/db-2"] = reply(view);
  });
  EXPECT_EQ(ebb({"run", "db-2", "--image", "witness", "--wait"}), 0);
  EXPECT_EQ(talk(), "db-2: waiting, waiting: no worker has 2 GiB free\n");
  EXPECT_NE(data().find("db-2  running  worker-2"), std::string::npos);
}

TEST_F(CliTest, WaitGivesUpAfterItsTimeoutAndSaysWhereToLook) {
  answers["POST /v1/vms/db-2:start"] = answers["GET /v1/vms/db-2"] = reply(sample::vms()[2]);
  EXPECT_EQ(ebb({"start", "db-2", "--wait", "--timeout", "5s"}), 1);
  EXPECT_NE(talk().find("db-2 is still waiting after 5.0 s; 'ebb why vms/db-2' tells more"),
            std::string::npos);
}

TEST_F(CliTest, RemoveWaitsUntilTheVmIsGone) {
  auto view = sample::vms()[0];
  view.vm.desired = VmDesired::absent;
  answers["DELETE /v1/vms/web-1"] = answers["GET /v1/vms/web-1"] = reply(view);
  world.loop.call_at(world.loop.now() + 2s, [&] { answers.erase("GET /v1/vms/web-1"); });
  EXPECT_EQ(ebb({"rm", "web-1", "--wait"}), 0);
  EXPECT_NE(talk().find("web-1 is gone"), std::string::npos);
}

TEST_F(CliTest, MigrateWaitsForTheEndOfItsMigration) {
  auto moving = sample::drain().migrations[1];
  answers["POST /v1/vms/db-1:migrate"] = answers["GET /v1/migrations/M-2"] = reply(moving);
  world.loop.call_at(world.loop.now() + 1s, [&] {
    answers["GET /v1/migrations/M-2"] = reply(sample::migration("M-2", "db-1", sample::all_phases));
  });
  EXPECT_EQ(ebb({"migrate", "db-1", "--to", "worker-2", "--wait"}), 0);
  EXPECT_EQ(json::read_text<MigrateVm>(world.http.seen.front().body)->target, WorkerId("worker-2"));
  answers["GET /v1/migrations/M-2"] =
      reply(sample::migration("M-2", "db-1", {Phase::reserving, Phase::aborting, Phase::aborted}));
  EXPECT_EQ(ebb({"migrate", "db-1", "--wait"}), 1);
}

}  // namespace
}  // namespace ebb
