#include "fleet_sim.h"

#include "base/sha256.h"
#include "make_worker.h"
#include "sim/run_in.h"

namespace ebb::fleet_sim {
namespace {

// A block for each record of the longest run, and then some.
constexpr std::uint64_t image_disk_bytes = 8 * MiB;

Fleet read_fleet(const MemoryRecords& records) {
  Fleet fleet;
  auto put = [&]<class T>(const std::string& json, T*) {
    auto record = json::read_text<T>(json);
    CHECK(record);
    fleet.put(std::move(*record));
  };
  for (const auto& [key, json] : records.records) {
    const auto& kind = key.first;
    if (kind == "cell") put(json, static_cast<Cell*>(nullptr));
    if (kind == "worker") put(json, static_cast<Worker*>(nullptr));
    if (kind == "vm") put(json, static_cast<Vm*>(nullptr));
    if (kind == "disk") put(json, static_cast<Disk*>(nullptr));
    if (kind == "image") put(json, static_cast<Image*>(nullptr));
    if (kind == "hold") put(json, static_cast<Hold*>(nullptr));
    if (kind == "drain") put(json, static_cast<Drain*>(nullptr));
    if (kind == "migration") put(json, static_cast<Migration*>(nullptr));
    if (kind == "network") put(json, static_cast<VmNetwork*>(nullptr));
    if (kind == "budget") put(json, static_cast<Budget*>(nullptr));
    if (kind == "group") put(json, static_cast<Group*>(nullptr));
  }
  return fleet;
}

std::string sha256_of(ByteView bytes) {
  Sha256 sum;
  sum.add(bytes);
  return sum.hex();
}

Code code_of(int status) {
  return status == 503 ? Code::unavailable : status == 404 ? Code::not_found : Code::invalid;
}

sim::SimLoopOptions loop_options(const FleetSimOptions& options) {
  using Order = sim::SimLoopOptions::Order;
  return {.seed = options.seed, .order = options.shuffled ? Order::shuffled : Order::as_scheduled};
}

}  // namespace

Result<disk::Head> head_of(const std::string& key, const Bytes& body) {
  auto end = key.rfind('/');
  auto start = key.rfind('/', end - 1) + 1;
  return disk::decode_head(body, DiskId(key.substr(start, end - start)));
}

FleetSim::FleetSim(FleetSimOptions options)
    : options_(std::move(options)),
      world_(loop_options(options_)),
      store_(world_),
      http_(world_),
      ledger_(world_),
      checkers_(all_checkers()) {
  if (options_.on_note) world_.loop().listen(options_.on_note);
  store_.on_applied([this](const std::string& key, const Bytes& body) {
    for (auto& checker : checkers_) checker->on_put(*this, key, body);
    if (!key.ends_with("/HEAD")) return;
    if (auto head = head_of(key, body)) heads_[key] = std::move(*head);
  });
  ledger_.on_begin([this](const VmId& vm) {
    for (auto& checker : checkers_) checker->on_boot(*this, vm);
  });
  records_->on_commit = [this](bool applied) {
    if (applied) after_commit();
    if (control_)
      world_.crash_points().pass(*control_, applied ? "commit after" : "commit before",
                                 std::to_string(records_->revision));
  };
  operator_ = &world_.start_process("operator", "ebb");
}

FleetSim::~FleetSim() {
  is_ending_ = true;
  records_->on_commit = {};
  ledger_.on_begin({});
  for (auto* process : world_.processes_of("control")) process->kill();
  for (auto& worker : workers_)
    for (auto* process : world_.processes_of(worker->id().value)) process->kill();
}

void FleetSim::start_control() {
  auto& process = world_.start_process("control", "ebbd");
  control_ = &process;
  process.on_death([this] {
    if (is_ending_) return;
    world_.loop().call_at(world_.loop().now() + world_.vary(1s), [this] { start_control(); });
  });
  auto& records = process.make<MemoryStore>(process.loop(), records_);
  auto& pool = process.make<sim::SimStoreClient>(process, store_, "pool-1/");
  std::map<PoolId, control::Pool> pools{{PoolId("pool-1"), {&pool, &pool, DiskClass::remote}}};
  control::ControlConfig config;
  config.limits.disk_retention = 3s;
  config.limits.returns.image = ImageId("guest"), config.limits.returns.memory_bytes = VmSpec{}.memory_bytes;
  config.operator_token = operator_token, config.join_token = join_token;
  auto& plane = process.make<control::ControlPlane>(process.loop(), records, std::move(pools),
                                                    std::move(config), world_.logger("control"));
  plane_ = &plane;
  auto& http = process.make<sim::SimHttp>(process, http_);
  auto server = http.serve(
      std::string(control_address), [&plane](HttpRequest r) { return plane.handle(std::move(r)); }, 16 * MiB);
  CHECK(server);
  process.own(std::move(*server));
  process.make<Scope>(process.loop()).spawn([](control::ControlPlane* p, FleetSim* sim) -> Task<void> {
    auto started = co_await p->start();
    if (!started) sim->violation("the control plane cannot start: {}", started.error());
  }(&plane, this));
}

void FleetSim::kill_control() {
  if (control_) control_->kill();
}

void FleetSim::after_commit() {
  for (; journal_shown_ < records_->journal.size(); ++journal_shown_) {
    auto entry = json::read_text<JournalEntry>(records_->journal[journal_shown_].second);
    if (entry) note("journal {} {}: {}", entry->revision, entry->subject, entry->text);
  }
  auto after = read_fleet(*records_);
  for (auto& checker : checkers_) checker->on_commit(*this, fleet_, after);
  for (const auto& [id, vm] : fleet_.vms())
    if (!after.find(id)) ledger_.forget(id);
  fleet_ = std::move(after);
}

void FleetSim::every_second() {
  for (auto& checker : checkers_) checker->every_second(*this);
  world_.loop().call_at(world_.loop().now() + 1s, [this] { every_second(); });
}

Status FleetSim::set_up() {
  start_control();
  every_second();
  for (std::uint32_t i = 1; i <= options_.workers; ++i)
    workers_.push_back((options_.kind == FleetSimOptions::Workers::production
                            ? make_production_worker
                            : make_sketch_worker)(*this, WorkerId(fmt::format("worker-{}", i))));
  for (auto& worker : workers_) {
    worker->machines().on_guest_end([this](const VmId& vm, std::uint32_t status) {
      if (is_ending_) return;
      for (auto& checker : checkers_) checker->on_guest_end(*this, vm, status);
    });
    worker->boot();
  }
  EBB_CHECKED(run_until([&] { return fleet_.workers().size() == options_.workers; }, 1min));
  EBB_CHECKED(import_image());
  if (options_.all_on_first) EBB_CHECKED(cordon_others("cordon"));
  EBB_CHECKED(create_vms());
  auto all_run = [&] {
    return std::ranges::all_of(fleet_.vms(),
                               [&](auto& item) { return why_not_running(item.second).empty(); });
  };
  auto status = run_until(all_run, 5min);
  if (status && options_.all_on_first) status = cordon_others("uncordon");
  if (status) return {};
  std::string why;
  for (const auto& [id, vm] : fleet_.vms())
    if (auto trouble = why_not_running(vm); !trouble.empty()) why += fmt::format("; {}: {}", id, trouble);
  return fail(Code::unavailable, "the VMs do not all run after 5 minutes{}", why);
}

Status FleetSim::import_image() {
  CreateImage wish;
  const auto kernel = to_bytes("a kernel");
  const Bytes disk(image_disk_bytes);
  wish.id = ImageId("guest");
  wish.kernel_bytes = kernel.size(), wish.kernel_sha256 = sha256_of(kernel);
  wish.disk_bytes = disk.size(), wish.disk_sha256 = sha256_of(disk);
  EBB_TRY(image, ask("POST", "/v1/images", json::write_text(wish)));
  EBB_TRY(kernel_put, ask("PUT", "/v1/images/guest/kernel?offset=0", std::string(as_text(kernel))));
  for (std::uint64_t at = 0; at < disk.size(); at += control::upload_piece_max) {
    auto piece =
        ByteView(disk).subspan(at, std::min<std::size_t>(control::upload_piece_max, disk.size() - at));
    EBB_TRY(put, ask("PUT", fmt::format("/v1/images/guest/disk?offset={}", at), std::string(as_text(piece))));
  }
  EBB_TRY(sealed, ask("POST", "/v1/images/guest:seal"));
  return {};
}

Status FleetSim::cordon_others(std::string_view verb) {
  for (std::size_t i = 1; i < workers_.size(); ++i) {
    EBB_TRY(answer, ask("POST", fmt::format("/v1/workers/{}:{}", workers_[i]->id(), verb),
                        verb == "cordon" ? "{}" : ""));
  }
  return {};
}

Status FleetSim::create_vms() {
  CreateNetwork network{NetworkId("lan"), "10.20.0.0/22", "10.20.0.1", {}, {}, {}};
  EBB_TRY(made, ask("POST", "/v1/networks", json::write_text(network)));
  for (std::uint32_t i = 1; i <= options_.vms; ++i) {
    const auto storage = i % options_.stateless_every == 0 ? Storage::none : Storage::object;
    // Both classes of disks, under the same promises as long as no host is lost.
    const auto disk_class = i % 3 == 0 ? DiskClass::local : DiskClass::remote;
    EBB_CHECKED(create_vm(VmId(fmt::format("vm-{}", i)), storage, disk_class, options_.restart));
  }
  return {};
}

Status FleetSim::create_vm(VmId id, Storage storage, DiskClass disk_class, Restart restart) {
  CreateVm wish;
  wish.id = std::move(id);
  wish.spec.image = ImageId("guest");
  wish.spec.storage = storage;
  wish.spec.restart = restart;
  if (storage == Storage::object) wish.spec.disk_class = disk_class;
  wish.spec.ports = {{"ssh", 22}};
  // The first and every other one made says by itself whether it does its work; the others are on a network.
  if (has_health_ = !has_health_; has_health_)
    wish.spec.health =
        HealthCheck{.kind = HealthKind::tcp, .port = "ssh", .interval_ms = 5'000, .start_grace_ms = 30'000};
  else
    wish.spec.networks = {{NetworkId("lan"), {}, {}}};
  EBB_TRY(answer, ask("POST", "/v1/vms", json::write_text(wish)));
  EBB_TRY(made, json::read<VmView>(answer));
  if (!fleet_.find(wish.id)) violation("{} was answered, and no commit has it", wish.id);
  return {};
}

Task<Result<HttpResponse>> FleetSim::ask_once(sim::SimHttp* http, HttpRequest request) {
  return http->request(std::string(control_address), std::move(request), 10s);
}

Result<json::Value> FleetSim::ask(std::string method, std::string target, std::string body) {
  constexpr int tries_max = 60;
  Error last;
  for (int i = 0; i < tries_max; ++i) {
    sim::SimHttp http(*operator_, http_);
    HttpRequest request{.method = method,
                        .target = target,
                        .headers = {{"authorization", fmt::format("Bearer {}", operator_token)}},
                        .body = body};
    auto reply = run_in(*operator_, ask_once(&http, std::move(request)));
    if (!reply) return fail(Code::internal, "{} {}: the operator's request never ended", method, target);
    if (*reply && (*reply)->status < 300)
      return (*reply)->body.empty() ? json::Value{} : json::parse((*reply)->body);
    last = *reply ? Error{code_of((*reply)->status), (*reply)->body, {}} : (*reply).error();
    if (last.code != Code::unavailable) break;
    EBB_CHECKED(run_for(1s));
  }
  return fail(std::move(last).within(method + " " + target));
}

Result<DrainId> FleetSim::start_drain(const WorkerId& worker, DrainOptions options) {
  return start_drain(std::vector{worker}, options);
}

Result<DrainId> FleetSim::start_drain(std::vector<WorkerId> workers, DrainOptions options) {
  CreateDrain wish;
  wish.workers = std::move(workers), wish.reason = "simulated", wish.options = options;
  // Guests of the simulator do not end unless they are made to.
  wish.options.finish = options.finish.value_or(false);
  EBB_TRY(answer, ask("POST", "/v1/drains", json::write_text(wish)));
  EBB_TRY(view, json::read<DrainView>(answer));
  if (!fleet_.find(view.drain.id)) violation("{} was answered, and no commit has it", view.drain.id);
  return view.drain.id;
}

std::string FleetSim::explain(const std::string& path) {
  auto answer = ask("GET", "/v1/" + path);
  if (!answer) return answer.error().message;
  const auto* reasons = answer->is_object() ? answer->get_object().if_contains("waiting_for") : nullptr;
  return reasons ? json::to_text(*reasons) : json::to_text(*answer);
}

void FleetSim::heal() {
  note("act two: everything is healed");
  world_.crash_points().disarm();
  store_.heal();
  http_.heal();
  world_.links().mend_all();
  for (auto& worker : workers_) worker->resume();
}

bool FleetSim::is_unreachable(const WorkerId& id) {
  auto& at = worker(id);
  return !at.is_up() || at.is_paused() || !world_.links().connected(id.value, "control");
}

const std::string& FleetSim::printed(const VmId& vm, const WorkerId& id, Epoch epoch) {
  static const std::string nothing;
  for (auto& worker : workers_)
    if (worker->id() == id) return worker->machines().printed(vm, epoch);
  return nothing;
}

FleetWorker& FleetSim::worker(const WorkerId& id) {
  auto found = std::ranges::find_if(workers_, [&](auto& w) { return w->id() == id; });
  CHECK(found != workers_.end());
  return **found;
}

std::string FleetSim::why_not_running(const Vm& vm) {
  if (!vm.worker) return "it has no worker";
  std::string trouble = fmt::format("{} has no machine for it", *vm.worker);
  for (auto& at : workers_) {
    for (const auto& machine : at->machines().list()) {
      if (machine.vm != vm.id || machine.state == MachineState::exited) continue;
      if (at->id() != *vm.worker)
        return fmt::format("a machine of it runs on {}, its worker is {}", at->id(), *vm.worker);
      trouble.clear();
      if (machine.epoch != vm.epoch)
        trouble = fmt::format("its machine has epoch {}, not {}", machine.epoch, vm.epoch);
      if (machine.state != MachineState::ready)
        trouble =
            fmt::format("its machine is {}", machine.state == MachineState::paused ? "paused" : "booting");
    }
  }
  return trouble;
}

void FleetSim::check_disks() {
  const auto vms = fleet_.vms();  // reading takes time, in which there may be commits
  for (const auto& [id, vm] : vms) {
    if (!vm.disk || !vm.worker || vm.desired != VmDesired::running) continue;
    const auto durable = ledger_.durable(id);
    auto records = sim::run_in(*operator_, worker(*vm.worker).read_disk(*operator_, *vm.disk), 1min);
    if (!records || !*records) {
      violation("{}: its disk cannot be read: {}", id, records ? (*records).error().message : "no answer");
    } else if ((*records)->size() < durable) {
      violation("{}: its disk holds {} records, {} were durable", id, (*records)->size(), durable);
    }
  }
}

void FleetSim::check_end() {
  for (auto& checker : checkers_) checker->at_end(*this);
  check_disks();
}

std::uint64_t FleetSim::state_hash() const {
  auto hash = sim::fnv1a(fmt::format("{} {}", world_.loop().trace_hash(), ledger_.hash()));
  for (const auto& [key, json] : records_->records) hash = sim::fnv1a(key.first + key.second + json, hash);
  for (const auto& key : store_.keys("")) hash = sim::fnv1a(key + store_.peek(key)->tag.value, hash);
  return hash;
}

}  // namespace ebb::fleet_sim
