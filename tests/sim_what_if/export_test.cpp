// From a control plane by its own API into an export, and from that into a what-if; and what is told of an export that is broken.
#include <gtest/gtest.h>
#include <sstream>

#include "cli/cli.h"
#include "control/testing/control_world.h"
#include "export_reader.h"
#include "sim/sim_files.h"
#include "what_if.h"

namespace ebb::what_if {
namespace {

class Terminal final : public Screen {
 public:
  std::string data, talk;
  void write(Output to, std::string_view text) override { (to == Output::data ? data : talk) += text; }
  bool is_terminal(Output) const override { return false; }
  ScreenSize size() const override { return {200, 1000}; }
};

// Requests that reach the control plane without a network.
class Direct final : public Http {
 public:
  explicit Direct(control::ControlPlane& control) : control_(control) {}
  Result<std::unique_ptr<HttpServer>> serve(std::string, HttpHandler, std::size_t) override {
    return fail(Code::internal, "not here");
  }
  Task<Result<HttpResponse>> request(std::string, HttpRequest request, Duration) override {
    co_return co_await control_.handle(std::move(request));
  }
  Task<Status> request_stream(std::string, HttpRequest, PieceHandler) override {
    co_return fail(Code::internal, "not here");
  }

 private:
  control::ControlPlane& control_;
};

std::string export_of(control::ControlWorld& world) {
  auto& process = world.sim().start_process("operator", "ebb");
  sim::SimFiles files(process, std::make_shared<sim::SimDrive>());
  Direct http(world.control());
  Terminal terminal;
  Cli cli({world.sim().loop(), http, files, terminal, {{"EBB_TOKEN", "operator-token-0"}}});
  EXPECT_EQ(world.wait(cli.run({"export"})), 0) << terminal.talk;
  return terminal.data;
}

Result<FleetRecords> read(const std::string& text) {
  std::istringstream lines(text);
  return read_export(lines, "fleet.export");
}

struct ExportTest : testing::Test {
  control::ControlWorld world{0};

