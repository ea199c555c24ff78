// Serves a disk over NBD on a unix socket, for tests with clients that no one here wrote: in memory, or in a
// file that outlives the server. Usage: nbd_memory_server SOCKET SIZE [read-only] [slow-zeroes] [file=PATH].
// Says "ready" on stdout; ends at SIGTERM.
#include <cstdio>

#include "base/text.h"
#include "disk/nbd/align_layer.h"
#include "disk/nbd/nbd_server.h"
#include "disk/nbd/testing.h"
#include "file_device.h"
#include "platform/real_env.h"

using namespace ebb;

namespace {

Result<std::shared_ptr<disk::BlockDevice>> make_device(Loop& loop, std::uint64_t size,
                                                       std::span<char*> options) {
  auto memory = std::make_shared<disk::testing::MemoryDevice>(loop, 0);
  std::shared_ptr<disk::BlockDevice> device = memory;
  for (std::string_view option : options) {
    if (option == "read-only") {
      memory->read_only = true;
    } else if (option == "slow-zeroes") {
      memory->zeroing_is_fast = false;
    } else if (option.starts_with("file=")) {
      EBB_TRY(file, disk::testing::FileDevice::open(std::string(option.substr(5)), size));
      device = file;
    } else {
      return fail(Code::invalid, "unknown option '{}'", option);
    }
  }
  memory->keep_log = false;
  if (device == memory) memory->data.resize(size), memory->allocated.resize(size / disk::block_bytes);
  return device;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 3) return std::fprintf(stderr, "usage: %s SOCKET SIZE [OPTION...]\n", argv[0]), 2;
  auto size = parse_size(argv[2]);
  if (!size) return fmt::print(stderr, "{}\n", size.error()), 2;
  RealEnv env;
  auto made = make_device(env.loop, *size, std::span(argv + 3, argv + argc));
  if (!made) return fmt::print(stderr, "{}\n", made.error()), 2;
  std::shared_ptr<disk::BlockDevice> device = std::make_shared<disk::AlignLayer>(env.loop, *made);
  disk::NbdExports exports{[device](std::string name) -> Result<std::shared_ptr<disk::BlockDevice>> {
                             if (name != "disk" && !name.empty())
                               return fail(Code::not_found, "no disk '{}' here", name);
                             return device;
                           },
                           [] { return std::vector<std::string>{"disk"}; },
                           Logger(make_stderr_sink(LogLevel::info), "nbd"),
                           [](std::string name) { return fmt::format("the test's {}", name); }};
  auto listener = env.network.listen(fmt::format("unix:{}", argv[1]), [&](std::unique_ptr<Stream> stream) {
    return disk::serve_nbd(env.loop, std::move(stream), exports);
  });
  if (!listener) return fmt::print(stderr, "{}\n", listener.error()), 1;
  env.loop.on_signal([&](int) { env.loop.stop(); });
  std::puts("ready");
  std::fflush(stdout);
  env.loop.run();
  return 0;
}
