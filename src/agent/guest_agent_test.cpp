// The guest's agent as the worker speaks to it: a guest may answer late, wrongly, or not at all.
#include "agent/guest_agent.h"

#include <gtest/gtest.h>

#include "base/base64.h"
#include "env/scope.h"
#include "sim/run_in.h"
#include "sim/sim_network.h"

namespace ebb::agent {
namespace {

const std::string address = "unix:/machine/agent.sock";

// Answers each line with what the test gives it; knows one program at a time.
struct FakeGuestAgent {
  explicit FakeGuestAgent(sim::SimProcess& p, sim::SimSockets& sockets) : process(p), network(p, sockets) {
    listener =
        network.listen(address, [this](std::unique_ptr<Stream> stream) { return serve(std::move(stream)); })
            .value();
  }
  Task<void> serve(std::unique_ptr<Stream> stream) {
    ++connections;
    Bytes buffer(4096);
    std::string text;
    for (;;) {
      auto size = co_await stream->read_some(buffer);
      if (!size || *size == 0) co_return;
      text += as_text(ByteView(buffer).first(*size));
      for (auto end = text.find('\n'); end != std::string::npos; end = text.find('\n')) {
        auto line = text.substr(0, end);
        text.erase(0, end + 1);
        if (is_silent) continue;
        co_await sleep_for(process.loop(), 1ms);
        auto reply = answer(line);
        for (std::size_t at = 0; at < reply.size(); at += 1000) {
          const auto piece = reply.substr(at, 1000);
          std::vector<ByteView> parts{as_bytes(piece)};
          if (!co_await stream->write_all(std::move(parts))) co_return;
        }
      }
    }
  }
  std::string answer(std::string line) {
    if (line.starts_with('\xff')) line.erase(0, 1);
    auto request = json::parse(line).value().as_object();
    const auto name = std::string(request.at("execute").as_string());
    if (name == "guest-sync-delimited") busy_max = std::max(busy_max, ++busy);
    if (name == "guest-sync-delimited")
      return left_over + "\xff" + json::to_text(json::Object{{"return", request.at("arguments").at("id")}}) +
             "\n";
    --busy;
    asked.push_back(line);
    const auto reply = on_request(name);  // empty: it answers nothing
    return reply.empty() ? reply : reply + "\n";
  }

