// A pool and a few workers with their production disk daemons, in virtual time, under the prefix oracle.
// Times are a tenth of production's, in production's proportions.
#pragma once
#include "disk/cleaning/reclaim.h"
#include "disk/daemon.h"
#include "disk/offline/offline.h"
#include "disk/pool_admin.h"
#include "disk_oracle.h"
#include "sim/run_in.h"
#include "sim/sim_files.h"

namespace ebb::disk_sim {

using Device = std::shared_ptr<disk::BlockDevice>;

struct SimWorker {
  std::string name;
  std::shared_ptr<sim::SimDrive> drive = std::make_shared<sim::SimDrive>();
  sim::SimProcess* process = nullptr;
  disk::DiskDaemon* daemon = nullptr;
  Scope* scope = nullptr;  // of requests to the daemon; dies with it

  bool is_up() const { return process && process->is_alive(); }
  bool is_running() const { return is_up() && !process->is_paused(); }
};

struct FleetOptions {
  std::uint64_t seed = 1;
  std::size_t workers = 3;
  std::uint64_t cache_disk_bytes = 0;               // of each worker
  std::uint64_t checkpoint_segments = 0;            // 0: as small_tuning() has it
  std::function<void(std::string_view)> on_note{};  // everything that happens, for --verbose
};

disk::DiskTuning small_tuning();
disk::DiskTuning tuning_of(const FleetOptions& options);
inline const PoolId pool_id("main");
inline constexpr std::string_view rescue_prefix = "rescue-";  // of disks that no guest has

class DiskFleet final {
 public:
  explicit DiskFleet(FleetOptions options);
  DiskFleet(const DiskFleet&) = delete;

  // ---- disks ----
  Status create_disk(const DiskId& disk, DiskClass disk_class, std::uint64_t blocks);
  Status import_image(const DiskId& disk, const Content& content);
  // Runs one task of the control plane in a process of its own.
  template <class T>
  Result<T> admin(std::function<Task<Result<T>>(disk::PoolAdmin&)> task);

  // ---- workers ----
  void boot(SimWorker& worker);
  void kill(SimWorker& worker);
  void power_cut(SimWorker& worker, sim::PowerCut how);
  void replace_drive(SimWorker& worker);  // its logs are gone
  // SIGSTOP and SIGCONT. A pause through which somebody else took one of its disks over makes a zombie.
  void pause(SimWorker& worker);
  void resume(SimWorker& worker);
  // Zombies by what they had been at with the disk.
  const std::map<DiskSeen, std::size_t>& zombies() const { return zombies_; }
  // The verbs, asked for and not waited for.
  void ask_open(SimWorker& worker, OpenDisk request);
  void ask_seal(SimWorker& worker, const DiskId& disk, Epoch epoch);
  void ask_standby(SimWorker& worker, const DiskId& disk, Epoch epoch);
  void ask_close(SimWorker& worker, const DiskId& disk);
  static std::optional<DiskStatus> status_of(const SimWorker& worker, const DiskId& disk);

  // ---- reclaim: a process with rights of its own ----
  void begin_reclaim(const DiskId& disk);
  void kill_reclaim();
  void pause_reclaim(bool is_paused);
  bool is_reclaiming() const { return reclaimer_ && reclaimer_->is_alive() && reclaiming_->size() > 0; }
  std::uint64_t reclaimed() const { return reclaimed_; }
  std::uint64_t cleaned() const { return cleaned_; }  // objects put by the cleaners

  // ---- the store alone ----
  struct Offline {
    DiskEpoch head_epoch;
    Content content;
    disk::CheckReport report;
  };
  static Task<Result<Offline>> read_offline(disk::StoreAccess access, DiskId disk);
  // In the background; what is found is held against the oracle.
  void begin_offline_check(const DiskId& disk);
  Result<Offline> offline(const DiskId& disk);
  // The map made anew from segments and cleaned data alone, and what the disk is then. Nobody holds it.
  Result<Offline> rebuilt(const DiskId& disk);
  bool is_reading() const { return reading_->size() > 0; }
  // What a named root holds.
  struct Root {
    disk::LogPoint position;
    Content content;
  };
  Result<Root> read_root(const DiskId& disk, const std::string& name);
  std::size_t offline_checks() const { return offline_checks_; }
  // No worker reports a log that the store has in full, and each reports those with writes that the store
  // lacks.
  void check_logs(const DiskId& disk);

