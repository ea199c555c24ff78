// Watches every commit and every guest that starts or stops, and counts anew what must hold. It shares nothing with what decides, and
// looks only at what has changed: a fleet of any size is watched in passing.
//
// Held are: capacity at both ends of a move; groups apart; nothing new on a held worker; epochs that never go back; so many moves at a
// time out of a worker, into one, and of a tenant; budgets; of each VM one running copy; and that a drained worker is empty.
#pragma once
#include <array>
#include <functional>

#include "light_fleet.h"
#include "watched_records.h"

namespace ebb::what_if {

// How many of a budget's VMs moved at once, and for how long no more might.
struct BudgetUse {
  BudgetId id;
  std::uint32_t vms = 0, allowed = 0, moving = 0, moving_most = 0;
  WallMs full_since = 0, full_ms = 0;
  bool is_full() const { return moving >= allowed; }
};

class Watcher final : public GuestWatch {
 public:
  // What they refer to outlives it. `now`: of the records' clock.
  Watcher(const FleetRecords& records, const Numbered<WorkerId>& workers, const Numbered<VmId>& vms,
          std::function<WallMs()> now);

  void on_commit(const Committed& committed);
  void guest_started(std::uint32_t vm, std::uint32_t worker) override;
  void guest_stopped(std::uint32_t vm, std::uint32_t worker) override;

  // The first of them; there may be one for each of a million VMs.
  static constexpr std::size_t violations_kept = 50;
  const std::vector<std::string>& violations() const { return violations_; }
  std::uint64_t violations_seen() const { return violations_seen_; }
  // Those that are full now are so until now.
  std::vector<BudgetUse> budgets() const;
  std::uint32_t vms_on(std::uint32_t worker) const { return workers_[worker].owned; }
  bool is_held(std::uint32_t worker) const { return workers_[worker].holds > 0; }

 private:
  struct WorkerState {
    Resources used, allowed;
    std::uint32_t holds = 0, owned = 0, running = 0, leaving = 0, entering = 0;
    std::array<std::uint32_t, domain_levels> domain{};  // numbers, by level
  };
  struct Move {
    std::uint32_t vm = nobody, source = nobody, target = nobody;
    Phase phase = Phase::reserving;
    bool has_begun = false, source_dead = false, is_in_flight = false;
    std::optional<DrainId> drain{};
    std::vector<MigrationId> after{};
  };
  struct VmState {
    Resources needs;
    Epoch epoch = 0;
    std::uint32_t worker = nobody, group = nobody, tenant = nobody, move = nobody, copies = 0;
    std::array<std::uint32_t, 2> ends{nobody, nobody};  // where it takes room
    bool shall_run = false;
  };
  struct GroupState {
    std::vector<Apart> apart;
    std::vector<std::uint32_t> members;
  };
  struct Tenant {
    std::uint32_t vms = 0, moving = 0;
  };
  struct Arrival {
    std::uint32_t vm = nobody, worker = nobody;
    bool was_held = false;
  };

  void add_vms(const FleetRecords& records);
  void add_budgets(const FleetRecords& records);
  void take(const Vm& vm);
  void take(const Migration& migration);
  void take(const Hold& hold);
  void take(const Drain& drain);
  void erase(const RecordKey& key);
  void set_in_flight(Move& move, bool is_in_flight);
  void check_begin(const Move& move);
  void check_drained(const Drain& drain);
  void check_arrival(const Arrival& arrival);
  void check_apart(const Arrival& arrival, const Apart& apart);
  void count_ends(std::uint32_t vm);
  bool waits_for_room(const Move& move) const;
  template <class... Args>
  void violation(fmt::format_string<Args...> text, Args&&... args) {
    ++violations_seen_;
    if (violations_.size() < violations_kept)
      violations_.push_back(fmt::format(text, std::forward<Args>(args)...));
  }

  const Numbered<WorkerId>& worker_names_;
  const Numbered<VmId>& vm_names_;
  const drain::PaceLimits& pace_;
  const std::function<WallMs()> now_;
  std::vector<WorkerState> workers_;
  std::vector<VmState> vms_;
  std::vector<GroupState> groups_;
  std::vector<Tenant> tenants_;
  std::vector<BudgetUse> budgets_;
  std::map<std::uint32_t, std::vector<std::uint32_t>> budgets_of_;  // by VM, of those that have one
  Numbered<MigrationId> move_names_;
  std::vector<Move> moves_;
  std::map<MigrationId, std::vector<std::uint32_t>> awaiting_;  // VMs whose moves begin after that one
  std::map<DrainId, Drain> drains_;
  std::map<HoldId, std::uint32_t> holds_;
  Epoch last_epoch_ = 0;
  // Of the commit that is looked at.
  std::vector<std::uint32_t> changed_vms_, changed_workers_;
  std::vector<Arrival> arrivals_;
  std::vector<std::string> violations_;
  std::uint64_t violations_seen_ = 0;
};

}  // namespace ebb::what_if
