// ebb logs and ebb console against a scripted control plane.
#include <gtest/gtest.h>

#include "base/base64.h"
#include "cli/visible_text.h"
#include "fake_world.h"
#include "sample_fleet.h"

namespace ebb {
namespace {

using fake::refuse;
using fake::reply;

std::string events(const std::vector<SessionEvent>& all) {
  std::string text;
  for (const auto& event : all) text += fmt::format("data: {}\n\n", json::write_text(event));
  return text;
}
SessionEvent at(std::string worker, Epoch epoch, std::uint64_t position = 0) {
  return {.at = ConsolePoint{WorkerId(std::move(worker)), epoch, position}};
}
SessionEvent said(std::string_view text) { return {.output = to_base64(text)}; }
SessionEvent end(SessionEndKind kind, std::string text = {}) {
  return {.end = SessionEnd{kind, std::move(text)}};
}

// Keys in pieces; then the end of a file, or silence.
class Keys final : public Keyboard {
 public:
  explicit Keys(Loop& loop) : loop_(loop) {}
  bool is_terminal() const override { return terminal; }
  Status set_raw(bool raw) override {
    is_raw = raw, was_raw = was_raw || raw;
    return {};
  }
  Task<Result<std::string>> read() override {
    co_await sleep_for(loop_, 10ms);
    if (pieces.empty() && terminal) co_await sleep_for(loop_, 24h);
    if (pieces.empty()) co_return std::string();
    auto first = pieces.front();
    pieces.erase(pieces.begin());
    co_return first;
  }
  bool terminal = true, is_raw = false, was_raw = false;
  std::vector<std::string> pieces;

 private:
  Loop& loop_;
};

// Answers each session with the next of `legs`.
struct ConsoleCommand : testing::Test {
  ConsoleCommand() {
    view = sample::vm("db-1");
    view.vm.worker = WorkerId("worker-1"), view.vm.epoch = 5;
    world.http.handler = [this](const HttpRequest& request) { return answer(request); };
  }
  HttpResponse answer(const HttpRequest& request) {
    const auto& target = request.target;
    if (target.contains("/logs?") || target.contains("/console?")) {
      asked.push_back(target);
      if (legs.empty()) return refuse(404, "not_found", "there is no VM db-1");
      auto leg = legs.front();
      legs.erase(legs.begin());
      if (on_leg) on_leg(legs.size());
      return leg;
    }
    if (target.ends_with("/input")) {
      auto input = json::read_text<SessionInput>(request.body).value();
      if (refused_inputs > 0)
        return --refused_inputs, refuse(429, "busy", "worker-1 has not passed on what was typed");
      EXPECT_EQ(input.sequence, ++inputs);
      typed += from_base64(input.input).value();
      return {200, {}, "{}", {}};
    }
    if (target.starts_with("/v1/migrations")) {
      auto move = sample::migration("mig-1", "db-1", sample::all_phases);
      move.migration.source = WorkerId("worker-1"), move.migration.source_epoch = 5;
      move.migration.drain = DrainId("drain-3");
      return reply(Page<MigrationView>{{move}, {}});
    }
    if (is_gone) return refuse(404, "not_found", "there is no VM db-1");
    return reply(view);
  }
  static HttpResponse leg(const std::vector<SessionEvent>& all) { return {200, {}, events(all), {}}; }

