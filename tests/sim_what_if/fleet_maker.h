// Makes a fleet by drawing from a trace's tables, and ages it: VMs come to wherever there is room, and others go.
#pragma once
#include "fleet_records.h"

namespace ebb::what_if {

struct MakeOptions {
  std::string trace;
  std::uint32_t workers = 0;
  std::uint32_t vms_max = 0;  // 0: as many as the share allows
  double use = 0.7;           // of what is scarcest, over the whole fleet
  std::uint32_t zones = 10;   // with as many racks each
  std::uint64_t seed = 1;
};

// invalid: no such trace, or no fleet of that kind.
Result<FleetRecords> make_fleet(const MakeOptions& options);

}  // namespace ebb::what_if
