// A control plane in virtual time with workers that obey at once: for tests of decisions and of the API. The
// simulator proper (tests/sim) runs the production agent and disk daemon instead.
#pragma once
#include <gtest/gtest.h>

#include "control/control_plane.h"
#include "disk/pool_admin.h"
#include "sim/sim_store.h"
#include "store/memory_store.h"

namespace ebb::control {

// Answers each wanted set as an ideal agent would, one state a report.
struct ObedientWorker {
  WorkerId id;
  std::string boot_id = "boot-1";
  std::map<VmId, SeenVm> vms;
  std::uint64_t revision = 0, sequence = 0;
  WantedSet wanted{};  // as it was last told
  bool answers = true, disk_daemon_up = true;
  std::optional<Duration> clock_ahead{};  // absent: it does not tell its clock
  std::set<VmId> cannot_start;
  std::set<VmId> ended_as_sealed;  // guests that end just as they are stopped for a move
  std::map<VmId, Epoch>
      ended;  // guests that end by themselves for good, once they shall run under this epoch
  std::uint32_t exports = 0;
  std::optional<std::string> snapshot_error{}, snapshot_waits{};
  std::string trouble{};  // it takes nothing new
  std::vector<UnsentDisk> unsent{};
  std::vector<OrphanLog> orphan_logs{};
  std::vector<DiskId> unread_logs{};
  std::vector<RescueLog> rescues{};  // that are wanted of it
  std::function<SeenRescue(const RescueLog&)> tell_rescue{};
};

class ControlWorld {
 public:
  explicit ControlWorld(int workers = 3, std::uint64_t memory_each = 2 * GiB, Duration disk_retention = {})
      : limits{.liveness = {}, .pace = {}, .disk_retention = disk_retention, .returns = {}} {
    restart();
    for (int i = 1; i <= workers; ++i) add_worker(fmt::format("w{}", i), memory_each);
    tick(3);
  }

  Reconciler::Limits limits;  // from the next start on

  // Kills the control plane, if one runs, and starts another on the same records.
  void restart(Duration away = 1s) {
    if (process_) process_->kill(), world_.loop().run_for(away);
    process_ = &world_.start_process("control", "ebbd");
    auto& loop = process_->loop();
    auto& records = process_->make<MemoryStore>(loop, records_);
    auto& pool = process_->make<sim::SimStoreClient>(*process_, store_, "pool/");
    control_ = &process_->make<ControlPlane>(
        loop, records, std::map<PoolId, Pool>{{PoolId("main"), {&pool, &pool, DiskClass::remote}}},
        ControlConfig{"operator-token-0", "join-token-0", "{}", limits, 30s}, Logger());
    scope_ = &process_->make<Scope>(loop);
    EXPECT_TRUE(wait(control_->start()));
  }

  template <class T>
  T wait(Task<T> task) {
    std::optional<T> out;
    scope_->spawn(
        [](Task<T> t, std::optional<T>* o) -> Task<void> { o->emplace(co_await t); }(std::move(task), &out));
    EXPECT_TRUE(world_.loop().run_until([&] { return out.has_value(); }, 120s));
    return std::move(*out);
  }
  HttpResponse ask(std::string method, std::string target, std::string body = {},
                   std::string token = "operator-token-0") {
    HttpRequest request{
        std::move(method), std::move(target), {{"authorization", "Bearer " + token}}, std::move(body)};
    return wait(control_->handle(std::move(request)));
  }
  template <class T>
  T get(const std::string& target) {
    auto reply = ask("GET", target);
    EXPECT_EQ(reply.status, 200) << target << ": " << reply.body;
    auto value = json::read_text<T>(reply.body);
    EXPECT_TRUE(value) << value.error().message;
    return value ? *value : T{};
  }