  sim::SimProcess& process;
  sim::SimNetwork network;
  std::unique_ptr<Listener> listener;
  std::vector<std::string> asked;
  std::function<std::string(const std::string&)> on_request = [](const std::string&) {
    return R"({"return":{}})";
  };
  std::string left_over;  // of an exchange that somebody gave up
  bool is_silent = false;
  int connections = 0, busy = 0, busy_max = 0;
};

struct GuestAgentTest : ::testing::Test {
  template <class T>
  T run(Task<T> task) {
    return *sim::run_in(worker, std::move(task), 10min);
  }
  sim::SimWorld world;
  sim::SimSockets sockets;
  sim::SimProcess& worker = world.start_process("worker-1", "agent");
  sim::SimNetwork network{worker, sockets};
  FakeGuestAgent guest{world.start_process("worker-1", "machine"), sockets};
  GuestAgents agents{worker.loop(), network};
};

TEST_F(GuestAgentTest, AProgramIsRunAndWhatItPrintedComesBack) {
  int looks = 0;
  guest.on_request = [&](const std::string& name) -> std::string {
    if (name == "guest-exec") return R"({"return":{"pid":77}})";
    if (++looks < 3) return R"({"return":{"exited":false}})";
    return fmt::format(R"({{"return":{{"exited":true,"exitcode":3,"out-data":"{}","err-data":"{}"}}}})",
                       to_base64(std::string(100'000, 'x')), to_base64("oh\n"));
  };
  auto end = run(agents.run(address, {{"/bin/ls", "-l", "a b"}, to_base64("in")}));
  ASSERT_TRUE(end) << end.error().message;
  EXPECT_EQ(end->status, 3u);
  EXPECT_EQ(end->output, std::string(100'000, 'x'));
  EXPECT_EQ(end->error_output, "oh\n");
  EXPECT_FALSE(end->is_cut);
  EXPECT_EQ(
      guest.asked.at(0),
      R"({"execute":"guest-exec","arguments":{"path":"/bin/ls","arg":["-l","a b"],"capture-output":true,"input-data":"aW4="}})");
  EXPECT_EQ(guest.asked.at(1), R"({"execute":"guest-exec-status","arguments":{"pid":77}})");
  EXPECT_EQ(looks, 3);
}

// It answers nothing, as it says itself: what counts is that it has read the question.
TEST_F(GuestAgentTest, AGuestIsAskedToPowerItselfOff) {
  guest.on_request = [](const std::string&) { return ""; };
  EXPECT_TRUE(run(agents.power_off(address, 5s)));
  EXPECT_EQ(guest.asked.at(0), R"({"execute":"guest-shutdown","arguments":{"mode":"powerdown"}})");
  guest.on_request = [](const std::string&) {
    return R"({"error":{"class":"GenericError","desc":"child process has failed to shutdown"}})";
  };
  auto refused = run(agents.power_off(address, 5s));
  ASSERT_FALSE(refused);
  EXPECT_TRUE(refused.error().message.contains("failed to shutdown")) << refused.error().message;
  guest.is_silent = true;
  EXPECT_EQ(run(agents.power_off(address, 5s)).error().code, Code::unavailable);
}

TEST_F(GuestAgentTest, ASignalAndACutOutputAreTold) {
  guest.on_request = [](const std::string& name) -> std::string {
    return name == "guest-exec" ? R"({"return":{"pid":1}})"
                                : R"({"return":{"exited":true,"signal":9,"out-truncated":true}})";
  };
  auto end = run(agents.run(address, {{"/bin/true"}}));
  ASSERT_TRUE(end);
  EXPECT_EQ(end->status, 137u);
  EXPECT_TRUE(end->is_cut);
}

TEST_F(GuestAgentTest, WhatTheGuestRefusesIsSaidInItsWords) {
  guest.on_request = [](const std::string&) {
    return R"json({"error":{"class":"GenericError","desc":"Failed to execute child process (No such file or directory)"}})json";
  };
  auto end = run(agents.run(address, {{"/no/such"}}));
  ASSERT_FALSE(end);
  EXPECT_EQ(end.error().code, Code::invalid);
  EXPECT_TRUE(end.error().message.contains("No such file")) << end.error().message;
  guest.on_request = [](const std::string&) {
    return json::to_text(
        json::Object{{"error", json::Object{{"desc", "\x1b[2J\x07" + std::string(50'000, 'x')}}}});
  };
  const auto hostile = run(agents.run(address, {{"/bin/true"}})).error().message;
  EXPECT_LT(hostile.size(), 400u);
  EXPECT_FALSE(hostile.contains('\x1b')) << "it is shown on operators' terminals";
}

TEST_F(GuestAgentTest, ASilentGuestIsGivenUpAndTheNextExchangeIsWellAgain) {
  guest.is_silent = true;
  EXPECT_EQ(run(agents.ping(address, 3s)).error().code, Code::unavailable);
  guest.is_silent = false;
  EXPECT_TRUE(run(agents.ping(address, 3s)));
  EXPECT_EQ(guest.connections, 2);
}

// An answer that came after somebody had given up waiting for it is not taken for that of the next question.
TEST_F(GuestAgentTest, AnAnswerOfBeforeIsPassedOver) {
  guest.left_over = R"({"return":{"pid":666}})"
                    "\n"
                    "\xff"
                    R"({"return":4})"
                    "\n";
  guest.on_request = [](const std::string& name) -> std::string {
    return name == "guest-exec" ? R"({"return":{"pid":1}})" : R"({"return":{"exited":true,"exitcode":0}})";
  };
  EXPECT_TRUE(run(agents.run(address, {{"/bin/true"}})));
  EXPECT_EQ(guest.asked.back(), R"({"execute":"guest-exec-status","arguments":{"pid":1}})");
}

TEST_F(GuestAgentTest, WhatIsNoGuestAgentIsGivenUpWhateverItSays) {
  for (const std::string reply : {"hello", "[]", R"({"returns":1})", R"({"return":"pid"})",
                                  R"({"return":{"pid":"1"}})", R"({"error":7})"}) {
    guest.on_request = [&](const std::string&) { return reply; };
    EXPECT_FALSE(run(agents.run(address, {{"/bin/true"}}))) << reply;
  }
  guest.on_request = [](const std::string&) { return std::string(1024 * 1024, 'x'); };
  auto end = run(agents.run(address, {{"/bin/true"}}));
  ASSERT_FALSE(end);
  EXPECT_TRUE(end.error().message.contains("longer than")) << end.error().message;
  guest.left_over = std::string(100'000, '\n') + std::string(2'000'000, 'y') + "\xff[0,0]\n";
  guest.on_request = [](const std::string&) { return R"({"return":{}})"; };
  EXPECT_TRUE(run(agents.ping(address, 10s))) << "what is left of a long answer is passed over";
  EXPECT_EQ(run(agents.ping("", 1s)).error().code, Code::unavailable) << "a machine of an earlier agent";
  EXPECT_EQ(run(agents.ping("unix:/nobody", 1s)).error().code, Code::unavailable);
}

TEST_F(GuestAgentTest, APortHasOneReaderAtATime) {
  Scope scope(worker.loop());
  int done = 0;
  for (int i = 0; i < 5; ++i) {
    scope.spawn([](GuestAgents* all, int* count) -> Task<void> {
      if (co_await all->ping(address, 10s)) ++*count;
    }(&agents, &done));
  }
  EXPECT_TRUE(world.loop().run_until([&] { return done == 5; }, 1min));
  EXPECT_EQ(guest.busy_max, 1);
}

}  // namespace
}  // namespace ebb::agent
