// ebb-sim: the fleet in virtual time. A failing seed prints the command that plays it again.
#include <cstdio>
#include <fmt/format.h>
#include <fstream>
#include <sstream>

#include "base/large_pages.h"
#include "disk_scenario.h"
#include "operator_script.h"
#include "scenario.h"
#include "sim_command.h"
#include "what_if_command.h"

namespace ebb::fleet_sim {
namespace {

constexpr std::string_view usage = R"(usage: ebb-sim --seeds N [--first S] [--verbose]
         plays N seeds: troubles and operators drawn from each
       ebb-sim --crash-points [--script NAME] [--slice I/N] [--first S]
         crashes the control plane at each of its points in turn, in one script: drain, cancelled_drain,
         big_drain, drain_of_two, budgeted_drain, paused_drain, undone_drain, redirected_drain, forced_drain,
         scheduled_drain, roomy_drain, returned_drain, life_of_a_vm
       ebb-sim --crash-point N [--script NAME] [--first S] [--verbose]
         at that one
       ebb-sim --kills [--slice I/N] [--first S]
         kills each program that a move meets, in each of its phases
       ebb-sim --kill PHASE/VICTIM/VM [--first S] [--verbose]
         that one: control, source_agent, source_disk_daemon, target_agent or target_disk_daemon
       ebb-sim scenario FILE [--verbose]
         plays what an operator types (tests/scenarios/README.md) and prints it with what he sees
       ebb-sim disk --seeds N [--first S] [--verbose]
         plays the disk engine alone, under the prefix oracle
       ebb-sim fleet --trace EXPORT|azure|huawei|alibaba [--workers N] --drain WHICH ...
         what drains of a whole fleet would come to; says more without --drain
  --sketched: workers with sketched agents and disk daemons, many times faster
)";

FleetSimOptions options_for(const SimCommand& command, std::uint64_t seed) {
  auto options = fleet_for(command.script, seed, command.kind());
  if (command.verbose) options.on_note = [](std::string_view text) { fmt::print("{}\n", text); };
  return options;
}

bool show(const RunResult& result, const SimCommand& again) {
  for (const auto& violation : result.violations) fmt::print("  {}\n", violation);
  if (!result.ok()) fmt::print("  again: {}\n", command_line(again));
  std::fflush(stdout);
  return result.ok();
}

bool play_seeds(const SimCommand& command) {
  std::uint64_t failed = 0;
  for (auto seed = command.first; seed < command.first + command.seeds; ++seed) {
    auto result = play_seed(options_for(command, seed));
    fmt::print("seed {} {}: {}, {} events, state {:016x}\n", seed, result.ok() ? "ok" : "FAILED",
               result.summary, result.events, result.state_hash);
    failed += !show(result, again_at_seed(command, seed));
  }
  fmt::print("{} of {} seeds failed\n", failed, command.seeds);
  return failed == 0;
}

bool play_crash_points(const SimCommand& command) {
  std::uint64_t failed = 0, played = 0;
  for (auto nth = command.crash_point.value_or(command.slice);; nth += command.slices) {
    auto run = play_crash(options_for(command, command.first), {.script = command.script, .nth = nth});
    if (run.fired || !run.result.ok()) {
      ++played;
      fmt::print("point {} {}: {}\n", nth, run.result.ok() ? "ok" : "FAILED", run.result.summary);
      failed += !show(run.result, again_at_point(command, nth));
    }
    if (!run.fired || command.crash_point) break;
  }
  fmt::print("{} of {} crash points failed\n", failed, played);
  return failed == 0;
}

bool play_kills(const SimCommand& command) {
  const auto kills = command.kill ? std::vector{*command.kill} : all_kills();
  std::uint64_t failed = 0, played = 0;
  for (auto i = command.slice; i < kills.size(); i += command.slices, ++played) {
    auto options = fleet_for(kills[i], command.first, command.kind());
    if (command.verbose) options.on_note = [](std::string_view text) { fmt::print("{}\n", text); };
    auto run = play_kill(options, kills[i]);
    if (!run.fired) run.result.violations.push_back("the moment never came");
    fmt::print("kill {} {}: {}\n", i, run.result.ok() ? "ok" : "FAILED", run.result.summary);
    failed += !show(run.result, again_with(command, kills[i]));
  }
  fmt::print("{} of {} kills failed\n", failed, played);
  return failed == 0;
}

int play_scenario(std::span<char*> words) {
  const bool is_verbose = words.size() == 2 && std::string_view(words[1]) == "--verbose";
  if (words.size() != (is_verbose ? 2u : 1u)) return fmt::print(stderr, "{}", usage), 2;
  std::ifstream file(words[0]);
  std::stringstream script;
  if (!(script << file.rdbuf())) return fmt::print(stderr, "ebb-sim: {} cannot be read\n", words[0]), 2;
  std::function<void(std::string_view)> on_note;
  if (is_verbose) on_note = [](std::string_view text) { fmt::print("{}\n", text); };
  const auto run = play_operator_script(script.str(), std::move(on_note));
  if (!run) return fmt::print(stderr, "ebb-sim: {}\n", run.error().message), 1;
  fmt::print("{}", run->transcript);
  for (const auto& violation : run->violations) fmt::print("VIOLATION: {}\n", violation);
  return run->violations.empty() ? 0 : 1;
}

bool play(const SimCommand& command) {
  if (command.seeds > 0) return play_seeds(command);
  return command.kills || command.kill ? play_kills(command) : play_crash_points(command);
}

}  // namespace
}  // namespace ebb::fleet_sim

int main(int argc, char** argv) {
  using namespace ebb::fleet_sim;
  auto words = std::span(argv, static_cast<std::size_t>(argc)).subspan(1);
  if (!words.empty() && std::string_view(words[0]) == "disk")
    return ebb::disk_sim::run_command(words.subspan(1));
  if (!words.empty() && std::string_view(words[0]) == "fleet") {
    ebb::use_large_pages(argv);
    return ebb::what_if::run_command(words.subspan(1));
  }
  if (!words.empty() && std::string_view(words[0]) == "scenario") return play_scenario(words.subspan(1));
  auto command = read_command(std::vector<std::string_view>(words.begin(), words.end()));
  if (!command) {
    fmt::print(stderr, "ebb-sim: {}\n{}", command.error().message, usage);
    return 2;
  }
  return play(*command) ? 0 : 1;
}
