#include "bench/plan/plan_checker.h"

#include <algorithm>
#include <cmath>
#include <tuple>

namespace ebb::bench {
namespace {

constexpr double instant = 1e-6;  // what rounding may make of "at the same time"

class Checker {
 public:
  Checker(const Fleet& fleet, const std::vector<std::uint32_t>& drained, const Rules& rules)
      : fleet_(fleet), rules_(rules), is_drained_(fleet.workers()) {
    const auto racks = (fleet.workers() + Fleet::rack_workers - 1) / Fleet::rack_workers;
    for (const auto worker : drained) is_drained_[worker] = true;
    cores_.resize(fleet.workers()), ram_.resize(fleet.workers());
    leaving_.resize(fleet.workers()), arriving_.resize(fleet.workers());
    clones_out_.resize(racks), clones_in_.resize(racks);
    away_.resize(fleet.groups.size()), standing_.resize(fleet.groups.size());
    moving_.resize(fleet.tenants), tenant_vms_.resize(fleet.tenants);
    for (std::uint32_t vm = 0; vm < fleet.shape.size(); ++vm) {
      const auto& shape = fleet.shapes[fleet.shape[vm]];
      cores_[fleet.worker[vm]] += shape.cores, ram_[fleet.worker[vm]] += shape.ram;
      if (fleet.group[vm] != Fleet::none) standing_[fleet.group[vm]].push_back({vm, fleet.worker[vm]});
      ++tenant_vms_[fleet.tenant[vm]];
    }
  }

  std::map<std::string, std::uint64_t> check(const std::vector<PlannedMove>& plan,
                                             const std::vector<std::uint32_t>& unplaced) {
    check_whole(plan, unplaced);
    check_boots(plan);
    // At one instant what ends makes room for what starts.
    std::vector<std::tuple<double, int, std::uint32_t>> events;
    for (std::uint32_t i = 0; i < plan.size(); ++i) {
      const auto& move = plan[i];
      expect(std::abs(move.end - move.start - seconds_of(fleet_, move.vm)) < 1e-3,
             "a move takes another time than it needs");
      events.emplace_back(move.start, 1, i);
      events.emplace_back(move.end - instant, 0, i);
      if (fleet_.group[move.vm] != Fleet::none)
        events.emplace_back(move.end + rules_.healthy_s - instant, -1, i);
    }
    std::ranges::sort(events);
    for (const auto& [at, what, i] : events) {
      if (what == 1) start(plan[i]);
      if (what == 0) end(plan[i]);
      if (what == -1) --away_[fleet_.group[plan[i].vm]];
    }
    return std::move(breaches_);
  }

 private:
  struct Standing {
    std::uint32_t vm, worker;
    bool operator==(const Standing&) const = default;
  };

