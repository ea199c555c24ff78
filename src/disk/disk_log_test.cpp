// Who wrote a disk, under which epoch, and where each turn ended.
#include "disk/testing/snapshots.h"

namespace ebb::disk {
namespace {
using namespace testing;

class DiskLogTest : public ::testing::Test {
 protected:
  // Each in a segment of its own.
  void write(SimWorker& worker, std::uint64_t count, DiskId id = disk_id) {
    for (std::uint64_t b = 0; b < count; ++b)
      ASSERT_TRUE(w_.write(worker, b, ++stamp_, id) && w_.flush(worker, id));
  }
  std::vector<std::string> log(DiskId id = disk_id) {
    auto view = w_.admin<Result<DiskLogView>>([=](PoolAdmin& p) { return p.read_log(id); });
    EXPECT_TRUE(view) << view.error().message;
    std::vector<std::string> lines;
    for (const auto& e : view.value_or(DiskLogView{}).entries) {
      EXPECT_EQ(e.at > 0, e.kind == "snapshot" || e.kind == "restore") << "only those say when";
      lines.push_back(fmt::format("{} {} by {}, {} segments, write {}: {}", e.kind,
                                  e.epoch.empty() ? "-" : e.epoch, e.owner.empty() ? "?" : e.owner,
                                  e.segments, e.write_seq, e.text));
    }
    return lines;
  }
  using Lines = std::vector<std::string>;

  DiskWorld w_;
  SimWorker a_{"worker-a"}, b_{"worker-b"};
  Snapshots s_{w_};
  Stamp stamp_ = 0;
};

TEST_F(DiskLogTest, EachTurnSaysWhoWroteUnderWhichEpochAndWhereItWasCut) {
  w_.settle = 0s;
  ASSERT_TRUE(w_.create_disk() && w_.boot(a_) && w_.boot(b_) && w_.open(a_, 1));
  EXPECT_EQ(log(), (Lines{"epoch 1.1 by worker-a, 0 segments, write 0: wrote nothing",
                          "now 1.1 by worker-a, 0 segments, write 0: attached"}));
  write(a_, 2);
  ASSERT_TRUE(w_.seal(a_, 1) && w_.open(b_, 2) && w_.seal(b_, 2) && w_.open(a_, 3));
  write(a_, 2);
  EXPECT_EQ(log(), (Lines{"epoch 1.1 by worker-a, 2 segments, write 2: ends with segment 2",
                          "epoch 2.1 by worker-b, 0 segments, write 2: wrote nothing",
                          "epoch 3.1 by worker-a, 2 segments, write 4: ends with segment 2",
                          "now 3.1 by worker-a, 0 segments, write 4: attached"}));
  ASSERT_TRUE(w_.write(a_, 9, 9)) << "not flushed: it is lost with its worker";
  a_.process->kill();
  ASSERT_TRUE(w_.open(b_, 4, true));
  write(b_, 1);
  b_.process->kill();
  ASSERT_TRUE(w_.boot(a_) && w_.open(a_, 5, true));
  write(a_, 4);
  ASSERT_TRUE(w_.seal(a_, 5));
  EXPECT_EQ(log(), (Lines{"epoch 1.1 by worker-a, 2 segments, write 2: ends with segment 2",
                          "epoch 2.1 by worker-b, 0 segments, write 2: wrote nothing",
                          "epoch 3.1 by worker-a, 2 segments, write 4: ends with segment 2",
                          "epoch 4.1 by worker-b, 1 segments, write 5: ends with segment 1",
                          "epoch 5.1 by worker-a, 4 segments, write 9: ends with segment 4",
                          "checkpoint 5.1 by worker-a, 4 segments, write 9: number 2 of epoch 5.1 of d1",
                          "now 5.1 by worker-a, 0 segments, write 9: detached_clean"}));
}

TEST_F(DiskLogTest, SnapshotsForksAndRestoresStandWhereTheyWereCut) {
  ASSERT_TRUE(w_.create_disk() && w_.boot(a_) && w_.boot(b_) && w_.open(a_, 1));
  write(a_, 3);
  ASSERT_TRUE(s_.take(a_, 1, "monday", "r1"));
  write(a_, 4);
  const DiskId fork("fork-1");
  ASSERT_TRUE(w_.seal(a_, 1) && s_.fork("monday", fork));
  ASSERT_TRUE(w_.admin<Result<RestoreRecord>>(
      [this](PoolAdmin& p) { return p.restore(disk_id, {"monday", "r2", "kept"}, w_.tuning); }));
  ASSERT_TRUE(w_.open(b_, 2));
  write(b_, 2);
  EXPECT_EQ(log(),
            (Lines{"epoch 1.1 by worker-a, 3 segments, write 3: ends with segment 3",
                   "epoch 1.2 by ebb:restore, 0 segments, write 3: wrote nothing",
                   "epoch 2.1 by worker-b, 2 segments, write 5: ends with segment 2",
                   "snapshot 1.1 by worker-a, 3 segments, write 3: 'monday', taken by worker-a",
                   "snapshot 1.1 by worker-a, 7 segments, write 7: 'kept', taken by ebb:restore",
                   "fork - by ?, 0 segments, write 0: fork-1 begins as 'monday'",
                   "restore 1.2 by ebb:restore, 0 segments, write 3: went back to 'monday'; what it was, "
                   "up to write 7 of epoch 1.2, is kept as 'kept'",
                   "checkpoint 1.1 by worker-a, 3 segments, write 3: number 1 of epoch 1.1 of d1",
                   "now 2.1 by worker-b, 0 segments, write 5: attached"}));
  ASSERT_TRUE(w_.open(b_, 1, false, fork));
  write(b_, 2, fork);
  ASSERT_TRUE(w_.seal(b_, 1, fork));
  EXPECT_EQ(log(fork), (Lines{"origin - by ?, 0 segments, write 0: forked from d1@monday",
                              "epoch 1.1 by worker-b, 2 segments, write 5: ends with segment 2",
                              "checkpoint 1.1 by worker-a, 3 segments, write 3: number 1 of epoch 1.1 of d1",
                              "now 1.1 by worker-b, 0 segments, write 5: detached_clean"}));
}

}  // namespace
}  // namespace ebb::disk
