// For the tests of the agent: one worker in virtual time, with a control plane and a disk daemon that do as
// they are told.
#pragma once
#include <gtest/gtest.h>

#include "agent/agent.h"
#include "disk/format/blob_types.h"
#include "disk/keys.h"
#include "env/scope.h"
#include "model/api_types.h"
#include "model/disk_daemon_types.h"
#include "sim/run_in.h"
#include "sim/sim_files.h"
#include "sim/sim_http.h"
#include "sim/sim_hypervisor.h"
#include "sim/sim_network.h"
#include "sim/sim_store.h"

namespace ebb::agent::testing {

inline const std::string worker_host = "worker-1", control_address = "control:8080",
                         daemon_address = "unix:/run/diskd";

template <class T>
HttpResponse reply(const T& value) {
  return {200, {}, json::write_text(value), {}};
}
inline HttpResponse error_reply(int status, Code code, std::string message) {
  return {status, {}, json::write_text(ErrorBody{std::string(to_string(code)), std::move(message), {}}), {}};
}

// Hands out the wanted set, keeps the last report.
class FakeControl final {
 public:
  FakeControl(sim::SimWorld& world, sim::SimHttpNetwork& network) : world_(world), network_(network) {
    start();
  }
  void start() {
    process_ = &world_.start_process("control", "ebbd");
    changed_ = std::make_unique<Notify>(process_->loop());
    auto& http = process_->make<sim::SimHttp>(*process_, network_);
    process_->own(
        std::move(*http.serve(control_address, [this](HttpRequest r) { return answer(std::move(r)); }, MiB)));
  }
  void stop() { process_->kill(); }
  // Those that wait now get no answer any more, as if the network had lost it.
  void forget_polls() { ++forgotten_; }
  void want(std::vector<WantedVm> vms) {
    set.vms = std::move(vms);
    ++set.revision;
    changed_->notify_all();
  }
  const SeenVm* seen(const std::string& vm) const {
    for (const auto& v : report.vms) {
      if (v.vm.value == vm) return &v;
    }
    return nullptr;
  }
  bool sees(const std::string& vm, VmSeen state, Epoch epoch) const {
    const auto* v = seen(vm);
    return v && v->state == state && v->epoch == epoch;
  }
  bool sees_nothing() const { return report.wanted_revision == set.revision && report.vms.empty(); }

  void want_rescues(std::vector<RescueLog> rescues) {
    set.rescues = std::move(rescues);
    want(set.vms);
  }

  std::function<void(const AgentReport&)> on_report{};
  WantedSet set{WorkerId("worker-1"), 1, {}, {}};
  AgentReport report;
  Registration registration;
  std::uint32_t registrations = 0, reports = 0, refused = 0;
  bool knows_worker = false;

 private:
  Task<HttpResponse> answer(HttpRequest request) {
    if (request.headers["authorization"] != "Bearer join") {
      ++refused;
      co_return error_reply(401, Code::invalid, "no token");
    }
    if (request.target == "/v1/agent/register") {
      auto said = json::read_text<Registration>(request.body);
      EXPECT_TRUE(said);
      if (said) registration = *said;
      ++registrations;
      knows_worker = true;
      co_return reply(set);
    }
    if (!knows_worker) co_return error_reply(404, Code::not_found, "no such worker");
    if (request.target == "/v1/agent/report") {
      auto said = json::read_text<AgentReport>(request.body);
      EXPECT_TRUE(said);
      if (said) report = *said;
      if (on_report) on_report(report);
      ++reports;
      co_return reply(ReportAnswer{set.revision});
    }
    if (request.target.ends_with("/sessions")) co_return error_reply(404, Code::not_found, "it is of before");
    std::uint64_t known = 0, wait_s = 0;
    auto query = request.target.substr(request.target.find('?'));
    EXPECT_EQ(std::sscanf(query.c_str(), "?revision=%lu&wait_s=%lu", &known, &wait_s), 2) << request.target;
    auto until = process_->loop().now() + std::chrono::seconds(wait_s);
    const auto era = forgotten_;
    while ((set.revision == known || era != forgotten_) && process_->loop().now() < until)
      co_await changed_->wait_for(until - process_->loop().now());
    if (set.revision == known) co_return HttpResponse{304, {}, {}, {}};
    co_return reply(set);
  }

  sim::SimWorld& world_;
  sim::SimHttpNetwork& network_;
  sim::SimProcess* process_ = nullptr;
  std::unique_ptr<Notify> changed_;
  std::uint32_t forgotten_ = 0;
};

// The five verbs without a store behind them. Outlives its process as HEAD would: `disks` is the truth.
class FakeDaemon final {
 public:
  FakeDaemon(sim::SimWorld& world, sim::SimHttpNetwork& network) : world_(world), network_(network) {
    start();
  }
  void start() {
    process_ = &world_.start_process(worker_host, "diskd");
    auto& http = process_->make<sim::SimHttp>(*process_, network_);
    process_->own(
        std::move(*http.serve(daemon_address, [this](HttpRequest r) { return answer(std::move(r)); }, MiB)));
  }
  void stop() { process_->kill(); }
  bool is(const std::string& disk, DiskSeen state) const {
    auto found = disks.find(disk);
    return found != disks.end() && found->second.state == state;
  }
  // Somebody else took the disk.
  void fence(const std::string& disk) {
    disks[disk].state = DiskSeen::fenced, disks[disk].nbd_socket.clear();
  }

