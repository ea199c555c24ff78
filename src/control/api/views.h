// Records and reports as the API shows them.
#pragma once
#include "control/effects/effect_runner.h"
#include "control/loops/reconciler.h"

namespace ebb::control {

// Everything that views and services look at. All of it outlives them.
struct Context {
  Loop& loop;
  Owner& owner;
  Reconciler& reconciler;
  EffectRunner& effects;
  Pools& pools;

  const Fleet& fleet() const { return owner.fleet(); }
  const Seen& seen() const { return owner.seen(); }
};

WorkerView view_of(const Context& context, const Worker& worker);
VmView view_of(const Context& context, const Vm& vm);
MigrationView view_of(const Context& context, const Migration& migration);
DrainView view_of(const Context& context, const Drain& drain);
BudgetView view_of(const Context& context, const Budget& budget);
GroupView view_of(const Context& context, const Group& group);

WhyAnswer why_worker(const Context& context, const Worker& worker);
WhyAnswer why_vm(const Context& context, const Vm& vm);
WhyAnswer why_disk(const Context& context, const Disk& disk);

Error no_such(std::string_view what, std::string_view id);

}  // namespace ebb::control
