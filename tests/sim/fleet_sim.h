// A whole fleet in virtual time on one seed: the production control plane over records and a pool that
// outlive it, workers, an operator, and the checkers that watch them all.
#pragma once
#include "base/json.h"
#include "checkers.h"
#include "control/control_plane.h"
#include "disk/format/head_types.h"
#include "fleet_worker.h"
#include "sim/sim_http.h"
#include "sim/sim_network.h"
#include "sim/sim_store.h"
#include "store/memory_store.h"

namespace ebb::fleet_sim {

struct FleetSimOptions {
  std::uint64_t seed = 1;
  std::uint32_t workers = 5, vms = 20;
  std::uint32_t slots = 8;    // VMs that a worker has room for
  bool all_on_first = false;  // worker-1 has them all
  enum class Workers { production, sketched } kind = Workers::production;
  std::map<WorkerId, Labels> labels{};
  std::uint32_t stateless_every = 4;  // each so many-th VM is stateless
  Restart restart = Restart::always;  // of all VMs of the beginning
  bool shuffled = true;               // order of same-instant events drawn from the seed
  sim::SimMachinesOptions machines{.start = 50ms, .boot = 2s, .stop = 150ms, .write_every = 1s};
  std::function<void(std::string_view)> on_note{};  // everything that happens, for --verbose
};

class FleetSim final {
 public:
  static constexpr std::string_view control_address = "control:7070";
  static constexpr std::string_view operator_token = "operator-token", join_token = "join-token";

  explicit FleetSim(FleetSimOptions options);
  FleetSim(const FleetSim&) = delete;
  ~FleetSim();

  // Boots everything, imports an image, creates the VMs and waits until they run.
  Status set_up();
  Status run_for(Duration duration) { return world_.loop().run_for(duration); }
  Status run_until(const std::function<bool()>& done, Duration limit) {
    return world_.loop().run_until(done, limit);
  }

  // ---- the operator, from outside of any event ----
  // Repeats the request until there is an answer; the answer's body, or the error it carries.
  Result<json::Value> ask(std::string method, std::string target, std::string body = {});
  template <class T>
  Result<T> ask_for(std::string method, std::string target, std::string body = {}) {
    EBB_TRY(value, ask(std::move(method), std::move(target), std::move(body)));
    return json::read<T>(value);
  }
  Status create_vm(VmId id, Storage storage, DiskClass disk_class, Restart restart = Restart::always);
  Result<DrainId> start_drain(const WorkerId& worker, DrainOptions options = {});
  Result<DrainId> start_drain(std::vector<WorkerId> workers, DrainOptions options = {});
  // Where the operator sits.
  sim::SimProcess& operator_process() { return *operator_; }
  // What an operation waits for, in the control plane's own words.
  std::string explain(const std::string& path);

  // ---- troubles ----
  void kill_control();
  sim::SimProcess& control() { return *control_; }
  // What the control plane that runs now has heard of its workers.
  const Seen& seen() const { return plane_->owner().seen(); }
  bool is_control_up() const { return control_ && control_->is_alive(); }
  // No faults from here on; everything that was stopped goes on.
  void heal();
  // Cut off from the control plane, standing still, or down.
  bool is_unreachable(const WorkerId& id);

  // ---- looking ----
  sim::SimWorld& world() { return world_; }
  sim::SimStore& store() { return store_; }
  sim::SimHttpNetwork& http() { return http_; }
  sim::SimSockets& sockets() { return sockets_; }
  sim::GuestLedger& ledger() { return ledger_; }
  MemoryRecords& records() { return *records_; }
  const FleetSimOptions& options() const { return options_; }
  Resources capacity() const {
    const auto one = footprint(VmSpec{});
    return {one.cpu_millis * options_.slots, one.memory_bytes * options_.slots};
  }
  const Fleet& fleet() const { return fleet_; }  // as last committed
  const std::map<std::string, disk::Head>& heads() const { return heads_; }
  std::vector<std::unique_ptr<FleetWorker>>& workers() { return workers_; }
  FleetWorker& worker(const WorkerId& id);
  // By the VM's guests there.
  const std::string& printed(const VmId& vm, const WorkerId& id, Epoch epoch);
  Instant now() const { return world_.loop().now(); }
  // Empty if the VM runs as the records say: one machine, ready, under its epoch, nowhere else.
  std::string why_not_running(const Vm& vm);
  // Every open disk holds what its guest was told is durable.
  void check_disks();
  void check_end();
  // Of everything that lasts: records, pool, what the guests saw.
  std::uint64_t state_hash() const;

  template <class... Args>
  void violation(fmt::format_string<Args...> text, Args&&... args) {
    auto line = fmt::format(text, std::forward<Args>(args)...);
    if (told_.insert(line).second) world_.violation(std::move(line));
  }
  template <class... Args>
  void note(fmt::format_string<Args...> text, Args&&... args) {
    world_.loop().note(fmt::format(text, std::forward<Args>(args)...));
  }
  const std::vector<std::string>& violations() const { return world_.violations(); }

 private:
  void start_control();
  void after_commit();
  void every_second();
  Status import_image();
  Status create_vms();
  Status cordon_others(std::string_view verb);  // all but worker-1
  static Task<Result<HttpResponse>> ask_once(sim::SimHttp* http, HttpRequest request);

  FleetSimOptions options_;
  sim::SimWorld world_;
  sim::SimStore store_;
  sim::SimHttpNetwork http_;
  bool has_health_ = false;  // of the VM that was made last
  sim::SimSockets sockets_;
  sim::GuestLedger ledger_;
  std::shared_ptr<MemoryRecords> records_ = std::make_shared<MemoryRecords>();
  Fleet fleet_;
  std::map<std::string, disk::Head> heads_;
  std::vector<std::unique_ptr<Checker>> checkers_;
  std::vector<std::unique_ptr<FleetWorker>> workers_;
  sim::SimProcess* control_ = nullptr;
  const control::ControlPlane* plane_ = nullptr;
  sim::SimProcess* operator_ = nullptr;
  bool is_ending_ = false;
  std::size_t journal_shown_ = 0;
  std::set<std::string> told_;  // violations, each once
};

// The HEAD in a put of `key`, as production decodes it.
Result<disk::Head> head_of(const std::string& key, const Bytes& body);

}  // namespace ebb::fleet_sim
