// Asks "what if": drains of a fleet, played by the production control plane in virtual time over light workers, with failures.
#pragma once
#include "fleet_records.h"
#include "light_fleet.h"
#include "what_if_report.h"

namespace ebb::what_if {

// Which workers: those with a label, or a share of them, rack by rack.
struct DrainWish {
  Labels labels{};
  double percent = 0;
  std::string text;  // as it was asked for
};

struct Failures {
  double dead = 0;  // so many workers lose power while the drains go on
  double boots = 0,
         standbys = 0;          // so many VMs do not come up on, or cannot be prepared by, their first target
  Duration back_after = 10min;  // of a worker that is being drained; one that is not is declared dead
};

struct WhatIfOptions {
  std::vector<DrainWish> drains;
  DrainOptions drain_options;
  Failures failures;
  std::uint64_t seed = 1;
  std::optional<Duration> tick, heartbeat;  // absent: by the fleet's size
  Duration commit_takes = 2ms;
  Duration limit = 24h;       // of virtual time
  Duration patience = 20min;  // of virtual time without anything that happens
  std::function<void(std::string_view)> on_progress = {};
};

// invalid, not_found: the drains are not of this fleet. internal: the run could not go on.
Result<WhatIfReport> ask_what_if(const FleetRecords& records, const WhatIfOptions& options);

}  // namespace ebb::what_if
