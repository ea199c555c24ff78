// Chooses destinations: a pure function of a snapshot. Deterministic: the same input gives the same choice.
//
// Large requests first; each goes to the worker where it leaves the least room, every dimension weighted by
// how scarce it is over all candidates (best fit by scarcity-weighted leftover). What does not fit names why,
// worker by worker.
#pragma once
#include <set>

#include "placement/group_rules.h"

namespace ebb::placement {

struct Candidate {
  const Worker* worker;  // outlives it
  Resources used;
  std::string refusal;  // why it takes nothing at all now ("held by operator: ..."); empty if it does
};

struct Request {
  VmId vm;
  Resources needs;
  std::vector<PoolId> pools{};                 // that its worker must reach
  std::vector<NetworkId> networks{};           // that it must have
  std::optional<Firmware> firmware{};          // likewise
  Labels labels{};                             // likewise
  std::vector<std::string> cpu_features{};     // that it must give its guests
  const Group* group = nullptr;                // outlives it
  std::vector<Stand> stands{};                 // of that group
  std::map<WorkerId, std::string> excluded{};  // workers that will not do for this VM, with the reason
};

// What a VM may need of its worker beside room. A worker that does not say what it has, of something that it once did not tell,
// is tried.
bool has_firmware(const Worker& worker, Firmware firmware);
bool has_network(const Worker& worker, const NetworkId& network);
bool has_cpu_feature(const Worker& worker, const std::string& feature);

struct Refusal {
  WorkerId worker;
  std::string why;
};

struct Choice {
  VmId vm;
  std::optional<WorkerId> worker;
  std::vector<Refusal> refusals;  // of every candidate, when none took it
};

// In the order in which the requests were placed (largest first). Capacity used by earlier choices counts for
// later ones.
std::vector<Choice> place(std::vector<Candidate> candidates, std::vector<Request> requests);

// Every reason with the workers that it keeps away, so many of them by name:
// "worker-2, worker-4: held by operator (firmware); worker-3: 203 MiB of memory needed, 100 MiB free"
inline constexpr std::size_t names_shown_max = 32;
std::string describe(const std::vector<Refusal>& refusals);

}  // namespace ebb::placement
