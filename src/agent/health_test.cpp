// A VM with a health check: when it counts as running, and what is said of it.
#include "agent/testing.h"

namespace ebb::agent::testing {
namespace {

// What answers in the guest, on the port that is forwarded to it.
struct Service {
  Service(sim::SimWorld& world, sim::SimSockets& sockets)
      : process(world.start_process(worker_host, "service")), network(process, sockets) {}
  void listen(std::uint16_t port) {
    listener = network
                   .listen(fmt::format("127.0.0.1:{}", port),
                           [this](std::unique_ptr<Stream> stream) { return serve(std::move(stream)); })
                   .value();
  }
  Task<void> serve(std::unique_ptr<Stream> stream) {
    if (closes) co_return;
    Bytes buffer(4096);
    auto size = co_await stream->read_some(buffer);
    if (size) request = as_text(ByteView(buffer).first(*size));
    if (answer.empty()) co_await sleep_for(process.loop(), 1h);
    for (const char c : answer) {
      const std::string piece(1, c);
      std::vector<ByteView> parts{as_bytes(piece)};
      if (!co_await stream->write_all(std::move(parts))) co_return;
    }
  }
  sim::SimProcess& process;
  sim::SimNetwork network;
  std::unique_ptr<Listener> listener;
  bool closes = false;
  std::string answer = "HTTP/1.1 200 OK\r\n\r\n", request;
};

struct HealthTest : AgentTest {
  WantedVm checked(HealthKind kind) {
    auto wish = vm("a", 5);
    wish.health = HealthCheck{.kind = kind, .port = "http"};
    wish.health->interval_ms = 2'000, wish.health->timeout_ms = 1'000, wish.health->start_grace_ms = 30'000;
    if (kind == HealthKind::http) wish.health->path = "/healthz";
    return wish;
  }
  std::uint16_t port() const { return control_.seen("a")->ports.at("http"); }
  // The guest is up, and has not answered yet.
  void boot(HealthKind kind) {
    start_agent();
    control_.want({checked(kind)});
    ASSERT_TRUE(run_until([&] { return control_.seen("a") && control_.seen("a")->health; }));
    EXPECT_EQ(control_.seen("a")->state, VmSeen::starting);
    EXPECT_FALSE(control_.seen("a")->health->is_healthy);
  }
  bool becomes(bool healthy, Duration limit = 60s) {
    return run_until(
        [&] { return control_.seen("a")->health && control_.seen("a")->health->is_healthy == healthy; },
        limit);
  }
  std::string error() const { return control_.seen("a")->error; }
  Service service{world_, sockets_};
};

TEST_F(HealthTest, AVmIsStartingUntilItIsHealthy) {
  boot(HealthKind::http);
  run_for(5s);
  EXPECT_TRUE(control_.sees("a", VmSeen::starting, 5));
  EXPECT_TRUE(error().starts_with("its health check fails: ")) << error();
  service.listen(port());
  ASSERT_TRUE(reaches("a", VmSeen::running, 5));
  EXPECT_TRUE(control_.seen("a")->health->is_healthy);
  EXPECT_EQ(error(), "");
  EXPECT_TRUE(service.request.starts_with("GET /healthz HTTP/1.0\r\n")) << service.request;
  EXPECT_GT(*control_.seen("a")->timings.boot_ms, 5'000u) << "being up was not enough";
}

TEST_F(HealthTest, AVmThatIsNeverHealthyRunsAllTheSameAfterItsGrace) {
  boot(HealthKind::tcp);
  run_for(20s);
  EXPECT_TRUE(control_.sees("a", VmSeen::starting, 5));
  ASSERT_TRUE(reaches("a", VmSeen::running, 5));
  EXPECT_FALSE(control_.seen("a")->health->is_healthy);
  EXPECT_FALSE(error().empty());
}

TEST_F(HealthTest, AHealthyVmIsUnhealthyAfterSoManyFailuresInARowAndNoneSooner) {
  boot(HealthKind::http);
  service.listen(port());
  ASSERT_TRUE(becomes(true));
  const auto since = control_.seen("a")->health->since;
  service.answer = "HTTP/1.1 503 No\r\n\r\n";
  run_for(3s);  // one failure, or two
  service.answer = "HTTP/1.1 204 Yes\r\n\r\n";
  run_for(10s);
  EXPECT_TRUE(control_.seen("a")->health->is_healthy);
  EXPECT_EQ(control_.seen("a")->health->since, since);
  service.answer = "HTTP/1.1 503 No\r\n\r\n";
  ASSERT_TRUE(becomes(false));
  EXPECT_TRUE(control_.sees("a", VmSeen::running, 5)) << "and nobody stops it";
  EXPECT_EQ(error(), "its health check fails: GET /healthz is answered with 503");
  EXPECT_GT(control_.seen("a")->health->since, since);
  service.answer = "HTTP/1.1 200 Yes\r\n\r\n";
  ASSERT_TRUE(becomes(true));
  EXPECT_TRUE(run_until([&] { return error().empty(); }));
}

TEST_F(HealthTest, WhatIsNoAnswerIsNoHealth) {
  boot(HealthKind::http);
  service.listen(port());
  for (const std::string answer :
       {"", "220 mail.example.org ESMTP\r\n", "HTTP/1.1 2000 OK\r\n", "HTTP/1.1 1", "HTTP/2 x\r\n"}) {
    service.answer = answer;
    run_for(4s);
    EXPECT_TRUE(control_.sees("a", VmSeen::starting, 5)) << answer;
  }
  service.answer = std::string(100'000, 'x');
  run_for(4s);
  EXPECT_TRUE(control_.sees("a", VmSeen::starting, 5)) << "without an end";
}

TEST_F(HealthTest, AConnectionThatIsClosedAtOnceIsNobodyWhoListens) {
  boot(HealthKind::tcp);
  service.closes = true;
  service.listen(port());
  run_for(5s);
  EXPECT_TRUE(control_.sees("a", VmSeen::starting, 5));
  service.closes = false;
  ASSERT_TRUE(reaches("a", VmSeen::running, 5));
}

TEST_F(HealthTest, ACheckThatIsChangedOrTakenAwayCountsAtOnce) {
  boot(HealthKind::tcp);
  control_.want({vm("a", 5)});
  ASSERT_TRUE(reaches("a", VmSeen::running, 5));
  EXPECT_FALSE(control_.seen("a")->health);
  service.answer = "HTTP/1.1 500 No\r\n\r\n";
  service.listen(port());
  control_.want({checked(HealthKind::tcp)});
  ASSERT_TRUE(becomes(true));
  control_.want({checked(HealthKind::http)});
  ASSERT_TRUE(becomes(false));
}

TEST_F(HealthTest, APauseBeforeItWasHealthyDoesNotMakeItRun) {
  boot(HealthKind::http);
  control_.on_report = [](const AgentReport& report) {
    for (const auto& told : report.vms) EXPECT_NE(told.state, VmSeen::running);
  };
  auto& hypervisor = service.process.make<sim::SimHypervisor>(service.process, machines_);
  EXPECT_TRUE(*sim::run_in(service.process, hypervisor.pause(VmId("a"))));
  run_for(2s);
  EXPECT_TRUE(control_.sees("a", VmSeen::starting, 5));
}

TEST_F(HealthTest, AMovedGuestIsAskedAnew) {
  boot(HealthKind::tcp);
  service.listen(port());
  ASSERT_TRUE(reaches("a", VmSeen::running, 5));
  machines_.crash(VmId("a"));
  ASSERT_TRUE(run_until(
      [&] { return control_.seen("a")->state == VmSeen::starting && !control_.seen("a")->health; }));
  run_for(6s);
  EXPECT_TRUE(control_.sees("a", VmSeen::starting, 5)) << "its port is another now, where nobody listens";
  service.listen(port());
  ASSERT_TRUE(reaches("a", VmSeen::running, 5));
}

}  // namespace
}  // namespace ebb::agent::testing
