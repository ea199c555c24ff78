// ebb-bench-plan: what the planner does with a fleet, a JSON object on stdout for each measurement. See README.md beside it.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <ctime>
#include <exception>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <fstream>
#include <map>

#include "base/large_pages.h"
#include "base/random.h"
#include "bench/plan/plan_checker.h"
#include "bench/plan/yardsticks.h"
#include "placement/orders.h"
#include "planning/fleet_plan.h"

namespace ebb::bench {
namespace {

using placement::FleetNumbers;
using placement::Placer;

// Wall and processor time since it was made.
class Watch {
 public:
  double wall() const {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - wall_).count();
  }
  double cpu() const { return cpu_now() - cpu_; }

 private:
  static double cpu_now() {
    timespec now{};
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) * 1e-9;
  }
  std::chrono::steady_clock::time_point wall_ = std::chrono::steady_clock::now();
  double cpu_ = cpu_now();
};

double peak_mib() {
  std::ifstream status("/proc/self/status");
  for (std::string word; status >> word;)
    if (double kib = 0; word == "VmHWM:" && status >> kib) return kib / 1024;
  return 0;
}

// The fleet as the planner wants it. `is_plain`: two dimensions and groups of three, nothing else.
FleetNumbers numbers_of(const Fleet& fleet, bool is_plain = false) {
  FleetNumbers numbers;
  const auto shapes = static_cast<std::uint32_t>(fleet.shapes.size());
  for (const placement::Features features : {0, is_plain ? 0 : 1}) {
    numbers.kinds.push_back({{fleet.ram, fleet.cores}, features});
    for (const auto& shape : fleet.shapes) numbers.shapes.push_back({{shape.ram, shape.cores}, features});
  }
  for (const auto& group : fleet.groups) numbers.groups.push_back({.apart = {!group.by_rack, group.by_rack}});
  numbers.domains.resize(2);
  for (std::uint32_t worker = 0; worker < fleet.workers(); ++worker) {
    numbers.kind_of.push_back(fleet.has_feature[worker]);
    numbers.domains[0].push_back(Fleet::rack(worker)), numbers.domains[1].push_back(Fleet::zone(worker));
  }
  numbers.is_closed.resize(fleet.workers());
  for (std::uint32_t vm = 0; vm < fleet.shape.size(); ++vm) {
    numbers.shape_of.push_back(fleet.shape[vm] + (fleet.needs_feature[vm] ? shapes : 0));
    const auto group = fleet.group[vm];
    numbers.group_of.push_back(is_plain && group != Fleet::none && !fleet.groups[group].by_rack ? Fleet::none
                                                                                                : group);
  }
  numbers.worker_of = fleet.worker;
  return numbers;
}

// All that is asked with a fleet, but for which workers are drained.
struct Question {
  Question(const Fleet& fleet, Rules r)
      : rules(r), numbers(numbers_of(fleet)), budgets(fleet.groups.size(), {r.group_away, r.healthy_s}) {
    std::vector<std::uint32_t> tenant_vms(fleet.tenants);
    for (std::uint32_t vm = 0; vm < fleet.shape.size(); ++vm) {
      seconds.push_back(static_cast<float>(seconds_of(fleet, vm)));
      clone_bytes.push_back(
          mechanism_of(fleet, vm) == Mechanism::clone ? static_cast<float>(gib_of(fleet, vm) * 0x1p30) : 0);
      ++tenant_vms[fleet.tenant[vm]];
    }
    for (const auto vms : tenant_vms) tenant_max.push_back(rules.tenant_max(vms));
  }
  planning::FleetPlanRequest request(const Fleet& fleet, std::vector<std::uint32_t> sources) const {
    planning::FleetPlanRequest request;
    request.sources = std::move(sources);
    request.seconds = seconds, request.clone_bytes = clone_bytes, request.tenants = fleet.tenant;
    request.tenant_max = tenant_max, request.budgets = budgets;
    request.limits = {.per_source = rules.per_source,
                      .per_target = rules.per_target,
                      .clones_per_domain = rules.clones_per_rack,
                      .boots_per_second = rules.boots_per_s,
                      .boots_at_once = rules.boots_at_once};
    return request;
  }