  fake::World world;
  VmView view;
  bool is_gone = false;
  std::vector<HttpResponse> legs;
  std::function<void(std::size_t left)> on_leg;
  std::vector<std::string> asked;
  std::string typed;
  std::uint64_t inputs = 0;
  int refused_inputs = 0;
};

TEST_F(ConsoleCommand, LogsArePrintedAsTheyAreAndNothingElse) {
  legs = {leg({at("worker-1", 5, 100), said("a\x1b[31mb\r\n"), said("c"), end(SessionEndKind::complete)})};
  EXPECT_EQ(world.ebb({"logs", "db-1", "-n", "7"}), 0);
  EXPECT_EQ(world.screen.data, "a\x1b[31mb\r\nc");
  EXPECT_EQ(world.screen.talk, "");
  EXPECT_EQ(asked, std::vector<std::string>{"/v1/vms/db-1/logs?follow=false&tail=7"});
}

TEST_F(ConsoleCommand, AGuestDoesNotCommandTheTerminalOfWhoReadsItsLogs) {
  world.screen.data_is_terminal = true;
  const std::vector<SessionEvent> hostile{at("worker-1", 5),
                                          said("a\x1b]0;title\x07\x1b[2J\r\n\tb\x7f \xc3\xa4\n"),
                                          end(SessionEndKind::complete)};
  legs = {leg(hostile), leg(hostile)};
  EXPECT_EQ(world.ebb({"logs", "db-1"}), 0);
  EXPECT_EQ(world.screen.data, "a^[]0;title^G^[[2J\n\tb^? \xc3\xa4\n");
  EXPECT_EQ(world.ebb({"logs", "db-1", "--raw"}), 0);
  EXPECT_TRUE(world.screen.data.contains("\x1b]0;title\x07"));
}

TEST(VisibleText, ShowsCharactersAndNoControlsHoweverTheyComeInPieces) {
  const std::pair<std::string, std::string> cases[] = {
      {"a\tb\r\n", "a\tb\n"},
      {"\x1b[2J", "^[[2J"},
      {"\xc3\xa4\xe2\x82\xac\xf0\x9f\x99\x82", "\xc3\xa4\xe2\x82\xac\xf0\x9f\x99\x82"},
      {"\x9b"
       "2J",
       "<9b>2J"},
      {"\xc2\x9b"
       "2J",
       "<c2><9b>2J"},
      {"\xc2\x9d", "<c2><9d>"},
      {"\xc2\xa0", "\xc2\xa0"},
      {"\xc2x", "<c2>x"},
      {"\xed\xa0\x80", "<ed><a0><80>"},
      {"\xe2\x82\x1b", "<e2><82>^["},
      {"\xff\xc0\x80", "<ff><c0><80>"},
      {"\xe2\xc3\xa4", "<e2>\xc3\xa4"}};
  for (const auto& [text, shown] : cases) {
    EXPECT_EQ(VisibleText().feed(text), shown);
    VisibleText slow;
    std::string all;
    for (char c : text) all += slow.feed(std::string_view(&c, 1));
    EXPECT_EQ(all, shown);
    EXPECT_EQ(slow.finish(), "");
  }
}

TEST_F(ConsoleCommand, WhatIsRefusedEndsItWithItsCode) {
  EXPECT_EQ(world.ebb({"logs", "db-1", "-f"}), 4);
  legs = {refuse(409, "conflict", "db-1 does not run, and is on no worker")};
  EXPECT_EQ(world.ebb({"logs", "db-1"}), 6);
  EXPECT_TRUE(world.screen.talk.contains("on no worker")) << world.screen.talk;
  legs = {leg({end(SessionEndKind::unavailable, "worker-1 has said nothing for 15 s")})};
  EXPECT_EQ(world.ebb({"logs", "db-1"}), 5);
  EXPECT_TRUE(world.screen.talk.contains("worker-1 has said nothing")) << world.screen.talk;
  EXPECT_EQ(world.ebb({"logs", "db-1", "-n", "-1"}), 2);
  EXPECT_EQ(world.ebb({"console", "db-1"}), 2) << "without a keyboard";
}

TEST_F(ConsoleCommand, AFollowerGoesOnWhereItWasAndIsToldOfAMove) {
  legs = {leg({at("worker-1", 5), said("one ")}),  // the stream breaks
          leg({at("worker-1", 5, 4), said("two "), end(SessionEndKind::left)}),
          leg({at("worker-2", 6), said("three "), end(SessionEndKind::left)})};
  on_leg = [this](std::size_t left) {
    if (left == 1) view.vm.worker = WorkerId("worker-2"), view.vm.epoch = 6;
    if (left == 0) view.vm.worker.reset(), view.vm.desired = VmDesired::stopped;
  };
  EXPECT_EQ(world.ebb({"logs", "db-1", "-f", "-n", "3"}), 0);
  EXPECT_EQ(world.screen.data, "one two three ");
  EXPECT_EQ(asked,
            (std::vector<std::string>{"/v1/vms/db-1/logs?follow=true&tail=3",
                                      "/v1/vms/db-1/logs?follow=true&worker=worker-1&epoch=5&position=4",
                                      "/v1/vms/db-1/logs?follow=true"}));
  EXPECT_EQ(world.screen.talk,
            "--- ebb: the control plane has ended the session ---\n"
            "--- ebb: connected again ---\n"
            "--- ebb: db-1 has left worker-1: drain-3 drains it ---\n"
            "--- ebb: db-1 runs on worker-2 now ---\n"
            "--- ebb: db-1 is stopped ---\n");
}

TEST_F(ConsoleCommand, TheRestOfWhatWasSaidOnAWorkerIsShownThoughTheVmHasLeftItMeanwhile) {
  legs = {leg({at("worker-1", 5), said("one ")}),  // breaks; the VM moves
          leg({at("worker-1", 5, 4), said("two "), end(SessionEndKind::left)}),
          leg({at("worker-2", 6), said("three "), end(SessionEndKind::complete)})};
  view.vm.worker = WorkerId("worker-2"), view.vm.epoch = 6;
  EXPECT_EQ(world.ebb({"logs", "db-1", "-f"}), 0);
  EXPECT_EQ(world.screen.data, "one two three ");
  ASSERT_EQ(asked.size(), 3u);
  EXPECT_TRUE(asked[1].ends_with("&worker=worker-1&epoch=5&position=4")) << asked[1];
  EXPECT_TRUE(asked[2].ends_with("?follow=true")) << asked[2];
}

TEST_F(ConsoleCommand, AWorkerThatDoesNotAnswerIsAskedForTheRestForAWhileAndThenThatIsSaid) {
  const auto silent = leg({end(SessionEndKind::unavailable, "worker-1 has said nothing for 15 s")});
  legs = {leg({at("worker-1", 5), said("one ")}), silent};
  on_leg = [&](std::size_t left) {
    const bool asks_for_the_past = asked.size() < 2 || asked.back().contains("worker-1");
    if (left == 0)
      legs.push_back(asks_for_the_past
                         ? silent
                         : leg({at("worker-2", 6), said("three "), end(SessionEndKind::complete)}));
  };
  world.http.streams_last = 5s;
  view.vm.worker = WorkerId("worker-2"), view.vm.epoch = 6;
  EXPECT_EQ(world.ebb({"logs", "db-1", "-f"}), 0);
  EXPECT_EQ(world.screen.data, "one three ");
  EXPECT_TRUE(world.screen.talk.contains("what it said last there is not shown: worker-1 does not answer"))
      << world.screen.talk;
  EXPECT_TRUE(world.screen.talk.contains("db-1 runs on worker-2 now")) << world.screen.talk;
}

TEST_F(ConsoleCommand, TheLastWordsOfAVmThatEndedWhileNobodyHeardAreShown) {
  legs = {leg({at("worker-1", 5), said("one ")}),
          leg({at("worker-1", 5, 4), said("panic\n"), end(SessionEndKind::complete)})};
  on_leg = [this](std::size_t) { view.vm.worker.reset(), view.vm.desired = VmDesired::stopped; };
  EXPECT_EQ(world.ebb({"logs", "db-1", "-f"}), 0);
  EXPECT_EQ(world.screen.data, "one panic\n");
  EXPECT_TRUE(asked.at(1).contains("follow=false")) << asked.at(1);
  EXPECT_TRUE(world.screen.talk.ends_with("db-1 is stopped ---\n")) << world.screen.talk;
}

TEST_F(ConsoleCommand, AVmThatMovedAndEndedWhileNobodyHeardIsShownWhereItEnded) {
  auto tell = [&] {
    asked.clear();
    legs = {leg({at("worker-1", 5), said("one ")}),
            leg({at("worker-1", 5, 4), said("more "), end(SessionEndKind::complete)}),
            leg({at("worker-2", 6), said("two\n"), end(SessionEndKind::complete)})};
    EXPECT_EQ(world.ebb({"logs", "db-1", "-f"}), 0);
    EXPECT_EQ(world.screen.data, "one more two\n") << world.screen.talk;
    EXPECT_TRUE(asked.at(1).contains("worker=worker-1&epoch=5&position=4")) << asked.at(1);
    EXPECT_FALSE(asked.at(2).contains("worker-1")) << asked.at(2);
  };
  on_leg = [this](std::size_t) {
    view.vm.worker.reset(), view.vm.desired = VmDesired::stopped, view.vm.epoch = 6;
    view.vm.ended = EndedVm{WorkerId("worker-2"), 0, {1, "the guest ended with status 1"}};
  };
  tell();
  EXPECT_TRUE(world.screen.talk.ends_with("db-1 has ended: the guest ended with status 1 ---\n"))
      << world.screen.talk;
  view.vm.worker = WorkerId("worker-1"), view.vm.desired = VmDesired::running, view.vm.epoch = 5;
  on_leg = [this](std::size_t) {
    view.vm.worker.reset(), view.vm.desired = VmDesired::stopped, view.vm.epoch = 6;
    view.vm.ended.reset(), view.vm.stopped_on = WorkerId("worker-2");
  };
  tell();
  EXPECT_TRUE(world.screen.talk.ends_with("db-1 is stopped ---\n")) << world.screen.talk;
}

TEST_F(ConsoleCommand, AFollowerWaitsForAVmThatIsOnNoWorkerAndNotForOneThatIsStopped) {
  view.vm.worker.reset();
  legs = {refuse(409, "conflict", "db-1 is on no worker yet"),
          refuse(409, "conflict", "db-1 is on no worker yet"),
          leg({at("worker-1", 5), said("up\n"), end(SessionEndKind::complete)})};
  EXPECT_EQ(world.ebb({"logs", "db-1", "-f"}), 0);
  EXPECT_EQ(world.screen.data, "up\n");
  EXPECT_EQ(world.screen.talk, "--- ebb: db-1 is on no worker yet ---\n") << "once";
  view.vm.desired = VmDesired::stopped;
  legs = {refuse(409, "conflict", "db-1 does not run, and is on no worker")};
  EXPECT_EQ(world.ebb({"logs", "db-1", "-f"}), 6);
}

TEST_F(ConsoleCommand, BytesThatWereRotatedAwayAreCounted) {
  legs = {leg({at("worker-1", 5), said("0123")}),
          leg({at("worker-1", 5, 2048 + 4), said("x"), end(SessionEndKind::complete)})};
  EXPECT_EQ(world.ebb({"logs", "db-1", "-f"}), 0);
  EXPECT_TRUE(world.screen.talk.contains("2 KiB of what db-1 said meanwhile are not kept any more"))
      << world.screen.talk;
}

TEST_F(ConsoleCommand, AControlPlaneThatStaysAwayIsGivenUpAfterTwoMinutes) {
  legs = {leg({at("worker-1", 5), said("one ")})};
  on_leg = [this](std::size_t) { world.http.reachable = false; };
  const auto began = world.loop.now();
  EXPECT_EQ(world.ebb({"logs", "db-1", "-f"}), 5);
  EXPECT_GE(world.loop.now() - began, 2min);
  EXPECT_LE(world.loop.now() - began, 3min);
}

TEST_F(ConsoleCommand, WhatIsTypedIsSentUntilTheDetachKeyAndTheTerminalIsRestored) {
  Keys keys(world.loop);
  world.http.streams_last = 100ms;
  keys.pieces = {"ls\r", "\x03", "rest\x1dnever"};
  world.keyboard = &keys;
  legs = {leg({{.session = SessionId("s-1")}, at("worker-1", 5), said("login: ")}), leg({})};
  EXPECT_EQ(world.ebb({"console", "db-1"}), 0);
  EXPECT_EQ(typed, "ls\r\x03rest");
  EXPECT_TRUE(keys.was_raw);
  EXPECT_FALSE(keys.is_raw);
  EXPECT_EQ(world.screen.data, "login: ");
  EXPECT_TRUE(world.screen.talk.contains("Ctrl-] leaves it")) << world.screen.talk;
}

TEST_F(ConsoleCommand, KeysFromAFileAreSentAndTheConsoleIsReadOn) {
  Keys keys(world.loop);
  world.http.streams_last = 100ms;
  keys.terminal = false, keys.pieces = {"date\n"};
  world.keyboard = &keys;
  refused_inputs = 3;
  world.http.streams_last = 1s;
  legs = {leg({{.session = SessionId("s-1")}, at("worker-1", 5), said("a")}),
          leg({at("worker-1", 5, 1), said("b"), end(SessionEndKind::complete)})};
  EXPECT_EQ(world.ebb({"console", "db-1"}), 0);
  EXPECT_EQ(typed, "date\n");
  EXPECT_FALSE(keys.was_raw);
  EXPECT_EQ(world.screen.data, "ab");
  EXPECT_FALSE(world.screen.talk.contains("lost")) << world.screen.talk;
}

}  // namespace
}  // namespace ebb