  std::map<std::string, DiskStatus> disks;
  std::vector<std::string> calls;  // "open disk-1", ...
  std::vector<OrphanLog> orphan_logs;
  std::vector<DiskId> unread_logs;
  bool is_silent_about_itself = false;                   // it answers verbs, and no question for its status
  bool leaves_logs = false;                              // a disk that is closed without a seal leaves one
  std::function<HttpResponse(const RescueLog&)> rescue;  // what is answered
  std::optional<Error> refuse_open;
  std::optional<Instant> store_silent_since;   // HEAD cannot be read
  std::map<std::string, std::uint64_t> sizes;  // of disks that have grown
  bool is_slow = false;                        // opening and sealing need a second call

 private:
  Instant store_heard() const { return store_silent_since.value_or(world_.loop().now()); }
  Task<HttpResponse> answer(HttpRequest request) {
    co_await sleep_for(process_->loop(), 5ms);
    if (request.target == "/status" && is_silent_about_itself)
      co_return error_reply(503, Code::unavailable, "not yet");
    if (request.target == "/status") {
      DaemonStatus status{"run", {}, unread_logs, unread_logs, orphan_logs};
      for (const auto& [id, disk] : disks) {
        status.disks.push_back(disk);
        if (disk.state == DiskSeen::open)
          status.disks.back().owner_age_ms = to_ms(world_.loop().now() - store_heard());
      }
      co_return reply(status);
    }
    if (request.target == "/rescue") {
      auto wish = json::read_text<RescueLog>(request.body).value();
      calls.push_back("rescue " + wish.into.value);
      co_return rescue(wish);
    }
    if (request.target == "/resize") {
      auto wish = json::read_text<ResizeDisk>(request.body).value();
      calls.push_back("resize " + wish.disk.value);
      disks[wish.disk.value].size_bytes = sizes[wish.disk.value] = wish.size_bytes;
      co_return reply(disks[wish.disk.value]);
    }
    std::string id;
    Epoch epoch = 0;
    bool read_only = false;
    if (request.target == "/open") {
      auto open = json::read_text<OpenDisk>(request.body);
      id = open->disk.value, epoch = open->epoch, read_only = open->read_only;
      if (refuse_open) co_return error_reply(409, refuse_open->code, refuse_open->message);
    } else {
      auto ref = json::read_text<DiskRef>(request.body);
      id = ref->disk.value, epoch = ref->epoch;
    }
    calls.push_back(request.target.substr(1) + " " + id);
    auto found = disks.find(id);
    if (found != disks.end() && (found->second.epoch > epoch ||
                                 (found->second.state == DiskSeen::fenced && request.target != "/close"))) {
      co_return error_reply(409, Code::fenced, "a newer owner");
    }
    if (request.target == "/close") {
      if (found != disks.end() && leaves_logs && found->second.state != DiskSeen::sealed)
        unread_logs.emplace_back(id);
      disks.erase(id);
      co_return reply(DiskStatus{});
    }
    co_return reply(carry_out(request.target, id, epoch, read_only));
  }

  DiskStatus carry_out(const std::string& verb, const std::string& id, Epoch epoch, bool read_only) {
    auto& disk = disks[id];
    auto goal = verb == "/open"   ? (read_only ? DiskSeen::reading : DiskSeen::open)
                : verb == "/seal" ? DiskSeen::sealed
                                  : DiskSeen::standby;
    auto on_the_way = verb == "/seal" ? DiskSeen::sealing : DiskSeen::opening;
    bool is_done = !is_slow || (disk.state == on_the_way && disk.epoch == epoch && disk.disk.value == id);
    if (disk.disk.value == id && disk.epoch == epoch && disk.state == goal) is_done = true;
    disk.disk = DiskId(id), disk.epoch = epoch;
    disk.state = is_done ? goal : on_the_way;
    bool is_served = is_done && verb == "/open";
    disk.nbd_socket = is_served ? "/run/nbd" : "", disk.nbd_export = is_served ? id : "";
    disk.size_bytes = sizes.contains(id) ? sizes[id] : MiB;
    return disk;
  }

  sim::SimWorld& world_;
  sim::SimHttpNetwork& network_;
  sim::SimProcess* process_ = nullptr;
};

// Counts what guests write and flush; never fails.
class CountingDisk final : public sim::GuestDisk {
 public:
  CountingDisk(sim::SimProcess& process, std::vector<sim::GuestRecord>& records, std::uint32_t& flushes)
      : process_(process), records_(records), flushes_(flushes) {}
  Task<Status> write(sim::GuestRecord record) override {
    co_await sleep_for(process_.loop(), 1ms);
    records_.resize(record.number - 1);
    records_.push_back(record);
    co_return Status{};
  }
  Task<Status> flush() override {
    co_await sleep_for(process_.loop(), 1ms);
    ++flushes_;
    co_return Status{};
  }
  Task<Result<std::vector<sim::GuestRecord>>> read_all() override { co_return records_; }

