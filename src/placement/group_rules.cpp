#include "placement/group_rules.h"

#include <fmt/ranges.h>

namespace ebb::placement {
namespace {

std::size_t index_of(DomainLevel level) { return static_cast<std::size_t>(level); }

// "rack eu/b/r7"
std::string text_of(DomainLevel level, std::string_view domain) {
  if (domain.empty() || domain.ends_with('/'))
    return fmt::format("the workers without a {}", json::name_of(level));
  return fmt::format("{} {}", json::name_of(level), domain.substr(domain.find_first_not_of('/')));
}

std::string names(const std::set<VmId>& vms) {
  constexpr std::size_t shown_max = 5;
  std::vector<std::string_view> shown;
  for (const auto& vm : vms)
    if (shown.size() < shown_max) shown.push_back(vm.value);
  const auto more = vms.size() - shown.size();
  return fmt::format("{}{}", fmt::join(shown, ", "), more ? fmt::format(" and {} more", more) : "");
}

}  // namespace

GroupRules::GroupRules(const Group& group, const VmId& vm, const std::vector<Stand>& stands) : group_(group) {
  for (const auto& stand : stands) {
    if (stand.vm == vm) continue;
    for (const auto& apart : group.apart)
      in_[index_of(apart.level)][stand.at[index_of(apart.level)]].insert(stand.vm);
    if (group.together && !stand.is_leaving) near_ = stand.at[index_of(*group.together)];
  }
}

std::string GroupRules::why_not(const Domains& at) const {
  for (const auto& apart : group_.apart) {
    const auto& others = in_[index_of(apart.level)];
    const auto found = others.find(at[index_of(apart.level)]);
    if (found != others.end() && found->second.size() >= apart.most)
      return fmt::format("{} may have {} of group {}, and has {}", text_of(apart.level, found->first),
                         apart.most, group_.id, names(found->second));
  }
  if (near_ && at[index_of(*group_.together)] != *near_)
    return fmt::format("group {} is in {}", group_.id, text_of(*group_.together, *near_));
  return "";
}

std::vector<std::string> breaches(const Group& group, const std::vector<Stand>& stands) {
  std::vector<std::string> found;
  const auto by_domain = [&](DomainLevel level) {
    std::map<std::string, std::set<VmId>> vms;
    for (const auto& stand : stands) vms[stand.at[index_of(level)]].insert(stand.vm);
    return vms;
  };
  for (const auto& apart : group.apart)
    for (const auto& [domain, vms] : by_domain(apart.level))
      if (vms.size() > apart.most)
        found.push_back(fmt::format("{} in {}, where {} may be: {}", vms.size(), text_of(apart.level, domain),
                                    apart.most, names(vms)));
  if (!group.together) return found;
  const auto together = by_domain(*group.together);
  if (together.size() > 1) {
    std::vector<std::string> where;
    for (const auto& [domain, vms] : together)
      where.push_back(fmt::format("{} in {}", names(vms), text_of(*group.together, domain)));
    found.push_back(fmt::format("not together: {}", fmt::join(where, "; ")));
  }
  return found;
}

}  // namespace ebb::placement
