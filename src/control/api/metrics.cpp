#include "control/api/metrics.h"

#include <prometheus/counter.h>
#include <prometheus/gauge.h>
#include <prometheus/registry.h>
#include <prometheus/text_serializer.h>

#include "migration/migration_step.h"

namespace ebb::control {
namespace {

using Counts = std::map<std::string, double>;

template <class E>
Counts zeroes() {
  Counts counts;
  boost::mp11::mp_for_each<boost::describe::describe_enumerators<E>>([&](auto e) { counts[e.name] = 0; });
  return counts;
}

void add_gauges(prometheus::Registry& registry, const std::string& name, const std::string& help,
                const std::string& label, const Counts& counts) {
  auto& family = prometheus::BuildGauge().Name(name).Help(help).Register(registry);
  for (const auto& [value, count] : counts) family.Add({{label, value}}).Set(count);
}

void add_gauge(prometheus::Registry& registry, const std::string& name, const std::string& help,
               double value) {
  prometheus::BuildGauge().Name(name).Help(help).Register(registry).Add({}).Set(value);
}

}  // namespace

std::string metrics_text(const Context& c, const Reclaimer& reclaimer) {
  prometheus::Registry registry;
  auto workers = zeroes<Liveness>(), vms = zeroes<VmSeen>(), migrations = zeroes<Phase>(),
       drains = zeroes<DrainState>();
  double held = 0, unplaced = 0, unhealthy = 0;
  for (const auto& [id, worker] : c.fleet().workers()) {
    const auto* at = c.seen().find(id);
    ++workers[std::string(json::name_of(at ? at->liveness : Liveness::never_seen))];
    if (!c.fleet().holds_on(id).empty()) ++held;
  }
  for (const auto& [id, vm] : c.fleet().vms()) {
    const auto* said = vm.worker ? c.seen().find(*vm.worker, id) : nullptr;
    ++vms[std::string(json::name_of(said ? said->state : VmSeen::absent))];
    if (vm.desired == VmDesired::running && !vm.worker) ++unplaced;
    if (said && said->health && !said->health->is_healthy) ++unhealthy;
  }
  for (const auto& [id, m] : c.fleet().migrations()) ++migrations[std::string(json::name_of(m.phase))];
  for (const auto& [id, d] : c.fleet().drains()) ++drains[std::string(json::name_of(d.state))];
  add_gauges(registry, "ebb_workers", "Workers by liveness.", "liveness", workers);
  add_gauges(registry, "ebb_vms", "VMs by the state their worker last reported.", "state", vms);
  add_gauges(registry, "ebb_migrations", "Migrations on record by phase.", "phase", migrations);
  add_gauges(registry, "ebb_drains", "Drains on record by state.", "state", drains);
  add_gauge(registry, "ebb_workers_held", "Workers that take no new VMs because of a hold.", held);
  add_gauge(registry, "ebb_vms_unplaced", "VMs that shall run and have no worker.", unplaced);
  add_gauge(registry, "ebb_vms_unhealthy", "VMs whose health check fails.", unhealthy);
  add_gauge(registry, "ebb_effects_pending", "Effects decided and not yet carried out.",
            static_cast<double>(c.owner.effects().size()));
  add_gauge(registry, "ebb_records_revision", "Revision of the records.",
            static_cast<double>(c.owner.revision()));
  add_gauge(registry, "ebb_reclaim_blocked_pools",
            "Pools in which space cannot be given back; the log says why.",
            static_cast<double>(reclaimer.troubles().size()));
  prometheus::BuildCounter()
      .Name("ebb_reclaimed_objects_total")
      .Help("Objects removed from pools since this process started.")
      .Register(registry)
      .Add({})
      .Increment(static_cast<double>(reclaimer.objects_removed()));
  prometheus::BuildCounter()
      .Name("ebb_commits_total")
      .Help("Commits since this process started.")
      .Register(registry)
      .Add({})
      .Increment(static_cast<double>(c.owner.commits()));
  return prometheus::TextSerializer().Serialize(registry.Collect());
}

}  // namespace ebb::control
