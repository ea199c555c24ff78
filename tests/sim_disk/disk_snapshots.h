// Snapshots, forks of them and restores, as a control plane asks for them that may die on the way and then
// asks again. What a snapshot holds is a prefix of its disk's history with all that was acknowledged when it
// was asked for.
#pragma once
#include "disk_control.h"

namespace ebb::disk_sim {

class Snapshots final {
 public:
  Snapshots(DiskFleet& fleet, Control& control, std::uint64_t seed)
      : fleet_(fleet), control_(control), random_(seed) {}
  Snapshots(const Snapshots&) = delete;

  // Something new is asked for.
  void act();
  // Goes on with what was asked for.
  void tick();
  bool is_idle() const { return wishes_.empty() && !restore_ && !removal_; }
  std::string waits_for() const;
  // Nothing may be read offline while a restore changes what the disk is.
  bool is_restoring(const DiskId& disk) const { return restore_ && restore_->disk == disk; }
  // A snapshot that a fork may begin as.
  struct Origin {
    DiskId disk;
    std::string root;
    Content content;
  };
  std::optional<Origin> draw_origin();  // not removed before
  void fork_is_made(const DiskId& disk, const std::string& root);
  // With nothing running: each snapshot is what it was when it was made.
  void check_end();

  std::size_t taken() const { return known_.size() + removed_; }
  std::size_t removed() const { return removed_; }
  std::size_t restores() const { return restores_; }

 private:
  struct Wish {
    DiskId disk;
    std::string name;
    std::size_t least = 0;  // writes of the tenure `epoch` that were acknowledged when it was asked for
    DiskEpoch epoch;
    bool is_asked_of_owner = false;  // the newest question
    std::optional<std::pair<DiskEpoch, std::size_t>>
        told;  // an owner, and what it had acknowledged when it was first asked
    std::shared_ptr<std::optional<Result<bool>>> answer{};  // null: not being asked
    sim::SimProcess* process = nullptr;                     // that was asked
    Instant ask_at{};
  };
  struct Known {
    DiskId disk;
    std::string name;
    Content content;
    int forks_begun = 0;  // from it, and not made yet
  };
  struct Restore {
    DiskId disk;
    std::string name, request;
    std::shared_ptr<std::optional<Result<disk::RestoreRecord>>> answer{};
    sim::SimProcess* process = nullptr;
    Instant give_up_at{};
    bool has_begun = false;  // the disk was sealed, and the control plane has been asked
    DiskEpoch before;        // of the tenure that wrote last
  };

  // A snapshot is being removed; what it is then nobody knows before it is done.
  struct Removal {
    Known known;
    std::shared_ptr<std::optional<Result<bool>>> answer{};
    sim::SimProcess* process = nullptr;
  };

  void begin_snapshot(const DiskId& disk);
  void begin_removal(const DiskId& disk);
  void go_on_with_removal();
  void begin_restore(const DiskId& disk);
  void go_on_with_restore();
  void end_restore(const disk::RestoreRecord& record);
  void ask(Wish& wish);
  bool learn(const Wish& wish);
  const Known* draw_known(const DiskId& disk);
  Known* find_known(const DiskId& disk, const std::string& name);
  template <class T, class Make>
  std::shared_ptr<std::optional<Result<T>>> ask_control_plane(sim::SimProcess*& process, Make make);

  DiskFleet& fleet_;
  Control& control_;
  Random random_;
  std::vector<Wish> wishes_;
  std::vector<Known> known_;
  std::optional<Restore> restore_;
  std::optional<Removal> removal_;
  std::size_t asked_ = 0, restores_ = 0, removed_ = 0;
};

}  // namespace ebb::disk_sim
