// The oracle of every crash test: writes are stamped, and what a disk holds must be what some prefix of their
// history left - never less of it than was promised.
#pragma once
#include <fmt/format.h>
#include <optional>
#include <string>
#include <vector>

#include "base/random.h"
#include "disk/block_device.h"
#include "env/scope.h"

namespace ebb::disk::testing {

// EBB_SEEDS: how many times as many, for a soak.
inline std::uint64_t times_seeds(std::uint64_t seeds) {
  const auto* more = std::getenv("EBB_SEEDS");
  return more ? seeds * std::strtoull(more, nullptr, 10) : seeds;
}

using Stamp = std::uint64_t;  // 0: zeroes
using Content = std::vector<Stamp>;

inline Bytes stamped(Stamp stamp, std::uint64_t block) {
  Bytes bytes(block_bytes);
  if (stamp == 0) return bytes;
  for (std::size_t at = 0; at < block_bytes; at += 16) {
    store_le(bytes, at, stamp);
    store_le(bytes, at + 8, stamp * 0x9e3779b97f4a7c15 + block);
  }
  return bytes;
}

inline Bytes joined(const Slices& slices) {
  Bytes all;
  for (const auto& part : slices.parts()) append(all, part.bytes);
  return all;
}

// One stamp for each block; an error names a block that holds what nobody ever wrote there.
inline Result<Content> read_stamps(ByteView bytes) {
  Content content;
  for (std::size_t at = 0; at < bytes.size(); at += block_bytes) {
    auto block = bytes.subspan(at, block_bytes);
    auto stamp = load_le<Stamp>(block);
    auto expected = stamped(stamp, at / block_bytes);
    if (!std::equal(block.begin(), block.end(), expected.begin()))
      return fail(Code::corrupt, "block {} is mixed", at / block_bytes);
    content.push_back(stamp);
  }
  return content;
}

inline Task<Result<Content>> read_all_stamps(std::shared_ptr<BlockDevice> device) {
  EBB_CO_TRY(bytes, co_await device->read(0, device->size_bytes()));
  co_return read_stamps(bytes);
}

// What one owner did, in the order in which it was issued.
class History {
 public:
  struct Op {
    std::uint64_t block = 0, count = 0;
    Stamp stamp = 0;
  };
  explicit History(Content base) : base_(std::move(base)) {}

  std::size_t issue(Op op) {
    ops_.push_back(op);
    acknowledged_.push_back(false);
    return ops_.size() - 1;
  }
  void acknowledge(std::size_t op) { acknowledged_[op] = true; }
  // Acknowledged one after the other: how many from the beginning.
  std::size_t acknowledged() const {
    std::size_t n = 0;
    while (n < ops_.size() && acknowledged_[n]) ++n;
    return n;
  }
  bool acknowledged_in_order() const {
    for (auto n = acknowledged(); n < ops_.size(); ++n) {
      if (acknowledged_[n]) return false;
    }
    return true;
  }
  void promise(std::size_t ops) { flushed_ = std::max(flushed_, ops); }
  std::size_t flushed() const { return flushed_; }
  std::size_t issued() const { return ops_.size(); }

  // What `next` did after the first `length` ops of this: one worker's tenures with its log carried over.
  void go_on(std::size_t length, const History& next) {
    ops_.resize(length);
    acknowledged_.assign(length, true);
    ops_.insert(ops_.end(), next.ops_.begin(), next.ops_.end());
    acknowledged_.insert(acknowledged_.end(), next.acknowledged_.begin(), next.acknowledged_.end());
    if (next.flushed_ > 0) flushed_ = length + next.flushed_;
  }

  // The longest prefix, at least `at_least`, that leaves `found`; nullopt: there is none.
  std::optional<std::size_t> prefix_of(const Content& found, std::size_t at_least) const {
    auto content = base_;
    std::optional<std::size_t> longest;
    for (std::size_t n = 0; n <= ops_.size(); ++n) {
      if (n > 0) {
        const auto& op = ops_[n - 1];
        for (auto b = op.block; b < op.block + op.count; ++b) content[b] = op.stamp;
      }
      if (n >= at_least && content == found) longest = n;
    }
    return longest;
  }

 private:
  Content base_;
  std::vector<Op> ops_;
  std::vector<bool> acknowledged_;
  std::size_t flushed_ = 0;
};

// Writes, trims and flushes at random, several at a time, until the device refuses or `ops` are issued.
struct Workload {
  std::uint64_t seed = 1;
  Stamp owner = 1;  // in the upper bits of its stamps
  int ops = 60;
  Duration pause = 5ms;  // between two, at most
  double flush = 0.15;
};

inline Task<void> write_one(std::shared_ptr<BlockDevice> device, History* history, std::size_t index,
                            History::Op op, bool as_trim) {
  Status done;
  if (op.stamp == 0) {
    if (as_trim)
      done = co_await device->trim(op.block * block_bytes, op.count * block_bytes);
    else
      done =
          co_await device->write_zeroes(op.block * block_bytes, op.count * block_bytes, ZeroMode::may_unmap);
  } else {
    Bytes data;
    for (auto b = op.block; b < op.block + op.count; ++b) append(data, stamped(op.stamp, b));
    done = co_await device->write(op.block * block_bytes, std::move(data));
  }
  if (done) history->acknowledge(index);
}

inline Task<void> flush_one(std::shared_ptr<BlockDevice> device, History* history) {
  auto covered = history->acknowledged();
  if (co_await device->flush()) history->promise(covered);
}

// `history` outlives the process that runs this.
inline Task<void> run_workload(Loop* loop, std::shared_ptr<BlockDevice> device, History* history,
                               Workload work) {
  Random random(work.seed);
  Scope in_flight(*loop);
  auto blocks = device->size_bytes() / block_bytes;
  for (int i = 0; i < work.ops; ++i) {
    if (random.chance(work.flush)) {
      in_flight.spawn(flush_one(device, history));
    } else {
      History::Op op;
      op.count = 1 + random.below(random.chance(0.2) ? 12 : 3);
      op.block = random.below(blocks - op.count);
      op.stamp = random.chance(0.1) ? 0 : (work.owner << 32) | static_cast<Stamp>(i + 1);
      auto index = history->issue(op);
      in_flight.spawn(write_one(device, history, index, op, random.chance(0.5)));
    }
    if (random.chance(0.5))
      co_await sleep_for(*loop, Duration(static_cast<std::int64_t>(
                                    random.below(static_cast<std::uint64_t>(work.pause.count()) + 1))));
    while (in_flight.size() > 12) co_await sleep_for(*loop, 1ms);
  }
  co_await in_flight.join();
}

}  // namespace ebb::disk::testing
