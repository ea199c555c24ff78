#include "what_if.h"

#include <fstream>

#include "control/control_plane.h"
#include "drain_choice.h"
#include "head_pool.h"
#include "move_tally.h"
#include "sim/sim_loop.h"
#include "timed_loop.h"
#include "watcher.h"

namespace ebb::what_if {
namespace {

constexpr Duration begins_in = 1min;  // so that all workers of all drains are held before any is emptied
constexpr std::size_t blockers_shown = 5;
constexpr std::size_t answer_bytes_max = 1ull << 30;  // plans of many thousand moves

using Clock = std::chrono::steady_clock;
double seconds_since(Clock::time_point began) {
  return std::chrono::duration<double>(Clock::now() - began).count();
}

// Megabytes, of a line of /proc/self/status.
double memory_mb(std::string_view key) {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);)
    if (line.starts_with(key)) return std::stod(line.substr(key.size())) * 1024 / 1e6;
  return 0;
}

sim::SimLoopOptions loop_options(std::uint64_t seed) {
  sim::SimLoopOptions options;
  options.seed = seed;
  options.events_max = std::uint64_t{1} << 60, options.events_max_per_instant = 100'000'000;
  return options;
}

// What many workers say at once, a control plane that serves many hears together.
LightFleetOptions light_options(const WhatIfOptions& options, std::size_t workers) {
  LightFleetOptions light;
  light.tick = options.tick.value_or(workers > 20'000 ? 250ms : 100ms);
  light.heartbeat = options.heartbeat.value_or(workers > 20'000 ? 60s : workers > 2'000 ? 15s : 3s);
  light.boot_failures = options.failures.boots, light.standby_failures = options.failures.standbys;
  light.seed = options.seed;
  return light;
}

class WhatIf {
 public:
  WhatIf(const FleetRecords& records, const WhatIfOptions& options)
      : records_(records),
        options_(options),
        loop_(loop_options(options.seed)),
        control_loop_(loop_),
        request_loop_(loop_),
        random_(options.seed ^ 0x77686174) {
    for (const auto& worker : records.workers) workers_.add(worker.id);
    for (const auto& vm : records.vms) vms_.add(vm.id);
    watcher_.emplace(records, workers_, vms_, [this] { return loop_.wall_now(); });
    tally_.emplace(vms_);
    pool_.emplace(records, workers_, vms_);
    store_.emplace(control_loop_, records, options.commit_takes,
                   [this](const Committed& committed) { on_commit(committed); });
    const auto light = light_options(options, records.workers.size());
    heartbeat_ = light.heartbeat;
    control_.emplace(control_loop_, *store_, pools(), config(), Logger());
    fleet_.emplace(
        request_loop_, records, workers_, vms_, *watcher_,
        [this](HttpRequest request) { return control_->handle(std::move(request)); }, light);
    pool_->set_fleet(&*fleet_);
  }

  Result<WhatIfReport> run() {
    began_ = Clock::now();
    EBB_TRY(choices, choose_workers(records_, options_.drains, random_));
    choices_ = std::move(choices);
    EBB_CHECKED(start());
    EBB_CHECKED(ask_for_drains());
    EBB_CHECKED(plan_drains());
    schedule_failures();
    EBB_CHECKED(play());
    return report();
  }

 private:
  std::map<PoolId, control::Pool> pools() {
    std::map<PoolId, control::Pool> all;
    const auto add = [&](const PoolId& id) { all[id] = {&*pool_, nullptr, DiskClass::remote}; };
    for (const auto& image : records_.images) add(image.pool);
    for (const auto& disk : records_.disks) add(disk.pool);
    if (all.empty()) add(PoolId("main"));
    return all;
  }
  control::ControlConfig config() const {
    control::ControlConfig config{"operator-token", "join-token", "{}", {}, 365 * 24h};
    // The rarer workers are heard of, the later they are missed.
    config.limits.liveness = {heartbeat_ + 7s, heartbeat_ + 57s};
    config.limits.pace = records_.pace;
    config.limits.disk_retention = 365 * 24h;
    return config;
  }

  void on_commit(const Committed& committed) {
    watcher_->on_commit(committed);
    tally_->on_commit(committed);
    for (const auto& record : committed.puts) wake(record);
  }
  // What a worker is told of when its wanted set changes: it asks, as if it had waited for that.
  void wake(const Record& record) {
    const auto poke = [&](const WorkerId& id) {
      if (const auto worker = workers_.find(id); worker != nobody) fleet_->poke(worker);
    };
    if (const auto* vm = std::get_if<Vm>(&record); vm && vm->worker) poke(*vm->worker);
    if (const auto* m = std::get_if<Migration>(&record)) poke(m->source), poke(m->target);
    if (const auto* drain = std::get_if<Drain>(&record); drain && drain->forced_at)
      for (const auto& id : drain->workers) poke(id);
    const auto* disk = std::get_if<Disk>(&record);
    if (const auto* vm = disk && disk->vm ? control_->owner().fleet().find(*disk->vm) : nullptr;
        vm && vm->worker)
      poke(*vm->worker);
  }

  // What the task came to; nothing, if it did not end.
  template <class T>
  std::optional<T> wait(Task<T> task) {
    std::optional<T> out;
    Scope scope(request_loop_);
    scope.spawn([](Task<T> body, std::optional<T>* value) -> Task<void> {
      value->emplace(co_await std::move(body));
    }(std::move(task), &out));
    (void)loop_.run_until([&] { return out.has_value(); }, 1h);
    return out;
  }
  template <class T>
  Result<T> ask(std::string method, std::string target, std::string body = {}) {
    const auto reply = wait(control_->handle(
        {std::move(method), target, {{"authorization", "Bearer operator-token"}}, std::move(body)}));
    if (!reply) return fail(Code::internal, "{} is not answered", target);
    if (reply->status >= 300) {
      const auto error = json::read_text<ErrorBody>(reply->body);
      return fail(reply->status == 404 ? Code::not_found : Code::invalid, "{}",
                  error ? error->message : reply->body);
    }
    EBB_TRY(value, json::parse(reply->body, answer_bytes_max));
    return json::read<T>(value);
  }

  Status start() {
    progress("the control plane loads {} workers and {} VMs", records_.workers.size(), records_.vms.size());
    const auto started = wait(control_->start());
    if (!started) return fail(Code::internal, "the control plane does not start");
    if (!*started) return *started;
    load_s_ = seconds_since(began_);
    fleet_->start(store_->revision());
    return loop_.run_for(std::min(heartbeat_, Duration(5s)) + 3s);
  }

  // All of them are due a little later: from now on none of their workers takes anything.
  Status ask_for_drains() {
    for (const auto& choice : choices_) {
      CreateDrain wish;
      for (const auto worker : choice.workers) wish.workers.push_back(workers_[worker]);
      wish.reason = "what if: " + choice.what, wish.options = options_.drain_options;
      wish.begins_in_ms = static_cast<std::uint64_t>(to_ms(begins_in));
      EBB_TRY(view, ask<DrainView>("POST", "/v1/drains", json::write_text(wish)));
      auto& facts = drains_.emplace_back();
      facts.id = view.drain.id, facts.what = choice.what;
      facts.workers = static_cast<std::uint32_t>(choice.workers.size());
      begins_at_ = std::max(begins_at_, view.drain.begins_at.value_or(0));
    }
    const auto all_held = [this] {
      return std::ranges::all_of(choices_, [this](const DrainChoice& choice) {
        return std::ranges::all_of(choice.workers, [this](auto worker) { return watcher_->is_held(worker); });
      });
    };
    while (!all_held() && loop_.wall_now() < begins_at_) EBB_CHECKED(loop_.run_for(100ms));
    return {};
  }

  Status plan_drains() {
    for (std::size_t i = 0; i < choices_.size(); ++i) {
      CreateDrain wish;
      for (const auto worker : choices_[i].workers) wish.workers.push_back(workers_[worker]);
      wish.options = options_.drain_options, wish.validate_only = true;
      const auto began = Clock::now();
      EBB_TRY(plan, ask<DrainPlan>("POST", "/v1/drains", json::write_text(wish)));
      auto& facts = drains_[i];
      facts.plan_s = seconds_since(began);
      plan_s_ += facts.plan_s;
      for (const auto& move : plan.moves) {
        ++facts.moves_planned[std::string(json::name_of(move.mechanism))];
        facts.moves_to_make_room += move.makes_room;
      }
      facts.planned_blockers = static_cast<std::uint32_t>(plan.blockers.size());
      facts.eta_ms = plan.eta_ms, facts.bounds = plan.bounds;
      eta_ms_ = std::max<std::uint64_t>(eta_ms_, plan.eta_ms);
      progress("{}: {} moves, predicted {:.0f} s, planned in {:.2f} s", facts.what, plan.moves.size(),
               plan.eta_ms / 1000.0, facts.plan_s);
    }
    return {};
  }

  void schedule_failures() {
    const auto wanted = static_cast<std::size_t>(options_.failures.dead * workers_.size() + 0.5);
    std::set<std::uint32_t> victims;
    while (victims.size() < std::min<std::size_t>(wanted, workers_.size()))
      victims.insert(static_cast<std::uint32_t>(random_.below(workers_.size())));
    const auto begin =
        loop_.now() + std::chrono::milliseconds(std::max<WallMs>(0, begins_at_ - loop_.wall_now()));
    const auto span = std::max<std::uint64_t>(eta_ms_, 60'000);
    for (const auto victim : victims) {
      const auto at = begin + std::chrono::milliseconds(random_.below(span));
      loop_.call_at(at, [this, victim] { kill(victim); });
      last_kill_ = std::max(last_kill_, at);
    }
    killed_ = static_cast<std::uint32_t>(victims.size());
  }
  // One that is being drained is repaired: its drain waits for it. Of the others an operator says that they are dead.
  void kill(std::uint32_t worker) {
    fleet_->kill(worker);
    if (control_->owner().fleet().active_drain_of(workers_[worker])) {
      loop_.call_at(loop_.now() + options_.failures.back_after,
                    [this, worker] { fleet_->boot(worker), ++back_; });
    } else {
      dead_.push_back(workers_[worker]);
    }
  }

  Status declare_dead() {
    std::ranges::sort(dead_);
    for (std::size_t at = 0; at < dead_.size(); at += control::drain_workers_max) {
      CreateDrain wish;
      const auto end = std::min(dead_.size(), at + control::drain_workers_max);
      wish.workers.assign(dead_.begin() + static_cast<std::ptrdiff_t>(at),
                          dead_.begin() + static_cast<std::ptrdiff_t>(end));
      wish.options.source_dead = wish.options.partial = true, wish.options.many_dead = true;
      wish.reason = "they have lost their power";
      EBB_TRY(view, ask<DrainView>("POST", "/v1/drains", json::write_text(wish)));
      auto& facts = drains_.emplace_back();
      facts.id = view.drain.id, facts.what = "declared dead";
      facts.workers = static_cast<std::uint32_t>(wish.workers.size());
      progress("{} workers are declared dead", wish.workers.size());
    }
    declared_ = static_cast<std::uint32_t>(dead_.size());
    return {};
  }

  bool has_ended() const {
    return std::ranges::all_of(drains_, [this](const DrainFacts& facts) {
      const auto* drain = control_->owner().fleet().find(facts.id);
      return !drain || is_ended(drain->state);
    });
  }
  bool waits_for_act_two() const {
    return loop_.now() <= last_kill_ || (declared_ == 0 && !dead_.empty()) || back_ + dead_.size() < killed_;
  }

  // Until all has ended, or nothing happens any more.
  Status play() {
    const auto end = loop_.now() + options_.limit;
    auto changed_at = loop_.now();
    std::uint64_t changes = 0;
    auto told = Clock::now();
    while (loop_.now() < end && (!has_ended() || waits_for_act_two())) {
      EBB_CHECKED(loop_.run_for(1s));
      if (const auto now = tally_->changes(); now != changes || waits_for_act_two())
        changes = now, changed_at = loop_.now();
      if (loop_.now() - changed_at > options_.patience) return {};
      const bool are_missed = loop_.now() > last_kill_ + config().limits.liveness.silent + 5s;
      if (declared_ == 0 && !dead_.empty() && are_missed) EBB_CHECKED(declare_dead());
      if (seconds_since(told) < 10) continue;
      told = Clock::now();
      progress("{:.0f} s: {} moves done, {} open; {:.0f} s of real time in control loops",
               to_seconds(loop_.now().time_since_epoch()), tally_->counts().done, tally_->open(),
               control_loop_.seconds());
    }
    return {};
  }

  Status finish(DrainFacts& facts) {
    EBB_TRY(view, ask<DrainView>("GET", "/v1/drains/" + facts.id.value));
    const auto& drain = view.drain;
    facts.state = json::name_of(drain.state);
    if (!is_ended(drain.state) && view.status == "blocked") facts.state = view.status;
    if (drain.ended_at)
      facts.makespan_ms =
          static_cast<std::uint64_t>(*drain.ended_at - drain.begins_at.value_or(drain.created_at));
    for (const auto& worker : view.workers) facts.not_emptied += worker.remaining > 0;
    facts.blockers_all = static_cast<std::uint32_t>(view.blockers.size());
    if (view.blockers.size() > blockers_shown) view.blockers.resize(blockers_shown);
    facts.blockers = std::move(view.blockers);
    if (is_ended(drain.state)) return {};
    for (const auto& reason : view.waiting_for)
      if (facts.waits_for.size() < blockers_shown)
        facts.waits_for.push_back(fmt::format("{} ({})", reason.text, reason.who));
    return {};
  }

  FleetFacts fleet_facts() const {
    FleetFacts facts{records_.origin,
                     options_.seed,
                     workers_.size(),
                     vms_.size(),
                     static_cast<std::uint32_t>(records_.groups.size()),
                     static_cast<std::uint32_t>(records_.budgets.size())};
    Resources all, used;
    for (const auto& worker : records_.workers) all += worker.capacity;
    for (const auto& vm : records_.vms)
      if (vm.worker) used += footprint(vm.spec);
    const auto percent = [](std::uint64_t part, std::uint64_t whole) {
      return whole == 0 ? 0 : 100.0 * static_cast<double>(part) / static_cast<double>(whole);
    };
    facts.cpu_use_percent = percent(used.cpu_millis, all.cpu_millis);
    facts.memory_use_percent = percent(used.memory_bytes, all.memory_bytes);
    return facts;
  }
  BudgetFacts budget_facts() const {
    BudgetFacts facts;
    for (const auto& use : watcher_->budgets()) {
      if (use.moving_most == 0) continue;
      const auto slack = use.allowed - std::min(use.allowed, use.moving_most);
      ++facts.touched, facts.exhausted += slack == 0;
      facts.slack_least = std::min(facts.slack_least.value_or(slack), slack);
      if (const auto ms = static_cast<std::uint64_t>(use.full_ms); ms > facts.tightest_full_ms)
        facts.tightest = use.id, facts.tightest_full_ms = ms;
    }
    return facts;
  }
  MoveFacts move_facts() const {
    const auto& counts = tally_->counts();
    MoveFacts facts{counts.done,           counts.aborted,    counts.failed_targets,
                    counts.of_dead,        tally_->open(),    tally_->vms_moved(),
                    tally_->vms_bounced(), tally_->bounces(), {}};
    for (const auto& [mechanism, ms] : tally_->interruptions_ms())
      facts.interruptions[std::string(json::name_of(mechanism))] = summary_of(ms);
    return facts;
  }

  Result<WhatIfReport> report() {
    WhatIfReport report;
    report.fleet = fleet_facts();
    for (auto& facts : drains_) EBB_CHECKED(finish(facts));
    for (const auto& facts : drains_)
      if (!facts.bounds.empty() && facts.bounds.front().ms > report.bound_ms)
        report.bound_ms = facts.bounds.front().ms, report.bound = facts.bounds.front().name;
    report.drains = drains_;
    report.makespan_ms = static_cast<std::uint64_t>(std::max<WallMs>(0, tally_->last_end_at() - begins_at_));
    if (report.bound_ms > 0)
      report.makespan_to_bound =
          static_cast<double>(report.makespan_ms) / static_cast<double>(report.bound_ms);
    report.moves = move_facts(), report.budgets = budget_facts();
    report.troubles = {killed_, back_, declared_};
    auto& costs = report.costs;
    costs.virtual_s = to_seconds(loop_.now().time_since_epoch()), costs.real_s = seconds_since(began_);
    costs.load_s = load_s_, costs.plan_s = plan_s_;
    costs.control_s = control_loop_.seconds(), costs.requests_s = request_loop_.seconds();
    costs.real_s_per_virtual_hour = costs.real_s / costs.virtual_s * 3600;
    costs.commits = store_->revision(), costs.reports = fleet_->reports();
    costs.rss_mb = memory_mb("VmRSS:"), costs.rss_peak_mb = memory_mb("VmHWM:");
    report.violations_seen = watcher_->violations_seen(), report.violations = watcher_->violations();
    report.hash = fmt::format("{:016x}", loop_.trace_hash());
    return report;
  }

  template <class... Args>
  void progress(fmt::format_string<Args...> text, Args&&... args) const {
    if (options_.on_progress) options_.on_progress(fmt::format(text, std::forward<Args>(args)...));
  }

  const FleetRecords& records_;
  const WhatIfOptions& options_;
  sim::SimLoop loop_;
  TimedLoop control_loop_, request_loop_;
  Random random_;
  Duration heartbeat_{};
  Numbered<WorkerId> workers_;
  Numbered<VmId> vms_;
  std::optional<Watcher> watcher_;
  std::optional<MoveTally> tally_;
  std::optional<HeadPool> pool_;
  std::optional<WatchedRecords> store_;
  std::optional<control::ControlPlane> control_;
  std::optional<LightFleet> fleet_;
  std::vector<DrainChoice> choices_;
  std::vector<DrainFacts> drains_;
  WallMs begins_at_ = 0;
  std::uint64_t eta_ms_ = 0;
  Instant last_kill_{};
  std::vector<WorkerId> dead_;
  std::uint32_t killed_ = 0, back_ = 0, declared_ = 0;
  Clock::time_point began_;
  double load_s_ = 0, plan_s_ = 0;
};

}  // namespace

Result<WhatIfReport> ask_what_if(const FleetRecords& records, const WhatIfOptions& options) {
  return WhatIf(records, options).run();
}

}  // namespace ebb::what_if
