#include "drain/brake.h"

#include <gtest/gtest.h>

namespace ebb::drain {
namespace {

struct World {
  Fleet fleet;
  Seen seen;
  BrakeLimits limits;

  World() { seen.has_listened = true; }
  // With a VM each, unless told otherwise.
  void workers(const char* zone, int count, bool with_vms = true) {
    for (int i = 0; i < count; ++i) {
      Worker worker;
      worker.id = WorkerId(fmt::format("{}{}", zone, i));
      if (*zone) worker.labels["zone"] = zone;
      fleet.put(worker);
      Vm vm;
      vm.id = VmId("vm-" + worker.id.value), vm.worker = worker.id;
      if (with_vms) fleet.put(vm);
      auto& at = seen.workers[worker.id];
      at.heard = true, at.liveness = Liveness::ready;
    }
  }
  void silence(const char* zone, int count) {
    for (int i = 0; i < count; ++i)
      seen.workers.at(WorkerId(fmt::format("{}{}", zone, i))).liveness = Liveness::silent;
  }
  std::string why_not(const char* worker) { return Brake(fleet, seen, limits).why_not(WorkerId(worker)); }
};

TEST(Brake, EngagesWhenMoreOfAZoneIsSilentThanMayBeAndOnlyThere) {
  World w;
  w.workers("a", 10), w.workers("b", 90);
  w.silence("a", 2);
  EXPECT_EQ(w.why_not("a0"), "");
  w.silence("a", 3);
  EXPECT_EQ(
      w.why_not("a0"),
      "3 of 10 workers of zone a do not answer, and at most 2 may look dead at once: it may be the network");
  EXPECT_EQ(w.why_not("b0"), "") << "of the cell it is little";
  w.silence("a", 10), w.silence("b", 11);
  EXPECT_TRUE(w.why_not("b0").starts_with("21 of 100 workers of the cell"));
}

TEST(Brake, LetsOneWorkerOfAFewBeDead) {
  World w;
  w.workers("", 3);
  w.silence("", 1);
  EXPECT_EQ(w.why_not("0"), "");
  w.silence("", 2);
  EXPECT_EQ(
      w.why_not("0"),
      "2 of 3 workers of the cell do not answer, and at most 1 may look dead at once: it may be the network");
  w.limits.dead_min = 2;
  EXPECT_EQ(w.why_not("0"), "");
}

TEST(Brake, DoesNotCountSilentWorkersThatHaveNothing) {
  World w;
  w.workers("a", 4), w.workers("empty", 50, false);
  w.silence("empty", 50), w.silence("a", 1);
  EXPECT_EQ(w.why_not("a0"), "") << "they were emptied long ago, and are off";
  w.silence("a", 2);
  EXPECT_NE(w.why_not("a0"), "");
}

TEST(Brake, HoldsUntilTheControlPlaneHasListenedWhoIsThere) {
  World w;
  w.workers("a", 10);
  w.silence("a", 1);
  w.seen.has_listened = false;
  EXPECT_TRUE(w.why_not("a0").starts_with("the control plane has just started"));
  w.seen.has_listened = true;
  EXPECT_EQ(w.why_not("a0"), "");
  for (auto& [id, at] : w.seen.workers) at.heard = false, at.liveness = Liveness::never_seen;
  EXPECT_TRUE(w.why_not("a0").starts_with("10 of 10")) << "nobody has been heard of";
}

}  // namespace
}  // namespace ebb::drain