  // Has the worker write that log into a fork of one of the disk's cuts; the worker dies on the way, now and then. What the
  // fork is then is held against the oracle. False: none of the cuts is where the log was cut.
  bool rescue(SimWorker& worker, const OrphanLog& log, Random& random);

  // Pieces that daemons found in the caches on their workers' disks, as far as they could be asked.
  std::uint64_t cache_disk_hits() const;

  // Called when a disk is served, before anything of it is reached.
  std::function<void(SimWorker&, Tenure&, Device)> on_served;

  Status run_for(Duration duration) { return world_.loop().run_for(duration); }
  Instant now() const { return world_.loop().now(); }
  sim::SimWorld& world() { return world_; }
  sim::SimStore& store() { return store_; }
  Oracle& oracle() { return oracle_; }
  std::vector<SimWorker>& workers() { return workers_; }
  const disk::DiskTuning& tuning() const { return tuning_; }
  std::uint64_t state_hash() const;

 private:
  Result<std::unique_ptr<disk::Published>> publish(SimWorker& worker, const DiskId& disk, Device device);
  Status rescue_into(SimWorker& worker, const OrphanLog& log, const DiskId& into, Random& random,
                     bool& was_power_cut);
  Task<void> check_in_background(DiskId disk);
  Task<void> reclaim_in_background(DiskId disk);
  void remember_segment(const std::string& key, const Bytes& body);
  Task<Result<bool>> store_has_whole_log(Files* files, std::string folder, disk::LogChain chain,
                                         std::uint64_t position);
  std::map<std::string, std::uint64_t> stored_positions(const DiskId& disk) const;

  sim::SimWorld world_;
  sim::SimStore store_;
  disk::DiskTuning tuning_;
  std::uint64_t cache_disk_bytes_ = 0;
  std::uint64_t cache_disk_hits_ = 0;  // of daemons that were killed
  std::map<std::pair<std::string, DiskId>, std::pair<disk::DiskEpoch, const disk::BlockDevice*>>
      exported_;  // last
  Oracle oracle_;
  std::vector<SimWorker> workers_;
  sim::SimProcess* reader_ = nullptr;
  disk::StoreAccess reader_access_;
  Scope* reading_ = nullptr;
  std::size_t offline_checks_ = 0;
  sim::SimProcess* reclaimer_ = nullptr;
  disk::StoreAccess reclaim_access_;
  ObjectRemover* remover_ = nullptr;
  Scope* reclaiming_ = nullptr;
  std::uint64_t reclaimed_ = 0, cleaned_ = 0;
  std::size_t rescue_forks_ = 0;
  std::map<sim::SimProcess*, std::vector<DiskStatus>> paused_;  // and what they held then
  std::map<DiskSeen, std::size_t> zombies_;
  struct LogEnd {
    std::string log_id;
    std::uint64_t log_position = 0;
  };
  std::map<std::string, LogEnd> segments_put_;  // by key; fences are none
};

template <class T>
Result<T> DiskFleet::admin(std::function<Task<Result<T>>(disk::PoolAdmin&)> task) {
  auto& process = world_.start_process("control", "admin");
  auto& client = process.make<sim::SimStoreClient>(process, store_);
  auto& pool_admin = process.make<disk::PoolAdmin>(process.loop(), client);
  auto result = sim::run_in(process, task(pool_admin));
  process.kill();
  if (!result) return fail(Code::internal, "the task did not end");
  return std::move(*result);
}

}  // namespace ebb::disk_sim
