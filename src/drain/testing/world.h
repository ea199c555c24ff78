// Three workers that answer, and a drain of the first one.
#pragma once
#include "model/fleet.h"

namespace ebb::drain::testing {

struct World {
  Fleet fleet;
  Seen seen;
  Drain drain;

  World() {
    for (auto name : {"a", "b", "c"}) {
      Worker w;
      w.id = WorkerId(name), w.capacity = {8000, 8ull << 30};
      fleet.put(w);
      auto& at = seen.workers[w.id];
      at.heard = true, at.liveness = Liveness::ready;
      at.wanted_revision = at.report.wanted_revision = 1;
      at.report.disk_daemon_up = true;
    }
    drain.id = DrainId("drain-1"), drain.workers = {WorkerId("a")}, drain.state = DrainState::running;
    fleet.put(drain);
  }
  void vm(const char* id, const char* worker, bool disk = true) {
    Vm v;
    v.id = VmId(id), v.worker = WorkerId(worker), v.epoch = 1;
    if (disk) v.disk = DiskId(fmt::format("d-{}", id));
    fleet.put(v);
  }
  Migration& migration(const char* id, const char* vm, const char* to, Phase phase, bool by_drain = true) {
    static Migration m;
    m = Migration{};
    m.id = MigrationId(id), m.vm = VmId(vm), m.source = WorkerId("a"), m.target = WorkerId(to),
    m.phase = phase;
    if (by_drain) m.drain = drain.id;
    fleet.put(m);
    return m;
  }
};

}  // namespace ebb::drain::testing
