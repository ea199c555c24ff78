// One small fleet in the middle of a drain, for views and commands.
#pragma once
#include "model/api_types.h"

namespace ebb::sample {

inline constexpr WallMs now = 1'700'000'100'000;

inline WorkerView worker(std::string name, Liveness liveness = Liveness::ready) {
  WorkerView view;
  view.worker.id = WorkerId(std::move(name));
  view.worker.capacity = {8000, 4096ull << 20};
  view.worker.labels = {{"rack", "r1"}, {"zone", "a"}};
  view.worker.pools = {PoolId("main")};
  view.worker.agent_version = "0.1.0";
  view.worker.boot_id = "b-1";
  view.worker.registered_at = now - 3'600'000;
  view.liveness = liveness;
  view.last_seen_at = now - (liveness == Liveness::ready ? 400 : 12'000);
  view.schedulable = liveness == Liveness::ready;
  view.used = {2500, 609ull << 20};
  view.vms = 3;
  return view;
}

inline std::vector<WorkerView> workers() {
  auto held = worker("worker-1");
  held.schedulable = false;
  held.holds = {{HoldId("H-1"), held.worker.id, "drain:D-1", "new kernel", now - 5000, {}},
                {HoldId("H-2"), held.worker.id, "operator", "noisy fan", now - 60'000, {}}};
  auto unseen = worker("worker-4", Liveness::never_seen);
  unseen.last_seen_at.reset();
  return {held, worker("worker-2"), worker("worker-3", Liveness::silent), unseen};
}

inline VmView vm(std::string name, VmSeen seen = VmSeen::running) {
  VmView view;
  view.vm.id = VmId(std::move(name));
  view.vm.spec.image = ImageId("witness");
  view.vm.spec.ports = {{"http", 80}};
  view.vm.spec.labels = {{"app", "web"}};
  view.vm.worker = WorkerId("worker-1");
  view.vm.disk = DiskId("d-7");
  view.vm.epoch = 4;
  view.vm.created_at = now - 90'000;
  view.seen = seen;
  view.ports = {{"http", 34567}};
  view.accel = "tcg";
  return view;
}

inline std::vector<VmView> vms() {
  auto stateless = vm("web-1");
  stateless.vm.spec.storage = Storage::none;
  stateless.vm.disk.reset();
  auto moving = vm("db-1", VmSeen::standby);
  moving.migration = MigrationId("M-2");
  moving.vm.spec.disk_class = DiskClass::local;
  auto waiting = vm("db-2", VmSeen::absent);
  waiting.vm.worker.reset();
  waiting.ports.clear();
  waiting.waiting_for = {{"no worker has 2 GiB free", now - 30'000, "operator: add a worker"}};
  auto stopped = vm("old", VmSeen::stopped);
  stopped.vm.desired = VmDesired::stopped;
  stopped.ports.clear();
  auto failing = vm("bad", VmSeen::failed);
  failing.vm.last_error = "the kernel\npanicked";
  failing.vm.start_failures = 2;
  return {stateless, moving, waiting, stopped, failing};
}

inline MigrationView migration(std::string id, std::string vm_name, std::vector<Phase> phases) {
  MigrationView view;
  auto& m = view.migration;
  m.id = MigrationId(std::move(id));
  m.vm = VmId(std::move(vm_name));
  m.source = WorkerId("worker-1");
  m.target = WorkerId("worker-2");
  m.mechanism = Mechanism::pointer;
  m.drain = DrainId("D-1");
  WallMs at = now - 5000;
  for (auto phase : phases) m.history.push_back({phase, at += 300});
  m.phase = phases.back();
  view.progress = static_cast<double>(phases.size()) / 7;
  view.predicted_interruption_ms = 900;
  if (m.phase == Phase::done) view.interruption_ms = 812;
  return view;
}

inline const std::vector<Phase> all_phases{Phase::reserving,    Phase::preparing, Phase::freezing,
                                           Phase::moving_lease, Phase::starting,  Phase::releasing,
                                           Phase::done};

inline DrainPlan plan() {
  DrainPlan plan;
  plan.workers = {WorkerId("worker-1")};
  const WorkerId from("worker-1");
  plan.moves = {{VmId("db-1"), Mechanism::pointer, from, WorkerId("worker-2"), 1, 1, 0, 900, 2300},
                {VmId("web-1"), Mechanism::restart, from, WorkerId("worker-3"), 0, 1, 0, 2100, 2400},
                {VmId("db-2"), Mechanism::pointer, from, WorkerId("worker-2"), 2, 2, 2300, 900, 2300}};
  plan.eta_ms = 7000;
  plan.critical_path = "2 moves at a time from worker-1";
  plan.state_hash = "h";
  return plan;
}

inline PlanBlocker blocker() {
  return {"vms/big", "no worker fits: worker-2 has 1 GiB free of 2 GiB, worker-3 is silent", "operator",
          "add a worker, or drain with --partial"};
}

inline DrainView drain() {
  DrainView view;
  view.drain.id = DrainId("D-1");
  view.drain.workers = {WorkerId("worker-1")};
  view.drain.reason = "new kernel";
  view.drain.state = DrainState::running;
  view.drain.created_at = now - 5000;
  view.status = "running";
  auto web = migration("M-1", "web-1", all_phases);
  web.migration.mechanism = Mechanism::restart;
  web.migration.target = WorkerId("worker-3");
  auto db = migration("M-2", "db-1", {Phase::reserving, Phase::preparing, Phase::freezing});
  db.waiting_for = {
      {"the guest's last writes are on their way to the store", now - 400, "nobody: it goes on by itself"}};
  view.migrations = {web, db};
  view.moved = 1;
  view.remaining = 2;
  view.eta_ms = 4200;
  return view;
}

inline DrainView blocked_drain() {
  auto view = drain();
  view.status = "blocked";
  view.migrations.resize(1);
  view.blockers = {blocker()};
  view.waiting_for = {{"1 VM has no destination", now - 65'000, "operator: make room"}};
  view.eta_ms.reset();
  return view;
}

inline DrainView ended_drain() {
  auto view = drain();
  view.migrations[1] =
      migration("M-2", "db-1", {Phase::reserving, Phase::preparing, Phase::aborting, Phase::aborted});
  view.migrations[1].migration.last_error = "worker-2 could not boot it";
  view.migrations.push_back(migration("M-3", "db-1", all_phases));
  view.migrations.push_back(migration("M-4", "db-2", all_phases));
  view.migrations.back().interruption_ms = 1430;
  view.moved = 3;
  view.remaining = 0;
  view.drain.state = DrainState::done;
  view.drain.ended_at = now + 4321;
  view.status = "done";
  view.eta_ms.reset();
  return view;
}

}  // namespace ebb::sample
