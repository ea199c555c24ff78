#include <gtest/gtest.h>

#include "env/event_stream.h"
#include "fake_world.h"

namespace ebb {
namespace {

using fake::refuse;
using fake::reply;

struct ClientTest : testing::Test {
  fake::World world;
  ApiClient client{world.http, {"cell:7400", "s3cret"}};
  WorkerView worker(std::string name) {
    WorkerView view;
    view.worker.id = WorkerId(std::move(name));
    return view;
  }
};

TEST_F(ClientTest, FollowsPagesToTheEndAndSendsItsToken) {
  world.http.handler = [&](const HttpRequest& request) {
    if (request.target == "/v1/workers") return reply(Page<WorkerView>{{worker("a"), worker("b")}, "next/1"});
    EXPECT_EQ(request.target, "/v1/workers?page_token=next%2F1");
    return reply(Page<WorkerView>{{worker("c")}, std::nullopt});
  };
  auto workers = world.await(client.workers());
  ASSERT_TRUE(workers);
  ASSERT_EQ(workers->size(), 3u);
  EXPECT_EQ((*workers)[2].worker.id, WorkerId("c"));
  EXPECT_EQ(world.http.seen.at(1).headers.at("authorization"), "Bearer s3cret");
  EXPECT_EQ(world.http.last_address, "cell:7400");
}

TEST_F(ClientTest, PagesThatNeverEndAreAnErrorAndNotALoop) {
  world.http.handler = [&](const HttpRequest&) { return reply(Page<Disk>{{}, "again"}); };
  auto disks = world.await(client.disks());
  ASSERT_FALSE(disks);
  EXPECT_EQ(disks.error().message, "the list /v1/disks does not end");
}

TEST_F(ClientTest, AnErrorBodyBecomesTheErrorWithItsCodeAndField) {
  world.http.handler = [](const HttpRequest&) {
    return reply(ErrorBody{"conflict", "it changed", "state_hash"}, 409);
  };
  auto drain = world.await(client.start_drain({}));
  ASSERT_FALSE(drain);
  EXPECT_EQ(drain.error(), (Error{Code::conflict, "it changed", "state_hash"}));
}

TEST_F(ClientTest, AnErrorWithoutABodyGetsACodeFromItsStatus) {
  for (auto [status, code] : {std::pair{404, Code::not_found},
                              {409, Code::conflict},
                              {503, Code::unavailable},
                              {400, Code::invalid},
                              {413, Code::invalid},
                              {500, Code::internal}}) {
    world.http.handler = [&](const HttpRequest&) { return HttpResponse{status, {}, "<html>", {}}; };
    auto vm = world.await(client.vm(VmId("x")));
    ASSERT_FALSE(vm);
    EXPECT_EQ(vm.error().code, code) << status;
  }
}

TEST_F(ClientTest, ARefusedTokenSaysHowToGiveOne) {
  world.http.handler = [](const HttpRequest&) { return refuse(401, "invalid", "the token is not known"); };
  auto vm = world.await(client.vm(VmId("x")));
  ASSERT_FALSE(vm);
  EXPECT_EQ(vm.error().code, Code::invalid);
  EXPECT_EQ(
      vm.error().message,
      "the token is not known; give the operator's token with --token-file, EBB_TOKEN_FILE or EBB_TOKEN");
}

TEST_F(ClientTest, NoConnectionSaysWhatToDo) {
  world.http.reachable = false;
  auto vm = world.await(client.vm(VmId("x")));
  ASSERT_FALSE(vm);
  EXPECT_EQ(vm.error().code, Code::unavailable);
  EXPECT_EQ(vm.error().message,
            "cannot reach the control plane at cell:7400: start it or give --server (connection refused)");
}

TEST_F(ClientTest, NamesArePercentEncodedSoThatNoNameIsAnotherPath) {
  world.http.handler = [](const HttpRequest&) { return refuse(404, "not_found", "no such VM"); };
  (void)world.await(client.vm(VmId("../workers?x=1 ä")));
  EXPECT_EQ(world.http.seen.back().target, "/v1/vms/..%2Fworkers%3Fx%3D1%20%C3%A4");
}

TEST_F(ClientTest, AnAnswerOfAnotherVersionIsAnErrorThatSaysSo) {
  world.http.handler = [](const HttpRequest&) { return HttpResponse{200, {}, R"({"surprise":1})", {}}; };
  auto vm = world.await(client.vm(VmId("x")));
  ASSERT_FALSE(vm);
  EXPECT_NE(vm.error().message.find("is it of another version?"), std::string::npos);
}

TEST_F(ClientTest, TheSecondDrainOfAWorkerIsToldFromANewOneAndFromARepeatedRequest) {
  DrainView view;
  view.drain.request_id = "mine";
  int status = 201;
  world.http.handler = [&](const HttpRequest&) { return reply(view, status); };
  CreateDrain create;
  create.request_id = "mine";
  EXPECT_FALSE(world.await(client.start_drain(create))->existed);
  status = 200;
  EXPECT_FALSE(world.await(client.start_drain(create))->existed) << "our own request, repeated";
  view.drain.request_id = "theirs";
  EXPECT_TRUE(world.await(client.start_drain(create))->existed);
}

TEST_F(ClientTest, EventsArriveInOrderFromPiecesThatEndAnywhere) {
  world.http.handler = [](const HttpRequest& request) {
    EXPECT_EQ(request.target, "/v1/events?since=4&follow=true");
    std::string body = ": hello\r\n\r\n";
    for (std::uint64_t i : {5, 6}) {
      body += fmt::format("id: {}\nevent: change\ndata: {}\n\n", i,
                          json::write_text(JournalEntry{i, 0, "vm.created", "vms/a", "text"}));
    }
    return HttpResponse{200, {}, body + "data: {\"unfin", {}};
  };
  std::vector<std::uint64_t> revisions;
  auto ended = world.await(
      client.events({4, true}, [&](const JournalEntry& entry) { revisions.push_back(entry.revision); }));
  EXPECT_TRUE(ended);
  EXPECT_EQ(revisions, (std::vector<std::uint64_t>{5, 6}));
}

TEST_F(ClientTest, ARefusedEventStreamGivesTheErrorOfItsBody) {
  world.http.handler = [](const HttpRequest&) { return refuse(400, "invalid", "since must be a number"); };
  auto ended = world.await(client.events({}, [](const JournalEntry&) {}));
  ASSERT_FALSE(ended);
  EXPECT_EQ(ended.error(), (Error{Code::invalid, "since must be a number", ""}));
}

TEST(EventStreamReader, JoinsDataLinesAndStopsAtAnEventThatIsTooLarge) {
  std::vector<std::string> events;
  EventStreamReader reader([&](std::string_view data) { events.emplace_back(data); });
  EXPECT_TRUE(reader.feed("data: a\ndata:b\n\nid: 1\n\ndata: c\r\n\r\n"));
  EXPECT_EQ(events, (std::vector<std::string>{"a\nb", "c"}));
  EXPECT_FALSE(reader.feed(std::string(event_bytes_max + 1, 'x')));
  EXPECT_FALSE(reader.feed("\ndata: d\n\n"));
  EXPECT_EQ(events.size(), 2u);
}

}  // namespace
}  // namespace ebb
