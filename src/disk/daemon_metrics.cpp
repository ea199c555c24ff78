#include "disk/daemon_metrics.h"

#include <prometheus/gauge.h>
#include <prometheus/registry.h>
#include <prometheus/text_serializer.h>

namespace ebb::disk {
namespace {

using Registry = prometheus::Registry;

void add(Registry& registry, const std::string& name, const std::string& help, double value) {
  prometheus::BuildGauge().Name(name).Help(help).Register(registry).Add({}).Set(value);
}

// `value` is asked of each disk; those that answer nothing are left out.
template <class Value>
void add_of_disks(Registry& registry, const DaemonStatus& status, const std::string& name, const std::string& help, Value value) {
  auto& family = prometheus::BuildGauge().Name(name).Help(help).Register(registry);
  for (const auto& disk : status.disks) {
    std::optional<double> known = value(disk);
    if (known) family.Add({{"disk", disk.disk.str()}}).Set(*known);
  }
}

std::optional<double> seconds(std::optional<std::uint64_t> ms) {
  return ms ? std::optional(static_cast<double>(*ms) / 1000) : std::nullopt;
}

}  // namespace

std::string metrics_text(const DaemonStatus& status, const DiskMemory& memory) {
  Registry registry;
  std::map<DiskSeen, double> states;
  for (const auto& disk : status.disks) ++states[disk.state];
  auto& by_state = prometheus::BuildGauge().Name("ebb_disks").Help("Disks known here, by state.").Register(registry);
  boost::mp11::mp_for_each<boost::describe::describe_enumerators<DiskSeen>>(
      [&](auto e) { by_state.Add({{"state", e.name}}).Set(states[e.value]); });
  add_of_disks(registry, status, "ebb_disk_unsent_bytes", "Acknowledged or waiting, and not in the store yet.",
               [](const DiskStatus& d) { return std::optional(static_cast<double>(d.unsent_bytes)); });
  add_of_disks(registry, status, "ebb_disk_unsent_age_seconds", "Age of the oldest write that is not in the store yet.",
               [](const DiskStatus& d) { return seconds(d.unsent_age_ms); });
  add_of_disks(registry, status, "ebb_disk_owner_age_seconds", "Since HEAD was last seen to name this worker.",
               [](const DiskStatus& d) { return seconds(d.owner_age_ms); });
  add_of_disks(registry, status, "ebb_disk_waiting", "1: it waits for something, which /status names.",
               [](const DiskStatus& d) { return std::optional(d.waiting_for.empty() ? 0.0 : 1.0); });
  add(registry, "ebb_disk_unsent_logs", "Logs here that hold records the store lacks.", static_cast<double>(status.unsent_logs.size()));
  add(registry, "ebb_disk_map_cache_bytes", "Pages of maps in memory.", static_cast<double>(memory.pages->bytes()));
  add(registry, "ebb_disk_data_cache_bytes", "Pieces of data in memory.", static_cast<double>(memory.pieces->bytes()));
  return prometheus::TextSerializer().Serialize(registry.Collect());
}

}  // namespace ebb::disk
