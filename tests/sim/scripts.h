// What is done to a fleet without troubles while one program is made to die at one chosen point.
#pragma once
#include "fleet_sim.h"

namespace ebb::fleet_sim {

enum class Script {
  drain,             // of worker-1
  cancelled_drain,   // likewise, cancelled when the first VM is being frozen
  big_drain,         // of sixty VMs: more than one commit can reserve for
  drain_of_two,      // of worker-1 and worker-2
  budgeted_drain,    // one VM away at a time
  paused_drain,      // paused when the first VM is being frozen, and resumed ten seconds later
  undone_drain,      // undone when the first VM has moved
  redirected_drain,  // a target is drained itself, while the first VM is on its way there
  forced_drain,      // no VM may be away, until the deadline
  scheduled_drain,   // that begins five seconds after it was asked for
  roomy_drain,       // of one large VM, for which another one makes room
  returned_drain,    // and its worker, which a VM tests, takes work again
  life_of_a_vm,  // one VM with a disk is created, stopped, started and removed, until nothing of it is left
};
BOOST_DESCRIBE_ENUM(Script, drain, cancelled_drain, big_drain, drain_of_two, budgeted_drain, paused_drain,
                    undone_drain, redirected_drain, forced_drain, scheduled_drain, roomy_drain,
                    returned_drain, life_of_a_vm)

// The fleet that a script is made for.
FleetSimOptions fleet_for(Script script, std::uint64_t seed, FleetSimOptions::Workers kind);
// The operator's part; ends when all that was asked for is done.
Status play_script(FleetSim& sim, Script script);
// Nothing is under way, and every VM is as it shall be.
bool all_is_well(FleetSim& sim);

// Points at which something may die.
using Points = std::function<bool(FleetSim&, const sim::CrashPoint&)>;
// The control plane's own: around each commit, around each effect on the pool, and after each request was
// handled but not answered; of an agent's reports only those in a drain, which they drive. Of a big drain,
// the commits until the first VM is touched.
Points control_points(Script script);

// Who dies, and when: with the commit by which the move of `vm` enters `phase`.
enum class Victim {
  control,
  source_agent,
  source_disk_daemon,
  target_agent,
  target_disk_daemon,
  source_host,  // reboots, with all that runs on it; its drive keeps what it was told
  target_host,
  guest,  // ends by itself, status 0, wherever it runs; by its policy it is started again
  job,    // likewise, and by its policy it is not
};
BOOST_DESCRIBE_ENUM(Victim, control, source_agent, source_disk_daemon, target_agent, target_disk_daemon,
                    source_host, target_host, guest, job)
struct Kill {
  Phase phase = Phase::reserving;
  Victim victim = Victim::control;
  VmId vm;
  bool operator==(const Kill&) const = default;
};
// Every pair of phase and victim, for one VM of each kind: with a disk of either class, and without.
std::vector<Kill> all_kills();
// Drains three VMs of these kinds; a cancelled one, for the phases of undoing.
Script script_of(const Kill& kill);
FleetSimOptions fleet_for(const Kill& kill, std::uint64_t seed, FleetSimOptions::Workers kind);
bool is_at(const Kill& kill, FleetSim& sim, const sim::CrashPoint& at);
void carry_out(const Kill& kill, FleetSim& sim);

}  // namespace ebb::fleet_sim
