#include "platform/asio_loop.h"

#include <atomic>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/socket.h>
#include <thread>
#include <unistd.h>

#include "platform/host.h"

namespace ebb {
namespace {

TEST(AsioLoop, RunsPostedCallbacksInOrder) {
  AsioLoop loop;
  std::string order;
  for (char c : std::string("abc")) loop.post([&order, c] { order += c; });
  loop.post([&] { loop.stop(); });
  loop.run();
  EXPECT_EQ(order, "abc");
}

TEST(AsioLoop, FiresTimersInOrderOfTimeAndNotTheCancelledOnes) {
  AsioLoop loop;
  std::string order;
  auto start = loop.now();
  loop.call_at(start + 20ms, [&] { order += 'c', loop.stop(); });
  auto cancelled = loop.call_at(start + 15ms, [&] { order += 'x'; });
  loop.call_at(start + 10ms, [&] { order += 'b'; });
  loop.call_at(start - 1s, [&] { order += 'a', loop.cancel(cancelled); });
  loop.run();
  EXPECT_EQ(order, "abc");
  EXPECT_GE(loop.now() - start, 20ms);
}

TEST(AsioLoop, ATimerThatIsDueKeepsItsPlaceAmongPostedCallbacks) {
  AsioLoop loop;
  std::string order;
  loop.post([&] { order += 'a'; });
  loop.call_at(loop.now(), [&] { order += 'b'; });
  loop.post([&] { order += 'c', loop.stop(); });
  loop.run();
  EXPECT_EQ(order, "abc");
}

TEST(AsioLoop, ATimerThatArmsItselfForThePastDoesNotStarveTheOthers) {
  AsioLoop loop;
  int rounds = 0;
  std::function<void()> again = [&] {
    ++rounds;
    loop.call_at(loop.now() - 1s, again);
  };
  again();
  loop.call_at(loop.now() + 5ms, [&] { loop.stop(); });
  loop.run();
  EXPECT_GT(rounds, 1);
}

TEST(AsioLoop, TakesCallbacksFromManyThreads) {
  AsioLoop loop;
  constexpr int threads = 4, each = 1000;
  int count = 0;
  std::vector<std::thread> posters;
  for (int t = 0; t < threads; ++t) {
    posters.emplace_back([&] {
      for (int i = 0; i < each; ++i) {
        loop.post([&] {
          if (++count == threads * each) loop.stop();
        });
      }
    });
  }
  loop.run();
  for (auto& poster : posters) poster.join();
  EXPECT_EQ(count, threads * each);
}

TEST(AsioLoop, BlockingCallsRunAtTheSameTimeAndComeBackToTheLoop) {
  AsioLoop loop;
  auto here = std::this_thread::get_id();
  auto sum = run_until_done(loop, [](AsioLoop& l, std::thread::id loop_thread) -> Task<int> {
    std::vector<Task<int>> tasks;
    for (int i = 0; i < 100; ++i) {
      tasks.push_back(blocking(l, [i, loop_thread] {
        EXPECT_NE(std::this_thread::get_id(), loop_thread);
        return i;
      }));
    }
    auto values = co_await when_all(l, std::move(tasks));
    EXPECT_EQ(std::this_thread::get_id(), loop_thread);
    int total = 0;
    for (int value : values) total += value;
    co_return total;
  }(loop, here));
  EXPECT_EQ(sum, 4950);
}

TEST(AsioLoop, ABlockingCallOutlivesItsTaskAndItsLoopHarmlessly) {
  auto touched = std::make_shared<std::vector<int>>();
  std::atomic<bool> may_end = false, began = false;
  {
    AsioLoop loop;
    Scope scope(loop);
    scope.spawn([](AsioLoop& l, std::shared_ptr<std::vector<int>> out, std::atomic<bool>* b,
                   std::atomic<bool>* go) -> Task<void> {
      co_await blocking(l, [out, b, go] {
        *b = true;
        b->notify_all();
        go->wait(false);
        out->assign(1000, 1);
        return 0;
      });
      ADD_FAILURE() << "the task was destroyed";
    }(loop, touched, &began, &may_end));
    loop.call_at(loop.now() + 10ms, [&] {
      began.wait(false);
      scope.cancel();
      loop.stop();
    });
    loop.run();
    may_end = true;
    may_end.notify_all();
  }
  EXPECT_EQ(touched->size(), 1000u);
}

TEST(AsioLoop, SignalsArriveOnTheLoop) {
  AsioLoop loop;
  int got = 0;
  loop.on_signal([&](int signal) {
    got = signal;
    loop.stop();
  });
  loop.post([] { kill(getpid(), SIGTERM); });
  loop.run();
  EXPECT_EQ(got, SIGTERM);
}

TEST(AsioLoop, CanRunAgainAfterStop) {
  AsioLoop loop;
  for (int i = 0; i < 3; ++i) EXPECT_EQ(run_until_done(loop, [](int n) -> Task<int> { co_return n; }(i)), i);
}

TEST(AsioLoop, AnIdleLoopNeedsLittleMemory) {
  auto before = own_memory_bytes().value();
  AsioLoop loop;
  loop.call_at(loop.now() + 1ms, [&] { loop.stop(); });
  loop.run();
  EXPECT_LT(own_memory_bytes().value() - before, 4u << 20);
}

TEST(FdWatch, SeesDataAndEndsItsWaitsWhenClosed) {
  AsioLoop loop;
  int fds[2];
  ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
  FdWatch watch(loop, fds[0]);
  loop.call_at(loop.now() + 5ms, [&] { EXPECT_EQ(write(fds[1], "x", 1), 1); });
  EXPECT_TRUE(run_until_done(loop, watch.readable()));
  char byte;
  EXPECT_EQ(read(watch.fd(), &byte, 1), 1);
  loop.call_at(loop.now() + 5ms, [&] { watch.close(); });
  EXPECT_FALSE(run_until_done(loop, watch.readable()));
  EXPECT_FALSE(run_until_done(loop, watch.readable())) << "also when it is closed already";
  close(fds[1]);
}

}  // namespace
}  // namespace ebb
