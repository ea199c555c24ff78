// Holds the records found on a disk against the logs of the channels on which they were reported. Pure.
#pragma once
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "record.h"
#include "report.h"

namespace ebb::guest {

struct Verdict {
  std::uint64_t records = 0;   // right ones on the disk
  std::uint64_t reported = 0;  // the highest number in any log
  std::uint64_t lost =
      0;  // reported numbers whose record is missing, wrong, or of another boot than reported it
  std::uint64_t bad = 0;   // wrong slots, and faults that the logs show by themselves
  std::uint64_t torn = 0;  // 1 if the last write was cut off; no fault as such: it was not reported yet
  bool operator==(const Verdict&) const = default;
};

struct Judgement {
  Verdict verdict;
  std::vector<std::string> remarks;  // for people; at most remarks_max
};

inline constexpr std::size_t remarks_max = 20;

// `tail_bytes`: what follows the last whole record in the file.
inline Judgement judge(std::span<const Record> slots, std::size_t tail_bytes,
                       const std::vector<ReportLog>& logs) {
  Judgement result;
  Verdict& verdict = result.verdict;
  const auto remark = [&result](std::string text) {
    if (result.remarks.size() < remarks_max) result.remarks.push_back(std::move(text));
  };

  std::vector<bool> right(slots.size());
  RecordWalk walk;
  verdict.torn = tail_bytes > 0 ? 1 : 0;
  for (std::size_t i = 0; i < slots.size(); ++i) {
    const RecordFault fault = walk.next(slots[i]);
    right[i] = fault == RecordFault::none;
    if (right[i]) {
      ++verdict.records;
    } else if (i + 1 == slots.size() && tail_bytes == 0 && is_torn(fault)) {
      verdict.torn = 1;
    } else {
      ++verdict.bad;
      remark("slot " + std::to_string(i + 1) + " is bad: " + fault_name(fault));
    }
  }

  std::vector<bool> lost(slots.size());
  for (const ReportLog& log : logs) {
    verdict.bad += log.faults();
    for (const std::string& fault : log.fault_lines()) remark("the log says: " + fault);
    verdict.reported = std::max(verdict.reported, log.highest());
    for (const ReportedRange& range : log.ranges()) {
      if (!range.boot_id || range.first == 0) continue;
      for (std::uint64_t n = range.first; n <= range.highest && n <= slots.size(); ++n) {
        if (right[n - 1] && slots[n - 1].boot_id != *range.boot_id) lost[n - 1] = true;
      }
    }
  }
  // A reported number promises all numbers before it.
  for (std::uint64_t n = 1; n <= verdict.reported && n <= slots.size(); ++n) {
    if (!right[n - 1]) lost[n - 1] = true;
  }
  for (std::size_t i = 0; i < lost.size(); ++i) {
    if (!lost[i]) continue;
    ++verdict.lost;
    remark("lost: " + std::to_string(i + 1) + (right[i] ? ", written anew by another boot" : ""));
  }
  if (verdict.reported > slots.size()) {
    verdict.lost += verdict.reported - slots.size();
    remark("lost: " + std::to_string(slots.size() + 1) + ".." + std::to_string(verdict.reported) +
           ", beyond the end");
  }
  return result;
}

}  // namespace ebb::guest
