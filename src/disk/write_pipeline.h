// The path of a write: queue -> log record (acknowledged) -> map and open segment -> cut -> store
// (committed), always in the order of the queue. What is above the committed point is held in memory and in
// the log.
#pragma once
#include <deque>
#include <list>

#include "disk/log/segment_uploader.h"
#include "disk/log/wal.h"
#include "disk/map/block_map.h"
#include "disk/shared_room.h"
#include "env/scope.h"

namespace ebb::disk {

struct DiskTuning {
  std::size_t record_bytes = record_data_bytes_max;  // a longer write is several records
  std::size_t segment_bytes = 8 * MiB;
  std::uint64_t window = 8;  // segments in flight
  std::uint64_t log_file_bytes = 64 * MiB;
  std::size_t pending_bytes_max = 64 * MiB;  // not yet in the store; beyond it writes wait
  Duration age_cut = 2s;                     // a segment is cut when its first write is so old
  std::uint64_t checkpoint_segments = 64;    // between checkpoints
  std::size_t map_changes_bytes_max =
      32 * MiB;  // of the map in memory that no checkpoint has; beyond it writes wait
  std::uint64_t detach_checkpoint_segments = 8;  // a clean detach with more since the last one makes one
  std::size_t lineage_max = 32;                  // so many turns in HEAD call for one that has them in itself
  // The announced loss of class `local`: no FLUSH is acknowledged beyond it.
  std::uint64_t unsent_bytes_max = 1 * GiB;
  Duration unsent_age_max = 60s;
  // HEAD must have named us so recently for class `local` to acknowledge; shorter than a successor's settling
  // time.
  Duration ownership_age_max = 10s;
};

class WritePipeline {
 public:
  struct Events {
    // The map is exactly what the log says up to this point; how much data the segment has.
    std::function<void(const LogPoint&, std::size_t)> cut;
    std::function<void(const LogPoint&)> committed;
    std::function<void(Error)> lost;
  };
  struct Start {
    DiskId disk;
    LogPoint end;        // of the log: this epoch's point, with seq 0
    std::string log_id;  // empty: without a write-ahead log
  };
  // `map` and `wal` (null: none) outlive it.
  // `room` (null: none) is shared with other disks.
  WritePipeline(StoreAccess access, Start start, BlockMap* map, Wal* wal, DiskTuning tuning,
                std::shared_ptr<SharedRoom> room, Events events);
  // What a former process acknowledged and the store lacks: applied when this ends, which must be before
  // begin().
  Task<Status> replay(std::vector<ReplayRecord> records);
  void begin();

  // Ends when acknowledged. Data longer than a record is several of them.
  Task<Status> write(std::uint64_t block, std::uint64_t count, Bytes data);  // no data: zeroes
  // Everything acknowledged so far is in the store.
  Task<Status> flush_to_store();
  // Everything acknowledged so far survives a power cut of this worker, and what the store lacks is within
  // the bound.
  Task<Status> flush_to_log();
  // Takes no more writes; ends when everything taken before is in the store.
  Task<Status> close();
  // Nothing is in the open segment: the map is exactly what the log says up to cut_point().
  bool is_cut() const { return builder_.empty(); }
  const LogPoint& cut_point() const { return cut_point_; }
  void cut_soon() { cut_wanted_ = true, poke_.poke(); }
  // A checkpoint has ended: what waited for room in the map may go on.
  void go_on() { poke_.poke(); }
  // All that waits fails with `why`, and nothing is sent any more.
  void stop(Error why);
  const std::optional<Error>& stopped() const { return stopped_; }

  const LogPoint& committed() const { return committed_; }
  // Where the log was last cut, if nothing has been applied since: the map is exactly what the log says up to
  // there.
  std::optional<LogPoint> quiet_point() const {
    return builder_.empty() ? std::optional(cut_point_) : std::nullopt;
  }
  // The bytes of an object that the store may not have yet; empty if it has.
  ByteView resident(const DataObject& object) const;
  std::uint64_t unsent_bytes() const { return unsent_.taken(); }
  // Of the map, that no checkpoint has: beyond it writes wait.
  std::size_t map_changes_bytes_max() const { return unsent_.changes_max(tuning_.map_changes_bytes_max); }
  Duration unsent_age() const;

 private:
  struct Record {
    WalKind kind = WalKind::data;
    std::uint64_t write_seq = 0, block = 0;
    std::uint32_t count = 0;
    std::shared_ptr<const Bytes> data;
    std::size_t data_at = 0, data_bytes = 0;
    std::uint64_t log_end = 0;
    std::function<void(Status)> done;
    ByteView view() const { return data ? ByteView(*data).subspan(data_at, data_bytes) : ByteView(); }
    std::size_t cost() const { return data_bytes + wal_record_bytes; }
  };
  struct Records {
    std::deque<Record> records;
    std::size_t cost = 0;  // of all
    bool empty() const { return records.empty(); }
    void push(Record record) {
      cost += record.cost();
      records.push_back(std::move(record));
    }
    Record pop() {
      auto first = std::move(records.front());
      records.pop_front();
      cost -= first.cost();
      return first;
    }
  };
  struct Batch {  // what one segment holds of the unsent
    std::size_t cost = 0;
    std::optional<Instant> since;
  };

  Task<void> run_log();
  Task<void> log_group(Records* group);
  void take_group(Records* into);
  Task<void> run();
  Task<bool> apply_logged(std::size_t count);
  Task<bool> apply(Record record);
  void apply_now(const Record& record);
  bool has_room(const Record& record) const;
  bool cut_is_due() const;
  Duration until_cut() const;
  void cut();
  void on_committed(const SegmentBuilder::Cut& cut);
  Task<Status> wait_for_room(std::size_t bytes);
  Task<Status> wait_within_bound();

  StoreAccess access_;
  Start start_;
  BlockMap& map_;
  Wal* wal_;
  DiskTuning tuning_;
  Events events_;
  AsyncMutex admission_;
  // In the order in which they came: from `queue_` to the log, from there to `logged_`, until applied. Without a
  // log at once.
  Records queue_, logged_;
  std::list<Records> logging_;
  SegmentBuilder builder_;
  Batch open_batch_;
  std::optional<ObjectId> open_object_;  // of the segment that is being built, once it has data
  std::map<std::uint64_t, Batch> cut_batches_;
  SegmentUploader uploader_;
  LogPoint cut_point_, committed_;
  std::uint64_t next_write_seq_;
  std::uint64_t acknowledged_write_seq_;
  std::uint64_t replayed_to_ = 0;  // the last write that a former process left
  std::uint64_t applied_log_end_ = 0;
  SharedRoom::Share unsent_;
  bool cut_wanted_ = false, is_closed_ = false;
  std::optional<Error> stopped_;
  Poke log_poke_, poke_;
  Notify changed_;
  Scope scope_;
};

}  // namespace ebb::disk
