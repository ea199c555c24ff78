// One disk on this worker: opened, served, sealed, closed, as the agent asks; fenced, as HEAD says.
#pragma once
#include "base/log.h"
#include "disk/cache/hints.h"
#include "disk/opening.h"
#include "model/disk_daemon_types.h"

namespace ebb::disk {

// An export of a served disk; destroying it ends its connections.
class Published {
 public:
  virtual ~Published() = default;
  virtual std::string socket() const = 0;
  virtual std::string export_name() const = 0;
};
// How a disk is made reachable (NBD on a unix socket in the daemon, nothing in the simulator).
using Publish = std::function<Result<std::unique_ptr<Published>>(DiskId, std::shared_ptr<BlockDevice>)>;

struct DaemonOptions {
  std::string state_dir;
  std::string worker;                    // the owner in HEAD
  std::map<PoolId, ObjectStore*> pools;  // outlive the daemon
  Duration settle =
      15s;  // after a take-over without a confirmed stop: longer than an owner that is cut off needs to pause
  Duration watch_every = 3s;
  Duration reply_within = 1s;  // a verb answers with the state reached by then, and goes on
  DiskTuning tuning;
  DiskMemory memory;                       // shared by all disks
  std::optional<SharedRoom::Limits> room;  // of all disks together; absent: each by its tuning
  Offload* threads = nullptr;              // for what takes a processor long; null: it is done in place
  std::uint64_t cache_disk_bytes = 0;      // of the cache's file in the state folder; 0: none
  Duration hints_after =
      1min;  // served so long, a disk leaves its first hints; later at least every five times as long
};

// What is opened again after a restart of the daemon.
struct OpenRecord {
  OpenDisk request;
  bool is_settled = false;  // the wait after a take-over is over
  std::vector<CutMade> cuts{};
  bool operator==(const OpenRecord&) const = default;
};
BOOST_DESCRIBE_STRUCT(OpenRecord, (), (request, is_settled, cuts))

struct DiskEnv {
  Loop* loop = nullptr;
  Files* files = nullptr;
  const DaemonOptions* options = nullptr;
  const Publish* publish = nullptr;
  DiskMemory memory;
  Logger log;
};

class ServedDisk {
 public:
  enum class Start {
    asked,
    after_restart,
    for_rescue,  // a restart does not open it again: whoever wants it asks
  };

  ServedDisk(DiskEnv env, DiskId disk, PoolId pool, ObjectStore& store);
  ServedDisk(const ServedDisk&) = delete;

  // The verbs. Each ends with the state reached within reply_within; the work goes on.
  Task<Result<DiskStatus>> open(OpenDisk request, Start start = Start::asked);
  Task<Result<DiskStatus>> standby(Epoch epoch);
  Task<Result<DiskStatus>> seal(Epoch epoch);
  // Its guest is about to stop, and maybe to move: what it uses now is told to whoever stands by.
  DiskStatus hint(Epoch epoch);
  Task<Result<DiskStatus>> close();  // the last state, no longer served
  // unavailable: it is under way; whoever asks, asks again.
  Task<Result<SnapshotMade>> snapshot(MakeSnapshot request);
  // unavailable: the store has not answered yet; whoever asks, asks again.
  Task<Result<DiskStatus>> resize(ResizeDisk request);

  // What that log holds beyond the place where `into` was forked; null: there is no such log here.
  Task<Result<std::optional<std::vector<ReplayRecord>>>> orphaned_rest(std::string log_id, DiskId into);
  Task<Result<Head>> head_now();
  // Once all of it stands elsewhere in the store.
  Task<Status> remove_orphan(std::string log_id);

  // Reads HEAD once; another epoch there fences us.
  Task<void> watch();
  // Without being open: whether logs lie here that hold what the store lacks.
  Task<void> examine_logs();

  DiskStatus status() const;
  bool has_unsent_log() const;
  bool has_unread_log() const { return has_unexamined_logs_; }
  // Exactly what the logs here hold that others went on without; none as long as that is not known.
  std::vector<OrphanLog> orphan_logs() const;
  bool is_known() const { return state_.has_value(); }  // else only logs of it may lie here
  void expect_logs() { has_unexamined_logs_ = true; }   // until they have been examined, they count as unsent
  std::shared_ptr<BlockDevice> device() const { return device_; }
  const PoolId& pool() const { return pool_; }

