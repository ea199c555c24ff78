#include "disk/cache/memory_tier.h"

namespace ebb::disk {
namespace {
constexpr Duration ahead_age_max = 10s;
}

MemoryTier::MemoryTier(std::size_t bytes_max)
    : bytes_max_(bytes_max), items_(bytes_max, bytes_max / piece_bytes) {}

// Sixteen reads of 4 KiB that walk through a piece use it once.
bool MemoryTier::is_same_use(const PieceKey& key) {
  if (std::find(last_used_.begin(), last_used_.end(), key) != last_used_.end()) return true;
  last_used_[next_last_used_++ % last_used_.size()] = key;
  return false;
}

SharedBytes MemoryTier::use(const PieceKey& key) {
  if (const auto* found = items_.find(key)) {
    auto bytes = *found;
    if (!is_same_use(key)) items_.use(key);
    return bytes;
  }
  auto bytes = take_ahead(key);
  if (!bytes) return nullptr;
  (void)is_same_use(key);
  items_.add(key, bytes, bytes->size());
  return bytes;
}

std::vector<MemoryTier::Fifo::Item> MemoryTier::add(const PieceKey& key, SharedBytes bytes,
                                                    CacheQueue queue) {
  drop(key);
  (void)is_same_use(key);
  auto weight = bytes->size();
  items_.add(key, std::move(bytes), weight, queue);
  return shrink();
}

std::vector<MemoryTier::Fifo::Item> MemoryTier::add_ahead(const PieceKey& key, SharedBytes bytes,
                                                          Instant now) {
  if (has(key)) return {};
  while (ahead_bytes_ + bytes->size() > bytes_max_ / 2 && !ahead_ages_.empty()) drop_oldest_ahead();
  ahead_bytes_ += bytes->size();
  ahead_[key] = {std::move(bytes), now};
  ahead_ages_.push_back(key);
  return shrink();
}

std::vector<MemoryTier::Fifo::Item> MemoryTier::shrink() {
  auto left = items_.shrink(bytes_max_ - std::min(bytes_max_, ahead_bytes_));
  std::erase_if(left, [](const Fifo::Item& item) { return item.queue != CacheQueue::main; });
  return left;
}

SharedBytes MemoryTier::take_ahead(const PieceKey& key) {
  auto it = ahead_.find(key);
  if (it == ahead_.end()) return nullptr;
  auto bytes = std::move(it->second.bytes);
  ahead_bytes_ -= bytes->size();
  ahead_.erase(it);
  return bytes;
}

void MemoryTier::drop(const PieceKey& key) {
  (void)items_.remove(key);
  (void)take_ahead(key);
}

void MemoryTier::drop_oldest_ahead() {
  if (auto unused = take_ahead(ahead_ages_.front())) ahead_unused_bytes_ += unused->size();
  ahead_ages_.pop_front();
}

std::size_t MemoryTier::ahead_room(std::size_t bytes_in_flight, Instant now) {
  while (!ahead_ages_.empty()) {
    auto it = ahead_.find(ahead_ages_.front());
    if (it != ahead_.end() && now - it->second.since < ahead_age_max) break;
    drop_oldest_ahead();
  }
  auto taken = ahead_bytes_ + bytes_in_flight;
  return bytes_max_ / 2 - std::min(bytes_max_ / 2, taken);
}

}  // namespace ebb::disk
