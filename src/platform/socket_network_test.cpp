#include "platform/socket_network.h"

#include <fstream>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "platform/test_folder.h"

namespace ebb {
namespace {

Task<void> echo(std::unique_ptr<Stream> stream) {
  Bytes buffer(64 * KiB);
  for (;;) {
    auto count = co_await stream->read_some(buffer);
    if (!count || *count == 0) co_return;
    if (!co_await stream->write_all({ByteView(buffer).first(*count)})) co_return;
  }
}

struct SocketNetworkTest : testing::Test {
  template <class T>
  T run(Task<T> task) {
    return run_until_done(loop, std::move(task));
  }
  std::string unix_name(std::string_view name) const { return "unix:" + (folder / name); }
  TestFolder folder;
  AsioLoop loop;
  SocketNetwork network{loop};
};

Task<Result<Bytes>> send_and_read(Network& network, std::string address, Bytes data) {
  EBB_CO_TRY(stream, co_await network.connect(address));
  EBB_CO_CHECKED(co_await stream->write_all({ByteView(data).first(1), ByteView(data).subspan(1)}));
  Bytes back(data.size());
  EBB_CO_CHECKED(co_await read_exactly(*stream, back));
  co_return back;
}

TEST_F(SocketNetworkTest, BytesGoBothWaysOverUnixAndTcp) {
  for (std::string address : {unix_name("s"), std::string("127.0.0.1:0"), std::string("localhost:0")}) {
    auto listener = network.listen(address, echo).value();
    EXPECT_EQ(run(send_and_read(network, listener->address(), to_bytes("hello"))), to_bytes("hello"))
        << address;
  }
}

TEST_F(SocketNetworkTest, MuchMoreThanTheSocketsHoldArrivesWhole) {
  auto listener = network
                      .listen(unix_name("s"),
                              [](std::unique_ptr<Stream> stream) -> Task<void> {
                                Bytes all(16 * MiB);
                                EXPECT_TRUE(co_await read_exactly(*stream, all));
                                EXPECT_TRUE(co_await stream->write_all({all}));
                              })
                      .value();
  Bytes data(16 * MiB);
  for (std::size_t i = 0; i < data.size(); ++i) data[i] = static_cast<std::byte>(i * 7 + i / 4096);
  EXPECT_EQ(run(send_and_read(network, listener->address(), data)).value(), data);
}

TEST_F(SocketNetworkTest, ManyPartsAreWrittenInOrder) {
  auto listener = network.listen(unix_name("s"), echo).value();
  auto back = run([](Network& n, std::string address) -> Task<Bytes> {
    auto stream = (co_await n.connect(address)).value();
    std::string text;
    for (int i = 0; i < 500; ++i) text += static_cast<char>('a' + i % 26);
    std::vector<ByteView> parts;
    for (std::size_t i = 0; i < text.size(); ++i)
      parts.push_back(as_bytes(std::string_view(text).substr(i, i % 3 == 0 ? 0 : 1)));
    EXPECT_TRUE(co_await stream->write_all(parts));
    Bytes got(static_cast<std::size_t>(
        std::count_if(parts.begin(), parts.end(), [](ByteView p) { return !p.empty(); })));
    EXPECT_TRUE(co_await read_exactly(*stream, got));
    co_return got;
  }(network, listener->address()));
  EXPECT_EQ(back.size(), 333u);
  EXPECT_EQ(as_text(back).substr(0, 6), "bcefhi");
}

TEST_F(SocketNetworkTest, AStaleUnixSocketIsReplacedAndALiveOneIsBusy) {
  auto path = folder / "s";
  int stale = socket(AF_UNIX, SOCK_STREAM, 0);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  path.copy(address.sun_path, sizeof address.sun_path - 1);
  ASSERT_EQ(bind(stale, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  ASSERT_EQ(listen(stale, 1), 0);
  ::close(stale);  // as a killed process leaves it

  auto live = network.listen("unix:" + path, echo);
  ASSERT_TRUE(live) << live.error();
  auto second = network.listen("unix:" + path, echo);
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code, Code::busy);
  EXPECT_NE(second.error().message.find("address in use"), std::string::npos);
  EXPECT_EQ(run(send_and_read(network, "unix:" + path, to_bytes("x"))), to_bytes("x"))
      << "the live one is unharmed";
  live->reset();
  EXPECT_FALSE(std::filesystem::exists(path));
}

TEST_F(SocketNetworkTest, AFileThatIsNoSocketIsNeverReplaced) {
  std::ofstream(folder / "precious") << "data";
  auto listened = network.listen(unix_name("precious"), echo);
  ASSERT_FALSE(listened);
  EXPECT_EQ(listened.error().code, Code::invalid);
  EXPECT_TRUE(std::filesystem::exists(folder / "precious"));
}

TEST_F(SocketNetworkTest, ATcpPortInUseIsBusy) {
  auto first = network.listen("127.0.0.1:0", echo).value();
  auto second = network.listen(first->address(), echo);
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code, Code::busy);
  EXPECT_NE(second.error().message.find("address in use"), std::string::npos);
}

TEST_F(SocketNetworkTest, UnixSocketsHaveTheModeAndOwnerAskedFor) {
  SocketNetwork chosen(loop, {.unix_mode = 0600, .unix_uid = getuid(), .unix_gid = getgid()});
  auto listener = chosen.listen(unix_name("s"), echo).value();
  struct stat info{};
  ASSERT_EQ(stat((folder / "s").c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0600u);
  EXPECT_EQ(info.st_uid, getuid());
  auto usual = network.listen(unix_name("t"), echo).value();
  ASSERT_EQ(stat((folder / "t").c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0660u);
}

TEST_F(SocketNetworkTest, BadAddressesAreInvalidAndAbsentOnesUnavailable) {
  for (std::string bad : {"", "nonsense", ":80", "host:", "host:99999", "host:8o", "unix:"}) {
    EXPECT_EQ(network.listen(bad, echo).error().code, Code::invalid) << bad;
    EXPECT_EQ(run(network.connect(bad)).error().code, Code::invalid) << bad;
  }
  auto long_path = "unix:/tmp/" + std::string(200, 'x');
  EXPECT_NE(network.listen(long_path, echo).error().message.find("shorter"), std::string::npos);
  EXPECT_EQ(run(network.connect(unix_name("nobody"))).error().code, Code::unavailable);
  std::string gone;
  {
    gone = network.listen("127.0.0.1:0", echo).value()->address();
  }
  EXPECT_EQ(run(network.connect(gone)).error().code, Code::unavailable);
}

struct Witness {
  int* ended;
  ~Witness() { ++*ended; }
};

TEST_F(SocketNetworkTest, DestroyingTheListenerEndsItsConnections) {
  int ended = 0;
  auto listener = network
                      .listen(unix_name("s"),
                              [&ended](std::unique_ptr<Stream> stream) {
                                return [](std::unique_ptr<Stream> s, int* count) -> Task<void> {
                                  Witness witness{count};
                                  std::array<std::byte, 1> byte;
                                  [[maybe_unused]] auto got = co_await s->read_some(byte);
                                  ADD_FAILURE() << "was not ended";
                                }(std::move(stream), &ended);
                              })
                      .value();
  auto client = run(network.connect(listener->address())).value();
  run_until_done(loop, sleep_for(loop, 20ms));
  listener.reset();
  EXPECT_EQ(ended, 1);
  std::array<std::byte, 1> byte;
  EXPECT_EQ(run(client->read_some(byte)), 0u) << "the client sees the end";
}

TEST_F(SocketNetworkTest, CloseEndsAReadThatWaits) {
  auto listener = network.listen(unix_name("s"), echo).value();
  auto client = run(network.connect(listener->address())).value();
  loop.call_at(loop.now() + 10ms, [&] { client->close(); });
  std::array<std::byte, 1> byte;
  EXPECT_EQ(run(client->read_some(byte)).error().code, Code::unavailable);
  EXPECT_EQ(run(client->write_all({byte})).error().code, Code::unavailable);
}

TEST_F(SocketNetworkTest, ADestroyedReadTakesNoBytes) {
  auto listener = network.listen(unix_name("s"), echo).value();
  auto client = run(network.connect(listener->address())).value();
  auto buffer = std::make_unique<Bytes>(16);
  EXPECT_FALSE(run(with_timeout(loop, client->read_some(*buffer), 5ms)).has_value());
  buffer.reset();
  ASSERT_TRUE(run(client->write_all({as_bytes("hello")})));
  Bytes back(5);
  ASSERT_TRUE(run(read_exactly(*client, back)));
  EXPECT_EQ(back, to_bytes("hello"));
}

TEST_F(SocketNetworkTest, ABusyConnectionDoesNotKeepTheLoopForItself) {
  auto listener = network
                      .listen(unix_name("s"),
                              [](std::unique_ptr<Stream> stream) -> Task<void> {
                                Bytes piece(4 * KiB);
                                while (co_await stream->write_all({piece})) {
                                }
                              })
                      .value();
  bool fired = false;
  run_until_done(loop, [](Network& n, AsioLoop& l, std::string address, bool* out) -> Task<void> {
    auto stream = (co_await n.connect(address)).value();
    l.call_at(l.now() + 1ms, [out] { *out = true; });
    std::array<std::byte, 1> byte;
    while (!*out) {
      if (!co_await stream->read_some(byte)) co_return;
    }
  }(network, loop, listener->address(), &fired));
  EXPECT_TRUE(fired);
}

}  // namespace
}  // namespace ebb
