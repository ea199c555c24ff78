// ebb exec against a scripted control plane.
#include <gtest/gtest.h>

#include "base/base64.h"
#include "fake_world.h"

namespace ebb {
namespace {

using fake::refuse;

struct Input final : Keyboard {
  bool is_terminal() const override { return false; }
  Status set_raw(bool) override { return {}; }
  Task<Result<std::string>> read() override {
    if (pieces.empty()) co_return std::string();
    auto first = pieces.front();
    pieces.erase(pieces.begin());
    co_return first;
  }
  std::vector<std::string> pieces;
};

struct ExecCommand : testing::Test {
  ExecCommand() {
    world.http.handler = [this](const HttpRequest& request) {
      EXPECT_EQ(request.method, "POST");
      EXPECT_EQ(request.target, "/v1/vms/db-1/exec");
      asked = json::read_text<GuestCommand>(request.body).value();
      if (refusal) return *refusal;
      std::string text;
      for (const auto& event : events) text += fmt::format("data: {}\n\n", json::write_text(event));
      return HttpResponse{200, {}, text, {}};
    };
  }
  static SessionEvent ended(std::uint32_t status, std::string text = {}) {
    return {.end = SessionEnd{SessionEndKind::complete, std::move(text), status}};
  }
  static SessionEvent said(std::string_view text) { return {.output = to_base64(text)}; }
  static SessionEvent complained(std::string_view text) { return {.error_output = to_base64(text)}; }

  fake::World world;
  std::vector<SessionEvent> events;
  std::optional<HttpResponse> refusal;
  GuestCommand asked;
};

TEST_F(ExecCommand, WhatAProgramPrintsAndHowItEndsIsOurs) {
  events = {said("a\x1b[31m\n"), said("b"), complained("oh\n"), ended(3)};
  EXPECT_EQ(world.ebb({"exec", "db-1", "--", "/bin/ls", "-l", "--all", "a b"}), 3);
  EXPECT_EQ(world.screen.data, "a\x1b[31m\nb");
  EXPECT_EQ(world.screen.talk, "oh\n");
  EXPECT_EQ(asked, (GuestCommand{{"/bin/ls", "-l", "--all", "a b"}}));
  events = {ended(0)};
  EXPECT_EQ(world.ebb({"exec", "db-1", "--", "/bin/true"}), 0);
  EXPECT_EQ(world.ebb({"exec", "db-1", "--", "/bin/sh", "-c", "[a,b]", "[ -e /x ]", "--", ""}), 0);
  EXPECT_EQ(asked, (GuestCommand{{"/bin/sh", "-c", "[a,b]", "[ -e /x ]", "--", ""}})) << "as they are";
  EXPECT_EQ(world.ebb({"exec", "db-1"}), 2);
  EXPECT_EQ(world.ebb({"exec", "db-1", "/bin/true"}), 2);
  events = {ended(4'000'000'000)};
  EXPECT_EQ(world.ebb({"exec", "db-1", "--", "/bin/odd"}), 255) << "never a success by mistake";
}

TEST_F(ExecCommand, AProgramThatWasNotRunOrWhoseEndIsNotKnownEndsWith125) {
  refusal = refuse(409, "conflict", "db-1 does not run");
  EXPECT_EQ(world.ebb({"exec", "db-1", "--", "/bin/ls"}), 125);
  EXPECT_EQ(world.screen.talk, "ebb: db-1 does not run\n");
  refusal.reset();
  events = {{.end = SessionEnd{SessionEndKind::unavailable, "no guest agent answers within 10 s"}}};
  EXPECT_EQ(world.ebb({"exec", "db-1", "--", "/bin/ls"}), 125);
  EXPECT_EQ(world.screen.talk, "ebb: no guest agent answers within 10 s\n");
  events = {said("half")};
  EXPECT_EQ(world.ebb({"exec", "db-1", "--", "/bin/ls"}), 125);
  EXPECT_TRUE(world.screen.talk.contains("whether the program goes on is not known")) << world.screen.talk;
  world.http.reachable = false;
  EXPECT_EQ(world.ebb({"exec", "db-1", "--", "/bin/ls"}), 125);
}

TEST_F(ExecCommand, ItsInputIsOursIfAskedForAndNotTooMuch) {
  Input input;
  world.keyboard = &input;
  input.pieces = {"select 1;\n", "\\q\n"};
  events = {ended(0)};
  EXPECT_EQ(world.ebb({"exec", "db-1", "--", "/usr/bin/psql"}), 0);
  EXPECT_FALSE(asked.input);
  EXPECT_EQ(world.ebb({"exec", "-i", "db-1", "--", "/usr/bin/psql"}), 0);
  EXPECT_EQ(from_base64(asked.input.value()).value(), "select 1;\n\\q\n");
  input.pieces = {std::string(100'000, 'x')};
  EXPECT_EQ(world.ebb({"exec", "-i", "db-1", "--", "/usr/bin/psql"}), 125);
  EXPECT_TRUE(world.screen.talk.contains("more than 96 KiB")) << world.screen.talk;
}

TEST_F(ExecCommand, AGuestDoesNotCommandTheTerminal) {
  world.screen.data_is_terminal = world.screen.talk_is_terminal = true;
  events = {said("\x1b]0;title\x07x\n"), complained("\x1b[2Jy\n"), ended(0)};
  EXPECT_EQ(world.ebb({"exec", "db-1", "--", "/bin/evil"}), 0);
  EXPECT_EQ(world.screen.data, "^[]0;title^Gx\n");
  EXPECT_EQ(world.screen.talk, "^[[2Jy\n");
  EXPECT_EQ(world.ebb({"exec", "--raw", "db-1", "--", "/bin/evil"}), 0);
  EXPECT_EQ(world.screen.data, "\x1b]0;title\x07x\n");
}

TEST_F(ExecCommand, JsonIsOneDocument) {
  events = {said("a"), complained("b"), said("c"),
            ended(7, "it printed more than the guest agent keeps: the rest is lost")};
  EXPECT_EQ(world.ebb({"--json", "exec", "db-1", "--", "/bin/ls"}), 7);
  auto told = json::parse(world.screen.data);
  ASSERT_TRUE(told) << world.screen.data;
  EXPECT_EQ(told->at("status").as_int64(), 7);
  EXPECT_EQ(told->at("output").as_string(), to_base64("ac"));
  EXPECT_EQ(told->at("error_output").as_string(), to_base64("b"));
  EXPECT_TRUE(world.screen.talk.contains("the rest is lost"));
}

}  // namespace
}  // namespace ebb