  void add_worker(const std::string& name, std::uint64_t memory, Labels labels = {}) {
    register_worker(name, memory, std::move(labels));
    workers_[name].id = WorkerId(name);
  }
  // Without an agent that answers.
  void register_worker(const std::string& name, std::uint64_t memory, Labels labels) {
    Registration r;
    r.labels = std::move(labels);
    r.worker = WorkerId(name), r.boot_id = "boot-1", r.version = "test";
    r.capacity = {16'000, memory}, r.pools = {PoolId("main")};
    EXPECT_EQ(ask("POST", "/v1/agent/register", json::write_text(r), "join-token-0").status, 200);
  }

  // One poll and one report of each worker that answers.
  void tick(int times = 1) {
    for (int i = 0; i < times; ++i) {
      for (auto& [name, worker] : workers_) {
        if (worker.answers) obey(worker);
      }
      world_.loop().run_for(50ms);
    }
  }
  bool tick_until(const std::function<bool()>& done, int times = 200) {
    for (int i = 0; i < times; ++i) {
      if (done()) return true;
      tick();
    }
    return done();
  }

  void import_image(const std::string& name, bool with_disk = true) {
    const std::string kernel(5000, 'k'), disk(64 * 1024, 'd');
    auto sum = [](std::string_view text) {
      Sha256 s;
      s.add(as_bytes(text));
      return s.hex();
    };
    CreateImage wish;
    wish.id = ImageId(name), wish.kernel_bytes = kernel.size(), wish.kernel_sha256 = sum(kernel);
    if (with_disk) wish.disk_bytes = disk.size(), wish.disk_sha256 = sum(disk);
    ASSERT_EQ(ask("POST", "/v1/images", json::write_text(wish)).status, 201);
    ASSERT_EQ(ask("PUT", "/v1/images/" + name + "/kernel?offset=0", kernel).status, 204);
    if (with_disk) ASSERT_EQ(ask("PUT", "/v1/images/" + name + "/disk?offset=0", disk).status, 204);
    auto sealed = ask("POST", "/v1/images/" + name + ":seal");
    ASSERT_EQ(sealed.status, 200) << sealed.body;
  }
  void create_vm(const std::string& name, Storage storage = Storage::object, std::uint64_t memory = 128 * MiB,
                 std::optional<DiskClass> disk_class = {}, Labels labels = {}) {
    CreateVm wish;
    wish.spec.labels = std::move(labels);
    wish.spec.disk_class = disk_class;
    wish.id = VmId(name), wish.spec.image = ImageId("guest"), wish.spec.storage = storage,
    wish.spec.memory_bytes = memory;
    auto reply = ask("POST", "/v1/vms", json::write_text(wish));
    ASSERT_EQ(reply.status, 201) << reply.body;
  }
  bool is_running(const std::string& vm) {
    auto view = get<VmView>("/v1/vms/" + vm);
    return view.vm.worker && view.seen == VmSeen::running;
  }
  std::string worker_of(const std::string& vm) {
    return get<VmView>("/v1/vms/" + vm).vm.worker.value_or(WorkerId("-")).value;
  }
  // At most one worker runs any VM.
  void check_one_copy() {
    std::map<VmId, int> copies;
    for (auto& [name, worker] : workers_) {
      for (auto& [id, vm] : worker.vms) copies[id] += vm.machine;
    }
    for (auto& [id, count] : copies) EXPECT_LE(count, 1) << id.value;
  }

  ControlPlane& control() { return *control_; }
  std::map<std::string, ObedientWorker>& workers() { return workers_; }
  sim::SimWorld& sim() { return world_; }
  MemoryRecords& records() { return *records_; }
  sim::SimStore& store() { return store_; }

 private:
  void obey(ObedientWorker& worker) {
    auto reply = ask("GET", fmt::format("/v1/agent/workers/{}/wanted", worker.id), {}, "join-token-0");
    ASSERT_EQ(reply.status, 200) << reply.body;
    auto set = json::read_text<WantedSet>(reply.body);
    ASSERT_TRUE(set) << set.error().message;
    worker.wanted = *set;
    std::map<VmId, SeenVm> next;
    for (const auto& wanted : set->vms) next[wanted.vm] = obey(worker, wanted);
    if (worker.trouble.empty()) worker.vms = std::move(next), worker.revision = set->revision;
    AgentReport report;
    report.worker = worker.id, report.boot_id = worker.boot_id, report.agent_run = "run-1";
    report.wanted_revision = worker.revision, report.sequence = ++worker.sequence;
    report.disk_daemon_up = worker.disk_daemon_up, report.exports = worker.exports;
    report.trouble = worker.trouble;
    if (worker.clock_ahead)
      report.clock = world_.loop().wall_now() + static_cast<WallMs>(to_ms(*worker.clock_ahead));
    report.unsent = worker.unsent, report.orphan_logs = worker.orphan_logs;
    report.unsent_logs = static_cast<std::uint32_t>(worker.orphan_logs.size());
    report.unread_logs = worker.unread_logs;
    worker.rescues = set->rescues;
    for (const auto& wanted : set->rescues)
      if (worker.tell_rescue) report.rescues.push_back(worker.tell_rescue(wanted));
    for (auto& [id, vm] : worker.vms) {
      report.vms.push_back(vm);
      report.machines += vm.machine, report.leases += vm.disk_open;
    }
    EXPECT_EQ(ask("POST", "/v1/agent/report", json::write_text(report), "join-token-0").status, 200);
    check_one_copy();
  }
  static void tell_snapshots(const ObedientWorker& worker, const WantedVm& wanted, SeenVm& seen) {
    seen.snapshots.clear();
    for (const auto& disk : wanted.disks) {
      auto asked = disk.snapshots;
      asked.insert(asked.end(), disk.cuts.begin(), disk.cuts.end());
      for (const auto& s : asked) {
        SeenSnapshot told{disk.id, s.request, 0, {}, {}};
        if (worker.snapshot_error)
          told.error = *worker.snapshot_error;
        else if (worker.snapshot_waits)
          told.waiting_for = *worker.snapshot_waits;
        else
          told.made_at = 1'700'000'000'000;
        seen.snapshots.push_back(std::move(told));
      }
    }
  }
  SeenVm obey(ObedientWorker& worker, const WantedVm& wanted) {
    auto seen = worker.vms[wanted.vm];
    const bool has_disk = std::ranges::any_of(wanted.disks, [](const auto& disk) { return !disk.read_only; });
    seen.vm = wanted.vm, seen.epoch = wanted.epoch, seen.machine = false, seen.disk_open = false;
    if (wanted.wanted == Wanted::running) seen.end.reset();
    switch (wanted.wanted) {
      case Wanted::running:
        if (auto ended = worker.ended.find(wanted.vm);
            ended != worker.ended.end() && ended->second == wanted.epoch) {
          seen.state = VmSeen::ended, seen.end = GuestEnd{0, "the guest ended by itself"};
        } else if (worker.cannot_start.contains(wanted.vm)) {
          seen.state = VmSeen::failed, seen.error = "no such kernel", ++seen.failures;
        } else {
          seen.state = VmSeen::running, seen.machine = true, seen.disk_open = has_disk, seen.failures = 0;
          tell_snapshots(worker, wanted, seen);
        }
        break;
      case Wanted::standby:
        seen.state = VmSeen::standby;
        break;
      case Wanted::sealed:
        if (worker.ended_as_sealed.contains(wanted.vm)) seen.end = GuestEnd{0, "the guest ended by itself"};
        seen.state = VmSeen::sealed;
        break;
      case Wanted::stopped:
        worker.ended.erase(wanted.vm);
        seen.end.reset();
        seen.state = VmSeen::stopped;
        break;
      case Wanted::absent:
        seen.state = VmSeen::absent;
        break;
    }
    return seen;
  }

  sim::SimWorld world_;
  sim::SimStore store_{world_};
  std::shared_ptr<MemoryRecords> records_ = std::make_shared<MemoryRecords>();
  sim::SimProcess* process_ = nullptr;
  ControlPlane* control_ = nullptr;
  Scope* scope_ = nullptr;
  std::map<std::string, ObedientWorker> workers_;
};

}  // namespace ebb::control
