#include <gtest/gtest.h>

#include "agent/admission.h"
#include "agent/wish_step.h"

namespace ebb::agent {
namespace {

WantedVm entry(const std::string& name, Epoch epoch, Wanted wanted) {
  WantedVm w;
  w.vm = VmId(name), w.epoch = epoch, w.wanted = wanted, w.memory_bytes = 128ull << 20;
  return w;
}
Wishes after(Wishes now, std::vector<WantedVm> vms, std::size_t refusals = 0) {
  auto step = take_wanted(std::move(now), {WorkerId("w"), 9, std::move(vms)});
  EXPECT_EQ(step.refused.size(), refusals);
  return step.next;
}

TEST(WishStep, WhatIsNotNamedBecomesAbsentAndKeepsItsDisks) {
  auto a = entry("a", 5, Wanted::running);
  a.disks.push_back({DiskId("d"), PoolId("p"), 1, DiskClass::remote, false, false});
  auto wishes = after(after({}, {a}), {});
  EXPECT_EQ(wishes.vms.at(VmId("a")).wanted, Wanted::absent);
  EXPECT_EQ(wishes.vms.at(VmId("a")).disks, a.disks);
  EXPECT_EQ(wishes.revision, 9u);
}

// Every pair of what is and what comes, with an older, the same and a newer epoch.
TEST(WishStep, AnOlderEpochChangesNothingButAStandbyThatOwnsNothing) {
  for (auto is : {Wanted::running, Wanted::standby, Wanted::sealed, Wanted::stopped, Wanted::absent}) {
    for (auto comes : {Wanted::running, Wanted::standby, Wanted::sealed, Wanted::stopped, Wanted::absent}) {
      for (Epoch epoch : {4u, 5u, 6u}) {
        auto now = after({}, {entry("a", 5, Wanted::running)});
        now = after(now, {entry("a", 5, is)});
        bool owns = is == Wanted::running || is == Wanted::sealed || is == Wanted::stopped;
        bool refused = epoch < 5 && !(comes == Wanted::standby && !owns);
        auto next = after(now, {entry("a", epoch, comes)}, refused ? 1 : 0);
        auto expected = refused ? entry("a", 5, is) : entry("a", epoch, comes);
        EXPECT_EQ(next.vms.at(VmId("a")), expected)
            << json::name_of(is) << " then " << json::name_of(comes) << " of epoch " << epoch;
        EXPECT_GE(next.epochs.at(VmId("a")), 5u);
      }
    }
  }
}

TEST(WishStep, ManyVmsThatLeftAreRememberedByOneEpoch) {
  Wishes wishes;
  Epoch last = 0;
  for (std::size_t i = 0; i < epochs_max + 10; ++i) {
    wishes = after(wishes, {entry("vm-" + std::to_string(i), ++last, Wanted::running)});
    wishes.vms.clear();  // gone at once
  }
  EXPECT_LE(wishes.epochs.size(), epochs_max);
  EXPECT_GT(wishes.forgotten_epoch, 0u);
  after(wishes, {entry("vm-0", 1, Wanted::running)}, 1);
  after(wishes, {entry("vm-0", ++last, Wanted::running)}, 0);
}

TEST(WishStep, TheFileReadsBackAsItWasWritten) {
  auto wishes = after({}, {entry("a", 5, Wanted::running), entry("b", 6, Wanted::standby)});
  auto read = json::read_text<Wishes>(json::write_text(wishes));
  ASSERT_TRUE(read);
  EXPECT_EQ(*read, wishes);
}

TEST(Admission, QemusOwnMemoryCounts) {
  auto wish = entry("a", 1, Wanted::running);
  Resources capacity{1000, wish.memory_bytes + machine_overhead_bytes};
  EXPECT_TRUE(admit(wish, {}, capacity));
  EXPECT_EQ(admit(wish, {0, 1}, capacity).error().code, Code::busy);
  EXPECT_NE(admit(wish, {1, 0}, capacity).error().message.find("cores"), std::string::npos);
}

}  // namespace
}  // namespace ebb::agent
