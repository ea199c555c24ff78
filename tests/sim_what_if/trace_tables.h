// What is known of real fleets: sizes of workers, racks, VMs and groups, each with how often it was counted.
#pragma once
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "model/fleet_types.h"

namespace ebb::what_if {

struct WorkerKind {
  Resources capacity;
  Labels labels;
  double weight = 1;
};

struct VmKind {
  std::uint32_t cpus = 1;
  std::uint64_t memory_bytes = 0;
  bool needs_gpu = false;
  double weight = 1;
};

// VMs that come together; one alone has no rules.
struct GroupKind {
  std::uint32_t vms = 1;
  std::vector<Apart> apart;
  std::optional<DomainLevel> together;
  double weight = 1;
};

struct RackKind {
  std::uint32_t workers = 20;
  double weight = 1;
};

struct TraceTables {
  std::vector<WorkerKind> workers;
  std::vector<VmKind> vms;
  std::vector<GroupKind> groups;
  std::vector<RackKind> racks;
};

// invalid: says which traces there are.
Result<TraceTables> read_tables(std::string_view trace);

}  // namespace ebb::what_if
