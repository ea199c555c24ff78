// ebb-sim: the fleet in virtual time. A failing seed prints the command that plays it again.
//
//   ebb-sim --seeds N [--first S] [--verbose]      play N seeds, troubles and operators drawn from each
//   ebb-sim --crash-points [--script NAME] [--slice I/N] [--first S]  crash the control plane at each of its
//                                                                    points in turn, in one script
//   ebb-sim --crash-point N [--script NAME] [--first S] [--verbose]   at that one
//   ebb-sim disk --seeds N [--first S] [--verbose]  the disk engine alone, under the prefix oracle
//   --sketched: workers with sketched agents and disk daemons, many times faster
#include <charconv>
#include <cstdio>
#include <fmt/format.h>
#include <string_view>

#include "base/text.h"
#include "disk_scenario.h"
#include "scenario.h"

namespace ebb::fleet_sim {
namespace {

struct Arguments {
  std::uint64_t seeds = 0, first = 1, slice = 0, slices = 1;
  std::optional<std::uint64_t> crash_point;
  Script script = Script::drain;
  bool crash_points = false, verbose = false, sketched = false;
};

bool read_number(std::string_view text, std::uint64_t& out) {
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), out);
  return error == std::errc{} && end == text.data() + text.size();
}

std::optional<Arguments> read_arguments(std::span<char*> words) {
  Arguments a;
  for (std::size_t i = 0; i < words.size(); ++i) {
    std::string_view word = words[i], value = i + 1 < words.size() ? words[i + 1] : "";
    std::uint64_t number = 0;
    if (word == "--verbose")
      a.verbose = true;
    else if (word == "--sketched")
      a.sketched = true;
    else if (word == "--crash-points")
      a.crash_points = true;
    else if (word == "--script") {
      auto script = json::read<Script>(json::Value(value));
      if (!script) return std::nullopt;
      a.script = *script, ++i;
    } else if (word == "--slice") {
      auto slash = value.find('/');
      if (slash == std::string_view::npos || !read_number(value.substr(0, slash), a.slice) ||
          !read_number(value.substr(slash + 1), a.slices) || a.slices == 0)
        return std::nullopt;
      ++i;
    } else if (!read_number(value, number))
      return std::nullopt;
    else if (word == "--seeds")
      a.seeds = number, ++i;
    else if (word == "--first")
      a.first = number, ++i;
    else if (word == "--crash-point")
      a.crash_point = number, ++i;
    else
      return std::nullopt;
  }
  if (a.seeds == 0 && !a.crash_points && !a.crash_point) return std::nullopt;
  return a;
}

FleetSimOptions options_for(const Arguments& arguments, std::uint64_t seed) {
  using Workers = FleetSimOptions::Workers;
  auto options =
      fleet_for(arguments.script, seed, arguments.sketched ? Workers::sketched : Workers::production);
  if (arguments.verbose) options.on_note = [](std::string_view text) { fmt::print("{}\n", text); };
  return options;
}

bool show(const RunResult& result, const std::string& again) {
  for (const auto& violation : result.violations) fmt::print("  {}\n", violation);
  if (!result.ok()) fmt::print("  again: {}\n", again);
  std::fflush(stdout);
  return result.ok();
}

bool play_seeds(const Arguments& a) {
  std::uint64_t failed = 0;
  for (auto seed = a.first; seed < a.first + a.seeds; ++seed) {
    auto result = play_seed(options_for(a, seed));
    fmt::print("seed {} {}: {}, {} events, state {:016x}\n", seed, result.ok() ? "ok" : "FAILED",
               result.summary, result.events, result.state_hash);
    failed += !show(result, fmt::format("ebb-sim --seeds 1 --first {} --verbose{}", seed,
                                        a.sketched ? " --sketched" : ""));
  }
  fmt::print("{} of {} seeds failed\n", failed, a.seeds);
  return failed == 0;
}

bool play_crash_points(const Arguments& a) {
  std::uint64_t failed = 0, played = 0;
  for (auto nth = a.crash_point.value_or(a.slice);; nth += a.slices) {
    auto run = play_crash(options_for(a, a.first), {.script = a.script, .nth = nth});
    if (run.fired || !run.result.ok()) {
      ++played;
      fmt::print("point {} {}: {}\n", nth, run.result.ok() ? "ok" : "FAILED", run.result.summary);
      failed +=
          !show(run.result, fmt::format("ebb-sim --crash-point {} --first {} --script {} --verbose{}", nth,
                                        a.first, json::name_of(a.script), a.sketched ? " --sketched" : ""));
    }
    if (!run.fired || a.crash_point) break;
  }
  fmt::print("{} of {} crash points failed\n", failed, played);
  return failed == 0;
}

}  // namespace
}  // namespace ebb::fleet_sim

int main(int argc, char** argv) {
  auto words = std::span(argv, static_cast<std::size_t>(argc)).subspan(1);
  if (!words.empty() && std::string_view(words[0]) == "disk")
    return ebb::disk_sim::run_command(words.subspan(1));
  auto arguments = ebb::fleet_sim::read_arguments(words);
  if (!arguments) {
    fmt::print(stderr,
               "usage: ebb-sim --seeds N [--first S] [--verbose]\n"
               "       ebb-sim --crash-points [--script NAME] [--slice I/N] [--first S]\n"
               "       ebb-sim --crash-point N [--script NAME] [--first S] [--verbose]\n"
               "       ebb-sim disk --seeds N [--first S] [--verbose]\n");
    return 2;
  }
  bool ok = arguments->seeds > 0 ? ebb::fleet_sim::play_seeds(*arguments)
                                 : ebb::fleet_sim::play_crash_points(*arguments);
  return ok ? 0 : 1;
}