  Rules rules;
  FleetNumbers numbers;
  std::vector<planning::Budget> budgets;
  std::vector<float> seconds, clone_bytes;
  std::vector<std::uint32_t> tenant_max;
};

void say_fleet(const FleetSpec& spec, const Fleet& fleet) {
  fmt::print(
      R"({{"fleet": "{}", "vms": {}, "rejects_pct": {:.2f}, "empty_pct": {:.2f}, "big_ram_pct": {:.1f}, "sha256": "{}"}})"
      "\n",
      spec.name(), fleet.shape.size(), fleet.rejects_pct, fleet.empty_pct(), fleet.big_ram_pct(),
      fleet.sha256());
}

double ram_of(const Question& question, std::uint32_t vm) {
  return question.numbers.shapes[question.numbers.shape_of[vm]].needs[0];
}

std::vector<std::uint32_t> workers_if(const Fleet& fleet, auto is_in) {
  std::vector<std::uint32_t> workers;
  for (std::uint32_t worker = 0; worker < fleet.workers(); ++worker)
    if (is_in(worker)) workers.push_back(worker);
  return workers;
}

// What is drained. "zone": the first; "source": the worker whose moves take longest, one after the other; "rack": the one whose clones
// do; anything else: the fleet's racks.
std::vector<std::uint32_t> drained(const Fleet& fleet, const std::string& what) {
  if (what == "zone") return workers_if(fleet, [](auto worker) { return Fleet::zone(worker) == 0; });
  const bool is_source = what == "source";
  if (is_source || what == "rack") {
    std::vector<double> seconds(fleet.workers());
    const auto key = [&](std::uint32_t worker) { return is_source ? worker : Fleet::rack(worker); };
    for (std::uint32_t vm = 0; vm < fleet.shape.size(); ++vm)
      if (is_source || mechanism_of(fleet, vm) == Mechanism::clone)
        seconds[key(fleet.worker[vm])] += seconds_of(fleet, vm);
    const auto worst = std::ranges::max_element(seconds) - seconds.begin();
    return workers_if(fleet, [&](auto worker) { return key(worker) == worst; });
  }
  return workers_if(fleet, [&](auto worker) {
    return std::ranges::binary_search(fleet.drained_racks, Fleet::rack(worker));
  });
}

// Of what is drained() by that name. "cap1": with one move at a time for each tenant; "budget": a moved VM has to be healthy for long.
Rules rules_of(const Fleet& fleet, const std::string& what) {
  Rules rules;
  rules.boots_per_s = fleet.workers() / 100.0, rules.boots_at_once = 100;
  rules.one_per_tenant = what == "cap1";
  if (what == "budget") rules.healthy_s = 300;
  return rules;
}

void measure_plan(const FleetSpec& spec, const Fleet& fleet, const std::string& what, int times) {
  const auto rules = rules_of(fleet, what);
  const Question question(fleet, rules);
  const auto request = question.request(fleet, drained(fleet, what));
  std::vector<double> walls, cpus, indexes;
  std::optional<planning::FleetPlan> plan;
  for (int i = 0; i < times; ++i) {
    const Watch watch;
    Placer placer(question.numbers);
    indexes.push_back(watch.wall() * 1000);
    plan = planning::plan_fleet(question.numbers, &placer, request, planning::state_of(question.numbers));
    walls.push_back(watch.wall()), cpus.push_back(watch.cpu());
  }
  Placer placer(question.numbers);
  std::map<std::string, double> ratios;
  for (const auto& [name, order] : {std::pair("fifo", planning::Order::first_in_first_out),
                                    std::pair("lpt", planning::Order::longest_first)})
    ratios[name] = planning::plan_fleet(question.numbers, &placer, request, "", order).makespan /
                   plan->bounds.front().seconds;
  double must_ram = 0, extra_ram = 0, extra = 0;
  std::vector<PlannedMove> moves;
  for (const auto& row : plan->rows) {
    (row.makes_room ? extra_ram : must_ram) += ram_of(question, row.vm);
    extra += row.makes_room;
    moves.push_back({row.vm, row.from, row.to, row.start, row.end});
  }
  for (const auto vm : plan->unplaced) must_ram += ram_of(question, vm);
  const auto must = static_cast<double>(plan->rows.size() + plan->unplaced.size()) - extra;
  std::uint64_t violations = 0;
  for (const auto& [breach, count] : check_plan(fleet, request.sources, moves, plan->unplaced, rules)) {
    fmt::print(stderr, "{}: {}, {} times\n", spec.name(), breach, count);
    violations += count;
  }
  std::vector<std::string> bounds;
  for (const auto& bound : plan->bounds)
    bounds.push_back(fmt::format(R"("{}": {:.1f})", bound.name, bound.seconds));
  fmt::print(
      R"({{"plan": "{}", "what": "{}", "seconds": [{:.4f}], "cpu_seconds": [{:.4f}], "index_ms": [{:.1f}], "must_move": {:.0f}, "unplaced": {}, )"
      R"("extra_moves_pct": {:.3f}, "extra_ram_pct": {:.3f}, "makespan_s": {:.1f}, "makespan_ratio": {:.4f}, "makespan_ratio_fifo": {:.4f}, )"
      R"("makespan_ratio_lpt": {:.4f}, "binding_bound": "{}", "bounds": {{{}}}, "checker_violations": {}, "order": "{}", "rss_mb": {:.0f}}})"
      "\n",
      spec.name(), what, fmt::join(walls, ", "), fmt::join(cpus, ", "), fmt::join(indexes, ", "), must,
      plan->unplaced.size(), 100 * extra / must, 100 * extra_ram / must_ram, plan->makespan,
      plan->makespan / plan->bounds.front().seconds, ratios["fifo"], ratios["lpt"], plan->bounds.front().name,
      fmt::join(bounds, ", "), violations, plan->order, peak_mib());
}

