// What others send: wrong, too long, or as long as it may be.
#include "control/limits.h"
#include "control/testing/fleet3.h"

namespace ebb::control {
namespace {

TEST(Control, BadInputIsNamedAndChangesNothing) {
  Fleet3 w;
  auto before = w.records().revision;
  struct {
    const char *method, *target, *body;
    int status;
    const char* says;
  } cases[] = {
      {"POST", "/v1/drains", R"({"workers":["nobody"]})", 404, "nobody"},
      {"POST", "/v1/drains", R"({"workers":["w1"],"speed":"high"})", 400, "unknown field 'speed'"},
      {"POST", "/v1/drains", R"({"workers":[7]})", 400, "must be a string"},
      {"POST", "/v1/drains", R"({"workers":["w1"],"options":{"parallel_max":0}})", 400, "parallel_max"},
      {"POST", "/v1/drains", "{", 400, "malformed JSON"},
      {"POST", "/v1/vms", R"({"id":"Bad Name","spec":{"image":"guest"}})", 400, "no name for a VM"},
      {"POST", "/v1/vms", R"({"id":"a","spec":{"image":"nothing"}})", 400, "no image 'nothing'"},
      {"POST", "/v1/vms", R"({"id":"a","spec":{"image":"guest","cpus":0}})", 400, "cpus"},
      {"POST", "/v1/vms", R"({"id":"a","spec":{"image":"guest","storage":"tape"}})", 400, "none, object"},
      {"POST", "/v1/vms", R"({"id":"a","spec":{"image":"guest","disk_class":"replicated"}})", 400,
       "'spec.disk_class': replicated is reserved: a peer's sync is not built yet; choose remote or local"},
      {"POST", "/v1/vms", R"({"id":"a","spec":{"image":"guest","disk_class":"tape"}})", 400,
       "'spec.disk_class': 'tape' is no class of disks: choose remote or local"},
      {"POST", "/v1/vms", R"({"id":"a","spec":{"image":"guest","ports":[{"name":"x","guest":70000}]}})", 400,
       "guest"},
      {"POST", "/v1/vms", R"({"id":"a","spec":{"image":"guest","health":{"kind":"ping"}}})", 400,
       "tcp, http"},
      {"POST", "/v1/vms", R"({"id":"a","spec":{"image":"guest","health":{"kind":"http","port":"web"}}})", 400,
       "no port 'web'"},
      {"POST", "/v1/vms/none/exec", R"({"words":["/bin/true"]})", 404, "no VM 'none'"},
      {"GET", "/v1/vms/none", "", 404, "none"},
      {"POST", "/v1/vms/none:migrate", "{}", 404, "none"},
      {"POST", "/v1/vms/none:start", "", 404, "no VM 'none'"},
      {"POST", "/v1/vms/none:stop", "", 404, "no VM 'none'"},
      {"DELETE", "/v1/vms/none", "", 404, "no VM 'none'"},
      {"GET", "/v1/vms/none:why", "", 404, "no VM 'none'"},
      {"GET", "/v1/workers/none", "", 404, "no worker 'none'"},
      {"GET", "/v1/workers/none:why", "", 404, "no worker 'none'"},
      {"POST", "/v1/workers/none:cordon", R"({"reason":"x"})", 404, "no worker 'none'"},
      {"POST", "/v1/workers/none:uncordon", "", 404, "no worker 'none'"},
      {"POST", "/v1/workers/none:return", "", 404, "no worker 'none'"},
      {"DELETE", "/v1/workers/none", "", 404, "no worker 'none'"},
      {"GET", "/v1/drains/none", "", 404, "no drain 'none'"},
      {"GET", "/v1/migrations/none", "", 404, "no migration 'none'"},
      {"POST", "/v1/migrations/none:cancel", "", 404, "no migration 'none'"},
      {"GET", "/v1/images/none", "", 404, "no image 'none'"},
      {"DELETE", "/v1/images/none", "", 404, "no image 'none'"},
      {"POST", "/v1/images/none:seal", "", 404, "no image 'none'"},
      {"GET", "/v1/disks/none", "", 404, "no disk 'none'"},
      {"GET", "/v1/disks/none:why", "", 404, "no disk 'none'"},
      {"POST", "/v1/disks/none/snapshots", R"({"name":"x"})", 404, "no disk 'none'"},
      {"POST", "/v1/drains/none:cancel", "", 404, "none"},
      {"POST", "/v1/drains/none:pause", "", 404, "no drain 'none'"},
      {"POST", "/v1/drains/none:resume", "", 404, "no drain 'none'"},
      {"GET", "/v1/budgets/none", "", 404, "no budget 'none'"},
      {"DELETE", "/v1/budgets/none", "", 404, "no budget 'none'"},
      {"GET", "/v1/workers?page_size=x", "", 400, "page_size"},
      {"PATCH", "/v1/workers", "", 405, "not possible"},
      {"GET", "/v2/workers", "", 404, "nothing at"},
      {"POST", "/v1/images", R"({"id":"x","kernel_bytes":10,"kernel_sha256":"zz"})", 400, "kernel_sha256"},
      {"DELETE", "/v1/workers/w1", "", 409, "still reports"},
  };
  for (auto& c : cases) {
    auto reply = w.ask(c.method, c.target, c.body);
    EXPECT_EQ(reply.status, c.status) << c.target << " " << c.body << ": " << reply.body;
    EXPECT_NE(reply.body.find(c.says), std::string::npos) << c.says << " is not in " << reply.body;
    EXPECT_TRUE(json::read_text<ErrorBody>(reply.body)) << reply.body;
  }
  EXPECT_EQ(w.records().revision, before);
}

// Of one byte, which JSON writes as six.
std::string long_label(std::size_t json_bytes) { return std::string((json_bytes - 8) / 6, '\x01'); }

TEST(Control, VmsWithTheLongestLabelsThereMayBeAreAllPlacedAndMoved) {
  Fleet3 w;
  for (auto name : {"w1", "w2", "w3"}) w.ask("POST", fmt::format("/v1/workers/{}:cordon", name), "{}");
  CreateVm wish;
  wish.spec.image = ImageId("guest"), wish.spec.storage = Storage::none, wish.spec.memory_bytes = 16 * MiB;
  wish.spec.labels = {{"x", long_label(labels_bytes_max)}};
  for (int i = 0; i < 30; ++i) {
    wish.id = VmId(fmt::format("v{}", i));
    ASSERT_EQ(w.ask("POST", "/v1/vms", json::write_text(wish)).status, 201);
  }
  for (auto name : {"w1", "w2", "w3"}) w.ask("POST", fmt::format("/v1/workers/{}:uncordon", name), "{}");
  auto all_run = [&] {
    auto vms = w.get<Page<VmView>>("/v1/vms").items;
    return vms.size() == 30 &&
           std::ranges::all_of(vms, [](auto& v) { return v.vm.worker && v.seen == VmSeen::running; });
  };
  ASSERT_TRUE(w.tick_until(all_run, 40));
  auto id = w.drain("w1", R"(,"options":{"parallel_max":30,"per_target_max":30})");
  ASSERT_TRUE(w.tick_until([&] { return w.drain_view(id).status == "done"; }));
  EXPECT_TRUE(all_run());
}

TEST(Control, WhatIsTooLongForARecordIsRefusedByTheNameOfItsField) {
  Fleet3 w;
  CreateVm vm;
  vm.id = VmId("a"), vm.spec.image = ImageId("guest");
  vm.spec.labels = {{"x", long_label(labels_bytes_max + 100)}};
  CreateImage image;
  image.id = ImageId("i"), image.cmdline = std::string(cmdline_bytes_max + 1, 'x');
  CreateImage many;
  many.id = ImageId("i");
  for (std::size_t i = 0; i <= channels_max; ++i) many.channels.push_back(fmt::format("c{}", i));
  CreateDrain drain;
  drain.workers = {WorkerId("w1")}, drain.reason = std::string(reason_bytes_max + 1, 'x');
  CreateDrain named;
  named.workers = {WorkerId("w1")}, named.request_id = std::string(word_bytes_max + 1, 'x');
  Registration r;
  r.worker = WorkerId("w1"), r.boot_id = "b", r.capacity = {1, 1}, r.labels = vm.spec.labels;
  auto before = w.records().revision;
  const std::tuple<std::string, std::string, std::string> cases[] = {
      {"/v1/vms", json::write_text(vm), "spec.labels"},
      {"/v1/images", json::write_text(image), "cmdline"},
      {"/v1/images", json::write_text(many), "channels"},
      {"/v1/drains", json::write_text(drain), "reason"},
      {"/v1/drains", json::write_text(named), "request_id"},
      {"/v1/workers/w1:cordon", json::write_text(CordonWorker{drain.reason, {}}), "reason"},
      {"/v1/agent/register", json::write_text(r), "labels"},
  };
  for (const auto& [target, body, field] : cases) {
    auto reply = w.ask("POST", target, body, target.contains("agent") ? "join-token-0" : "operator-token-0");
    EXPECT_EQ(reply.status, 400) << target;
    auto error = json::read_text<ErrorBody>(reply.body);
    EXPECT_TRUE(error && error->field == field) << reply.body;
  }
  EXPECT_EQ(w.records().revision, before);
}

TEST(Control, AnErrorOfAnAgentIsShortenedBeforeItBecomesPartOfARecord) {
  EXPECT_EQ(shortened("no such kernel"), "no such kernel");
  auto text = shortened(std::string(error_bytes_max - 4, 'x') + "\xC3\xA4\xC3\xA4\xC3\xA4");
  EXPECT_EQ(text, std::string(error_bytes_max - 4, 'x') + "...") << "no half character";
  Fleet3 w;
  w.create_vm("a");
  ASSERT_TRUE(w.all_run({"a"}));
  AgentReport report;
  report.worker = WorkerId(w.worker_of("a")), report.boot_id = "boot-1", report.agent_run = "run-2";
  SeenVm vm;
  vm.vm = VmId("a"), vm.state = VmSeen::failed, vm.error = std::string(2 * MiB, 'e');
  report.vms = {vm};
  ASSERT_EQ(w.ask("POST", "/v1/agent/report", json::write_text(report), "join-token-0").status, 200);
  EXPECT_EQ(w.control().owner().seen().find(report.worker, vm.vm)->error.size(), error_bytes_max);
}

}  // namespace
}  // namespace ebb::control
