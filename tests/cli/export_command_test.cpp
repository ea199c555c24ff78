// What `ebb export` writes: all that placement and moves need, nothing that is secret, and no half of a file.
#include <gtest/gtest.h>
#include <sstream>

#include "base/text.h"
#include "fake_world.h"
#include "model/export_types.h"

namespace ebb {
namespace {

using fake::reply;

// A VM with something in every field.
VmView vm_view(std::string name) {
  VmView view;
  auto& vm = view.vm;
  vm.id = VmId(std::move(name)), vm.worker = WorkerId("worker-1"), vm.epoch = 4, vm.disk = DiskId("d-1");
  vm.last_error = "secret-last-error";
  vm.ended = EndedVm{WorkerId("worker-1"), 1, {1, "secret-end"}};
  vm.interfaces = {{NetworkId("lan"), "02:00:00:00:00:01", "10.20.0.7"}};
  auto& spec = vm.spec;
  spec.image = ImageId("base"), spec.cpus = 4, spec.labels = {{"app", "shop"}}, spec.tenant = "acme";
  spec.group = GroupId("web"), spec.cpu_features = {"avx2"}, spec.worker_labels = Labels{{"gpu", "yes"}};
  spec.ports = {{"secret-port", 22}};
  spec.instance_data = InstanceData{"secret-host", {"secret-key"}, "secret-user-data", "secret-network"};
  spec.health = HealthCheck{.kind = HealthKind::http, .port = "secret-port", .path = "/?token=secret-path"};
  spec.networks = {{NetworkId("lan"), "10.20.0.7", "02:00:00:00:00:01"}};
  return view;
}

struct ExportTest : testing::Test {
  fake::World world;
  bool breaks = false;  // in the list of disks

