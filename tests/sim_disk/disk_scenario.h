// What is played on disks: owners change while things break (act one), then healing and a demand for progress
// (act two), then a scrub.
#pragma once
#include "disk_fleet.h"

namespace ebb::disk_sim {

struct RunResult {
  std::vector<std::string> violations;
  std::uint64_t state_hash = 0, events = 0;
  std::size_t tenures = 0, writes = 0;
  std::uint64_t cache_disk_hits = 0;
  std::string summary;  // one line: troubles, tenures, writes, virtual time
  bool ok() const { return violations.empty(); }
};

// Everything from the seed: disks, owners, troubles.
RunResult play_seed(FleetOptions options);

// ebb-sim disk --seeds N [--first S] [--verbose]; the exit code.
int run_command(std::span<char*> words);

}  // namespace ebb::disk_sim
