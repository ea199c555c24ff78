// What the moves came to: how many, how long guests were away, and who was moved more than once.
#pragma once
#include "numbered.h"
#include "watched_records.h"

namespace ebb::what_if {

class MoveTally final {
 public:
  explicit MoveTally(const Numbered<VmId>& vms) : vm_names_(vms), moves_of_(vms.size()) {}
  void on_commit(const Committed& committed);

  struct Counts {
    std::uint64_t done = 0;
    std::uint64_t aborted = 0;
    std::uint64_t failed_targets = 0;  // that a VM came up on not at all
    std::uint64_t of_dead = 0;         // taken from workers that were declared dead
  };
  const Counts& counts() const { return counts_; }
  // By how they moved: from the guest's stop to the guest that runs elsewhere, of moves from living workers.
  const std::map<Mechanism, std::vector<std::uint32_t>>& interruptions_ms() const { return interruptions_; }
  // VMs that were moved, and moves beyond the first of each.
  std::uint64_t vms_moved() const;
  std::uint64_t bounces() const;
  std::uint64_t vms_bounced() const;
  std::uint64_t open() const { return open_.size(); }
  // Grows with whatever happens to a move.
  std::uint64_t changes() const { return changes_; }
  WallMs last_end_at() const { return last_end_at_; }

 private:
  void take(const Migration& migration);

  const Numbered<VmId>& vm_names_;
  std::vector<std::uint32_t> moves_of_;  // by VM, of those that passed their point of no return
  std::map<MigrationId, Phase> open_;
  Counts counts_;
  std::map<Mechanism, std::vector<std::uint32_t>> interruptions_;
  std::uint64_t changes_ = 0;
  WallMs last_end_at_ = 0;
};

}  // namespace ebb::what_if