  ExportTest() {
    world.variables["EBB_TOKEN"] = "secret-token";
    world.http.handler = [this](const HttpRequest& request) { return answer(request); };
  }
  HttpResponse answer(const HttpRequest& request) {
    const auto path = request.target.substr(0, request.target.find('?'));
    if (path == "/v1/cell") return reply(CellView{7, 1'000, {{Mechanism::pointer, 1, 2, 3, 4, 5, 6}}, {}});
    if (path == "/v1/vms") {
      // Two pages.
      if (!request.target.contains("page_token")) return reply(Page<VmView>{{vm_view("a")}, "a"});
      EXPECT_TRUE(request.target.contains("page_token=a")) << request.target;
      auto test = vm_view("secret-test");  // goes by itself, and is nobody's
      test.vm.test_of = WorkerId("worker-1");
      return reply(Page<VmView>{{vm_view("b"), test}, {}});
    }
    if (path == "/v1/workers") {
      WorkerView view;
      view.worker.id = WorkerId("worker-1"), view.worker.capacity = {8000, 1ull << 34};
      view.worker.returning = WorkerReturn{VmId("secret-test"), 1, {}, "secret-return"};
      return reply(Page<WorkerView>{{view}, {}});
    }
    if (path == "/v1/disks")
      return breaks ? fake::refuse(500, "internal", "no more") : reply(Page<Disk>{disks(), {}});
    if (path == "/v1/images") {
      Image image;
      image.id = ImageId("base"), image.cmdline = "secret-cmdline", image.kernel = Blob{"secret-blob", 1, ""};
      return reply(Page<Image>{{image}, {}});
    }
    if (path == "/v1/networks") return reply(Page<VmNetwork>{});
    if (path == "/v1/groups") return reply(Page<GroupView>{{{{GroupId("web"), {}, {}}, 2, {}}}, {}});
    if (path == "/v1/budgets") return reply(Page<BudgetView>{});
    if (path == "/v1/holds")
      return reply(Page<Hold>{{{HoldId("h"), WorkerId("worker-1"), "operator", "fan", 1, {}}}, {}});
    if (path == "/v1/drains") return reply(Page<DrainView>{drains(), {}});
    if (path == "/v1/migrations") return reply(Page<MigrationView>{moves(), {}});
    return fake::refuse(404, "not_found", path);
  }
  static std::vector<Disk> disks() {
    Disk own, other;
    own.id = DiskId("d-1"), own.vm = VmId("a"), own.state = DiskState::ready, own.name = "secret-name";
    other.id = DiskId("d-2"), other.state = DiskState::ready;  // nobody's
    return {own, other};
  }
  static std::vector<DrainView> drains() {
    DrainView open, ended;
    open.drain.id = DrainId("drain-1"), open.drain.state = DrainState::running;
    open.drain.request_id = "secret-request";
    ended.drain.id = DrainId("drain-0"), ended.drain.state = DrainState::done;
    return {open, ended};
  }
  static std::vector<MigrationView> moves() {
    MigrationView open, ended;
    open.migration.id = MigrationId("mig-2"), open.migration.phase = Phase::preparing;
    open.migration.last_error = "secret-error";
    ended.migration.id = MigrationId("mig-1"), ended.migration.phase = Phase::done;
    return {open, ended};
  }
  static std::vector<json::Object> lines_of(const std::string& text) {
    std::vector<json::Object> lines;
    std::istringstream in(text);
    for (std::string line; std::getline(in, line);) lines.push_back(json::parse(line).value().as_object());
    return lines;
  }
};

TEST_F(ExportTest, EveryRecordThatMattersIsALineBetweenHeaderAndEnd) {
  ASSERT_EQ(world.ebb({"export"}), 0) << world.screen.talk;
  const auto lines = lines_of(world.screen.data);
  ASSERT_GT(lines.size(), 2u);
  EXPECT_EQ(json::to_text(lines[0]), R"({"ebb_export":1,"at":1000,"revision":7})");
  EXPECT_EQ(lines.back().at("end").at("lines").to_number<std::size_t>(), lines.size() - 2);
  std::map<std::string, int> kinds;
  for (const auto& line : lines) ++kinds[std::string(line.begin()->key())];
  EXPECT_EQ(kinds, (std::map<std::string, int>{{"ebb_export", 1},
                                               {"cell", 1},
                                               {"migration", 1},
                                               {"drain", 1},
                                               {"vm", 2},
                                               {"disk", 1},
                                               {"hold", 1},
                                               {"worker", 1},
                                               {"image", 1},
                                               {"group", 1},
                                               {"end", 1}}));
  for (const auto& line : lines) {
    if (!line.contains("vm")) continue;
    const auto vm = json::read<Vm>(line.at("vm")).value();
    EXPECT_EQ(vm.spec.cpus, 4u);
    EXPECT_EQ(vm.spec.labels, (Labels{{"app", "shop"}}));
    EXPECT_EQ(vm.spec.group, GroupId("web"));
    EXPECT_EQ(vm.worker, WorkerId("worker-1"));
    EXPECT_EQ(vm.interfaces->at(0).network, NetworkId("lan"));
  }
}

TEST_F(ExportTest, NothingSecretLeaves) {
  ASSERT_EQ(world.ebb({"export"}), 0);
  EXPECT_EQ(world.screen.data.find("secret"), std::string::npos) << world.screen.data;
  EXPECT_EQ(world.screen.data.find("10.20.0.7"), std::string::npos);
  EXPECT_EQ(world.screen.talk.find("secret"), std::string::npos);
}

TEST_F(ExportTest, AFileHasItsNameOnlyWhenItIsWhole) {
  ASSERT_EQ(world.ebb({"export", "-o", "/f"}), 0) << world.screen.talk;
  EXPECT_EQ(world.screen.data, "");
  EXPECT_EQ(world.screen.talk,
            "exported 1 disk, 1 drain, 1 group, 1 hold, 1 image, 1 migration, 2 vms, 1 worker\n");
  EXPECT_TRUE(lines_of(world.files.content.at("/f")).back().contains("end"));
  EXPECT_EQ(world.files.content.size(), 1u);
}

TEST_F(ExportTest, WhatBreaksLeavesNothingBehind) {
  breaks = true;
  EXPECT_EQ(world.ebb({"export", "-o", "/f"}), 1);
  EXPECT_TRUE(world.files.content.empty());
  EXPECT_NE(world.screen.talk.find("no more"), std::string::npos) << world.screen.talk;
}

TEST_F(ExportTest, AFileThatIsThereIsKept) {
  world.files.content["/f"] = "mine";
  EXPECT_EQ(world.ebb({"export", "-o", "/f"}), 6);
  EXPECT_EQ(world.files.content, (std::map<std::string, std::string>{{"/f", "mine"}}));
  EXPECT_EQ(world.screen.talk, "ebb: /f is there already: name another file, or remove it\n");
}

}  // namespace
}  // namespace ebb
