// What is played on disks: owners change while things break (act one), then healing and a demand for progress
// (act two), then a scrub.
#pragma once
#include "disk_fleet.h"

namespace ebb::disk_sim {

// What happened: a run in which something never happens proves nothing about it.
struct RunCounts {
  std::size_t tenures = 0, writes = 0, lost_writes = 0;
  std::size_t snapshots = 0, snapshots_removed = 0, restores = 0, forks = 0;
  std::size_t orphans = 0, rescues = 0;  // logs that others went on without; and that became a disk
  std::size_t cleaned = 0, reclaimed = 0, offline_checks = 0, cache_disk_hits = 0;
  std::map<DiskSeen, std::size_t> zombies;  // by what the worker was at with the disk when it was paused
  void add(const RunCounts& other);
};

struct RunResult {
  std::vector<std::string> violations;
  std::uint64_t state_hash = 0, events = 0;
  RunCounts counts;
  std::string summary;  // one line: troubles, tenures, writes, virtual time
  bool ok() const { return violations.empty(); }
};

// Everything from the seed: disks, owners, troubles.
RunResult play_seed(FleetOptions options);

// ebb-sim disk --seeds N [--first S] [--until-failure] [--verbose], or --stories LENGTH; the exit code.
int run_command(std::span<char*> words);

}  // namespace ebb::disk_sim