void measure_yardsticks(const FleetSpec& spec, const Fleet& fleet) {
  for (const auto& [name, fit] : {std::pair("first_fit", Fit::first), std::pair("best_fit", Fit::best),
                                  std::pair("best_fit_eject1", Fit::best_eject1)}) {
    const auto result = yardstick(fleet, fit);
    fmt::print(
        R"({{"yardstick": "{}", "fleet": "{}", "unplaced": {}, "unplaced_ram_pct": {:.3f}, "extra_moves_pct": {:.3f}, "extra_ram_pct": {:.3f}, "seconds": {:.3f}}})"
        "\n",
        name, spec.name(), result.unplaced, 100 * result.unplaced_ram, 100 * result.ejected,
        100 * result.ejected_ram, result.seconds);
  }
}

// One random rack after the other, each planned on its own, on an index that is there.
void measure_racks(const FleetSpec& spec, const Fleet& fleet, int racks) {
  const Question question(fleet, {});
  Placer placer(question.numbers);
  const auto state = planning::state_of(question.numbers);
  Random random(spec.seed);
  std::vector<double> ms;
  std::uint64_t unplaced = 0;
  for (int i = 0; i < racks; ++i) {
    const auto rack = static_cast<std::uint32_t>(random.below(fleet.workers() / Fleet::rack_workers));
    const auto request =
        question.request(fleet, workers_if(fleet, [&](auto worker) { return Fleet::rack(worker) == rack; }));
    const Watch watch;
    const auto plan = planning::plan_fleet(question.numbers, &placer, request, state);
    ms.push_back(watch.wall() * 1000);
    unplaced += plan.unplaced.size();
  }
  std::ranges::sort(ms);
  fmt::print(R"({{"racks": "{}", "count": {}, "plan_rack_ms": {:.3f}, "median_ms": {:.3f}, "unplaced": {}}})"
             "\n",
             spec.name(), racks, ms[ms.size() * 99 / 100], ms[ms.size() / 2], unplaced);
}

// VMs come and go, as many as run: one departs, untimed, and another comes, which departed a thousand turns before, in another shape.
void measure_placements(const FleetSpec& spec, const Fleet& fleet, bool is_plain, int placements) {
  auto numbers = numbers_of(fleet, is_plain);
  Placer placer(numbers);
  Random random(spec.seed);
  constexpr std::size_t away = 1000;
  std::vector<std::uint32_t> gone;
  double seconds = 0;
  int placed = 0;
  while (placed < placements) {
    const auto vm = static_cast<std::uint32_t>(random.below(fleet.shape.size()));
    if (placer.at(vm) == placement::none) continue;
    placer.remove(vm);
    // What runs somewhere is how often a shape comes.
    numbers.shape_of[vm] = numbers.shape_of[random.below(fleet.shape.size())];
    gone.push_back(vm);
    if (gone.size() <= away) continue;
    const auto comes = gone[gone.size() - 1 - away];
    const auto began = std::chrono::steady_clock::now();
    const auto target = placer.choose(comes);
    if (target != placement::none) placer.move(comes, target);
    seconds += std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count();
    placed += target != placement::none;
  }
  fmt::print(R"({{"placements": "{}", "plain": {}, "count": {}, "per_s": {:.0f}, "rejects_pct": {:.3f}}})"
             "\n",
             spec.name(), is_plain, placed, placed / seconds,
             100.0 * (1 - static_cast<double>(placed) / static_cast<double>(gone.size() - away)));
}

