// Pieces in memory, within one bound. What was read ahead waits apart until it is asked for, so that it
// neither pushes out what is in use nor is pushed out before its time.
#pragma once
#include <array>

#include "base/time.h"
#include "disk/cache/piece_key.h"
#include "disk/cache/s3_fifo.h"
#include "env/object_store.h"

namespace ebb::disk {

class MemoryTier {
 public:
  using Fifo = S3Fifo<PieceKey, SharedBytes, PieceKeyHash>;

  explicit MemoryTier(std::size_t bytes_max);
  // For somebody who uses it.
  SharedBytes use(const PieceKey& key);
  bool has(const PieceKey& key) const { return items_.find(key) || ahead_.contains(key); }
  // What had been in use and had to leave for it.
  std::vector<Fifo::Item> add(const PieceKey& key, SharedBytes bytes,
                              CacheQueue queue = CacheQueue::probation);
  std::vector<Fifo::Item> add_ahead(const PieceKey& key, SharedBytes bytes, Instant now);
  void drop(const PieceKey& key);

  // How much may be read ahead and wait; what nobody came for after a while leaves.
  std::size_t ahead_room(std::size_t bytes_in_flight, Instant now);
  std::size_t bytes() const { return items_.weight() + ahead_bytes_; }
  std::size_t bytes_max() const { return bytes_max_; }
  std::uint64_t ahead_unused_bytes() const { return ahead_unused_bytes_; }

 private:
  struct Waiting {
    SharedBytes bytes;
    Instant since{};
  };
  bool is_same_use(const PieceKey& key);
  std::vector<Fifo::Item> shrink();
  void drop_oldest_ahead();
  SharedBytes take_ahead(const PieceKey& key);

  std::size_t bytes_max_, ahead_bytes_ = 0;
  Fifo items_;
  std::unordered_map<PieceKey, Waiting, PieceKeyHash> ahead_;
  std::deque<PieceKey> ahead_ages_;  // oldest first; some may have gone
  std::array<PieceKey, 16> last_used_{};
  std::size_t next_last_used_ = 0;
  std::uint64_t ahead_unused_bytes_ = 0;  // ever
};

}  // namespace ebb::disk
