#include "disk_client.h"

namespace ebb::disk_sim {

using disk::block_bytes;

Guest::Guest(Loop& loop, GuestHouse& house, Tenure& tenure, Device device, WorkPlan plan)
    : loop_(loop),
      house_(house),
      tenure_(tenure),
      device_(std::move(device)),
      plan_(plan),
      random_(plan.seed),
      in_flight_(loop),
      life_(loop) {
  life_.spawn(live());
}

Task<void> Guest::live() {
  auto found = co_await disk::testing::read_all_stamps(device_);
  if (!found) {
    refused("its first reads", found.error());
    device_.reset();
    co_return;
  }
  house_.oracle->begin(tenure_, *found);
  content_ = *found;
  issued_.resize(content_.size()), written_.resize(content_.size());
  while (!house_.is_over && !is_refused_) {
    auto dice = random_.unit();
    if (dice < plan_.flush) {
      in_flight_.spawn(flush_one());
    } else if (dice < plan_.flush + plan_.read) {
      auto count = 1 + random_.below(16);
      in_flight_.spawn(read_one(random_.below(content_.size() - count), count));
    } else {
      auto op = draw();
      const auto index = tenure_.ops.size();
      for (const auto& part : parts_of(op)) {
        auto at = house_.oracle->issue(tenure_, part);
        for (auto b = part.block; b < part.block + part.count; ++b)
          content_[b] = op.stamp, issued_[b] = at + 1;
      }
      in_flight_.spawn(random_.chance(0.05) ? write_through(op, index)
                                            : write_one(op, index, random_.unit()));
    }
    if (house_.is_calm) co_await sleep_for(loop_, 30ms);
    if (!random_.chance(plan_.burst))
      co_await sleep_for(loop_, Duration(static_cast<Duration::rep>(
                                    random_.below(static_cast<std::uint64_t>(plan_.pause.count()) + 1))));
    while (in_flight_.size() > 12 && !is_refused_) co_await sleep_for(loop_, 1ms);
  }
  co_await in_flight_.join();
  if (!is_refused_ && co_await flush()) house_.at_rest.insert(&tenure_);
  device_.reset();
}

Op Guest::draw() {
  Op op;
  const auto blocks = content_.size();
  op.count = 1 + random_.below(random_.chance(0.15) ? 12 : 3);
  if (random_.chance(0.02)) op.count = 1 + random_.below(blocks / 2);
  bool is_hole = random_.chance(0.1);
  if (is_hole && random_.chance(0.1)) op.count = 1 + random_.below(blocks / 2);
  op.block = random_.below(random_.chance(0.4) ? 24 : blocks - op.count);
  if (!is_hole) op.stamp = ++house_.last_stamp;
  return op;
}

std::vector<Op> Guest::parts_of(const Op& op) const {
  if (op.stamp == 0) return {op};
  const std::uint64_t most = house_.oracle->tuning().record_bytes / block_bytes;
  std::vector<Op> parts;
  for (std::uint64_t at = 0; at < op.count; at += most)
    parts.push_back({op.block + at, std::min(op.count - at, most), op.stamp});
  return parts;
}

Task<Status> Guest::change(Op op, double dice) {
  auto offset = op.block * block_bytes, length = op.count * block_bytes;
  if (op.stamp == 0 && dice < 0.5) return device_->trim(offset, length);
  if (op.stamp == 0) return device_->write_zeroes(offset, length, disk::ZeroMode::may_unmap);
  Bytes data;
  for (auto b = op.block; b < op.block + op.count; ++b) append(data, disk::testing::stamped(op.stamp, b));
  return device_->write(offset, std::move(data));
}

Task<void> Guest::write_one(Op op, std::size_t index, double dice) {
  if (auto done = co_await change(op, dice); !done) {
    refused("a write", done.error());
    co_return;
  }
  for (const auto& part : parts_of(op)) {
    house_.oracle->acknowledge(tenure_, index);
    ++index;
    for (auto b = part.block; b < part.block + part.count; ++b) written_[b] = std::max(written_[b], index);
  }
}

// As a write with FUA.
Task<void> Guest::write_through(Op op, std::size_t index) {
  co_await write_one(op, index, 0);
  if (!is_refused_) co_await flush_one();
}

Task<void> Guest::flush_one() { (void)co_await flush(); }

Task<Status> Guest::flush() {
  auto covered = tenure_.acknowledged;
  auto done = co_await device_->flush();
  if (done) {
    check_bound();
    house_.oracle->flush_acknowledged(tenure_, covered);
  } else {
    refused("a FLUSH", done.error());
  }
  co_return done;
}

// A fault of the store or of the log's disk is a wait. Whoever was taken over from is told so, and that is all that a guest is told.
void Guest::refused(std::string_view request, const Error& error) {
  is_refused_ = true;
  if (error.code == Code::fenced) return;
  house_.world->violation(fmt::format("{} on {} in epoch {}: its guest was refused {}: {}", tenure_.disk,
                                      tenure_.worker, tenure_.epoch.text(), request, error));
}

// The announced loss of class `local`: beyond it no FLUSH is acknowledged.
void Guest::check_bound() {
  if (house_.oracle->class_of(tenure_.disk) != DiskClass::local) return;
  auto status = house_.status(tenure_);
  if (!status) return;
  const auto& tuning = house_.oracle->tuning();
  if (std::chrono::milliseconds(status->unsent_age_ms) <= tuning.unsent_age_max) return;
  house_.world->violation(
      fmt::format("{} on {} acknowledged a FLUSH although a write of {} ms ago is not in the store",
                  tenure_.disk, tenure_.worker, status->unsent_age_ms));
}

// By block: the write that it must hold, as index + 1; the largest number where one is under way.
std::vector<std::size_t> Guest::settled(std::uint64_t block, std::uint64_t count) const {
  std::vector<std::size_t> out;
  for (auto b = block; b < block + count; ++b)
    out.push_back(issued_[b] == written_[b] ? issued_[b] : ~std::size_t{0});
  return out;
}

Task<void> Guest::read_one(std::uint64_t block, std::uint64_t count) {
  auto before = settled(block, count);
  auto slices = co_await device_->gather(block * block_bytes, count * block_bytes);
  if (!slices) {
    refused("a read", slices.error());
    co_return;
  }
  auto bytes = disk::testing::joined(*slices);
  auto after = settled(block, count);
  for (std::uint64_t i = 0; i < count; ++i) {
    if (before[i] != after[i] || before[i] == ~std::size_t{0}) continue;
    auto wanted = disk::testing::stamped(content_[block + i], block + i);
    if (std::equal(wanted.begin(), wanted.end(),
                   bytes.begin() + static_cast<std::ptrdiff_t>(i * block_bytes)))
      continue;
    house_.world->violation(fmt::format("{} on {} in epoch {}: block {} does not read as it was written",
                                        tenure_.disk, tenure_.worker, tenure_.epoch.text(), block + i));
  }
}

}  // namespace ebb::disk_sim
