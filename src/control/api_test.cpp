// What the API promises beside resources: events, probes, metrics, and giving a worker back.
#include "control/testing/fleet3.h"

namespace ebb::control {
namespace {

// What a client of /v1/events has read.
struct Listener final : BodyWriter {
  Task<Status> write(std::string piece) override {
    text += piece;
    co_return Status{};
  }
  std::vector<JournalEntry> entries() const {
    std::vector<JournalEntry> found;
    for (std::size_t at = 0; (at = text.find("\ndata: ", at)) != std::string::npos;) {
      at += 7;
      auto entry = json::read_text<JournalEntry>(std::string_view(text).substr(at, text.find('\n', at) - at));
      EXPECT_TRUE(entry);
      if (entry) found.push_back(*entry);
    }
    return found;
  }
  std::string text = "\n";
};

struct Events : ControlWorld {
  // Reads in the background until the stream ends or the listener is given up.
  void listen(const std::string& query, Scope& scope, Listener& listener, bool& ended) {
    auto reply = std::make_shared<HttpResponse>(ask("GET", "/v1/events" + query));
    EXPECT_EQ(reply->status, 200);
    EXPECT_EQ(reply->headers.at("content-type"), "text/event-stream");
    scope.spawn([](std::shared_ptr<HttpResponse> r, Listener* out, bool* end) -> Task<void> {
      co_await r->stream(*out);
      *end = true;
    }(reply, &listener, &ended));
  }
  std::vector<JournalEntry> read(std::uint64_t since) {
    Scope scope(sim().loop());
    Listener listener;
    bool ended = false;
    listen(fmt::format("?since={}", since), scope, listener, ended);
    EXPECT_TRUE(sim().loop().run_until([&] { return ended; }, 60s));
    return listener.entries();
  }
  // One commit with so many entries.
  void write_entries(int count, const std::string& kind) {
    auto& owner = const_cast<Owner&>(control().owner());
    EXPECT_TRUE(wait(owner.change<bool>([&](Batch& batch) -> Result<bool> {
      for (int i = 0; i < count; ++i) batch.journal(kind, "vms/a", fmt::format("{}", i));
      return true;
    })));
  }
  void commit_without_entry() {
    auto& owner = const_cast<Owner&>(control().owner());
    EXPECT_TRUE(wait(owner.change<bool>([&](Batch& batch) -> Result<bool> {
      batch.effect_done("nothing");
      return true;
    })));
  }
};

TEST(Api, EventsAreReadWithoutGapOrRepeatAcrossPagesThatEndInsideARevision) {
  Events w;
  const auto before = w.control().owner().revision();
  for (int i = 0; i < 15; ++i) w.write_entries(80, fmt::format("k{}", i));
  auto entries = w.read(before);
  ASSERT_EQ(entries.size(), 1200u);
  for (std::size_t i = 0; i < entries.size(); ++i) {
    EXPECT_EQ(entries[i].revision, before + 1 + i / 80);
    EXPECT_EQ(entries[i].kind, fmt::format("k{}", i / 80));
    EXPECT_EQ(entries[i].text, fmt::format("{}", i % 80));
  }
  EXPECT_EQ(w.read(before + 10).size(), 400u) << "goes on after what was read";
  EXPECT_TRUE(w.read(before + 15).empty());
  EXPECT_EQ(w.ask("GET", "/v1/events?since=x").status, 400);
}

TEST(Api, AFollowerGetsEachCommitAsItComesAndASignOfLifeWhenThereIsNone) {
  Events w;
  const auto before = w.control().owner().revision();
  Scope scope(w.sim().loop());
  Listener listener;
  bool ended = false;
  w.listen(fmt::format("?since={}&follow=true", before), scope, listener, ended);
  EXPECT_TRUE(w.sim().loop().run_for(1s));
  EXPECT_TRUE(listener.entries().empty());
  w.write_entries(2, "first");
  EXPECT_TRUE(w.sim().loop().run_for(100ms));
  EXPECT_EQ(listener.entries().size(), 2u);
  w.commit_without_entry();
  EXPECT_EQ(listener.text.find(": still here"), std::string::npos);
  EXPECT_TRUE(w.sim().loop().run_for(40s));
  EXPECT_NE(listener.text.find("\n: still here\n\n"), std::string::npos);
  w.write_entries(1, "second");
  EXPECT_TRUE(w.sim().loop().run_for(100ms));
  auto entries = listener.entries();  // the workers have fallen silent meanwhile
  EXPECT_EQ(std::ranges::count(entries, "first", &JournalEntry::kind), 2);
  EXPECT_EQ(std::ranges::count(entries, "second", &JournalEntry::kind), 1);
  EXPECT_EQ(entries.back().kind, "second");
  EXPECT_FALSE(ended);
}

TEST(Api, ItIsReadyOnlyOnceTheRecordsAreLoadedAndNoMoreWhenTheyBelongToAnother) {
  ControlWorld w;
  sim::SimWorld& world = w.sim();
  auto& process = world.start_process("late", "ebbd");
  auto& records = process.make<MemoryStore>(process.loop(), std::make_shared<MemoryRecords>());
  auto& pool = process.make<sim::SimStoreClient>(process, w.store(), "late/");
  auto& late = process.make<ControlPlane>(
      process.loop(), records, std::map<PoolId, Pool>{{PoolId("main"), {&pool, &pool, DiskClass::remote}}},
      ControlConfig{"operator-token-0", "join-token-0", "{}", {}}, Logger());
  auto ask = [&](std::string target) {
    return w.wait(
        late.handle({"GET", std::move(target), {{"authorization", "Bearer operator-token-0"}}, {}}));
  };
  EXPECT_EQ(ask("/healthz").status, 200);
  EXPECT_EQ(ask("/readyz").status, 503);
  EXPECT_EQ(ask("/readyz").body, "the records are being loaded\n");
  EXPECT_EQ(ask("/v1/workers").status, 503);
  EXPECT_EQ(w.ask("GET", "/readyz", "", "").status, 200);

  ++w.records().revision;  // another process has committed
  EXPECT_EQ(w.ask("POST", "/v1/workers/w1:cordon", R"({"reason":"x"})").status, 409);
  auto ready = w.ask("GET", "/readyz");
  EXPECT_EQ(ready.status, 503);
  EXPECT_NE(ready.body.find("another process"), std::string::npos) << ready.body;
  EXPECT_EQ(w.ask("GET", "/healthz").status, 200) << "the process itself is well";
}

// By name: the type that was announced, and the samples.
struct Metrics {
  std::map<std::string, std::string> help, type;
  std::map<std::string, double> samples;  // with their labels
  explicit Metrics(const std::string& text) {
    for (std::size_t at = 0; at < text.size();) {
      auto end = std::min(text.find('\n', at), text.size());
      auto line = text.substr(at, end - at);
      at = end + 1;
      auto space = line.rfind(' ');
      if (line.starts_with("# HELP ") || line.starts_with("# TYPE ")) {
        auto name = line.substr(7, line.find(' ', 7) - 7);
        (line[2] == 'H' ? help : type)[name] = line.substr(line.find(' ', 7) + 1);
      } else if (!line.empty()) {
        samples[line.substr(0, space)] = std::stod(line.substr(space + 1));
      }
    }
  }
};

TEST(Api, EveryMetricHasItsHelpItsTypeAndTheUnitOfItsNameAndCountersRise) {
  ControlWorld w;
  Metrics before(w.ask("GET", "/metrics").body);
  EXPECT_FALSE(before.samples.empty());
  for (const auto& [sample, value] : before.samples) {
    auto name = sample.substr(0, sample.find('{'));
    EXPECT_TRUE(name.starts_with("ebb_")) << name;
    ASSERT_TRUE(before.help.contains(name) && before.type.contains(name)) << name;
    EXPECT_FALSE(before.help.at(name).empty()) << name;
    EXPECT_EQ(before.type.at(name) == "counter", name.ends_with("_total")) << name;
    EXPECT_TRUE(before.type.at(name) == "counter" || before.type.at(name) == "gauge") << name;
    for (auto unit : {"_ms", "_milliseconds", "_mib", "_kb", "_minutes"})
      EXPECT_FALSE(name.ends_with(unit)) << name << ": base units";
  }
  for (const auto& [name, type] : before.type) EXPECT_TRUE(before.help.contains(name)) << name;
  EXPECT_EQ(before.samples.at("ebb_workers{liveness=\"ready\"}"), 3);
  EXPECT_EQ(before.samples.at("ebb_workers_held"), 0);
  ASSERT_EQ(w.ask("POST", "/v1/workers/w1:cordon", R"({"reason":"x"})").status, 200);
  Metrics after(w.ask("GET", "/metrics").body);
  EXPECT_EQ(after.samples.at("ebb_workers_held"), 1);
  EXPECT_EQ(after.samples.at("ebb_commits_total"), before.samples.at("ebb_commits_total") + 1);
  EXPECT_EQ(after.samples.at("ebb_records_revision"), before.samples.at("ebb_records_revision") + 1);
}

// ---- return ----

TEST(Api, AWorkerIsGivenBackOnlyWhenItIsVerified) {
  ControlWorld w;
  w.import_image("guest");
  w.create_vm("a"), w.create_vm("b", Storage::none);
  ASSERT_TRUE(w.tick_until([&] { return w.is_running("a") && w.is_running("b"); }));
  const auto source = w.worker_of("a");
  auto& worker = w.workers()[source];
  auto expect_refused = [&](int status, const std::string& says) {
    auto before = w.records().revision;
    auto reply = w.ask("POST", "/v1/workers/" + source + ":return");
    EXPECT_EQ(reply.status, status) << reply.body;
    EXPECT_NE(reply.body.find(says), std::string::npos) << reply.body;
    EXPECT_EQ(w.records().revision, before);
  };
  worker.exports = 1;  // keeps the drain from being done
  auto reply = w.ask("POST", "/v1/drains", fmt::format(R"({{"workers":["{}"]}})", source));
  auto id = json::read_text<DrainView>(reply.body)->drain.id.value;
  w.tick(60);
  expect_refused(409, source + " is still being drained by " + id);
  worker.exports = 0;
  ASSERT_TRUE(w.tick_until([&] { return w.get<DrainView>("/v1/drains/" + id).status == "done"; }));
  ASSERT_EQ(w.ask("POST", "/v1/workers/" + source + ":cordon", R"({"reason":"fan"})").status, 200);

  worker.disk_daemon_up = false;
  w.tick(2);
  expect_refused(409, "the disk daemon of " + source + " does not answer");
  worker.disk_daemon_up = true;
  w.tick(2);
  worker.revision += 1000;  // it has reconciled with something else
  AgentReport other;
  other.worker = worker.id, other.boot_id = worker.boot_id, other.agent_run = "run-1";
  other.wanted_revision = worker.revision, other.sequence = ++worker.sequence, other.disk_daemon_up = true;
  ASSERT_EQ(w.ask("POST", "/v1/agent/report", json::write_text(other), "join-token-0").status, 200);
  expect_refused(503, "has not yet confirmed the newest wanted set");
  worker.answers = false;
  ASSERT_TRUE(w.tick_until(
      [&] { return w.get<WorkerView>("/v1/workers/" + source).liveness != Liveness::ready; }, 400));
  expect_refused(409, source + " does not answer");

  worker.answers = true;
  w.tick(2);
  ASSERT_EQ(w.ask("POST", "/v1/workers/" + source + ":return").status, 200);
  auto holds = w.get<WorkerView>("/v1/workers/" + source).holds;
  ASSERT_EQ(holds.size(), 1u) << "an operator's own hold stays";
  EXPECT_EQ(holds[0].owner, "operator");
}

TEST(Api, ARebootedWorkerTakesNothingUntilItIsGivenBack) {
  ControlWorld w;
  w.import_image("guest");
  Registration r;
  r.worker = WorkerId("w1"), r.version = "test", r.capacity = {16'000, 2 * GiB}, r.pools = {PoolId("main")};
  for (auto boot : {"boot-2", "boot-3"}) {
    r.boot_id = boot;
    ASSERT_EQ(w.ask("POST", "/v1/agent/register", json::write_text(r), "join-token-0").status, 200);
  }
  w.workers()["w1"].boot_id = "boot-3";
  auto holds = w.get<WorkerView>("/v1/workers/w1").holds;
  ASSERT_EQ(holds.size(), 1u) << "held once, however often it reboots";
  EXPECT_EQ(holds[0].owner, "rejoin");
  for (auto name : {"w2", "w3"})
    w.ask("POST", fmt::format("/v1/workers/{}:cordon", name), R"({"reason":"x"})");
  w.create_vm("a", Storage::none);
  w.tick(20);
  EXPECT_FALSE(w.is_running("a"));
  ASSERT_EQ(w.ask("POST", "/v1/workers/w1:return").status, 200);
  EXPECT_TRUE(w.tick_until([&] { return w.is_running("a"); }));
}

TEST(Api, AnUploadOfWhichNothingIsHeardIsRemoved) {
  Fleet3 w;
  const std::string sum(64, 'a');
  auto announce = [&](const std::string& id) {
    return w.ask(
        "POST", "/v1/images",
        fmt::format(R"({{"id":"{}","disk_bytes":8192,"disk_sha256":"{}","firmware":"bios"}})", id, sum));
  };
  ASSERT_EQ(announce("left").status, 201);
  ASSERT_EQ(announce("slow").status, 201);
  for (int i = 0; i < 2; ++i) {
    (void)w.sim().loop().run_for(10min);
    EXPECT_EQ(
        w.ask("PUT", fmt::format("/v1/images/slow/disk?offset={}", i * 4096), std::string(4096, 'x')).status,
        204);
  }
  EXPECT_EQ(w.ask("GET", "/v1/images/left").status, 404);
  EXPECT_EQ(w.ask("GET", "/v1/images/slow").status, 200);
  EXPECT_EQ(announce("left").status, 201) << "its name is free again";
  (void)w.sim().loop().run_for(30min);
  EXPECT_EQ(w.ask("GET", "/v1/images/slow").status, 404) << "all of it was there, and nobody has sealed it";
  w.import_image("kept");
  (void)w.sim().loop().run_for(1h);
  EXPECT_EQ(w.ask("GET", "/v1/images/kept").status, 200);
}

TEST(Api, VmsAreListedByWorkerTenantAndLabels) {
  Fleet3 w;
  for (auto name : {"a", "b", "c"}) w.create_vm(name);
  ASSERT_TRUE(w.all_run({"a", "b", "c"}));
  auto edit = [&](const std::string& vm, const std::string& body) {
    EXPECT_EQ(w.ask("POST", fmt::format("/v1/vms/{}:edit", vm), body).status, 200);
  };
  edit("a", R"({"tenant":"acme","labels":{"app":"shop","tier":"web"}})");
  edit("b", R"({"tenant":"acme","labels":{"app":"shop"}})");
  auto listed = [&](const std::string& query) {
    std::string names;
    for (const auto& view : w.get<Page<VmView>>("/v1/vms" + query).items) names += view.vm.id.value;
    return names;
  };
  EXPECT_EQ(listed(""), "abc");
  EXPECT_EQ(listed("?tenant=acme"), "ab");
  EXPECT_EQ(listed("?tenant="), "c");
  EXPECT_EQ(listed("?labels%5Bapp%5D=shop"), "ab");
  EXPECT_EQ(listed("?labels%5Bapp%5D=shop&labels%5Btier%5D=web"), "a");
  EXPECT_EQ(listed("?labels%5Bapp%5D=shop&tenant=other"), "");
  EXPECT_EQ(w.ask("GET", "/v1/vms?tenent=acme").status, 400) << "which would be all";
  EXPECT_EQ(w.ask("GET", "/v1/vms?worker=w99").status, 404);
  EXPECT_EQ(listed("?worker=" + w.worker_of("c") + "&tenant="), "c");
}

TEST(Api, AVmIsEditedWhereThatHarmsNobody) {
  Fleet3 w;
  w.create_vm("a");
  ASSERT_TRUE(w.all_run({"a"}));
  auto edit = [&](const std::string& body) { return w.ask("POST", "/v1/vms/a:edit", body); };
  EXPECT_EQ(edit(R"({"restart":"never","stop_grace_ms":1000,"labels":{"app":"shop"}})").status, 200);
  auto spec = w.get<VmView>("/v1/vms/a").vm.spec;
  EXPECT_EQ(spec.restart, Restart::never);
  EXPECT_EQ(spec.stop_grace_ms, 1000u);
  EXPECT_EQ(spec.labels, (Labels{{"app", "shop"}}));
  auto refused = edit(R"({"cpus":4})");
  EXPECT_EQ(refused.status, 409);
  EXPECT_TRUE(refused.body.contains("while it is stopped: ebb stop a")) << refused.body;
  EXPECT_EQ(edit(R"({"no_labels":["none"]})").status, 400);
  EXPECT_EQ(edit(R"({"memory_bytes":1})").status, 400);
  EXPECT_EQ(edit(R"({"image":"other"})").status, 400);
  EXPECT_EQ(w.ask("POST", "/v1/vms/b:edit", R"({"cpus":4})").status, 404);
  EXPECT_EQ(edit(R"({"health":{"kind":"guest_agent","interval_ms":5000}})").status, 200)
      << "of a VM that runs";
  EXPECT_EQ(w.get<VmView>("/v1/vms/a").vm.spec.health->kind, HealthKind::guest_agent);
  EXPECT_TRUE(edit(R"({"health":{"kind":"tcp","port":"http"}})").body.contains("no port 'http'"));
  EXPECT_EQ(edit(R"({"health":{"kind":"guest_agent"},"no_health":true})").status, 400);
  EXPECT_EQ(edit(R"({"no_health":true})").status, 200);
  EXPECT_FALSE(w.get<VmView>("/v1/vms/a").vm.spec.health);
  EXPECT_EQ(edit(R"({"tenant":"acme","stop_signal":"guest_agent"})").status, 200);
  EXPECT_EQ(w.get<VmView>("/v1/vms/a").vm.spec.tenant, "acme");
  EXPECT_EQ(w.get<VmView>("/v1/vms/a").vm.spec.stop_signal, StopSignal::guest_agent);
  EXPECT_TRUE(edit(R"({"tenant":"Acme Inc."})").body.contains("spec.tenant"));
  EXPECT_EQ(edit(R"({"stop_signal":"SIGTERM"})").status, 400);
  EXPECT_EQ(edit(R"({"tenant":""})").status, 200);
  EXPECT_FALSE(w.get<VmView>("/v1/vms/a").vm.spec.tenant);
  EXPECT_EQ(w.ask("POST", "/v1/vms/a:stop").status, 200);
  ASSERT_TRUE(w.tick_until([&] { return !w.get<VmView>("/v1/vms/a").vm.worker; }));
  EXPECT_EQ(
      edit(R"({"cpus":4,"memory_bytes":268435456,"ports":[{"name":"http","guest":80}],"no_labels":["app"]})")
          .status,
      200);
  spec = w.get<VmView>("/v1/vms/a").vm.spec;
  EXPECT_EQ(spec.cpus, 4u);
  EXPECT_TRUE(spec.labels.empty());
  EXPECT_EQ(w.ask("POST", "/v1/vms/a:start").status, 200);
  EXPECT_TRUE(w.all_run({"a"}));
}

}  // namespace
}  // namespace ebb::control