  void expect(bool holds, const char* breach) {
    if (!holds) ++breaches_[breach];
  }
  void check_whole(const std::vector<PlannedMove>& plan, const std::vector<std::uint32_t>& unplaced) {
    std::vector<std::uint8_t> named(fleet_.shape.size());
    for (const auto& move : plan) {
      ++named[move.vm];
      expect(move.from == fleet_.worker[move.vm], "a move begins where its VM is not");
      expect(move.to != move.from && !is_drained_[move.to], "a move leads to a worker that is drained");
      expect(!fleet_.needs_feature[move.vm] || fleet_.has_feature[move.to], "a VM misses its feature");
      expect(move.start >= 0, "a move never starts");
    }
    for (const auto vm : unplaced) ++named[vm];
    for (std::uint32_t vm = 0; vm < named.size(); ++vm) {
      expect(named[vm] <= 1, "a VM is named twice");
      expect(named[vm] == 1 || !is_drained_[fleet_.worker[vm]], "a VM of a drained worker is forgotten");
    }
  }
  void check_boots(const std::vector<PlannedMove>& plan) {
    if (rules_.boots_per_s <= 0) return;
    std::vector<double> starts;
    for (const auto& move : plan) starts.push_back(move.start);
    std::ranges::sort(starts);
    double tokens = rules_.boots_at_once, at = 0;
    for (const auto start : starts) {
      tokens = std::min(rules_.boots_at_once, tokens + (start - at) * rules_.boots_per_s) - 1;
      at = start;
      expect(tokens > -1e-3, "more boots than the bucket has tokens");
    }
  }
  void start(const PlannedMove& move) {
    const auto& shape = fleet_.shapes[fleet_.shape[move.vm]];
    cores_[move.to] += shape.cores, ram_[move.to] += shape.ram;
    expect(cores_[move.to] <= fleet_.cores && ram_[move.to] <= fleet_.ram, "a worker has not the room");
    expect(++leaving_[move.from] <= rules_.per_source, "too many moves from one worker");
    expect(++arriving_[move.to] <= rules_.per_target, "too many moves to one worker");
    if (mechanism_of(fleet_, move.vm) == Mechanism::clone) {
      expect(++clones_out_[Fleet::rack(move.from)] <= rules_.clones_per_rack,
             "too many clones out of a rack");
      expect(++clones_in_[Fleet::rack(move.to)] <= rules_.clones_per_rack, "too many clones into a rack");
    }
    const auto tenant = fleet_.tenant[move.vm];
    expect(++moving_[tenant] <= rules_.tenant_max(tenant_vms_[tenant]), "too many moves of one tenant");
    const auto group = fleet_.group[move.vm];
    if (group == Fleet::none) return;
    expect(++away_[group] <= rules_.group_away, "too many of a group are away");
    for (const auto& [vm, worker] : standing_[group]) {
      if (vm == move.vm) continue;  // its own old place
      const bool meets =
          fleet_.groups[group].by_rack ? Fleet::rack(worker) == Fleet::rack(move.to) : worker == move.to;
      expect(!meets, "two of a group in one domain");
    }
    standing_[group].push_back({move.vm, move.to});
  }
  void end(const PlannedMove& move) {
    const auto& shape = fleet_.shapes[fleet_.shape[move.vm]];
    cores_[move.from] -= shape.cores, ram_[move.from] -= shape.ram;
    --leaving_[move.from], --arriving_[move.to], --moving_[fleet_.tenant[move.vm]];
    if (mechanism_of(fleet_, move.vm) == Mechanism::clone)
      --clones_out_[Fleet::rack(move.from)], --clones_in_[Fleet::rack(move.to)];
    if (const auto group = fleet_.group[move.vm]; group != Fleet::none)
      std::erase(standing_[group], Standing{move.vm, move.from});
  }

  const Fleet& fleet_;
  const Rules& rules_;
  std::vector<bool> is_drained_;  // by worker
  std::vector<std::uint32_t> cores_, ram_, leaving_, arriving_, clones_out_, clones_in_, away_, moving_,
      tenant_vms_;
  std::vector<std::vector<Standing>> standing_;  // by group
  std::map<std::string, std::uint64_t> breaches_;
};

}  // namespace

Mechanism mechanism_of(const Fleet& fleet, std::uint32_t vm) {
  return static_cast<Mechanism>(fleet.mechanism[vm]);
}

double gib_of(const Fleet& fleet, std::uint32_t vm) {
  constexpr double ram_units_a_gib = 4, disk_of_ram = 0.5, gib_max = 100;
  return std::min(gib_max, fleet.shapes[fleet.shape[vm]].ram / ram_units_a_gib * disk_of_ram);
}

double seconds_of(const Fleet& fleet, std::uint32_t vm) {
  switch (mechanism_of(fleet, vm)) {
    case Mechanism::restart:
      return 3;
    case Mechanism::pointer:
      return 4;
    case Mechanism::clone:
      return 10 + gib_of(fleet, vm) / 0.25;
  }
  return 0;
}

std::map<std::string, std::uint64_t> check_plan(const Fleet& fleet, const std::vector<std::uint32_t>& drained,
                                                const std::vector<PlannedMove>& plan,
                                                const std::vector<std::uint32_t>& unplaced,
                                                const Rules& rules) {
  return Checker(fleet, drained, rules).check(plan, unplaced);
}

}  // namespace ebb::bench