  ExportTest() {
    for (int i = 1; i <= 6; ++i)
      world.add_worker(fmt::format("w{}", i), 2 * GiB, {{"rack", i <= 2 ? "r1" : "r2"}});
    world.tick(3);
    world.import_image("guest");
    for (int i = 1; i <= 8; ++i)
      world.create_vm(fmt::format("vm-{}", i), i % 2 == 0 ? Storage::object : Storage::none);
    EXPECT_TRUE(world.tick_until([&] {
      for (int i = 1; i <= 8; ++i)
        if (!world.is_running(fmt::format("vm-{}", i))) return false;
      return true;
    }));
  }
  // Its VMs move, so that there is something to measure.
  void drain(const std::string& worker) {
    CreateDrain wish;
    wish.workers = {WorkerId(worker)};
    const auto reply = world.ask("POST", "/v1/drains", json::write_text(wish));
    ASSERT_EQ(reply.status, 201) << reply.body;
    const auto id = json::read_text<DrainView>(reply.body)->drain.id;
    EXPECT_TRUE(world.tick_until(
        [&] { return world.get<DrainView>("/v1/drains/" + id.value).drain.state == DrainState::done; }));
    ASSERT_EQ(world.ask("POST", "/v1/workers/" + worker + ":return").status, 200);
  }
};

TEST_F(ExportTest, WhatARealControlPlaneExportsCanBeAskedWhatIf) {
  drain("w1"), drain("w2"), drain("w3");
  const auto fleet = read(export_of(world));
  ASSERT_TRUE(fleet) << fleet.error().message;
  EXPECT_EQ(fleet->workers.size(), 6u);
  EXPECT_EQ(fleet->vms.size(), 8u);
  EXPECT_EQ(fleet->disks.size(), 4u);
  EXPECT_FALSE(fleet->phases.by_mechanism.empty());

  WhatIfOptions options;
  options.drains = {{.labels = {{"rack", "r2"}}, .text = "rack=r2"}};
  const auto report = ask_what_if(*fleet, options);
  ASSERT_TRUE(report) << report.error().message;
  EXPECT_EQ(report->violations, std::vector<std::string>());
  ASSERT_EQ(report->drains.size(), 1u);
  EXPECT_EQ(report->drains[0].state, "done") << text_of(*report);
  const auto on_r2 =
      std::ranges::count_if(fleet->vms, [](const Vm& vm) { return vm.worker > WorkerId("w2"); });
  EXPECT_EQ(report->moves.vms_moved, static_cast<std::uint64_t>(on_r2));
  // The plan goes by what was measured on the real fleet.
  for (const auto& [mechanism, times] : fleet->phases.by_mechanism)
    EXPECT_LT(times.total_ms(), drain::PhaseTimes{}.total_ms()) << json::name_of(mechanism);
  EXPECT_LT(report->drains[0].eta_ms, 8 * drain::PhaseTimes{}.total_ms());
}

TEST_F(ExportTest, AMoveThatIsUnderWayGoesOn) {
  CreateDrain wish;
  wish.selector = Labels{{"rack", "r1"}};
  ASSERT_EQ(world.ask("POST", "/v1/drains", json::write_text(wish)).status, 201);
  const auto text = export_of(world);
  const auto fleet = read(text);
  ASSERT_TRUE(fleet) << fleet.error().message;
  EXPECT_EQ(fleet->drains.size(), 1u);
  EXPECT_GT(fleet->holds.size(), 0u);
  WhatIfOptions options;
  options.drains = {{.labels = {{"rack", "r2"}}, .text = "rack=r2"}};
  options.drain_options.partial = true, options.patience = 2min;
  const auto report = ask_what_if(*fleet, options);
  ASSERT_TRUE(report) << report.error().message;
  EXPECT_EQ(report->violations, std::vector<std::string>());
  EXPECT_TRUE(report->is_ok()) << text_of(*report);
}

TEST_F(ExportTest, ABrokenExportIsRefusedWithWhatIsWrongAndWhere) {
  const auto whole = export_of(world);
  const auto refusal = [](const std::string& text) {
    const auto fleet = read(text);
    return fleet ? std::string("none") : fleet.error().message;
  };
  ASSERT_EQ(refusal(whole), "none");
  EXPECT_EQ(refusal(""), "fleet.export is empty");
  EXPECT_EQ(refusal("{}\n"), "fleet.export, line 1: it is no export: that begins with ebb_export");
  EXPECT_EQ(refusal("{\"ebb_export\":2}\n"),
            "fleet.export, line 1: the export has version 2; this program reads version 1");
  const auto end = whole.rfind("{\"end\"");
  const auto lines = std::ranges::count(whole, '\n');
  EXPECT_EQ(refusal(whole.substr(0, end)),
            fmt::format("fleet.export ends after line {}, in the middle: export again", lines - 1));
  const auto second = whole.find('\n') + 1, third = whole.find('\n', second) + 1;
  EXPECT_EQ(refusal(whole.substr(0, second) + "{\"ship\":{}}\n" + whole.substr(second)),
            "fleet.export, line 2: 'ship' is no kind of record that this program knows");
  EXPECT_TRUE(refusal(whole.substr(0, second) + "{\"vm\":\n").starts_with("fleet.export, line 2: "));
  EXPECT_EQ(refusal(whole.substr(0, second) + "{\"vm\":{\"ids\":1}}\n").substr(0, 22),
            "fleet.export, line 2: ");
  EXPECT_TRUE(
      refusal(whole.substr(0, second) + whole.substr(third)).contains("lines should stand before it"));
  auto without_worker = whole;
  const auto worker = whole.find("{\"worker\":{\"id\":\"w1\"");
  ASSERT_NE(worker, std::string::npos);
  without_worker.erase(worker, whole.find('\n', worker) + 1 - worker);
  without_worker.replace(without_worker.rfind("{\"end\""), std::string::npos,
                         fmt::format("{{\"end\":{{\"lines\":{}}}}}\n", lines - 3));
  const auto told = refusal(without_worker);
  EXPECT_TRUE(told.ends_with("is on worker w1, which is not in the export")) << told;
}

}  // namespace
}  // namespace ebb::what_if
