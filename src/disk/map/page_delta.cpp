#include "disk/map/page_delta.h"

#include <algorithm>

namespace ebb::disk {
namespace {

bool is_before(const PageDelta::Entry& entry, std::uint32_t block) { return entry.block < block; }

// Appends runs in order, joining those that go on.
class PageBuilder {
 public:
  void add(std::uint32_t block, ObjectId object, std::uint32_t data_block,
           std::span<const std::uint32_t> crcs) {
    auto count = static_cast<std::uint32_t>(crcs.size());
    auto& runs = page_.runs;
    bool goes_on = !runs.empty() && runs.back().object == object &&
                   runs.back().block + runs.back().count == block &&
                   runs.back().data_block + runs.back().count == data_block;
    if (goes_on)
      runs.back().count += count;
    else
      runs.push_back({block, count, object, data_block});
    page_.crcs.insert(page_.crcs.end(), crcs.begin(), crcs.end());
  }
  MapPage take() { return std::move(page_); }

 private:
  MapPage page_;
};

}  // namespace

void PageDelta::set(std::uint32_t block, std::span<const std::uint32_t> crcs, ObjectId object,
                    std::uint32_t data_block) {
  auto count = static_cast<std::uint32_t>(crcs.size());
  auto first = std::lower_bound(entries_.begin(), entries_.end(), block, is_before);
  auto last = std::lower_bound(first, entries_.end(), block + count, is_before);
  auto there = static_cast<std::size_t>(last - first),
       at = static_cast<std::size_t>(first - entries_.begin());
  if (there < count)
    entries_.insert(last, count - there, Entry{});
  else
    entries_.erase(first + count, last);
  for (std::uint32_t i = 0; i < count; ++i) entries_[at + i] = {block + i, object, data_block + i, crcs[i]};
}

void PageDelta::clear(std::uint32_t block, std::uint32_t count) {
  auto first = std::lower_bound(entries_.begin(), entries_.end(), block, is_before);
  entries_.erase(first, std::lower_bound(first, entries_.end(), block + count, is_before));
  Range range{block, block + count};
  auto from =
      std::find_if(cleared_.begin(), cleared_.end(), [&](const Range& r) { return r.end >= range.begin; });
  auto to = from;
  for (; to != cleared_.end() && to->begin <= range.end; ++to)
    range = {std::min(range.begin, to->begin), std::max(range.end, to->end)};
  cleared_.insert(cleared_.erase(from, to), range);
}

std::span<const PageDelta::Entry> PageDelta::entries_from(std::uint32_t block) const {
  auto from = std::lower_bound(entries_.begin(), entries_.end(), block, is_before);
  return entries().subspan(static_cast<std::size_t>(from - entries_.begin()));
}

std::optional<PageDelta::Range> PageDelta::cleared_at(std::uint32_t block) const {
  auto it = std::upper_bound(cleared_.begin(), cleared_.end(), block,
                             [](std::uint32_t b, const Range& r) { return b < r.end; });
  if (it == cleared_.end() || it->begin > block) return std::nullopt;
  return *it;
}

bool PageDelta::covers(std::uint32_t begin, std::uint32_t end) const {
  auto entries = entries_from(begin);
  while (begin < end) {
    if (auto cleared = cleared_at(begin)) {
      begin = cleared->end;
      entries = entries_from(begin);
    } else if (!entries.empty() && entries.front().block == begin) {
      ++begin;
      entries = entries.subspan(1);
    } else {
      return false;
    }
  }
  return true;
}

std::uint32_t PageDelta::silent_until(std::uint32_t block, std::uint32_t end) const {
  auto above = entries_from(block);
  if (!above.empty()) end = std::min(end, above.front().block);
  auto cleared = std::upper_bound(cleared_.begin(), cleared_.end(), block,
                                  [](std::uint32_t b, const Range& r) { return b < r.end; });
  if (cleared != cleared_.end()) end = std::min(end, std::max(cleared->begin, block));
  return std::max(block, end);
}

MapPage merge(const MapPage* base, const PageDelta& delta) {
  PageBuilder out;
  auto entries = delta.entries();
  auto add_entries_below = [&](std::uint32_t end) {
    for (; !entries.empty() && entries.front().block < end; entries = entries.subspan(1)) {
      const auto& e = entries.front();
      out.add(e.block, e.object, e.data_block, {&e.crc32c, 1});
    }
  };
  std::span<const std::uint32_t> crcs;
  if (base) crcs = base->crcs;
  for (const auto& run : base ? std::span(base->runs) : std::span<const MapRun>()) {
    for (auto block = run.block, end = run.block + run.count; block < end;) {
      add_entries_below(block);
      auto silent = delta.silent_until(block, end);
      if (silent > block) {
        auto skip = block - run.block;
        out.add(block, run.object, run.data_block + skip, crcs.subspan(skip, silent - block));
        block = silent;
      } else if (auto cleared = delta.cleared_at(block)) {
        block = cleared->end;
      } else {
        ++block;
      }
    }
    crcs = crcs.subspan(run.count);
  }
  add_entries_below(~std::uint32_t{0});
  auto page = out.take();
  if (base) page.page = base->page;
  return page;
}

}  // namespace ebb::disk
