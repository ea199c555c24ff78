// Sessions as the three who take part see them: the operator, the control plane in between, the agent.
#include "control/sessions.h"

#include "base/base64.h"
#include "control/testing/fleet3.h"
#include "env/event_stream.h"

namespace ebb::control {
namespace {

// The reader of a stream; takes nothing while `is_stuck`.
template <class Event>
struct Reader final : BodyWriter {
  explicit Reader(Loop& loop) : taken(loop) {}
  Task<Status> write(std::string piece) override {
    while (is_stuck) co_await taken.wait();
    comments += piece == still_here;
    EXPECT_TRUE(reader.feed(piece));
    co_return Status{};
  }
  void go_on() { is_stuck = false, taken.notify_all(); }

  std::vector<Event> events;
  EventStreamReader reader{[this](std::string_view data) {
    auto event = json::read_text<Event>(data);
    ASSERT_TRUE(event) << event.error().message;
    events.push_back(*event);
  }};
  int comments = 0;
  bool is_stuck = false, has_ended = false;
  Notify taken;
};

struct SessionsTest : ::testing::Test {
  SessionsTest() : process(world.start_process("control", "ebbd")), sessions(process.loop()) {}

  template <class Event>
  void follow(Scope& scope, Task<void> stream, Reader<Event>& reader) {
    scope.spawn([](Task<void> body, Reader<Event>* out) -> Task<void> {
      co_await std::move(body);
      out->has_ended = true;
    }(std::move(stream), &reader));
  }
  Reader<SessionEvent>& watch(SessionKind kind = SessionKind::console) {
    SessionCall call;
    call.vm = VmId("vm-1"), call.epoch = 7, call.kind = kind, call.follow = true;
    follow(operator_side, sessions.show(WorkerId("w1"), call, &screen), screen);
    run(10ms);
    return screen;
  }
  SessionId id() const { return screen.events.at(0).session.value(); }
  Status bring(std::uint64_t sequence, std::vector<SessionEvent> events, std::uint64_t passed = 0) {
    std::optional<Status> taken;
    Scope scope(process.loop());
    scope.spawn([](Task<Status> task, std::optional<Status>* out) -> Task<void> {
      out->emplace(co_await std::move(task));
    }(sessions.take_output(id(), {sequence, std::move(events), passed}), &taken));
    EXPECT_TRUE(world.loop().run_until([&] { return taken.has_value(); }, 60s));
    return *taken;
  }
  void run(Duration duration) { EXPECT_TRUE(world.loop().run_for(duration)); }
  static SessionEvent said(std::string_view text) { return {.output = to_base64(text)}; }
  std::string shown() const {
    std::string text;
    for (const auto& event : screen.events)
      if (event.output) text += from_base64(*event.output).value();
    return text;
  }

