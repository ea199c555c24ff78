// Arbitrary clients: whatever comes, the server must neither crash nor hang, must release everything, and
// must answer each request once and as the protocol allows. The first byte of the input says what the others
// are: bytes of the connection (0), or requests after a handshake, 8 bytes each, sent at once or one by one.
#include <cstdlib>

#include "disk/nbd/align_layer.h"
#include "disk/nbd/nbd_server.h"
#include "disk/nbd/testing.h"
#include "reply_checker.h"

using namespace ebb;
using namespace ebb::disk;
using namespace ebb::disk::testing;

namespace {

constexpr std::uint64_t disk_bytes = 256 * KiB;
enum Mode : std::uint8_t {  // bits of the first byte
  requests = 1,
  structured = 2,
  with_context = 4,
  one_by_one = 8,
  is_broken = 16,
  is_read_only = 32,
};

struct World {
  StepLoop loop;
  std::shared_ptr<MemoryDevice> memory = std::make_shared<MemoryDevice>(loop, disk_bytes);
  std::shared_ptr<BlockDevice> device = std::make_shared<AlignLayer>(loop, memory);
  std::unique_ptr<Stream> client;
  Scope scope{loop};

  World() {
    memory->keep_log = false;
    memory->delay = [] { return Duration(1us); };
    auto [ours, theirs] = make_pipe(loop);
    client = std::move(ours);
    auto lookup = [this](std::string name) -> Result<std::shared_ptr<BlockDevice>> {
      if (name.size() > 1) return fail(Code::not_found, "no disk '{}' here", name);
      return device;
    };
    NbdExports exports{lookup,
                       [] { return std::vector<std::string>{"a", "b"}; },
                       {},
                       [](std::string) { return std::string("for the fuzzer"); }};
    scope.spawn(serve_nbd(loop, std::move(theirs), exports, {.requests_max = 16, .request_bytes_max = MiB}));
  }
  void send(Bytes bytes) {
    scope.spawn([](Stream* stream, Bytes what) -> Task<void> {
      std::ignore = co_await stream->write_all({what});
    }(client.get(), std::move(bytes)));
    loop.run(1s);
  }
  Bytes receive() {
    Bytes all, some(64 * KiB);
    for (;;) {
      auto got = loop.run_until_done(with_timeout(loop, client->read_some(some), 1ms));
      if (!got || !*got || **got == 0) return all;
      append(all, ByteView(some).first(**got));
    }
  }
  void end() {
    client.reset();
    loop.run(1h);
    if (scope.size() != 0) std::abort();  // the connection hangs
  }
};

void add_option(Bytes& out, std::uint32_t option, const Bytes& data) {
  append_be(out, option_magic);
  append_be(out, option);
  append_be(out, static_cast<std::uint32_t>(data.size()));
  append(out, data);
}

Bytes handshake(std::uint8_t mode) {
  Bytes out, go, contexts;
  append_be(out, std::uint32_t{3});
  append_be(go, std::uint32_t{0});
  append_be(go, std::uint16_t{0});
  append_be(contexts, std::uint32_t{0});
  append_be(contexts, std::uint32_t{1});
  append_be(contexts, static_cast<std::uint32_t>(allocation_context.size()));
  append(contexts, as_bytes(allocation_context));
  if (mode & structured) add_option(out, opt_structured_reply, {});
  if (mode & with_context) add_option(out, opt_set_meta_context, contexts);
  add_option(out, opt_go, go);
  return out;
}

// Some beyond the end, most not whole blocks.
Request make_request(ByteView from, std::uint64_t cookie) {
  Request request{static_cast<std::uint16_t>(std::to_integer<int>(from[1]) & 63),
                  static_cast<std::uint16_t>(std::to_integer<int>(from[0]) % 10),
                  cookie,
                  load_le<std::uint16_t>(from, 2) * 5ull,
                  load_le<std::uint16_t>(from, 4) * 5u,
                  {}};
  if (request.command == cmd_disc) request.command = cmd_read;
  if (request.command == cmd_flush) request.offset = request.length = 0;
  if (request.command == cmd_write) request.data.assign(request.length, from[6]);
  return request;
}

Bytes wire(const Request& request) {
  Bytes out;
  append_be(out, request_magic);
  append_be(out, request.flags);
  append_be(out, request.command);
  append_be(out, request.cookie);
  append_be(out, request.offset);
  append_be(out, request.length);
  append(out, request.data);
  return out;
}

// What the disk must hold after a request that succeeded.
void apply_to_model(const Request& request, Bytes& model) {
  auto begin = request.offset, end = begin + request.length;
  if (request.command == cmd_trim) {
    begin = (begin + block_bytes - 1) / block_bytes * block_bytes;
    end = end / block_bytes * block_bytes;
  } else if (request.command != cmd_write && request.command != cmd_write_zeroes) {
    return;
  }
  auto fill = request.command == cmd_write && !request.data.empty() ? request.data[0] : std::byte{0};
  for (auto at = begin; at < end; ++at) model[at] = fill;
}

void run_requests(World& world, std::uint8_t mode, ByteView input) {
  if (mode & is_broken) world.memory->broken_at = 100'000;
  world.memory->read_only = mode & is_read_only;
  world.send(handshake(mode));
  std::ignore = world.receive();
  bool has_context = mode & structured && mode & with_context;
  ReplyChecker checker(mode & structured, has_context);
  Bytes model(disk_bytes), at_once;
  std::uint64_t count = std::min<std::size_t>(input.size() / 8, 24);
  for (std::uint64_t i = 0; i < count; ++i) {
    auto request = make_request(input.subspan(i * 8, 8), i);
    checker.asked(request);
    if (!(mode & one_by_one)) {
      append(at_once, wire(request));
      continue;
    }
    world.send(wire(request));
    checker.feed(world.receive());
    checker.check_all_answered();
    if (mode & is_broken || checker.reading(i).error != 0) continue;
    apply_to_model(request, model);
    if (request.command != cmd_read) continue;
    auto from = model.begin() + static_cast<std::ptrdiff_t>(request.offset);
    const auto& data = checker.reading(i).data;
    CHECK(std::equal(data.begin(), data.end(), from, from + request.length));
  }
  world.send(std::move(at_once));
  checker.feed(world.receive());
  checker.check_all_answered();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  World world;
  ByteView input(reinterpret_cast<const std::byte*>(data) + 1, size - 1);
  if (data[0] & requests)
    run_requests(world, data[0], input);
  else
    world.send(Bytes(input.begin(), input.end()));
  world.end();
  return 0;
}
