// Bytes of objects in 64 KiB pieces, for all disks of a daemon together: in memory, then on the worker's own
// disk, then from the store, once however many wait. Objects are immutable: no coherence, and losing the
// cache costs only time. Nothing here is verified: the reader holds the checksums.
#pragma once
#include "disk/cache/disk_tier.h"
#include "disk/cache/memory_tier.h"
#include "disk/object_data.h"

namespace ebb::disk {

enum class ReadFor {
  use,      // somebody waits for it
  refresh,  // as `use`, from the store whatever the cache says: what it had was wrong
  later,    // a sequential reader will come for it
  warming,  // it was in use where the disk comes from
};

// Pieces [first, end) of one object.
struct PieceRange {
  DataObject object;
  std::uint32_t first = 0, end = 0;
  std::uint64_t bytes() const { return std::uint64_t{end - first} * piece_bytes; }
};

class PieceCache final {
 public:
  using Pieces = std::vector<SharedBytes>;  // shorter than 64 KiB, or empty, only at an object's end
  struct Stats {
    std::uint64_t memory_hits = 0, misses = 0, waits = 0;  // in pieces; waits: somebody else was fetching it
    std::uint64_t fetches = 0, fetched_bytes = 0;          // from the store
    std::uint64_t ahead_bytes = 0, ahead_unused_bytes = 0, warmed_bytes = 0, refreshed = 0;
  };

  explicit PieceCache(std::size_t bytes_max = 64 * MiB) : memory_(bytes_max) {}
  PieceCache(const PieceCache&) = delete;
  // Before the first read. What is passed by reference outlives it.
  void add_disk(Loop& loop, Files& files, DiskTier::Options options, Logger log);

  // Through `access` what is nowhere else. What `access` refers to outlives the task only.
  Task<Result<Pieces>> read(StoreAccess access, PieceRange range, ReadFor purpose);
  // Held by whoever reads so much ahead until it has come; null while there is no room in the memory kept for
  // that.
  class AheadRoom;
  std::unique_ptr<AheadRoom> take_room_ahead(std::uint64_t bytes, Instant now);
  // How much of what was in use elsewhere is worth fetching.
  std::uint64_t warming_bytes_max() const;
  // Held by whoever fetches it: one list at a time.
  AsyncMutex& warming_turn(Loop& loop) {
    if (!warming_turn_) warming_turn_.emplace(loop);
    return *warming_turn_;
  }

  std::size_t bytes() const { return memory_.bytes(); }
  Stats stats() const;
  std::optional<DiskTier::Stats> disk_stats() const;

 private:
  // One request to the store, or one run of pieces on our disk, and those who wait for it.
  struct Flight {
    Flight(Loop& loop, std::uint32_t first_piece) : ended(loop), first(first_piece) {}
    Notify ended;
    std::uint32_t first;
    std::optional<Result<Pieces>> result;
    bool is_over = false;  // without a result: whoever had begun it is gone
  };
  struct Lead;
  using Flights = std::unordered_map<PieceKey, std::shared_ptr<Flight>, PieceKeyHash>;
  struct Wait {
    std::size_t at = 0;
    std::shared_ptr<Flight> flight;
  };

  Task<Result<Pieces>> lead(StoreAccess access, PieceRange range, ObjectName name, ReadFor purpose,
                            std::unique_ptr<Lead> lead);
  Task<Result<Pieces>> fetch(StoreAccess access, PieceRange range, ObjectName name, ReadFor purpose);
  Task<Result<Pieces>> fetch_from_store(StoreAccess access, PieceRange range);
  std::vector<PieceRange> split(const PieceRange& missing, ObjectName name) const;
  void keep(const PieceKey& key, const SharedBytes& bytes, ReadFor purpose, Instant now);

  MemoryTier memory_;
  NameTable names_;
  FrameTables tables_;
  Flights flights_;
  std::uint64_t ahead_in_flight_ = 0;
  std::optional<AsyncMutex> warming_turn_;
  Stats stats_;
  std::unique_ptr<DiskTier> disk_;
};

class PieceCache::AheadRoom {
 public:
  AheadRoom(PieceCache* cache, std::uint64_t bytes) : cache_(*cache), bytes_(bytes) {
    cache_.ahead_in_flight_ += bytes_;
  }
  AheadRoom(const AheadRoom&) = delete;
  ~AheadRoom() { cache_.ahead_in_flight_ -= bytes_; }

 private:
  PieceCache& cache_;
  std::uint64_t bytes_;
};

}  // namespace ebb::disk
