// What `ebb export` writes beside the records themselves, one JSON object a line: first {"ebb_export": ...}, then {"worker": ...},
// {"vm": ...} and so on, and {"end": ...} as the last one. docs/what-if.md says what is left out.
#pragma once
#include "model/drain_types.h"

namespace ebb {

inline constexpr std::uint32_t export_version = 1;

// How long the phases of moves take, as medians of the last ones that ended well.
struct MeasuredPhases {
  Mechanism mechanism = Mechanism::restart;
  std::uint32_t preparing_ms = 0, freezing_ms = 0, moving_lease_ms = 0, starting_ms = 0, releasing_ms = 0;
  std::uint32_t samples = 0;
  bool operator==(const MeasuredPhases&) const = default;
};
BOOST_DESCRIBE_STRUCT(MeasuredPhases, (),
                      (mechanism, preparing_ms, freezing_ms, moving_lease_ms, starting_ms, releasing_ms,
                       samples))

// The limits that are set in [moves] of the control plane.
struct MoveLimits {
  std::uint32_t tenant_moves_min = 0, tenant_moves_percent = 0;
  std::map<std::string, std::uint32_t> label_moves_max{};
  std::uint32_t vm_moves_max = 0;
  std::uint32_t brake_dead_min = 0, brake_dead_percent = 0;
  WallMs horizon_ms = 0;
  bool operator==(const MoveLimits&) const = default;
};
BOOST_DESCRIBE_STRUCT(MoveLimits, (),
                      (tenant_moves_min, tenant_moves_percent, label_moves_max, vm_moves_max, brake_dead_min,
                       brake_dead_percent, horizon_ms))

// The control plane about itself.
struct CellView {
  std::uint64_t revision = 0;  // of its records
  WallMs now = 0;
  std::vector<MeasuredPhases> phases{};
  MoveLimits limits{};
  bool operator==(const CellView&) const = default;
};
BOOST_DESCRIBE_STRUCT(CellView, (), (revision, now, phases, limits))

struct ExportEnd {
  std::uint64_t lines = 0;  // between the first and this one
  bool operator==(const ExportEnd&) const = default;
};
BOOST_DESCRIBE_STRUCT(ExportEnd, (), (lines))

// ---- JSON: see export_types.cpp ----
EBB_JSON_EXTERN(MeasuredPhases)
EBB_JSON_EXTERN(MoveLimits)
EBB_JSON_EXTERN(CellView)
EBB_JSON_EXTERN(ExportEnd)

}  // namespace ebb
