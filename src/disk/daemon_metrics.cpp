#include "disk/daemon_metrics.h"

#include <prometheus/counter.h>
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
void add_of_disks(Registry& registry, const DaemonStatus& status, const std::string& name,
                  const std::string& help, Value value) {
  auto& family = prometheus::BuildGauge().Name(name).Help(help).Register(registry);
  for (const auto& disk : status.disks) {
    std::optional<double> known = value(disk);
    if (known) family.Add({{"disk", disk.disk.str()}}).Set(*known);
  }
}

// Counts since the daemon began; pieces have 64 KiB.
void add_cache(Registry& registry, const PieceCache& cache) {
  auto counter = [&](const std::string& name, const std::string& help, std::uint64_t value) {
    prometheus::BuildCounter().Name(name).Help(help).Register(registry).Add({}).Increment(
        static_cast<double>(value));
  };
  auto s = cache.stats();
  counter("ebb_cache_memory_hits_total", "Pieces found in memory.", s.memory_hits);
  counter("ebb_cache_misses_total", "Pieces that had to be asked of the store.", s.misses);
  counter("ebb_cache_waits_total", "Pieces that somebody else was fetching already.", s.waits);
  counter("ebb_cache_fetches_total", "Requests to the store for data.", s.fetches);
  counter("ebb_cache_fetched_bytes_total", "Bytes of data that came from the store.", s.fetched_bytes);
  counter("ebb_cache_ahead_bytes_total", "Bytes asked of the store ahead of sequential readers.",
          s.ahead_bytes);
  counter("ebb_cache_ahead_unused_bytes_total", "Bytes read ahead that nobody came for.",
          s.ahead_unused_bytes);
  counter("ebb_cache_warmed_bytes_total", "Bytes fetched because they were in use where a disk came from.",
          s.warmed_bytes);
  counter("ebb_cache_refreshed_total", "Times that the cache had other bytes than the map says.",
          s.refreshed);
  auto d = cache.disk_stats();
  if (!d) return;
  counter("ebb_cache_disk_hits_total", "Pieces found on this worker's disk.", d->hits);
  counter("ebb_cache_disk_written_total", "Pieces written to this worker's disk.", d->written);
  counter("ebb_cache_disk_not_kept_total", "Pieces that the disk was too slow for, or had a fault.",
          d->not_kept);
  counter("ebb_cache_disk_damaged_total", "Pieces that had other bytes on the disk than were written.",
          d->damaged);
  counter("ebb_cache_disk_faults_total", "Errors of the cache's file; each is a miss.", d->faults);
  counter("ebb_cache_disk_too_slow_total", "Reads of the cache's file that were not waited for.",
          d->too_slow);
  add(registry, "ebb_cache_disk_bytes", "Pieces of data on this worker's disk.",
      static_cast<double>(d->bytes));
  add(registry, "ebb_cache_disk_bytes_max", "Room for them.", static_cast<double>(d->bytes_max));
  add(registry, "ebb_cache_disk_ready", "1: the cache's file can be used.", d->is_ready ? 1 : 0);
}

std::optional<double> seconds(std::optional<std::uint64_t> ms) {
  return ms ? std::optional(static_cast<double>(*ms) / 1000) : std::nullopt;
}

}  // namespace

std::string metrics_text(const DaemonStatus& status, const DiskMemory& memory) {
  Registry registry;
  std::map<DiskSeen, double> states;
  for (const auto& disk : status.disks) ++states[disk.state];
  auto& by_state =
      prometheus::BuildGauge().Name("ebb_disks").Help("Disks known here, by state.").Register(registry);
  boost::mp11::mp_for_each<boost::describe::describe_enumerators<DiskSeen>>(
      [&](auto e) { by_state.Add({{"state", e.name}}).Set(states[e.value]); });
  add_of_disks(registry, status, "ebb_disk_unsent_bytes",
               "Acknowledged or waiting, and not in the store yet.",
               [](const DiskStatus& d) { return std::optional(static_cast<double>(d.unsent_bytes)); });
  add_of_disks(registry, status, "ebb_disk_unsent_age_seconds",
               "Age of the oldest write that is not in the store yet.",
               [](const DiskStatus& d) { return seconds(d.unsent_age_ms); });
  add_of_disks(registry, status, "ebb_disk_owner_age_seconds",
               "Since HEAD was last seen to name this worker.",
               [](const DiskStatus& d) { return seconds(d.owner_age_ms); });
  add_of_disks(registry, status, "ebb_disk_waiting", "1: it waits for something, which /status names.",
               [](const DiskStatus& d) { return std::optional(d.waiting_for.empty() ? 0.0 : 1.0); });
  add(registry, "ebb_disk_unsent_logs", "Logs here that hold records the store lacks.",
      static_cast<double>(status.unsent_logs.size()));
  add(registry, "ebb_disk_map_cache_bytes", "Pages of maps in memory.",
      static_cast<double>(memory.pages->bytes()));
  add(registry, "ebb_disk_data_cache_bytes", "Pieces of data in memory.",
      static_cast<double>(memory.pieces->bytes()));
  add_cache(registry, *memory.pieces);
  return prometheus::TextSerializer().Serialize(registry.Collect());
}

}  // namespace ebb::disk
