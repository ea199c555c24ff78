// What the rules of a group say of one worker, by name.
#pragma once
#include <set>

#include "model/fleet_types.h"

namespace ebb::placement {

// Where one of the group is, or comes to; a VM that moves stands at both ends.
struct Stand {
  VmId vm;
  Domains at;
  bool is_leaving = false;  // everything leaves that worker: nobody need stay near it
};

class GroupRules final {
 public:
  // For placing `vm`; its own stands do not count. All of these outlive it.
  GroupRules(const Group& group, const VmId& vm, const std::vector<Stand>& stands);
  // Why it may not come to a worker there; empty: it may.
  std::string why_not(const Domains& at) const;

 private:
  const Group& group_;
  std::array<std::map<std::string, std::set<VmId>>, domain_levels> in_;  // the others, by level and domain
  std::optional<std::string> near_;  // the domain that those who stay are in, if they must be together
};

// Where they are not as the group's rules say: "2 of 3 in rack eu/b/r7: web-1, web-2".
std::vector<std::string> breaches(const Group& group, const std::vector<Stand>& stands);

}  // namespace ebb::placement
