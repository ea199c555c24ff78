// The record format, the log of a channel, and the verdict over both.
#include "record.h"

#include <gtest/gtest.h>
#include <string>
#include <vector>

#include "report.h"
#include "verdict.h"

namespace ebb::guest {
namespace {

Writer boot_number(std::uint32_t boot) { return {boot, 0xb0070000u + boot, make_tag("disk-1")}; }

// Records 1..n of which each boot writes `per_boot`.
std::vector<Record> records_of(std::uint64_t n, std::uint64_t per_boot) {
  std::vector<Record> records;
  for (std::uint64_t i = 1; i <= n; ++i)
    records.push_back(make_record(i, boot_number(static_cast<std::uint32_t>((i - 1) / per_boot + 1))));
  return records;
}

// Makes the record whole again after a change, as somebody who wrote it on purpose would.
Record sealed(Record record) {
  record.crc32 = record_crc(record);
  return record;
}

TEST(Record, has_the_bytes_that_the_format_promises) {
  const Record record = make_record(0x0102030405060708u, {9, 0xAABBCCDDu, make_tag("vol-7")});
  const auto* bytes = reinterpret_cast<const unsigned char*>(&record);
  EXPECT_EQ(std::string(reinterpret_cast<const char*>(bytes), 8), "EBBWREC1");
  EXPECT_EQ(bytes[8], 8);
  EXPECT_EQ(bytes[15], 1);
  EXPECT_EQ(bytes[16], 9);
  EXPECT_EQ(bytes[20], 0xDD);
  EXPECT_EQ(std::string(reinterpret_cast<const char*>(bytes + 24)), "vol-7");
}

// Others' values: the check value of CRC-32, and the first output of splitmix64 for the seed 0.
TEST(Record, uses_the_published_functions) {
  EXPECT_EQ(crc32_of("123456789", 9), 0xCBF43926u);
  const auto filler = filler_of(0);
  std::uint64_t word = 0;
  std::memcpy(&word, filler.data(), 8);
  EXPECT_EQ(word, 0xE220A8397B1DCDAFu);
}

TEST(Record, is_not_the_same_after_any_bit_has_changed) {
  const Record good = make_record(42, boot_number(3));
  EXPECT_EQ(check_record(good, 42), RecordFault::none);
  for (std::size_t bit = 0; bit < sizeof(Record) * 8; ++bit) {
    Record record = good;
    reinterpret_cast<unsigned char*>(&record)[bit / 8] ^= static_cast<unsigned char>(1u << (bit % 8));
    EXPECT_NE(check_record(record, 42), RecordFault::none) << "bit " << bit;
  }
}

TEST(Record, is_refused_in_another_place_or_with_other_content) {
  Record record = make_record(42, boot_number(3));
  EXPECT_EQ(check_record(record, 43), RecordFault::sequence);
  record.filler[5] ^= 1;
  EXPECT_EQ(check_record(sealed(record), 42), RecordFault::filler);
}

TEST(RecordWalk, accepts_boots_that_follow_one_another) {
  RecordWalk walk;
  for (const Record& record : records_of(30, 10)) EXPECT_EQ(walk.next(record), RecordFault::none);
  EXPECT_EQ(walk.last_writer(), boot_number(3));
}

TEST(RecordWalk, refuses_boots_that_do_not) {
  struct Case {
    const char* what;
    Writer second;
  };
  Writer other_tag = boot_number(2);
  other_tag.tag = make_tag("disk-2");
  Writer other_id = boot_number(2);
  other_id.boot_id ^= 1;
  for (const Case& c :
       {Case{"back", boot_number(1)}, Case{"skipped", boot_number(4)},
        Case{"other disk in mid-boot", other_tag}, Case{"two boots of one number", other_id}}) {
    RecordWalk walk;
    walk.next(make_record(1, boot_number(1)));
    EXPECT_EQ(walk.next(make_record(2, boot_number(2))), RecordFault::none);
    EXPECT_EQ(walk.next(make_record(3, c.second)), RecordFault::writer) << c.what;
  }
}

TEST(ReportLog, knows_which_boot_reported_what) {
  const ReportLog log(
      "\nB 1 1 0000000a\nC 0000000a\nD 1\nC 0000000a\nD 7\n\nB 2 9 0000000b\nC 0000000b\nD 9\n");
  const std::vector<ReportedRange> expected{{0xa, 1, 7}, {0xb, 9, 9}};
  EXPECT_EQ(log.ranges(), expected);
  EXPECT_EQ(log.highest(), 9);
  EXPECT_EQ(log.faults(), 0);
}

TEST(ReportLog, of_a_destination_of_a_live_migration_begins_in_mid_boot) {
  const ReportLog log("C 0000000a\nD 8\nC 0000000a\nD 9\n");
  EXPECT_EQ(log.ranges(), (std::vector<ReportedRange>{{0xa, 8, 9}}));
}

TEST(ReportLog, ignores_what_is_not_a_whole_known_line) {
  EXPECT_EQ(ReportLog("").highest(), 0);
  EXPECT_EQ(ReportLog("D 12").highest(), 0);
  EXPECT_EQ(ReportLog("D 12\nD 13").highest(), 12);
  EXPECT_EQ(ReportLog("D\nD x\nD 1x\nD -1\nhello\nS 5\nF 3\n\n").highest(), 0);
}

TEST(ReportLog, shows_faults_by_itself) {
  EXPECT_EQ(ReportLog("BAD 5 record crc32\n").faults(), 1);
  EXPECT_EQ(ReportLog("B 1 1 0a\nC 0a\nD 9\nB 2 9 0b\n").faults(), 1)
      << "a boot that found less than was reported";
  EXPECT_EQ(ReportLog("C 0a\nD 9\nC 0a\nD 8\n").faults(), 1) << "a boot that counts backwards";
}

Verdict verdict_of(const std::vector<Record>& slots, std::vector<ReportLog> logs,
                   std::size_t tail_bytes = 0) {
  return judge(slots, tail_bytes, logs).verdict;
}

TEST(Verdict, of_a_disk_with_all_that_was_reported_is_clean) {
  const auto slots = records_of(20, 10);
  EXPECT_EQ(verdict_of(slots, {}), (Verdict{.records = 20}));
  EXPECT_EQ(verdict_of(slots, {ReportLog("D 20\n")}), (Verdict{.records = 20, .reported = 20}));
  EXPECT_EQ(
      verdict_of(slots, {ReportLog("B 1 1 b0070001\nC b0070001\nD 10\n"), ReportLog("C b0070002\nD 19\n")}),
      (Verdict{.records = 20, .reported = 19}));
}

TEST(Verdict, counts_every_reported_number_that_is_missing) {
  EXPECT_EQ(verdict_of(records_of(20, 10), {ReportLog("D 10\n"), ReportLog("D 25\n")}),
            (Verdict{.records = 20, .reported = 25, .lost = 5}));
  EXPECT_EQ(verdict_of({}, {ReportLog("D 18446744073709551615\n")}),
            (Verdict{.reported = 18446744073709551615u, .lost = 18446744073709551615u}));
}

TEST(Verdict, counts_a_wrong_slot_as_bad_and_as_lost_if_it_was_reported) {
  auto slots = records_of(20, 10);
  slots[4].filler[0] ^= 1;
  EXPECT_EQ(verdict_of(slots, {}), (Verdict{.records = 19, .bad = 1}));
  EXPECT_EQ(verdict_of(slots, {ReportLog("D 4\n")}), (Verdict{.records = 19, .reported = 4, .bad = 1}));
  EXPECT_EQ(verdict_of(slots, {ReportLog("D 5\n")}),
            (Verdict{.records = 19, .reported = 5, .lost = 1, .bad = 1}));
}

TEST(Verdict, sees_a_disk_that_went_back_and_was_written_anew) {
  // Boot 2 reported 11..15; then the disk was back at 10, and another boot wrote 11..20.
  const std::vector<ReportLog> logs{ReportLog("B 2 11 0000beef\nC 0000beef\nD 15\n")};
  EXPECT_EQ(verdict_of(records_of(20, 10), logs), (Verdict{.records = 20, .reported = 15, .lost = 5}));
}

TEST(Verdict, forgives_a_torn_end_only_if_it_was_not_reported) {
  EXPECT_EQ(verdict_of(records_of(20, 10), {ReportLog("D 20\n")}, 60),
            (Verdict{.records = 20, .reported = 20, .torn = 1}));
  auto slots = records_of(20, 10);
  slots.back() = Record{};
  EXPECT_EQ(verdict_of(slots, {ReportLog("D 19\n")}), (Verdict{.records = 19, .reported = 19, .torn = 1}));
  EXPECT_EQ(verdict_of(slots, {ReportLog("D 20\n")}),
            (Verdict{.records = 19, .reported = 20, .lost = 1, .torn = 1}));
  slots.back() = make_record(99, boot_number(2));
  EXPECT_EQ(verdict_of(slots, {ReportLog("D 19\n")}), (Verdict{.records = 19, .reported = 19, .bad = 1}));
}

}  // namespace
}  // namespace ebb::guest