 private:
  // Lives as long as anybody holds the device.
  struct Life {
    explicit Life(Loop& loop) : trouble(loop), log_trouble(loop) {}
    Trouble trouble, log_trouble;
    std::unique_ptr<ObjectDisk> disk;
    std::unique_ptr<BlockDevice> image;
    std::uint32_t hints = 0;           // lists written, or tried
    std::uint64_t hinted_changes = 0;  // of the hot regions, in the last one
  };

  Task<void> run_open(OpenDisk request, Start start);
  Task<Status> open_steps(OpenDisk request, Start start);
  Task<Status> open_image();
  Task<bool> was_sealed_before_restart(Epoch epoch);
  Task<void> settle(Instant since);
  Task<void> take_cuts(std::vector<WantedSnapshot> wanted);
  void refuse_cuts(const std::vector<WantedSnapshot>& wanted, const std::string& why);
  Task<void> run_seal();
  Task<Status> seal_unopened(Epoch epoch);
  Task<void> run_standby();
  Task<void> warm_up_on_standby(Head head, LoadedMap loaded);
  Task<void> warm_up_opened(Head head);
  Task<Result<LoadedMap>> load_standby_map(Head head);
  Task<void> warm_up(BlockMap* map, Hints hints);
  Task<void> leave_hints();
  Task<void> leave_hints_now_and_then();
  Task<void> run_snapshot(MakeSnapshot request);
  Task<void> run_resize(std::uint64_t size_bytes, std::shared_ptr<std::optional<Status>> grown);
  Status check_open_under(Epoch epoch) const;
  Task<Result<DiskStatus>> reply();
  Task<void> wait_while(DiskSeen state);
  Status serve();
  void become(DiskSeen state, std::string error = {});
  void fail_open(const Error& error);
  void become_fenced(const Error& why);
  void stop_serving(const Error& why);
  void reset_life();
  std::string folder() const { return fmt::format("{}/disks/{}", env_.options->state_dir, disk_); }
  Task<Status> write_record(OpenRecord record);
  Task<void> remove_record();
  StoreAccess access() const { return {env_.loop, &store_, &life_->trouble, env_.options->threads}; }

  DiskEnv env_;
  DiskId disk_;
  PoolId pool_;
  ObjectStore& store_;
  std::optional<DiskSeen> state_;
  Error error_;
  Epoch epoch_ = 0;
  DiskEpoch disk_epoch_;
  std::string opener_;
  std::string stage_;  // what an opening disk is at, for people
  std::shared_ptr<Life> life_;
  std::shared_ptr<BlockDevice> device_;
  std::unique_ptr<Published> published_;
  LogCache cache_;
  std::map<std::string, std::optional<Result<NamedRoot>>>
      snapshots_;  // by request; under way, or made and not yet told
  std::vector<KeptLog> kept_logs_;
  std::vector<CutMade> cuts_;
  std::weak_ptr<std::optional<Status>> resizing_;  // how the one that is under way ends
  std::uint64_t served_bytes_ = 0;                 // the size that clients are told
  bool has_unexamined_logs_ = false;
  std::optional<Instant> store_silent_since_;
  Notify changed_;
  AsyncMutex logs_lock_;  // held by an open, and by whoever decides about logs of a disk that is not
  Scope scope_;
};

// A disk that is an image, read-only.
class ImageDevice final : public BlockDevice {
 public:
  ImageDevice(StoreAccess access, LoadedMap loaded, std::uint64_t size_bytes, DiskMemory memory);
  std::uint64_t size_bytes() const override { return size_bytes_; }
  bool is_read_only() const override { return true; }
  Task<Result<Bytes>> read(std::uint64_t offset, std::size_t length) override {
    return reader_.read(offset, length);
  }
  Task<Result<Slices>> gather(std::uint64_t offset, std::size_t length) override {
    return reader_.gather(offset, length);
  }
  Task<Status> write(std::uint64_t, Bytes) override { return refuse(); }
  Task<Status> flush() override { co_return Status{}; }
  Task<Status> trim(std::uint64_t, std::uint64_t) override { return refuse(); }
  Task<Status> write_zeroes(std::uint64_t, std::uint64_t, ZeroMode) override { return refuse(); }
  Task<Result<std::vector<Extent>>> extents(std::uint64_t offset, std::uint64_t length) override {
    return reader_.extents(offset, length);
  }

 private:
  static Task<Status> refuse() { co_return fail(Code::invalid, "an image is read-only"); }
  std::uint64_t size_bytes_;
  std::unique_ptr<BlockMap> map_;
  DiskMemory memory_;
  MapReader reader_;
};

}  // namespace ebb::disk
