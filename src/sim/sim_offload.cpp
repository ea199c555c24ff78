#include "sim/sim_offload.h"

namespace ebb::sim {

void SimOffload::run(Callback work, Callback then) {
  auto& world = process_.world();
  bool early = world.fault_random().chance(0.5);
  if (early) work();
  world.loop().call_at(
      world.loop().now() + world.vary(typical_),
      [&process = process_, early, work = std::move(work), then = std::move(then)]() mutable {
        if (!process.is_alive()) return;
        if (!early) work();
        process.loop().post(std::move(then));
      });
}

}  // namespace ebb::sim
