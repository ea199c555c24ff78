#include "agent/agent.h"

#include "agent/admission.h"
#include "agent/blob_cache.h"
#include "agent/control_client.h"
#include "agent/disk_client.h"
#include "agent/guest_agent.h"
#include "agent/isolation.h"
#include "agent/log_rescues.h"
#include "agent/sessions.h"
#include "agent/stray_disks.h"
#include "agent/vm_runner.h"
#include "agent/wish_store.h"
#include "env/scope.h"

namespace ebb::agent {
namespace {

constexpr Duration backoff_first = 100ms, backoff_max = 5s;
constexpr Duration lock_patience =
    2s;  // a process that an agent was starting when it died holds its lock for a moment
constexpr Duration catch_up_after = 500ms;
constexpr std::size_t status_request_bytes_max = 4096;

// Exponential, with jitter so that a fleet does not come back in step.
class Backoff final {
 public:
  explicit Backoff(Loop& loop) : loop_(loop) {}
  Task<void> wait() {
    pause_ = std::clamp<Duration>(pause_ * 2, backoff_first, backoff_max);
    return sleep_for(loop_, pause_ / 2 + Duration(static_cast<Duration::rep>(loop_.random().below(
                                             static_cast<std::uint64_t>(pause_.count() / 2 + 1)))));
  }
  void reset() { pause_ = {}; }

 private:
  Loop& loop_;
  Duration pause_{};
};

}  // namespace

struct Agent::Impl {
  Impl(AgentConfig c, AgentEnv e)
      : config(std::move(c)),
        env(std::move(e)),
        log(env.log),
        run_id(env.loop.random().token(12)),
        wishes(env.loop, env.files, config.state_dir),
        disks(env.loop, env.http, config.disk_daemon),
        control(env.loop, env.http, config.control, config.join_token),
        isolation(env.loop.now()),
        blobs(env.loop, env.files, config.pools, config.state_dir + "/blobs"),
        rescues(env.loop, disks, [this] { report_poke.poke(); }),
        strays(env.loop, disks, env.log, [this] { report_poke.poke(); }),
        guest_agents(env.loop, env.network),
        sessions(session_tools()),
        registering(env.loop),
        taking(env.loop),
        report_poke(env.loop),
        disk_poke(env.loop),
        scope(env.loop) {}
  ~Impl() {
    scope.cancel();  // before the runners that its tasks work in
  }

  Task<Status> begin();
  Task<Status> open_folder();
  void adopt(const std::vector<MachineStatus>& machines);
  void meet(const MachineStatus& machine);
  Status serve_status();
  Task<HttpResponse> answer(HttpRequest request);
  json::Value status() const;

  void add_runner(WantedVm wish, VmRunner::Origin origin);
  Task<void> supervise(VmRunner* runner);
  Status admit_vm(const WantedVm& wish) const;
  bool is_used_by_others(const VmId& vm, const DiskId& disk) const;
  void look_at_machines();
  Sessions::Tools session_tools();
  const VmRunner* runner_of(const VmId& vm, Epoch epoch) const;
  Task<Result<std::string>> guest_agent_of(VmId vm, Epoch epoch);

  Task<void> follow_wanted();
  Task<bool> ensure_registered();
  Task<Status> ask_for_wanted(Duration wait);
  Task<void> catch_up(std::uint64_t revision);
  Task<Status> take(WantedSet set);
  Task<void> follow_disks();
  void look_for_strays();
  Task<void> follow_sessions();
  Task<void> report_changes();
  Task<AgentReport> make_report();
  void say_once(std::string& last, const std::string& text, std::string_view otherwise);

