// Whatever order records come, change and go in: the indexes say what a fleet says that is made anew from the records, and what a look
// at each record says.
#include <gtest/gtest.h>

#include "base/random.h"
#include "model/fleet.h"

namespace ebb {
namespace {

class RandomRecords {
 public:
  explicit RandomRecords(std::uint64_t seed) : random_(seed) {
    for (const auto* name : {"w0", "w1", "w2", "w3"}) {
      Worker worker;
      worker.id = WorkerId(name), worker.capacity = {64'000, 256ull << 30};
      fleet.put(worker);
    }
  }
  void change_one() {
    switch (random_.below(6)) {
      case 0:
        return change(fleet.vms(), vm());
      case 1:
        return change(fleet.disks(), disk());
      case 2:
        return change(fleet.migrations(), migration());
      case 3:
        return change(fleet.migrations(), migration());
      case 4:
        return change(fleet.budgets(), budget());
      default:
        return change(fleet.vms(), vm());
    }
  }
  Fleet fleet;

 private:
  template <class M>
  void change(const M& map, typename M::mapped_type record) {
    if (map.contains(record.id) && random_.chance(0.3))
      fleet.erase({std::string(kind_of(record)), record.id.value});
    else
      fleet.put(record);
  }
  std::string pick(std::string_view letter, std::uint64_t count) {
    return fmt::format("{}{}", letter, random_.below(count));
  }
  Labels some_labels() {
    Labels labels;
    for (const auto* key : {"app", "tier"})
      if (random_.chance(0.5)) labels[key] = pick("", 2);
    return labels;
  }
  Vm vm() {
    Vm v;
    v.id = VmId(pick("v", 12)), v.spec.labels = some_labels();
    v.spec.cpus = static_cast<std::uint32_t>(1 + random_.below(4));
    if (random_.chance(0.8)) v.worker = WorkerId(pick("w", 4));
    if (random_.chance(0.2)) v.desired = VmDesired::stopped;
    return v;
  }
  Disk disk() {
    Disk d;
    d.id = DiskId(pick("d", 12)), d.state = DiskState::ready;
    if (random_.chance(0.4)) d.origin = DiskOrigin{DiskId(pick("d", 12)), "s"};
    if (random_.chance(0.3)) d.removal = DiskRemoval{};
    if (random_.chance(0.3))
      d.snapshots.push_back(
          {"s", "r", random_.chance(0.5) ? SnapshotState::wanted : SnapshotState::ready, 0, {}, {}, {}});
    if (random_.chance(0.2)) d.snapshots.push_back({"c", "q", SnapshotState::ready, 0, {}, {}, EndedTurn{}});
    if (random_.chance(0.2)) {
      d.rescue = LogRescue{};
      d.rescue->worker = WorkerId(pick("w", 4));
      d.rescue->state = random_.chance(0.5) ? RescueState::writing : RescueState::written;
    }
    return d;
  }
  // One that has not ended is of a VM that has no other such.
  Migration migration() {
    Migration m;
    m.id = MigrationId(pick("mig-", 30)), m.vm = VmId(pick("v", 12));
    m.source = WorkerId(pick("w", 4)), m.target = WorkerId(pick("w", 4));
    m.drain = DrainId("drain-1");
    constexpr Phase phases[] = {Phase::reserving, Phase::preparing, Phase::moving_lease,
                                Phase::releasing, Phase::done,      Phase::aborted};
    m.phase = phases[random_.below(std::size(phases))];
    const auto* open = fleet.open_migration_of(m.vm);
    if (!is_ended(m.phase) && open && open->id != m.id) m.phase = Phase::done;
    if (random_.chance(0.2)) m.after = std::vector{MigrationId(pick("mig-", 30))};
    return m;
  }
  Budget budget() { return {BudgetId(pick("b", 5)), some_labels(), 1u}; }

  Random random_;
};

Fleet made_anew(const Fleet& fleet) {
  Fleet anew;
  for (const auto& [id, r] : fleet.migrations()) anew.put(r);
  for (const auto& [id, r] : fleet.workers()) anew.put(r);
  for (const auto& [id, r] : fleet.vms()) anew.put(r);
  for (const auto& [id, r] : fleet.disks()) anew.put(r);
  for (const auto& [id, r] : fleet.budgets()) anew.put(r);
  return anew;
}

template <class Map, class Is>
auto ids_if(const Map& map, Is is) {
  std::set<typename Map::key_type> found;
  for (const auto& [id, record] : map)
    if (is(record)) found.insert(id);
  return found;
}

template <class Set>
auto plain(const Set& set) {
  return std::set<typename Set::value_type>(set.begin(), set.end());
}

void expect_the_indexes_are_right(const Fleet& fleet) {
  const auto anew = made_anew(fleet);
  for (const auto& [id, worker] : fleet.workers()) {
    EXPECT_EQ(fleet.used_on(id), anew.used_on(id)) << id.value;
    EXPECT_EQ(fleet.used_on(id), anew.used_on(id)) << id.value << ", asked again";
    EXPECT_EQ(fleet.open_migrations_at(id), anew.open_migrations_at(id));
    EXPECT_EQ(fleet.rescues_at(id), anew.rescues_at(id));
    EXPECT_EQ(fleet.vms_owned_by(id), anew.vms_owned_by(id));
  }
  for (const auto& [id, vm] : fleet.vms()) {
    EXPECT_EQ(plain(fleet.migrations_of(id)),
              ids_if(fleet.migrations(), [&](const Migration& m) { return m.vm == id; }));
    std::set<BudgetId> budgets;
    for (const auto* budget : fleet.budgets_of(vm)) budgets.insert(budget->id);
    EXPECT_EQ(budgets, ids_if(fleet.budgets(),
                              [&](const Budget& b) { return has_labels(vm.spec.labels, b.selector); }));
  }
  for (const auto& [id, budget] : fleet.budgets())
    EXPECT_EQ(fleet.vms_of(id), ids_if(fleet.vms(), [&](const Vm& vm) {
                return vm.desired == VmDesired::running && has_labels(vm.spec.labels, budget.selector);
              }));
  for (const auto& [id, disk] : fleet.disks())
    EXPECT_EQ(fleet.forks_of(id),
              ids_if(fleet.disks(), [&](const Disk& d) { return d.origin && d.origin->disk == id; }));
  EXPECT_EQ(fleet.disks_with_work(), ids_if(fleet.disks(), [](const Disk& d) {
              const auto is_work = [](const DiskSnapshot& s) {
                return s.state == SnapshotState::wanted || s.cut_of;
              };
              return d.removal || (d.rescue && d.rescue->state == RescueState::writing) ||
                     std::ranges::any_of(d.snapshots, is_work);
            }));
  EXPECT_EQ(plain(fleet.open_migrations()),
            ids_if(fleet.migrations(), [](const Migration& m) { return !is_ended(m.phase); }));
  auto waiting = plain(fleet.open_migrations());
  for (const auto& id : fleet.begun_migrations()) EXPECT_EQ(waiting.erase(id), 1u);
  for (const auto& [key, ids] : fleet.waiting_migrations()) {
    EXPECT_EQ(plain(ids), ids_if(fleet.migrations(), [&](const Migration& m) {
                return m.phase == Phase::reserving && std::pair(m.source, *m.drain) == key;
              }));
    for (const auto& id : ids) EXPECT_EQ(waiting.erase(id), 1u);
  }
  EXPECT_TRUE(waiting.empty());
}

TEST(FleetIndex, SaysWhatTheRecordsSayInWhateverOrderTheyChange) {
  for (std::uint64_t seed = 0; seed < 20 && !HasFailure(); ++seed) {
    SCOPED_TRACE(fmt::format("seed {}", seed));
    RandomRecords records(seed);
    for (int i = 0; i < 40 && !HasFailure(); ++i) {
      for (int j = 0; j < 4; ++j) records.change_one();
      expect_the_indexes_are_right(records.fleet);
    }
  }
}

TEST(FleetIndex, MovesAreInTheOrderInWhichTheyWereMinted) {
  Fleet fleet;
  for (const auto* id : {"mig-9", "mig-10", "mig-100", "mig-2"}) {
    Migration m;
    m.id = MigrationId(id), m.vm = VmId("v"), m.source = WorkerId("a"), m.target = WorkerId("b");
    fleet.put(m);
  }
  std::vector<std::string> order;
  for (const auto& id : fleet.open_migrations()) order.push_back(id.value);
  EXPECT_EQ(order, (std::vector<std::string>{"mig-2", "mig-9", "mig-10", "mig-100"}));
  EXPECT_EQ(fleet.migrations_of(VmId("v")).rbegin()->value, "mig-100");
}

}  // namespace
}  // namespace ebb
