#include "drain/brake.h"

#include <fmt/ranges.h>

namespace ebb::drain {
namespace {

std::string zone_of(const Worker& worker) {
  return domains_of(worker)[static_cast<std::size_t>(DomainLevel::zone)];
}

}  // namespace

std::string Brake::remedy(const std::vector<WorkerId>& workers) const {
  if (!seen_.has_listened) return "it goes on by itself, in half a minute";
  return fmt::format("bring them back; or, if they are dead indeed, ebb drain {} --dead --many-dead",
                     workers.size() > 3 ? "..." : fmt::format("{}", fmt::join(workers, " ")));
}

void Brake::look() {
  has_looked_ = true;
  for (const auto& [id, worker] : fleet_.workers()) {
    const bool is_silent = seen_.is_silent(id);
    // One that is silent and has nothing, like one that was emptied long ago, is no sign of trouble.
    const bool has_vms = std::ranges::any_of(fleet_.vms_owned_by(id),
                                             [&](const VmId& vm) { return fleet_.at(vm).test_of != id; });
    if (is_silent && !has_vms && fleet_.open_migrations_at(id).empty()) continue;
    auto& zone = zones_[zone_of(worker)];
    ++zone.workers, ++cell_.workers;
    zone.silent += is_silent, cell_.silent += is_silent;
  }
}

std::string Brake::engaged(const Domain& domain, const std::string& name) const {
  const auto most = std::max(limits_.dead_min, domain.workers * limits_.dead_percent / 100);
  if (domain.silent <= most) return "";
  return fmt::format(
      "{} of {} workers of {} do not answer, and at most {} may look dead at once: it may be the network",
      domain.silent, domain.workers, name, most);
}

std::string Brake::why_not(const WorkerId& id) {
  if (!seen_.has_listened) return "the control plane has just started, and listens who is there";
  if (!has_looked_) look();
  const auto* worker = fleet_.find(id);
  if (worker) {
    const auto zone = zone_of(*worker);
    const auto name = zone.substr(std::min(zone.find_first_not_of('/'), zone.size()));
    if (auto why = engaged(zones_[zone], name.empty() ? "no zone" : "zone " + name);
        !why.empty() && !name.empty())
      return why;
  }
  return engaged(cell_, "the cell");
}

}  // namespace ebb::drain
