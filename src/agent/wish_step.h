// What the agent has been asked for, as it keeps it; and the pure step that takes a new wanted set in.
#pragma once
#include "model/agent_types.h"

namespace ebb::agent {

// Of VMs that left, the epochs of so many are remembered; below the oldest forgotten one everything unknown
// is refused.
inline constexpr std::size_t epochs_max = 4096;
inline constexpr std::uint32_t wishes_format = 1;

struct Wishes {
  std::uint32_t format = wishes_format;
  std::uint64_t revision = 0;
  // By VM. `absent` stays here until nothing of the VM is left: its disks and its grace are needed for that.
  std::map<VmId, WantedVm> vms;
  // The newest epoch acted on for each VM, also long after it left.
  std::map<VmId, Epoch> epochs;
  Epoch forgotten_epoch = 0;
  bool operator==(const Wishes&) const = default;
};
BOOST_DESCRIBE_STRUCT(Wishes, (), (format, revision, vms, epochs, forgotten_epoch))

struct Refusal {
  VmId vm;
  std::string why;
};

struct WishStep {
  Wishes next;
  std::vector<Refusal> refused;  // entries that are left as they were
};

// A VM that the set does not name becomes `absent`; an entry whose epoch is older than one that was acted on
// is refused.
WishStep take_wanted(Wishes now, const WantedSet& set);

}  // namespace ebb::agent
