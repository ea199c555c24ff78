// What stands in for control plane and agents: it wants each disk on one worker under one epoch, moves it
// cleanly or takes it over, and asks again until it is there. It is wrong now and then: who writes is decided
// by HEAD alone.
#pragma once
#include "disk_fleet.h"

namespace ebb::disk_sim {

class Control final {
 public:
  // `keeps_cuts`: each take-over leaves a named root, which holds what it names for ever.
  Control(DiskFleet& fleet, std::uint64_t seed, bool keeps_cuts)
      : fleet_(fleet), random_(seed), keeps_cuts_(keeps_cuts) {}
  Control(const Control&) = delete;

  void add(const DiskId& disk);
  // Something new is decided about one of the disks.
  void act();
  // Asks for what is wanted and not there. Boots workers that are down, after a while.
  void reconcile();
  // From here on nothing new is decided, and workers boot at once.
  void settle() { is_settling_ = true; }

  // What the take-over in that epoch finds.
  static WantedSnapshot cut_of(Epoch epoch) {
    return {fmt::format("cut-{}", epoch), fmt::format("request-{}", epoch)};
  }

  const std::vector<DiskId>& disks() const { return order_; }
  SimWorker& wanted_at(const DiskId& disk) { return fleet_.workers()[placed_.at(disk).worker]; }
  Epoch epoch_of(const DiskId& disk) const { return placed_.at(disk).epoch; }
  bool is_open(const DiskId& disk);
  // Held: stopped and not opened again until it is released, then under a new epoch.
  void hold(const DiskId& disk) { placed_.at(disk).is_held = true; }
  void release(const DiskId& disk);
  // Asks for a clean seal where the disk is; true when it stands.
  bool seal(const DiskId& disk);

 private:
  struct Move {
    std::size_t target = 0;
    Instant give_up_at{};
  };
  struct Placed {
    Epoch epoch = 1;
    std::size_t worker = 0;
    bool take_over = false;
    bool is_held = false;
    int refusals = 0;
    std::optional<Move> move{};
    Instant ask_at{};
  };
  OpenDisk open_request(const DiskId& disk, const Placed& placed, Epoch epoch) const;
  void place(Placed& placed, std::size_t worker, bool take_over);
  void go_on_with_move(const DiskId& disk, Placed& placed);
  void ask_for(const DiskId& disk, Placed& placed);
  void close_elsewhere(const DiskId& disk, const Placed& placed);
  void boot_workers();
  void replace_silent(Placed& placed);
  std::size_t other_worker(std::size_t worker);
  bool is_due(Placed& placed);

  DiskFleet& fleet_;
  Random random_;
  bool keeps_cuts_;
  std::map<DiskId, Placed> placed_;
  std::vector<DiskId> order_;
  std::map<std::string, Instant> boot_at_;
  bool is_settling_ = false;
};

}  // namespace ebb::disk_sim
