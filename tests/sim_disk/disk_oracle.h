// The prefix oracle: what a disk holds must be what some prefix of its write history left, never less of it
// than was promised for its class and for the way its owner ended. Histories of several owners are chained:
// what an owner found is where its own writes begin.
#pragma once
#include "base/text.h"
#include "disk/testing/history.h"
#include "disk/write_pipeline.h"
#include "sim/sim_store.h"

namespace ebb::disk_sim {

using disk::DiskEpoch;
using disk::testing::Content;
using disk::testing::Stamp;

struct Op {
  std::uint64_t block = 0, count = 0;
  Stamp stamp = 0;  // 0: trimmed, or zeroes
  std::optional<Instant> acknowledged_at{};
};

// One owner's time, from being served to whatever ended it. Positions count `ops`, those carried over
// included.
struct Tenure {
  DiskId disk;
  std::string worker;
  DiskEpoch epoch;
  std::uint64_t drive = 0;  // which drive of this worker
  bool has_begun = false;   // its guest has read the disk, and may write
  Content base;             // in the store for certain
  std::vector<Op> ops;
  std::size_t carried = 0;                        // of `ops`: found in the log of this worker's former tenure
  std::size_t acknowledged = 0;                   // one after the other, carried ones included
  std::size_t flushed = 0;                        // covered by an acknowledged FLUSH
  std::size_t kept_anywhere = 0;                  // any successor holds so much, wherever it is
  std::optional<std::size_t> survives_power_cut;  // there was one since
  std::optional<std::size_t> successor_kept;
  std::optional<Instant> flushed_at;

  std::size_t cost(std::size_t op) const;
};

inline constexpr std::string_view restorer = "ebb:restore";  // the owner in HEAD

class Oracle final {
 public:
  Oracle(sim::SimWorld& world, sim::SimStore& store, disk::DiskTuning tuning);
  Oracle(const Oracle&) = delete;

  void add_disk(const DiskId& disk, DiskClass disk_class, Content initial);
  // Before anything lands in the pool under another name: HEAD of every disk is watched.
  void on_put(const std::string& key, const Bytes& body);
  // Nothing that HEAD's checkpoint or a named root needs may go, and no fence that ends an epoch.
  void on_removed(const std::string& key, const Bytes& body);

  // ---- what happens to workers ----
  void power_was_cut(const std::string& worker);
  void drive_was_replaced(const std::string& worker);

  // ---- what owners and their guests see ----
  Tenure& served(const DiskId& disk, const std::string& worker, DiskEpoch epoch);
  void begin(Tenure& tenure, const Content& found);
  std::size_t issue(Tenure& tenure, Op op);
  void acknowledge(Tenure& tenure, std::size_t op);
  // FLUSH was acknowledged, and had been sent when `covered` writes were.
  void flush_acknowledged(Tenure& tenure, std::size_t covered);

  // ---- what the store alone says ----
  // How much of each tenure must be in the store by now.
  std::map<DiskEpoch, std::size_t> stored_by_now(const DiskId& disk) const;
  // The disk was read offline under this HEAD epoch; asked for when `least` held.
  void read_offline(const DiskId& disk, DiskEpoch head_epoch, const Content& found,
                    const std::map<DiskEpoch, std::size_t>& least);
  // ---- snapshots and restores ----
  // The root of that name holds a prefix; of the tenure `asked` it holds `least` writes at least, if it wrote
  // last.
  void check_root(const DiskId& disk, const std::string& name, const disk::LogPoint& position,
                  const Content& found, DiskEpoch asked, std::size_t least);
  // The next restore of the disk makes it this.
  void expect_restore(const DiskId& disk, Content content);
  // What the restore in that epoch left: all that the disk was.
  void check_left(const DiskId& disk, DiskEpoch epoch, const Content& found);
  // A disk that was made of a take-over's cut and of what the former owner's log held beyond it: all that it had acknowledged.
  void check_rescued(const DiskId& disk, const std::string& worker, std::uint64_t placement,
                     const Content& found);
  // Sealed cleanly, with nothing running: all that was acknowledged is in the store, and what was issued
  // beyond is a prefix.
  void check_final(const DiskId& disk, const Content& found);

  // ---- looking ----
  const disk::DiskTuning& tuning() const { return tuning_; }
  const Tenure* newest(const DiskId& disk) const;
  const std::optional<disk::Head>& head(const DiskId& disk) const { return disks_.at(disk).head; }
  DiskClass class_of(const DiskId& disk) const { return disks_.at(disk).disk_class; }
  const Content& initial(const DiskId& disk) const { return disks_.at(disk).initial; }
  // Workers whose present drive must hold a log of the disk: acknowledged there, and not kept by the
  // successor.
  std::set<std::string> workers_with_orphans(const DiskId& disk) const;
  std::size_t tenures() const { return tenures_; }
  std::size_t writes() const { return writes_; }
  std::size_t lost_writes() const { return lost_writes_; }  // acknowledged, and not kept
  std::uint64_t drive_of(const std::string& worker) const;
  // Where each epoch of the disk ended, as HEAD has said; the newest by what is unsealed after a clean seal.
  std::map<DiskEpoch, std::uint64_t> seals(const DiskId& disk) const;

 private:
  struct Attached {
    std::string owner;
    std::uint64_t drive = 0;
    bool is_detached = false;
  };
  struct Disk {
    DiskClass disk_class = DiskClass::remote;
    Content initial;
    std::optional<disk::Head> head;
    std::map<DiskEpoch, Attached> attached;  // every epoch that reached step 3
    std::map<DiskEpoch, disk::LogPoint> seals;
    std::map<DiskEpoch, disk::LogPoint> cuts;  // where a restore has the present lineage end an epoch
    std::map<DiskEpoch, std::unique_ptr<Tenure>> tenures;
    std::optional<Content> restored_content;
  };
  struct Promise {
    std::size_t least = 0;
    bool is_log_carried = false;
  };
  struct Match {
    std::size_t shortest = 0, longest = 0;
  };

  void check_head_step(Disk& disk, const disk::Head& from, const disk::Head& to);
  void check_seals(Disk& disk, const disk::Head& head);
  const std::set<std::string>& needed_by(const disk::CheckpointRef& checkpoint);
  static bool is_restore(const disk::Head& from, const disk::Head& to);
  void begin_restored(Disk& disk, const disk::Head& head);
  Tenure* before(Disk& disk, DiskEpoch epoch) const;
  Promise promised(const Disk& disk, const Tenure& last, const Tenure& next) const;
  static std::optional<Match> match(const Tenure& tenure, const Content& found, std::size_t least);
  std::size_t bound_at(const Tenure& tenure, std::size_t covered) const;
  template <class... Args>
  void violation(fmt::format_string<Args...> text, Args&&... args) {
    world_.violation(fmt::format(text, std::forward<Args>(args)...));
  }

  sim::SimWorld& world_;
  sim::SimStore& store_;
  disk::DiskTuning tuning_;
  std::map<DiskId, Disk> disks_;
  std::map<std::string, std::uint64_t> drives_;
  std::map<std::string, std::set<std::string>>
      needed_;  // keys that a checkpoint's root names, by its own key
  std::size_t tenures_ = 0, writes_ = 0, lost_writes_ = 0;
};

}  // namespace ebb::disk_sim