  AgentConfig config;
  AgentEnv env;
  Logger log;
  std::string run_id;
  WishStore wishes;
  DiskClient disks;
  ControlClient control;
  Isolation isolation;
  BlobCache blobs;
  LogRescues rescues;
  StrayDisks strays;
  GuestAgents guest_agents;
  Sessions sessions;
  AsyncMutex registering, taking;
  bool registered = false;
  std::vector<Firmware> told_firmware;  // at the registration
  std::vector<std::string> told_cpu_features;
  std::vector<NetworkId> told_networks;
  bool confirmed = false;  // the control plane has told us the wanted set since this start
  std::uint64_t applied_revision = 0;
  std::uint64_t takes = 0;  // wanted sets taken since this start
  std::uint64_t reports = 0;
  std::uint32_t machines_seen = 0;
  std::map<VmId, Epoch> found_epochs;  // of machines that ran before this start
  std::map<VmId, std::string> refusals;
  std::string control_trouble, report_trouble, bridge_trouble;
  std::string folder_trouble;  // why the newest wanted set could not be written down
  Poke report_poke, disk_poke;
  std::map<VmId, std::unique_ptr<VmRunner>> runners;
  std::unique_ptr<HttpServer> server;
  std::shared_ptr<bool> alive = std::make_shared<bool>(true);
  Scope scope;
};

// ---- beginning

Task<Status> Agent::Impl::begin() {
  EBB_CO_CHECKED(co_await open_folder());
  EBB_CO_CHECKED(serve_status());
  EBB_CO_TRY(machines, co_await env.hypervisor.list());
  (void)co_await disks.refresh();
  adopt(machines);
  env.hypervisor.on_change([this, weak = std::weak_ptr(alive)] {
    if (weak.lock()) look_at_machines();
  });
  scope.spawn(follow_wanted());
  scope.spawn(follow_disks());
  scope.spawn(follow_sessions());
  scope.spawn(report_changes());
  co_return Status{};
}

Task<Status> Agent::Impl::open_folder() {
  auto until = env.loop.now() + lock_patience;
  for (;;) {
    auto opened = co_await wishes.open();
    if (opened || opened.error().code != Code::busy || env.loop.now() >= until) co_return opened;
    co_await sleep_for(env.loop, backoff_first);
  }
}

// The wishes of before this start are followed at once, without waiting for the control plane.
void Agent::Impl::adopt(const std::vector<MachineStatus>& machines) {
  applied_revision = wishes.wishes().revision;
  for (const auto& [vm, wish] : wishes.wishes().vms) add_runner(wish, VmRunner::Origin::asked);
  for (const auto& machine : machines) {
    found_epochs[machine.vm] = machine.epoch;
    if (runners.contains(machine.vm)) continue;
    meet(machine);
  }
}

// A machine that nothing we know asked for. It may be wanted all the same: only the control plane can tell.
void Agent::Impl::meet(const MachineStatus& machine) {
  log.warning("VM {}: a machine of epoch {} is here and in no wanted set of ours", machine.vm, machine.epoch);
  WantedVm unknown;
  unknown.vm = machine.vm, unknown.epoch = machine.epoch;
  add_runner(std::move(unknown), confirmed ? VmRunner::Origin::asked : VmRunner::Origin::found);
}

void Agent::Impl::add_runner(WantedVm wish, VmRunner::Origin origin) {
  VmRunner::Tools tools;
  tools.loop = &env.loop, tools.hypervisor = &env.hypervisor, tools.disks = &disks, tools.blobs = &blobs;
  tools.bridges = &config.networks;
  tools.network = &env.network, tools.guest_agents = &guest_agents;
  tools.admit = [this](const WantedVm& w) { return admit_vm(w); };
  tools.is_used_by_others = [this](const VmId& vm, const DiskId& disk) {
    return is_used_by_others(vm, disk);
  };
  tools.isolation = [this](const WantedVm& w) { return isolation.of(w, disks, env.loop.now()); };
  tools.changed = [this] { report_poke.poke(); };
  tools.used_disks = [this] { disk_poke.poke(); };
  tools.log = log;
  auto vm = wish.vm;
  auto runner = std::make_unique<VmRunner>(std::move(tools), std::move(wish), origin);
  scope.spawn(supervise(runner.get()));
  runners[vm] = std::move(runner);
}

Task<void> Agent::Impl::supervise(VmRunner* runner) {
  co_await runner->run();
  auto vm = runner->wish().vm;
  runners.erase(vm);
  auto forgotten = co_await wishes.forget(vm);
  if (!forgotten) log.error("VM {}: {}", vm, forgotten.error());  // done again after the next start
  report_poke.poke();
}

Status Agent::Impl::admit_vm(const WantedVm& wish) const {
  Resources used;
  for (const auto& [vm, runner] : runners) {
    if (vm != wish.vm && runner->has_reserved()) used += footprint(runner->wish());
  }
  return admit(wish, used, config.capacity);
}

bool Agent::Impl::is_used_by_others(const VmId& vm, const DiskId& disk) const {
  for (const auto& [other, runner] : runners) {
    if (other == vm || !(runner->has_machine() || runner->has_reserved())) continue;
    for (const auto& used : runner->wish().disks) {
      if (used.id == disk) return true;
    }
  }
  return false;
}

void Agent::Impl::look_at_machines() {
  for (const auto& [vm, runner] : runners) runner->look();
}

// ---- the control plane

void Agent::Impl::say_once(std::string& last, const std::string& text, std::string_view otherwise) {
  if (last == text) return;
  if (text.empty())
    log.info("{}", otherwise);
  else
    log.warning("{}", text);
  last = text;
}

Task<bool> Agent::Impl::ensure_registered() {
  auto turn = co_await registering.lock();
  std::vector<Firmware> firmware;
  for (auto kind : {Firmware::bios, Firmware::uefi})
    if (env.hypervisor.can_boot(kind)) firmware.push_back(kind);
  std::vector<NetworkId> networks;
  std::string missing;
  for (const auto& [network, bridge] : config.networks) {
    if (auto there = env.hypervisor.has_bridge(bridge))
      networks.push_back(network);
    else
      missing += fmt::format("{}network {}: {}", missing.empty() ? "" : "; ", network, there.error().message);
  }
  say_once(bridge_trouble, missing, "all bridges are there");
  auto cpu_features = env.hypervisor.cpu_features();
  if (registered && firmware == told_firmware && networks == told_networks &&
      cpu_features == told_cpu_features)
    co_return true;
  Registration registration{config.worker, config.boot_id,  config.version,
                            config.labels, config.capacity, {}};
  for (const auto& [pool, store] : config.pools) registration.pools.push_back(pool);
  registration.firmware = told_firmware = std::move(firmware);
  registration.cpu_features = told_cpu_features = std::move(cpu_features);
  told_networks = std::move(networks);
  if (!told_networks.empty()) registration.networks = told_networks;
  auto done = co_await control.send_registration(std::move(registration));
  say_once(control_trouble, done ? "" : done.error().message, "the control plane answers again");
  if (done) log.info("registered as {}", config.worker);
  registered = done.has_value();
  if (registered) report_poke.poke();
  co_return registered;
}

Task<void> Agent::Impl::follow_wanted() {
  Backoff backoff(env.loop);
  for (;;) {
    bool is_registered = co_await ensure_registered();
    if (!is_registered) {
      co_await backoff.wait();
      continue;
    }
    auto done = co_await ask_for_wanted(confirmed ? config.wanted_wait : Duration(0));
    say_once(control_trouble, done ? "" : done.error().message, "the control plane answers again");
    if (done) {
      backoff.reset();
      continue;
    }
    if (done.error().code == Code::not_found) registered = false;
    co_await backoff.wait();
  }
}

Task<Status> Agent::Impl::ask_for_wanted(Duration wait) {
  // The first time without a known revision: the answer says what is wanted now, whatever we remember.
  auto known = confirmed ? applied_revision : 0;
  auto before = takes;
  EBB_CO_TRY(set, co_await control.wanted(config.worker, known, wait));
  auto turn = co_await taking.lock();
  if (takes != before) co_return Status{};  // overtaken: what this answer says may be older
  if (set) EBB_CO_CHECKED(co_await take(std::move(*set)));
  if (!confirmed)
    co_return fail(Code::unavailable, "the control plane has no wanted set for this worker yet");
  isolation.heard_control(env.loop.now());
  co_return Status{};
}

// A poll that was on its way when the network broke hears of nothing until its time is up.
Task<void> Agent::Impl::catch_up(std::uint64_t revision) {
  co_await sleep_for(env.loop, catch_up_after);
  if (!confirmed || applied_revision >= revision) co_return;
  (void)co_await ask_for_wanted(0s);
}

// Written down first, then acted on.
Task<Status> Agent::Impl::take(WantedSet set) {
  if (set.revision < applied_revision)
    log.warning("the wanted set went back from revision {} to {}", applied_revision, set.revision);
  auto now = wishes.wishes();
  for (const auto& [vm, epoch] : found_epochs) now.epochs[vm] = std::max(now.epochs[vm], epoch);
  auto step = take_wanted(std::move(now), set);
  auto saved = co_await wishes.save(step.next);
  auto before = std::exchange(folder_trouble, saved ? "" : saved.error().message);
  if (before != folder_trouble) report_poke.poke();
  if (!saved) co_return saved;
  std::map<VmId, std::string> refused;
  for (auto& refusal : step.refused) {
    if (!refusals.contains(refusal.vm)) log.warning("VM {}: refused: {}", refusal.vm, refusal.why);
    refused[refusal.vm] = std::move(refusal.why);
  }
  refusals = std::move(refused);
  for (const auto& [vm, wish] : step.next.vms) {
    auto found = runners.find(vm);
    if (found != runners.end())
      found->second->ask(wish);
    else
      add_runner(wish, VmRunner::Origin::asked);
  }
  for (const auto& [vm, runner] : runners) {
    if (step.next.vms.contains(vm)) continue;
    auto absent = runner->wish();  // a machine that was found here, and that nobody wants
    absent.wanted = Wanted::absent;
    runner->ask(std::move(absent));
  }
  rescues.want(set.rescues);
  applied_revision = set.revision;
  ++takes;
  confirmed = true;
  report_poke.poke();
  co_return Status{};
}

// ---- the disk daemon

Task<void> Agent::Impl::follow_disks() {
  for (;;) {
    bool was_up = disks.is_up();
    auto before = disks.last();
    auto refreshed = co_await disks.refresh();
    if (was_up != disks.is_up())
      log.warning("{}", disks.is_up() ? "the disk daemon answers" : refreshed.error().message);
    if (was_up != disks.is_up() || is_news(before, disks.last())) report_poke.poke();
    for (const auto& [vm, runner] : runners) runner->look_at_disks();
    rescues.look();
    look_for_strays();
    co_await disk_poke.wait_for(config.disks_every);
  }
}

void Agent::Impl::look_for_strays() {
  std::set<DiskId> named;
  bool may_act = confirmed && disks.has_told();
  for (const auto& [vm, runner] : runners) {
    for (const auto& disk : runner->wish().disks) named.insert(disk.id);
    // A machine of another wish than this one: its disks are not known.
    may_act &= !runner->has_machine() ||
               (runner->seen().epoch == runner->wish().epoch && !runner->wish().disks.empty());
  }
  for (const auto& rescue : rescues.wanted()) named.insert({rescue.disk, rescue.into});
  strays.look(named, may_act);
}

// ---- reporting

Task<AgentReport> Agent::Impl::make_report() {
  auto machines = co_await env.hypervisor.list();
  AgentReport report;
  report.worker = config.worker, report.boot_id = config.boot_id, report.agent_run = run_id,
  report.version = config.version;
  report.wanted_revision = applied_revision;
  report.sequence = ++reports, report.clock = env.loop.wall_now();
  for (const auto& [vm, runner] : runners) report.vms.push_back(runner->seen());
  if (machines) {
    machines_seen = 0;
    for (const auto& machine : *machines) {
      machines_seen += machine.state != MachineState::exited;
      if (!runners.contains(machine.vm)) meet(machine);
    }
  }
  report.machines = machines_seen;
  report.trouble = folder_trouble;
  report.disk_daemon_up = disks.has_told();
  for (const auto& disk : disks.last().disks) {
    report.exports += serves(disk);
    report.leases += holds_lease(disk.state);
    if (disk.loss_bound && holds_lease(disk.state))
      report.unsent.push_back({disk.disk, disk.unsent_bytes, disk.unsent_age_ms, *disk.loss_bound});
  }
  report.unread_logs = disks.last().unread_logs;
  for (const auto& disk : strays.held()) report.unread_logs.push_back(disk);
  report.orphan_logs = disks.last().orphan_logs;
  report.rescues = rescues.seen();
  report.unsent_logs = static_cast<std::uint32_t>(disks.last().unsent_logs.size());
  co_return report;
}

Task<void> Agent::Impl::report_changes() {
  Backoff backoff(env.loop);
  for (;;) {
    co_await report_poke.wait_for(config.report_every);
    co_await sleep_for(env.loop, config.report_coalesce);
    if (!registered) continue;
    auto report = co_await make_report();
    auto asked_at = env.loop.now();
    auto sent = co_await control.report(std::move(report));
    say_once(report_trouble, sent ? "" : sent.error().message, "reports are heard again");
    if (sent && sent->wanted_revision == applied_revision && confirmed)
      isolation.heard_control(asked_at);
    else if (sent)
      scope.spawn(catch_up(sent->wanted_revision));
    if (sent) {
      backoff.reset();
      continue;
    }
    if (sent.error().code == Code::not_found) {
      registered = false;
      (void)co_await ensure_registered();
    }
    co_await backoff.wait();
    report_poke.poke();  // what it was to say is still to be said
  }
}

// ---- operators

Sessions::Tools Agent::Impl::session_tools() {
  Sessions::Tools tools;
  tools.loop = &env.loop, tools.network = &env.network, tools.control = &control, tools.log = log;
  tools.console.hypervisor = &env.hypervisor, tools.console.worker = config.worker;
  tools.guest_agents = &guest_agents;
  tools.guest_agent_of = [this](VmId vm, Epoch epoch) { return guest_agent_of(std::move(vm), epoch); };
  tools.console.may_speak = [this](const VmId& vm, Epoch epoch) {
    const auto* runner = runner_of(vm, epoch);
    return runner && (runner->has_machine() || runner->wish().wanted == Wanted::running);
  };
  tools.address_of = [this](const VmId& vm, Epoch epoch, const std::string& port) -> Result<std::string> {
    const auto* runner = runner_of(vm, epoch);
    if (!runner) return fail(Code::unavailable, "{} is not on {} any more", vm, config.worker);
    const auto ports = runner->seen().ports;
    const auto found = ports.find(port);
    if (found == ports.end())
      return fail(Code::unavailable, "{} does not run yet, or has no port '{}'", vm, port);
    return fmt::format("127.0.0.1:{}", found->second);
  };
  return tools;
}

Task<Result<std::string>> Agent::Impl::guest_agent_of(VmId vm, Epoch epoch) {
  EBB_CO_TRY(machines, co_await env.hypervisor.list());
  for (const auto& machine : machines)
    if (machine.vm == vm && machine.epoch == epoch && machine.state != MachineState::exited)
      co_return machine.guest_agent;
  co_return fail(Code::unavailable, "{} has no machine on {} now", vm, config.worker);
}

const VmRunner* Agent::Impl::runner_of(const VmId& vm, Epoch epoch) const {
  auto found = runners.find(vm);
  return found != runners.end() && found->second->wish().epoch == epoch ? found->second.get() : nullptr;
}

Task<void> Agent::Impl::follow_sessions() {
  Backoff backoff(env.loop);
  for (;;) {
    const auto began = env.loop.now();
    // That the control plane does not answer is said by whoever follows what it wants.
    if (registered) (void)co_await sessions.follow();
    if (env.loop.now() >= began + backoff_max) backoff.reset();
    co_await backoff.wait();
  }
}

Status Agent::Impl::serve_status() {
  if (config.status_address.empty()) return {};
  auto made = env.http.serve(
      config.status_address, [this](HttpRequest request) { return answer(std::move(request)); },
      status_request_bytes_max);
  if (!made) return fail(std::move(made).error().within("serving operators"));
  server = std::move(*made);
  return {};
}

Task<HttpResponse> Agent::Impl::answer(HttpRequest request) {
  HttpResponse response{200, {{"content-type", "application/json"}}, {}, {}};
  if (request.method == "GET" && request.target == "/healthz") {
    response.body = json::to_text(json::Object{{"status", "ok"}});
  } else if (request.method == "GET" && request.target == "/status") {
    response.body = json::to_pretty_text(status()) + "\n";
  } else {
    response.status = 404;
    response.body = json::to_text(
        json::Object{{"code", "not_found"}, {"message", "there are GET /healthz and GET /status"}});
  }
  co_return response;
}

json::Value Agent::Impl::status() const {
  json::Array vms;
  Resources used;
  for (const auto& [vm, runner] : runners) {
    vms.push_back(json::Object{{"wanted", json::name_of(runner->wish().wanted)},
                               {"wanted_epoch", runner->wish().epoch},
                               {"refused", refusals.contains(vm) ? refusals.at(vm) : ""},
                               {"seen", json::write(runner->seen())}});
    if (runner->has_reserved()) used += footprint(runner->wish());
  }
  return json::Object{
      {"worker", config.worker.value},
      {"run", run_id},
      {"version", config.version},
      {"registered", registered},
      {"confirmed", confirmed},
      {"wanted_revision", applied_revision},
      {"control", config.control},
      {"control_trouble", control_trouble.empty() ? report_trouble : control_trouble},
      {"disk_daemon",
       json::Object{
           {"address", config.disk_daemon}, {"up", disks.is_up()}, {"status", json::write(disks.last())}}},
      {"capacity", json::write(config.capacity)},
      {"reserved", json::write(used)},
      {"vms", std::move(vms)},
  };
}

// ---- Agent

Agent::Agent(AgentConfig config, AgentEnv env)
    : impl_(std::make_unique<Impl>(std::move(config), std::move(env))) {}
Agent::~Agent() = default;

Task<Status> Agent::run() {
  auto begun = co_await impl_->begin();
  if (!begun) co_return begun;
  for (;;) co_await sleep_for(impl_->env.loop, 1h);
}

json::Value Agent::status() const { return impl_->status(); }

}  // namespace ebb::agent