// All VMs of the fleet into as few empty workers as possible, the largest first.
void measure_pack(const FleetSpec& spec, const Fleet& fleet) {
  auto numbers = numbers_of(fleet);
  double cores = 0, ram = 0;
  for (const auto shape : fleet.shape) cores += fleet.shapes[shape].cores, ram += fleet.shapes[shape].ram;
  const auto bound = std::ceil(std::max(cores / fleet.cores, ram / fleet.ram));
  std::vector<std::uint32_t> vms(fleet.shape.size());
  for (std::uint32_t vm = 0; vm < vms.size(); ++vm) vms[vm] = vm;
  Placer placer(numbers);
  auto fewest = std::numeric_limits<double>::infinity();
  const auto empty = [&] {
    for (const auto vm : vms)
      if (placer.at(vm) != placement::none) placer.remove(vm);
  };
  empty();
  for (const auto& order : placement::orders(numbers, placer, vms)) {
    empty();
    std::vector<bool> is_used(fleet.workers());
    std::size_t placed = 0;
    for (const auto vm : order.vms()) {
      const auto target = placer.choose(vm);
      if (target == placement::none) continue;
      placer.move(vm, target);
      is_used[target] = true;
      ++placed;
    }
    // An order that does not find room for all does not count.
    if (placed == vms.size())
      fewest = std::min(fewest, static_cast<double>(std::ranges::count(is_used, true)));
  }
  fmt::print(R"({{"pack": "{}", "workers": {:.0f}, "bound": {:.0f}, "pack_gap_pct": {:.3f}}})"
             "\n",
             spec.name(), fewest, bound, 100 * (fewest / bound - 1));
}

int run(int count, char** words) {
  if (count < 9) {
    fmt::print(stderr,
               "ebb-bench-plan DATA HARDWARE P|A|S|W WORKERS USE_AFTER DRAINED SEED MEASUREMENT...\n"
               "measurements: fleet plan plan5 zone cap1 source rack budget racks placements plain pack "
               "yardsticks\n");
    return 2;
  }
  const std::string data = words[1];
  const FleetSpec spec{words[2],
                       static_cast<Policy>(std::string_view("PASW").find(words[3][0])),
                       static_cast<std::uint32_t>(std::stoul(words[4])),
                       std::stod(words[5]),
                       std::stod(words[6]),
                       std::stoull(words[7])};
  const auto fleet = make_fleet(spec, data);
  for (int i = 8; i < count; ++i) {
    const std::string what = words[i];
    if (what == "fleet")
      say_fleet(spec, fleet);
    else if (what == "plan" || what == "plan5")
      measure_plan(spec, fleet, "racks", what == "plan5" ? 5 : 1);
    else if (what == "zone" || what == "cap1" || what == "source" || what == "rack" || what == "budget")
      measure_plan(spec, fleet, what, 1);
    else if (what == "racks")
      measure_racks(spec, fleet, 200);
    else if (what == "placements" || what == "plain")
      measure_placements(spec, fleet, what == "plain", 500000);
    else if (what == "pack")
      measure_pack(spec, fleet);
    else if (what == "yardsticks")
      measure_yardsticks(spec, fleet);
    else
      throw std::runtime_error("no such measurement: " + what);
    std::fflush(stdout);
  }
  return 0;
}

}  // namespace
}  // namespace ebb::bench

int main(int count, char** words) {
  ebb::use_large_pages(words);  // as ebbd does
  try {
    return ebb::bench::run(count, words);
  } catch (const std::exception& error) {
    fmt::print(stderr, "{}\n", error.what());
    return 1;
  }
}