 private:
  sim::SimProcess& process_;
  std::vector<sim::GuestRecord>& records_;
  std::uint32_t& flushes_;
};

class AgentTest : public ::testing::Test {
 protected:
  explicit AgentTest(sim::SimLoopOptions options = {}) : world_(options) {
    put_blob("kernel", std::string(1000, 'k'));
  }
  ~AgentTest() override {
    EXPECT_EQ(world_.violations(), std::vector<std::string>());
    kill_agent();
  }

  void put_blob(const std::string& id, const std::string& content) {
    auto& process = world_.start_process("importer", "cp");
    auto body = std::make_shared<const Bytes>(disk::encode_blob_chunk(id, 0, as_bytes(content)));
    sim::SimStoreClient client(process, store_);
    ASSERT_TRUE(*sim::run_in(process, client.put(disk::blob_key(id, 0), body, PutCondition::always())));
  }

  void start_agent() {
    auto& p = world_.start_process(worker_host, "agent");
    agent_process_ = &p;
    AgentConfig config;
    config.worker = WorkerId("worker-1");
    config.boot_id = "boot", config.control = control_address, config.join_token = "join";
    config.capacity = {4000, GiB};
    config.pools = {{PoolId("pool"), &p.make<sim::SimStoreClient>(p, store_)}};
    config.state_dir = "/agent", config.disk_daemon = daemon_address,
    config.status_address = "unix:/run/agent";
    auto& files = p.make<sim::SimFiles>(p, drive_);
    auto& http = p.make<sim::SimHttp>(p, network_);
    auto& hypervisor = p.make<sim::SimHypervisor>(p, machines_);
    AgentEnv env{
        p.loop(), files, http, p.make<sim::SimNetwork>(p, sockets_), hypervisor, world_.logger(p.name())};
    agent_ = &p.make<Agent>(config, env);
    run_result_ = std::make_shared<std::optional<Status>>();
    p.make<Scope>(p.loop()).spawn([](Agent* agent, std::shared_ptr<std::optional<Status>> out) -> Task<void> {
      out->emplace(co_await agent->run());
    }(agent_, run_result_));
  }
  void kill_agent() {
    if (agent_process_ && agent_process_->is_alive()) agent_process_->kill();
  }
  void restart_agent() {
    kill_agent();
    start_agent();
  }

  // The sha256 of 1000 times 'k'.
  static inline const std::string kernel_sha =
      "27fed049cf80e0eff71ab837c82a50327b7677ebda22305d3f353f0989488669";
  static WantedVm vm(const std::string& name, Epoch epoch, Wanted wanted = Wanted::running) {
    WantedVm w;
    w.vm = VmId(name), w.epoch = epoch, w.wanted = wanted, w.memory_bytes = 128 * MiB;
    w.image_pool = PoolId("pool");
    w.kernel = {"kernel", 1000, kernel_sha};
    w.disks = {{DiskId("disk-" + name), PoolId("pool"), MiB, DiskClass::remote, false, false}};
    w.ports = {{"http", 80}};
    return w;
  }

  bool run_until(const std::function<bool()>& done, Duration limit = 60s) {
    return world_.loop().run_until(done, limit).has_value();
  }
  void run_for(Duration duration) { ASSERT_TRUE(world_.loop().run_for(duration)); }
  bool reaches(const std::string& name, VmSeen state, Epoch epoch) {
    return run_until([&] { return control_.sees(name, state, epoch); });
  }
  std::size_t machines_of(const std::string& name) const {
    std::size_t count = 0;
    for (const auto& machine : machines_.list())
      count += machine.vm.value == name && machine.state != MachineState::exited;
    return count;
  }
  std::uint32_t count_calls(const std::string& call) const {
    return static_cast<std::uint32_t>(std::ranges::count(daemon_.calls, call));
  }

  sim::SimWorld world_;
  sim::SimHttpNetwork network_{world_};
  sim::SimSockets sockets_;
  sim::SimStore store_{world_};
  sim::GuestLedger ledger_{world_};
  std::map<std::string, std::vector<sim::GuestRecord>> records_;
  std::map<std::string, std::uint32_t> flushes_;
  sim::SimMachines machines_{world_, worker_host, ledger_,
                             [this](sim::SimProcess& process, const MachineSpec& spec, const MachineDisk&) {
                               return std::make_shared<CountingDisk>(process, records_[spec.vm.value],
                                                                     flushes_[spec.vm.value]);
                             }};
  std::shared_ptr<sim::SimDrive> drive_ = std::make_shared<sim::SimDrive>();
  FakeControl control_{world_, network_};
  FakeDaemon daemon_{world_, network_};
  sim::SimProcess* agent_process_ = nullptr;
  Agent* agent_ = nullptr;
  std::shared_ptr<std::optional<Status>> run_result_;
};

}  // namespace ebb::agent::testing
