#include "cli/disk_view.h"
#include "cli/drain_view.h"
#include "cli/fleet_view.h"
#include "golden.h"
#include "sample_fleet.h"

namespace ebb {
namespace {

using sample::now;

std::string joined(const std::vector<std::string>& lines) {
  std::string text;
  for (const auto& line : lines) text += line + "\n";
  return text;
}

TEST(Tables, AreAlignedAndHaveOneLineARecord) {
  expect_golden("workers.txt", workers_table(sample::workers(), now));
  expect_golden("vms.txt", vms_table(sample::vms()));
  Disk disk{DiskId("d-7"), PoolId("main"),     64ull << 20,      DiskClass::local,
            VmId("db-1"),  ImageId("witness"), DiskState::ready, now - 90'000};
  expect_golden("disks.txt", disks_table({disk}, now));
  Image image;
  image.id = ImageId("witness"), image.pool = PoolId("main"), image.state = ImageState::ready;
  image.kernel = {"b-1", 40ull << 20, "00"}, image.initrd = Blob{"b-2", 3ull << 20, "00"},
  image.disk_blob = Blob{"b-3", 64ull << 20, "00"};
  image.created_at = now - 200'000;
  expect_golden("images.txt", images_table({image}, now));
  expect_golden("drains.txt", drains_table({sample::drain(), sample::blocked_drain(), sample::ended_drain()},
                                           now + 10'000));
  expect_golden("migrations.txt", migrations_table(sample::ended_drain().migrations, now));
}

TEST(Tables, OfADisksLogSayWhoWroteUnderWhichEpochAndWhereItWasCut) {
  DiskLogView log;
  log.disk = DiskId("d-7");
  log.entries = {
      {"origin", "", "", 0, 0, 0, "forked from witness@image"},
      {"epoch", "1.1", "worker-1", 12, 3400, 0, "ends with segment 12"},
      {"epoch", "3.1", "", 0, 3400, 0, "wrote nothing"},
      {"snapshot", "1.1", "worker-1", 7, 2100, now - 3'600'000, "'monday', taken by worker-1"},
      {"fork", "", "", 0, 0, 0, "d-9 begins as 'monday'"},
      {"restore", "4.1", "ebb:restore", 0, 2100, now - 90'000, "went back to 'monday'"},
      {"now", "5.1", "worker-2", 0, 2107, 0, "attached"},
  };
  expect_golden("disk_log.txt", disk_log_table(log, now));
}

TEST(Tables, OfNothingAreTheirHeader) {
  EXPECT_EQ(drains_table({}, now), "DRAIN  WORKERS  STATUS  MOVED  LEFT  ETA  BEGAN  REASON\n");
}

TEST(Pages, SayEverythingAboutOneThing) {
  expect_golden("worker_page.txt", worker_page(sample::workers()[0], now));
  expect_golden("vm_page.txt", vm_page(sample::vms()[2], now));
  expect_golden("migration_page.txt", migration_page(sample::drain().migrations[1], now));
  expect_golden("why_drain.txt", why_text(why_drain(sample::blocked_drain()), now));
}

TEST(Events, AreOneLineEach) {
  EXPECT_EQ(event_line({42, now, "drain.created", "drains/D-1", "worker-1 is to be drained: new kernel"}),
            "2023-11-14T22:15:00Z      42  drain.created         drains/D-1            worker-1 is to be "
            "drained: new kernel\n");
}

TEST(Plan, ShowsMovesInOrderThenWhatBlocksAndItsRemedy) {
  auto plan = sample::plan();
  expect_golden("plan.txt", plan_text(plan));
  plan.blockers = {sample::blocker()};
  expect_golden("plan_blocked.txt", plan_text(plan));
  DrainPlan empty;
  empty.workers = {WorkerId("empty")};
  EXPECT_EQ(plan_text(empty), "plan: no VMs to move from empty\n");
}

TEST(Plan, OfADeadWorkerShowsWhatIsLostBeforeAnyoneAgrees) {
  auto plan = sample::plan();
  DiskLoss loss{DiskId("d-7"), VmId("db-1"), WorkerId("worker-1"), "disk d-7 of db-1 loses: at most 1 GiB"};
  plan.losses = {loss};
  EXPECT_TRUE(plan_text(plan).ends_with("will be lost: 1 disk\n  disk d-7 of db-1 loses: at most 1 GiB\n"))
      << plan_text(plan);
  auto view = sample::ended_drain();
  loss.said_at = now - 14'000;
  view.losses = {loss};
  EXPECT_TRUE(
      drain_summary(view).ends_with("lost with it: 1 disk\n  disk d-7 of db-1 loses: at most 1 GiB\n"))
      << drain_summary(view);
  EXPECT_TRUE(why_text(why_drain(view), now).contains("  - disk d-7 of db-1 loses: at most 1 GiB (for 14 s)"))
      << why_text(why_drain(view), now);
}

TEST(Frame, ShowsABarForEachVmAndTheTotal) {
  expect_golden("frame_100.txt",
                joined(drain_frame(sample::drain(), sample::plan(), {{100, 24}, Palette::plain}, now)));
  expect_golden("frame_blocked.txt",
                joined(drain_frame(sample::blocked_drain(), {}, {{100, 24}, Palette::plain}, now)));
  expect_golden("frame_done.txt",
                joined(drain_frame(sample::ended_drain(), sample::plan(), {{100, 24}, Palette::plain}, now)));
}

TEST(Frame, NeverLeavesTheScreen) {
  auto view = sample::drain();
  auto plan = sample::plan();
  for (std::uint32_t i = 0; i < 200; ++i) {
    plan.moves.push_back({VmId(fmt::format("crowd-{}", i)), Mechanism::pointer, WorkerId("worker-1"),
                          WorkerId("worker-2"), i, 1, 0, 900, 2300});
    view.blockers.push_back(sample::blocker());
  }
  view.migrations[1].waiting_for[0].text = "ééééééééééééééééééééééééééééééééééééééééééééééééééééééé";
  for (std::size_t columns = 20; columns < 140; ++columns) {
    for (std::size_t rows : {8, 10, 24, 300}) {
      auto lines = drain_frame(view, plan, {{columns, rows}, Palette::plain}, now);
      EXPECT_LT(lines.size(), rows);
      for (const auto& line : lines) EXPECT_LE(columns_of(line), columns) << line;
    }
  }
  expect_golden("frame_crowd_60x10.txt", joined(drain_frame(view, plan, {{60, 10}, Palette::plain}, now)));
}

TEST(Frame, ColoursAreOnlyInAColouredPalette) {
  auto plain = joined(drain_frame(sample::drain(), sample::plan(), {{100, 24}, Palette::plain}, now));
  auto colored = joined(drain_frame(sample::drain(), sample::plan(), {{100, 24}, Palette::colored}, now));
  EXPECT_EQ(plain.find('\x1b'), std::string::npos);
  EXPECT_NE(colored.find("\x1b[32mdone"), std::string::npos);
}

TEST(Lines, TellEveryPhaseOnceAlsoThoseBetweenTwoPolls) {
  DrainLines lines;
  std::string text = joined(lines.update(sample::drain(), now));
  EXPECT_EQ(joined(lines.update(sample::drain(), now)), "") << "nothing new, nothing said";
  text += joined(lines.update(sample::blocked_drain(), now + 1000));
  text += joined(lines.update(sample::ended_drain(), now + 4000));
  expect_golden("lines.txt", text);
}

TEST(Reasons, OfAMigrationAreNotRepeatedAsTheDrains) {
  auto view = sample::drain();
  view.waiting_for = {view.migrations[1].waiting_for[0], {"the disk daemon is silent", std::nullopt, ""}};
  ASSERT_EQ(reasons_of_drain_alone(view).size(), 1u);
  EXPECT_EQ(reasons_of_drain_alone(view)[0].text, "the disk daemon is silent");
  EXPECT_EQ(why_drain(view).reasons.size(), 2u);
}

TEST(Progress, CountsAVmThatIsPastTheSourceButNotThereYet) {
  auto view = sample::drain();
  view.migrations[1].migration.phase = Phase::starting;  // its owner is the target already
  view.remaining = 1;
  EXPECT_NE(drain_frame(view, {}, {{100, 24}, Palette::plain}, now)[0].find("1 of 3 moved"),
            std::string::npos);
  EXPECT_LT(drain_progress(view), 0.67);
}

TEST(Summary, NamesInterruptionOfEachVmAndOfAll) {
  expect_golden("summary.txt", drain_summary(sample::ended_drain()));
  auto failed = sample::blocked_drain();
  failed.status = "cancelled", failed.drain.state = DrainState::cancelled, failed.drain.ended_at = now;
  failed.drain.end_reason = "cancelled by an operator";
  expect_golden("summary_cancelled.txt", drain_summary(failed));
}

TEST(Text, IsCutByCharactersAndNotWithinOne) {
  EXPECT_EQ(cut("héllo wörld", 8), "héllo...");
  EXPECT_EQ(cut("héé", 3), "héé");
  EXPECT_EQ(cut("abcdef", 2), "..");
  EXPECT_EQ(bar(0.5, 12), "[#####-----]");
  EXPECT_EQ(bar(7, 5), "[###]");
  EXPECT_EQ(bar(1, 2), "");
  EXPECT_EQ(ago(now - 500, now), "now");
  EXPECT_EQ(ago(now - 61'000, now), "1m01s ago");
  EXPECT_EQ(ago(now + 5000, now), "in 5.0 s");
}

TEST(LivePainter, OverwritesItsLastFrameAndClearsWhatIsLeftOver) {
  struct Paper final : Screen {
    std::string text;
    void write(Output, std::string_view more) override { text += more; }
    bool is_terminal(Output) const override { return true; }
    ScreenSize size() const override { return {}; }
  } paper;
  LivePainter painter(paper, Output::data);
  painter.show({"a", "b"});
  painter.show({"c"});
  painter.clear();
  painter.clear();
  EXPECT_EQ(paper.text,
            "a\x1b[K\nb\x1b[K\n"
            "\x1b[2A\rc\x1b[K\n\x1b[J"
            "\x1b[1A\r\x1b[J");
}

}  // namespace
}  // namespace ebb
