// Arbitrary bytes from a client: whatever comes, the server must neither crash nor hang, and must release
// everything.
#include <cstdlib>

#include "disk/nbd/align_layer.h"
#include "disk/nbd/nbd_server.h"
#include "disk/nbd/testing.h"

using namespace ebb;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  disk::testing::StepLoop loop;
  auto memory = std::make_shared<disk::testing::MemoryDevice>(loop, 64 * KiB);
  memory->delay = [] { return Duration(1us); };
  std::shared_ptr<disk::BlockDevice> device = std::make_shared<disk::AlignLayer>(loop, memory);
  auto [client, server_end] = disk::testing::make_pipe(loop);
  Scope scope(loop);
  scope.spawn(disk::serve_nbd(loop, std::move(server_end),
                              {[device](std::string name) -> Result<std::shared_ptr<disk::BlockDevice>> {
                                 if (name.size() > 1) return fail(Code::not_found, "no disk '{}' here", name);
                                 return device;
                               },
                               [] { return std::vector<std::string>{"a", "b"}; },
                               {}}));
  scope.spawn([](Stream* stream, Bytes bytes) -> Task<void> {
    std::ignore = co_await stream->write_all({bytes});
  }(client.get(), Bytes(reinterpret_cast<const std::byte*>(data),
                        reinterpret_cast<const std::byte*>(data) + size)));
  loop.run(1s);
  client.reset();
  loop.run(1h);
  if (scope.size() != 0) std::abort();  // the connection hangs
  return 0;
}
