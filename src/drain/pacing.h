// Who may move now: arithmetic on the snapshot over all drains and moves together, no counters.
//
// A VM that is down - its worker says so, or was declared dead - makes nothing worse by moving: budgets and the limits of tenants do
// not hold it back. Whoever nobody can vouch for counts as away for the others, and is held back all the same: he may run.
#pragma once
#include "drain/brake.h"

namespace ebb::drain {

struct PaceLimits {
  // Of the VMs that carry a tenant's name so many may move at once: the larger of the two.
  std::uint32_t tenant_moves_min = 1;
  std::uint32_t tenant_moves_percent = 1;
  // By the name of a label: into the workers that have the same value of it, and apart from that out of them. So racks, zones and
  // shared links are spared.
  std::map<std::string, std::uint32_t> label_moves_max{};
  // Of one VM, by drains, away from workers where it ran well, in 30 days; 0: any number.
  std::uint32_t vm_moves_max = 0;
  BrakeLimits brake{};
  // So long before a drain begins its workers take nothing new.
  WallMs horizon_ms = 24ll * 3600 * 1000;
};
std::uint32_t tenant_moves_max(const PaceLimits& limits, std::uint32_t vms_of_tenant);

// The VM's worker says that it does not run, or not as it should.
bool is_down(const Fleet& fleet, const Seen& seen, const Vm& vm);
// Why a VM that is well may not be moved again now by a drain; empty: it may.
std::string why_not_again(const Vm& vm, const PaceLimits& limits, WallMs now);
// Moves that may begin now, all of them together.
std::set<MigrationId> may_begin(const Fleet& fleet, const Seen& seen, const PaceLimits& limits, WallMs now);
// The others that could begin: what each waits for.
std::map<MigrationId, Reason> waits(const Fleet& fleet, const Seen& seen, const PaceLimits& limits,
                                    WallMs now);

// How many of its VMs may be away at a time, if all of them are well now.
std::uint32_t away_max(const Fleet& fleet, const Budget& budget);
// Why no VM that is well may ever move under it; empty: one may.
std::string why_impossible(const Fleet& fleet, const Budget& budget);
BudgetView view_of(const Fleet& fleet, const Seen& seen, const Budget& budget, WallMs now);

}  // namespace ebb::drain
