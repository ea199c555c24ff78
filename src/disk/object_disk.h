// A disk whose truth is a log of immutable objects in a store, served by its one owner.
#pragma once
#include "disk/attach/attach.h"
#include "disk/attach/load_map.h"
#include "disk/attach/root_set.h"
#include "disk/block_device.h"
#include "disk/cleaning/cleaner.h"
#include "disk/disk_memory.h"
#include "disk/map_reader.h"
#include "disk/write_pipeline.h"

namespace ebb::disk {

struct RestoreRequest {
  std::string root;     // to go back to
  std::string request;  // fresh for each wish
  std::string keep_as;  // the present state's name; empty: before-restore-<time>
};

class ObjectDisk final : public BlockDevice {
 public:
  struct Parts {
    StoreAccess access;
    HeadAt head;  // attached, under our epoch
    Opener opener;
    LoadedMap loaded;
    std::unique_ptr<Wal> wal;  // null: acknowledged when in the open segment (importing an image)
    DiskMemory memory;
    DiskTuning tuning;
    CleaningTuning cleaning = {};
  };
  explicit ObjectDisk(Parts parts);

  // Before start(): what a former process of this worker acknowledged.
  Task<Status> replay(std::vector<ReplayRecord> records) { return pipeline_.replay(std::move(records)); }
  void start();

  std::uint64_t size_bytes() const override { return map_->size_blocks() * block_bytes; }
  bool is_read_only() const override { return false; }
  Task<Result<Bytes>> read(std::uint64_t offset, std::size_t length) override;
  Task<Result<Slices>> gather(std::uint64_t offset, std::size_t length) override;
  Task<Status> write(std::uint64_t offset, Bytes data) override;
  Task<Status> flush() override;
  Task<Status> trim(std::uint64_t offset, std::uint64_t length) override;
  Task<Status> write_zeroes(std::uint64_t offset, std::uint64_t length, ZeroMode mode) override;
  Task<Result<std::vector<Extent>>> extents(std::uint64_t offset, std::uint64_t length) override;

  // Takes no more writes, brings everything into the store, fences its own next place, and lets HEAD say that
  // nobody holds the disk. Reads and flushes are answered on. Once called, only a new epoch writes again.
  Task<Status> seal();
  // As seal, but HEAD becomes `sealed` for good, with the present state as a named root: an image.
  Task<Status> seal_as_image(std::string root_name);
  // A named root with every write that had been acknowledged before the call, and a prefix of the later ones;
  // the guest writes on meanwhile. The same request finds what it made; conflict: the name is another's.
  Task<Result<NamedRoot>> snapshot(SnapshotRequest request);
  // As seal, but what is left is the disk as it was at that root; what it is now is kept as a root of its
  // own. One compare-and-set does all of it. not_found: no such root.
  Task<Result<RestoreRecord>> restore(RestoreRequest request);
  // HEAD says so before anything may be written there. The size that it has is fine; invalid: a smaller one.
  Task<Status> grow(std::uint64_t size_bytes);
  // HEAD named us when it was asked at `asked_at`. Once called, class `local` acknowledges a FLUSH only while
  // that is recent: a process that was paused, or is cut off from the store, may have a successor that it has
  // not heard of.
  void confirm_ownership(Instant asked_at);
  std::optional<Instant> owned_at() const { return owned_at_; }
  // All I/O fails with `why` from now on, and nothing more is sent.
  void stop(Error why);
  // Called (on the loop, once) when a newer owner or damage is met; I/O fails already.
  void on_lost(std::function<void(const Error&)> callback) { on_lost_ = std::move(callback); }

  const std::optional<Error>& stopped() const { return pipeline_.stopped(); }
  const DiskEpoch& epoch() const { return opener_.epoch; }
  const std::string& opener() const { return opener_.opener; }
  std::uint64_t unsent_bytes() const { return pipeline_.unsent_bytes(); }
  Duration unsent_age() const { return pipeline_.unsent_age(); }
  const Wal* wal() const { return wal_.get(); }
  const Head& head() const { return head_.head; }
  const BlockMap& map() const { return *map_; }
  BlockMap& map() { return *map_; }
  const HotRegions& hot_regions() const { return reader_.hot_regions(); }
  const LogPoint& committed() const { return pipeline_.committed(); }
  std::uint64_t blocks_cleaned() const { return cleaner_.blocks_moved(); }

 private:
  void after_cut(const LogPoint& point, std::size_t data_bytes);
  bool is_map_half_full() const;
  bool checkpoint_is_due() const;
  BlockMap::CheckpointPlan begin_checkpoint(const LogPoint& point);
  Task<void> write_checkpoint(BlockMap::CheckpointPlan plan);
  Task<Status> publish_checkpoint(BlockMap::CheckpointPlan plan);
  bool is_committed(const DataObject& object) const;
  void begin_cleaning();
  Task<void> clean();
  Task<void> checkpoint_when_quiet();
  bool has_long_lineage() const { return head_.head.lineage.size() >= tuning_.lineage_max; }
  template <class T>
  Task<Result<T>> answer(Task<Result<T>> read);
  Task<Error> explain_missing(Error missing);
  Task<Status> change_own_head(std::function<Result<Head>(Head)> change);
  Task<Status> close_and_checkpoint(std::uint64_t segments_min);
  Task<void> run_snapshot(SnapshotRequest request, std::function<void(Result<NamedRoot>)> done);
  Task<Result<NamedRoot>> make_snapshot(SnapshotRequest request);
  Task<Result<bool>> begin_snapshot();
  Task<Result<NamedRoot>> add_root(SnapshotRequest request);
  void end_checkpoint();
  bool has_checkpoint_at(const LogPoint& point) const;
  Status check_still_attached(const Head& head) const;
  Task<void> lose(Error why);
  Task<Status> wait_until_surely_owner();

  StoreAccess access_;
  HeadAt head_;
  Opener opener_;
  std::unique_ptr<BlockMap> map_;
  std::vector<LogPoint> lineage_;  // all sealed epochs before ours
  std::unique_ptr<Wal> wal_;
  DiskMemory memory_;
  DiskTuning tuning_;
  WritePipeline pipeline_;
  MapReader reader_;
  AsyncMutex head_lock_;
  std::uint64_t segments_since_checkpoint_, bytes_since_checkpoint_ = 0, checkpoints_ = 0;
  Cleaner cleaner_;
  bool is_checkpointing_ = false, is_cleaning_ = false, waits_for_quiet_ = false;
  bool is_closing_ = false;  // no more writes
  bool is_ending_ = false;   // no more snapshots either
  AsyncMutex snapshot_lock_;
  bool is_snapshot_waiting_ = false;                       // for the next cut
  std::optional<BlockMap::CheckpointPlan> snapshot_plan_;  // made at a cut, for the snapshot that waits
  Notify checkpoint_ended_;
  std::optional<Instant> owned_at_;  // absent: nobody watches HEAD for us
  Notify ownership_changed_;
  std::function<void(const Error&)> on_lost_;
  Scope scope_;
};

}  // namespace ebb::disk