  sim::SimWorld world;
  sim::SimProcess& process;
  Sessions sessions;
  Reader<SessionEvent> screen{process.loop()};
  Reader<SessionCall> calls{process.loop()};
  Reader<SessionInput> keys{process.loop()};
  Scope agent_side{process.loop()}, operator_side{process.loop()};
};

TEST_F(SessionsTest, TheAgentHearsOfASessionAndWhatItBringsIsShownOnceAndInOrder) {
  follow(agent_side, sessions.tell(WorkerId("w1"), &calls), calls);
  Reader<SessionCall> others(process.loop());
  follow(agent_side, sessions.tell(WorkerId("w2"), &others), others);
  run(1s);
  watch();
  ASSERT_EQ(calls.events.size(), 1u);
  EXPECT_EQ(calls.events[0].vm, VmId("vm-1"));
  EXPECT_EQ(calls.events[0].session, id());
  EXPECT_TRUE(others.events.empty()) << "it is w1's";
  EXPECT_TRUE(bring(1, {said("one "), said("two ")}));
  EXPECT_TRUE(bring(1, {said("one "), said("two ")})) << "its answer was lost";
  EXPECT_TRUE(bring(2, {said("three"), {.end = SessionEnd{SessionEndKind::left, ""}}, said("never")}));
  run(1s);
  EXPECT_EQ(shown(), "one two three");
  EXPECT_TRUE(screen.has_ended);
  EXPECT_EQ(screen.events.back().end->kind, SessionEndKind::left);
  EXPECT_EQ(sessions.size(), 0u);
  EXPECT_EQ(bring(3, {said("late")}).error().code, Code::not_found);
}

TEST_F(SessionsTest, AnAgentThatComesLaterHearsOfSessionsThatHaveBegun) {
  watch();
  follow(agent_side, sessions.tell(WorkerId("w1"), &calls), calls);
  run(1s);
  ASSERT_EQ(calls.events.size(), 1u);
  run(60s);
  EXPECT_EQ(calls.events.size(), 1u) << "once on one stream";
  EXPECT_GE(calls.comments, 3);
}

TEST_F(SessionsTest, ASessionIsTakenOnceAndEndsWithTheAgentsStream) {
  watch();
  {
    Scope first(process.loop());
    follow(first, sessions.tell(WorkerId("w1"), &calls), calls);
    follow(first, sessions.give_input(id(), &keys), keys);
    run(1s);
    EXPECT_EQ(keys.events.size(), 1u) << "it is yours";
    EXPECT_TRUE(bring(1, {said("one ")}));
    Reader<SessionCall> again(process.loop());
    follow(agent_side, sessions.tell(WorkerId("w1"), &again), again);
    run(1s);
    EXPECT_TRUE(again.events.empty()) << "it has been taken";
    EXPECT_FALSE(screen.has_ended);
    agent_side.cancel();
  }
  run(1s);
  EXPECT_TRUE(screen.has_ended);
  EXPECT_EQ(shown(), "one ");
  EXPECT_EQ(screen.events.back().end->text, "the agent of w1 has broken off");
}

TEST_F(SessionsTest, ASessionIsTakenOnceAndASecondTakerEndsIt) {
  watch();
  Reader<SessionInput> second(process.loop());
  follow(agent_side, sessions.give_input(id(), &keys), keys);
  run(1s);
  follow(agent_side, sessions.give_input(id(), &second), second);
  run(1s);
  EXPECT_TRUE(second.events.empty());
  EXPECT_TRUE(second.has_ended && screen.has_ended);
}

TEST_F(SessionsTest, BothStreamsShowThatTheyAreAliveHoweverMuchIsSaidOnTheOther) {
  watch();
  follow(agent_side, sessions.give_input(id(), &keys), keys);
  for (std::uint64_t i = 1; i <= 60; ++i) {
    ASSERT_TRUE(bring(i, {said("x")}));
    run(1s);
  }
  EXPECT_GE(keys.comments, 10) << "while only output came";
  screen.comments = 0;
  std::uint64_t passed = 0;
  for (std::uint64_t i = 1; i <= 60; ++i) {
    ASSERT_TRUE(sessions.type(id(), {i, to_base64("k")}));
    run(1s);
    if (i % 4 == 0) ASSERT_TRUE(bring(60 + i / 4, {}, ++passed));
  }
  EXPECT_GE(screen.comments, 10) << "while only input came";
}

TEST_F(SessionsTest, WhatIsTypedReachesTheAgentOnceAndInOrderUnlessTheSessionShowsLogs) {
  watch();
  EXPECT_TRUE(sessions.type(id(), {1, to_base64("l")}));
  follow(agent_side, sessions.give_input(id(), &keys), keys);
  run(1s);
  EXPECT_TRUE(sessions.type(id(), {2, to_base64("s\r")}));
  EXPECT_TRUE(sessions.type(id(), {2, to_base64("s\r")})) << "its answer was lost";
  EXPECT_EQ(sessions.type(id(), {4, to_base64("x")}).error().code, Code::invalid) << "one is missing";
  run(1s);
  std::string typed;
  for (const auto& key : keys.events) typed += from_base64(key.input).value();
  EXPECT_EQ(typed, "ls\r");
  EXPECT_EQ(sessions.type(SessionId("other"), {1, to_base64("x")}).error().code, Code::not_found);

  Reader<SessionEvent> logs(process.loop());
  SessionCall call;
  call.vm = VmId("vm-1"), call.kind = SessionKind::logs;
  follow(operator_side, sessions.show(WorkerId("w1"), call, &logs), logs);
  run(10ms);
  EXPECT_EQ(sessions.type(logs.events.at(0).session.value(), {1, to_base64("x")}).error().code,
            Code::invalid);
}

TEST_F(SessionsTest, NobodyTypesMoreThanTheAgentPassesOn) {
  watch();
  const auto much = to_base64(std::string(60'000, 'x'));
  std::uint64_t taken = 0;
  while (taken < 100 && sessions.type(id(), {taken + 1, much})) ++taken;
  EXPECT_EQ(taken, 4u) << "256 KiB";
  EXPECT_EQ(sessions.type(id(), {taken + 1, much}).error().code, Code::busy);
  follow(agent_side, sessions.give_input(id(), &keys), keys);
  run(1s);
  EXPECT_EQ(sessions.type(id(), {taken + 1, much}).error().code, Code::busy)
      << "the agent has it, and the guest has not";
  EXPECT_TRUE(bring(1, {}, 60'000));
  EXPECT_TRUE(sessions.type(id(), {taken + 1, much}));
  EXPECT_EQ(sessions.type(id(), {taken + 2, to_base64(std::string(300'000, 'x'))}).error().code,
            Code::invalid);
}

TEST_F(SessionsTest, APortSendsNoMoreThanIsReadAtItsOtherEnd) {
  watch(SessionKind::port);
  const std::string piece(100'000, 'x');
  std::uint64_t brought = 0;
  while (brought < 100 && bring(brought + 1, {said(piece)})) ++brought;
  EXPECT_GE(shown().size(), std::size_t{1} << 20);
  EXPECT_LT(shown().size(), (std::size_t{1} << 20) + 2 * piece.size());
  const auto before = shown().size();
  SessionInput read{1, ""};
  read.read = before;
  EXPECT_TRUE(sessions.type(id(), read));
  run(1s);
  EXPECT_GT(shown().size(), before);
}

TEST_F(SessionsTest, TheEndOfAPortIsSentThoughItsReaderIsSlow) {
  watch(SessionKind::port);
  const std::string piece(100'000, 'x');
  std::uint64_t brought = 0;
  while (brought < 100 && shown().size() < 1'000'000 && bring(brought + 1, {said(piece)})) ++brought;
  EXPECT_TRUE(bring(brought + 1, {said(piece)}));
  EXPECT_TRUE(bring(brought + 2, {said("last"), {.end = SessionEnd{}}})) << "behind the window";
  run(1s);
  EXPECT_TRUE(screen.has_ended);
  EXPECT_TRUE(shown().ends_with("last"));
}

TEST_F(SessionsTest, WhatWasReadCountsAlsoWhenTheInputFindsNoRoom) {
  watch(SessionKind::port);
  const auto much = to_base64(std::string(200'000, 'k'));
  EXPECT_TRUE(sessions.type(id(), {1, much}));
  const std::string piece(100'000, 'x');
  std::uint64_t brought = 0;
  while (brought < 100 && bring(brought + 1, {said(piece)})) ++brought;
  const auto before = shown().size();
  SessionInput refused{2, much};
  refused.read = before;
  EXPECT_EQ(sessions.type(id(), refused).error().code, Code::busy);
  run(1s);
  EXPECT_GT(shown().size(), before) << "the other direction goes on";
}

TEST_F(SessionsTest, ASilentAgentEndsTheSessionAndSaysWhoWasSilent) {
  watch();
  run(14s);
  EXPECT_FALSE(screen.has_ended);
  EXPECT_TRUE(bring(1, {})) << "nothing to say, but there";
  run(14s);
  EXPECT_FALSE(screen.has_ended);
  EXPECT_GE(screen.comments, 4);
  run(10s);
  EXPECT_TRUE(screen.has_ended);
  EXPECT_EQ(screen.events.back().end->kind, SessionEndKind::unavailable);
  EXPECT_NE(screen.events.back().end->text.find("w1 has said nothing for 15"), std::string::npos);
  EXPECT_EQ(sessions.size(), 0u);
}

TEST_F(SessionsTest, WhenTheOperatorGoesTheAgentIsLetGo) {
  watch();
  const auto session = id();
  follow(agent_side, sessions.give_input(session, &keys), keys);
  run(1s);
  EXPECT_FALSE(keys.has_ended);
  operator_side.cancel();
  run(1s);
  EXPECT_TRUE(keys.has_ended);
  EXPECT_EQ(sessions.size(), 0u);
  EXPECT_EQ(sessions.type(session, {}).error().code, Code::not_found);
}

TEST_F(SessionsTest, AnOperatorWhoDoesNotReadHoldsUpTheAgentAndNotOurMemory) {
  watch();
  screen.is_stuck = true;
  const std::string much(100'000, 'x');
  int taken = 0;
  while (taken < 100 && bring(static_cast<std::uint64_t>(taken + 1), {said(much)})) ++taken;
  EXPECT_GE(taken, 2);
  EXPECT_LE(taken, 4);
  EXPECT_FALSE(screen.has_ended) << "the agent was there all the time";
  screen.go_on();
  run(1s);
  EXPECT_EQ(shown().size(), much.size() * static_cast<std::size_t>(taken));
}

TEST(SessionRoutes, ASessionBeginsWhereTheVmIsAndWhatCannotBeShownIsRefused) {
  ControlWorld w;
  w.import_image("guest");
  w.create_vm("vm-1");
  EXPECT_EQ(w.ask("GET", "/v1/vms/none/logs").status, 404);
  EXPECT_EQ(w.ask("GET", "/v1/vms/vm-1/logs").status, 409) << "it is on no worker yet";
  EXPECT_EQ(w.ask("GET", "/v1/vms/vm-1/logs?tail=x").status, 400);
  ASSERT_TRUE(w.tick_until([&] { return w.is_running("vm-1"); }));
  EXPECT_EQ(w.ask("GET", "/v1/vms/vm-1/logs?tail=2000000").status, 400);
  EXPECT_EQ(w.ask("GET", "/v1/vms/vm-1/logs", "", "join-token-0").status, 401);
  EXPECT_EQ(w.ask("GET", "/v1/agent/workers/w9/sessions", "", "join-token-0").status, 404);
  EXPECT_EQ(w.ask("POST", "/v1/sessions/none/input", R"({"input":"eA=="})").status, 404);
  EXPECT_EQ(w.ask("POST", "/v1/sessions/none/input", R"({"input":"?"})").status, 400);
  EXPECT_EQ(w.ask("POST", "/v1/agent/sessions/none/output", R"({"sequence":1})", "join-token-0").status, 404);

  const auto view = w.get<VmView>("/v1/vms/vm-1");
  auto call_for = [&](const std::string& query) {
    Scope scope(w.sim().loop());
    Reader<SessionCall> calls(w.sim().loop());
    Reader<SessionEvent> screen(w.sim().loop());
    auto told = std::make_shared<HttpResponse>(
        w.ask("GET", "/v1/agent/workers/" + view.vm.worker->value + "/sessions", "", "join-token-0"));
    auto shown = std::make_shared<HttpResponse>(w.ask("GET", "/v1/vms/vm-1/logs" + query));
    EXPECT_EQ(shown->status, 200) << shown->body;
    EXPECT_EQ(shown->headers.at("content-type"), "text/event-stream");
    auto run = [](std::shared_ptr<HttpResponse> reply, BodyWriter* out) -> Task<void> {
      co_await reply->stream(*out);
    };
    scope.spawn(run(told, &calls));
    scope.spawn(run(shown, &screen));
    EXPECT_TRUE(w.sim().loop().run_for(100ms));
    EXPECT_EQ(calls.events.size(), 1u);
    return calls.events.empty() ? SessionCall() : calls.events[0];
  };
  EXPECT_EQ(w.ask("GET", "/v1/vms/vm-1/ports/http").status, 404) << "it has none";
  auto exec = [&](const std::string& body) { return w.ask("POST", "/v1/vms/vm-1/exec", body); };
  for (const std::string body : {"{}", R"({"words":[]})", R"({"words":[""]})", R"({"words":["a\u0000b"]})",
                                 R"({"words":["a"],"input":"?"})", R"({"words":["a"],"shell":true})"})
    EXPECT_EQ(exec(body).status, 400) << body;
  EXPECT_EQ(exec(R"({"words":["/bin/true"]})").status, 200);
  auto call = call_for("?follow=true&tail=5");
  EXPECT_EQ(call.epoch, view.vm.epoch);
  EXPECT_TRUE(call.follow);
  EXPECT_EQ(call.tail_lines, 5u);
  const auto here = fmt::format("?worker={}&epoch={}&position=77&tail=5", *view.vm.worker, view.vm.epoch);
  EXPECT_EQ(call_for(here).position, 77u);
  const auto before =
      fmt::format("?worker={}&epoch={}&position=77&tail=5", *view.vm.worker, view.vm.epoch - 1);
  EXPECT_EQ(call_for(before).epoch, view.vm.epoch - 1) << "the rest of what it said there";
  EXPECT_EQ(call_for(before).position, 77u);

  EXPECT_EQ(w.ask("POST", "/v1/vms/vm-1:stop").status, 200);
  ASSERT_TRUE(w.tick_until([&] { return !w.get<VmView>("/v1/vms/vm-1").vm.worker; }));
  EXPECT_EQ(w.get<VmView>("/v1/vms/vm-1").vm.stopped_on, view.vm.worker);
  EXPECT_EQ(call_for("?tail=5").epoch, view.vm.epoch) << "what it said last is where it was stopped";
  EXPECT_EQ(w.ask("POST", "/v1/vms/vm-1:start").status, 200);
  ASSERT_TRUE(w.tick_until([&] { return w.is_running("vm-1"); }));
  EXPECT_FALSE(w.get<VmView>("/v1/vms/vm-1").vm.stopped_on);
}

}  // namespace
}  // namespace ebb::control
