// Pieces in one file on the worker's own disk, found again after a restart. Whatever goes wrong with that
// disk is a miss: an error, no space, wrong bytes, no answer in time.
#pragma once
#include "base/log.h"
#include "disk/cache/disk_tier_format.h"
#include "disk/cache/s3_fifo.h"
#include "env/files.h"
#include "env/object_store.h"
#include "env/scope.h"

namespace ebb::disk {

class DiskTier final {
 public:
  struct Options {
    Options(std::string file, std::uint64_t bytes) : path(std::move(file)), bytes_max(bytes) {}
    std::string path;
    std::uint64_t bytes_max;                // of the file
    std::size_t queue_bytes_max = 8 * MiB;  // waiting to be written, in memory; beyond it pieces are not kept
    std::size_t reads_at_once =
        4;  // a disk that hangs keeps so many threads, and one that writes: not all there are
    std::size_t reads_max = 64;     // with those that wait for their turn; the rest are misses
    Duration read_within = 250ms;   // with the wait for its turn; else the store is asked
    Duration rest_after_slow = 5s;  // a disk that was too slow is not asked for so long
    Duration again_after = 30s;     // after a fault
  };
  struct Stats {
    std::uint64_t hits = 0, written = 0, not_kept = 0, damaged = 0, faults = 0, too_slow = 0;
    std::uint64_t bytes = 0, bytes_max = 0;
    bool is_ready = false;
  };

  DiskTier(Loop& loop, Files& files, Options options, Logger log);
  DiskTier(const DiskTier&) = delete;
  // Opens the file, or begins a new one, in the background; until then everything is a miss.
  void start() { scope_.spawn(run()); }

  bool has(const PieceKey& key) const { return items_.find(key) != nullptr; }
  // By position: a piece, or null. Never fails.
  Task<std::vector<SharedBytes>> read(std::vector<PieceKey> keys);
  // Perhaps keeps it, later.
  void admit(const PieceKey& key, SharedBytes bytes, CacheQueue queue = CacheQueue::probation);
  void drop(const PieceKey& key);
  Stats stats() const;

 private:
  struct Kept {
    std::uint32_t slot = 0, length = 0, crc = 0;
  };
  using Fifo = S3Fifo<PieceKey, Kept, PieceKeyHash>;
  struct Waiting {
    PieceKey key;
    SharedBytes bytes;
    CacheQueue queue = CacheQueue::probation;
  };
  struct Placed {
    Waiting piece;
    Kept kept;
  };
  using Span = std::span<const Placed>;  // slots one after the other

  Task<void> run();
  Task<Status> open();
  Task<Status> begin_anew();
  Task<Status> read_index();
  Task<void> write_on();
  std::vector<Placed> place_batch();
  Task<Status> write_batch(std::vector<Placed>* batch);
  Task<Status> write_span(Span span);
  struct Turn;
  bool is_resting();
  Task<std::vector<SharedBytes>> read_in_turn(std::vector<PieceKey> keys, std::vector<Kept> kept);
  Task<std::vector<SharedBytes>> read_slots(std::vector<PieceKey> keys, std::vector<Kept> kept,
                                            std::unique_ptr<Turn> turn);
  SharedBytes checked(const PieceKey& key, const Kept& kept, ByteView bytes);
  void fault(std::string_view doing, const Error& error);

  Loop& loop_;
  Files& files_;
  Options options_;
  Logger log_;
  CacheLayout layout_;
  std::shared_ptr<File> file_;  // null: not now
  Fifo items_;
  std::vector<std::uint32_t> free_;  // slots, the last is taken next
  std::deque<Waiting> queue_;
  std::size_t queue_bytes_ = 0, unsynced_bytes_ = 0;
  std::size_t reads_ = 0, reading_ = 0;  // reads_: with those that wait for their turn
  Notify read_ended_;
  std::optional<Instant> rests_until_;
  Stats stats_;
  bool is_paused_ = false;  // a write failed a short time ago
  std::optional<Instant> fault_said_at_;
  Poke poke_;
  Scope scope_;
};

}  // namespace ebb::disk
