// Serves a disk in memory over NBD on a unix socket, for tests with clients that no one here wrote.
// Usage: nbd_memory_server SOCKET SIZE [read-only]. Says "ready" on stdout; ends at SIGTERM.
#include <cstdio>

#include "base/text.h"
#include "disk/nbd/align_layer.h"
#include "disk/nbd/nbd_server.h"
#include "disk/nbd/testing.h"
#include "platform/real_env.h"

using namespace ebb;

int main(int argc, char** argv) {
  if (argc < 3) return std::fprintf(stderr, "usage: %s SOCKET SIZE [read-only]\n", argv[0]), 2;
  auto size = parse_size(argv[2]);
  if (!size) return fmt::print(stderr, "{}\n", size.error()), 2;
  RealEnv env;
  auto memory = std::make_shared<disk::testing::MemoryDevice>(env.loop, *size);
  memory->keep_log = false;
  memory->read_only = argc > 3;
  std::shared_ptr<disk::BlockDevice> device = std::make_shared<disk::AlignLayer>(env.loop, memory);
  disk::NbdExports exports{[device](std::string name) -> Result<std::shared_ptr<disk::BlockDevice>> {
                             if (name != "disk" && !name.empty())
                               return fail(Code::not_found, "no disk '{}' here", name);
                             return device;
                           },
                           [] { return std::vector<std::string>{"disk"}; },
                           Logger(make_stderr_sink(LogLevel::info), "nbd")};
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
